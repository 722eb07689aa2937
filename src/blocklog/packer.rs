//! Packs records into blocks that are nearly full; learns from each how many expanded bytes fill one.

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, ParamSwitch};

use super::block::{Builder, Entry, VALUE_BYTES_MAX};

/// Nobody waits for what is packed here.
const LEVEL: i32 = 3;

pub struct Packer {
    compressor: Compressor<'static>,
    target_bytes: usize,
}

impl Packer {
    pub fn new() -> std::io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
        Ok(Self { compressor, target_bytes: 4 * VALUE_BYTES_MAX })
    }

    /// Whether the block in the making should be finished before a record of this size.
    pub fn is_full(&self, builder: &Builder, size: usize) -> bool {
        builder.records_len() + size > self.target_bytes
    }

    /// Encodes what is gathered, if anything is, and goes on, empty, after it.
    pub fn finish(&mut self, builder: &mut Builder) -> Vec<Entry> {
        if builder.is_empty() {
            return Vec::new();
        }
        let entries = builder.encode(&mut self.compressor);
        let stored = entries.iter().map(|(_, value)| value.len()).sum();
        self.learn(builder.records_len(), stored);
        *builder = Builder::new(builder.next(), builder.hash());
        entries
    }

    /// Aims the next block at 15/16 of a value, going by how this one packed.
    fn learn(&mut self, records: usize, stored: usize) {
        // A block of one or two records says little of a full one.
        if records * 2 >= self.target_bytes {
            let full = records * (VALUE_BYTES_MAX * 15 / 16) / stored.max(1);
            self.target_bytes = usize::midpoint(self.target_bytes, full).clamp(VALUE_BYTES_MAX, 12 * VALUE_BYTES_MAX);
        }
    }
}
