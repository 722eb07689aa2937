//! Packs records into blocks that are nearly full; learns from each how many expanded bytes fill one. A block that would stay
//! small, as under light load, is packed again with the records that come after it.

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, ParamSwitch};

use super::block::{Builder, Entry, VALUE_BYTES_MAX};

/// How hard a packer tries.
#[derive(Debug, Clone, Copy)]
pub enum Effort {
    /// Somebody waits. Fast match finding, but with literals coded: against level 1, 2 % more space for two thirds of the time.
    Quick,
    /// Nobody waits.
    Thorough,
}

impl Effort {
    fn level(self) -> i32 {
        match self {
            Self::Quick => -3,
            Self::Thorough => 3,
        }
    }
}

/// One that is a batch by itself grows until it is so large. The last of several is packed again only if that costs little.
const GROWN_BYTES: usize = VALUE_BYTES_MAX * 15 / 16;
const REST_BYTES_MAX: usize = VALUE_BYTES_MAX / 4;

pub struct Packer {
    compressor: Compressor<'static>,
    target_bytes: usize,
}

impl Packer {
    pub fn new(effort: Effort) -> std::io::Result<Self> {
        let mut compressor = Compressor::new(effort.level())?;
        compressor.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
        Ok(Self { compressor, target_bytes: 4 * VALUE_BYTES_MAX })
    }

    /// Whether the block in the making should be finished before a record of this size.
    pub fn is_full(&self, builder: &Builder, size: usize) -> bool {
        builder.records_len() + size > self.target_bytes
    }

    /// Encodes what is gathered, if anything new is, and begins anew after it.
    pub fn finish(&mut self, builder: &mut Builder) -> Vec<Entry> {
        let entries = self.encode(builder);
        *builder = Builder::new(builder.next(), builder.hash());
        entries
    }

    /// Encodes what is gathered as the end of a batch, which has `others` before it; goes on with a block that is small.
    pub fn pause(&mut self, builder: &mut Builder, others: usize) -> Vec<Entry> {
        let entries = self.encode(builder);
        let limit = if others == 0 { GROWN_BYTES } else { REST_BYTES_MAX };
        match &entries[..] {
            [] => {}
            [(_, value)] if value.len() < limit => builder.mark_stored(),
            _ => *builder = Builder::new(builder.next(), builder.hash()),
        }
        entries
    }

    fn encode(&mut self, builder: &mut Builder) -> Vec<Entry> {
        if builder.new_count() == 0 {
            return Vec::new();
        }
        let entries = builder.encode(&mut self.compressor);
        let stored = entries.iter().map(|(_, value)| value.len()).sum();
        self.learn(builder.records_len(), stored);
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
