//! zstd without magic number, checksum, dictionary number and size: readers of the bytes know all four. Contexts are
//! expensive to create, so each thread keeps its own. Must not know the meaning of the bytes.

use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;
use std::thread::LocalKey;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::{CParameter, DParameter, FrameFormat};

/// In measurements, higher levels were slower and not smaller.
const LEVEL: i32 = 1;

thread_local! {
    static PLAIN_CONTEXTS: Contexts = const { Contexts::new() };
}

/// Compression without a dictionary.
pub static PLAIN: Compression = Compression { contexts: &PLAIN_CONTEXTS, dictionary: None };

/// Compression, with one dictionary or without.
pub struct Compression {
    pub contexts: &'static LocalKey<Contexts>,
    pub dictionary: Option<&'static LazyLock<Dictionary>>,
}

/// Contexts that a thread keeps for a [`Compression`].
pub struct Contexts {
    compressor: RefCell<Option<Compressor<'static>>>,
    expander: RefCell<Option<Decompressor<'static>>>,
}

pub struct Dictionary {
    encoder: EncoderDictionary<'static>,
    decoder: DecoderDictionary<'static>,
}

impl Compression {
    /// Compresses bytes. `None` if the result would not be smaller.
    pub fn compress(&self, text: &[u8]) -> Option<Vec<u8>> {
        let create = || self.compressor();
        let compressed =
            self.with(|contexts| run(&contexts.compressor, create, |compressor| compressor.compress(text)))?;
        (compressed.len() < text.len()).then_some(compressed)
    }

    /// Expands to exactly `bytes` bytes. `None` if that is not possible.
    pub fn expand(&self, stored: &[u8], bytes: usize) -> Option<Vec<u8>> {
        let create = || self.expander();
        let expanded =
            self.with(|contexts| run(&contexts.expander, create, |expander| expander.decompress(stored, bytes)))?;
        (expanded.len() == bytes).then_some(expanded)
    }

    /// Compresses bytes, or copies them if the result would not be smaller.
    pub fn pack(&self, text: &[u8]) -> Vec<u8> {
        self.compress(text).unwrap_or_else(|| text.to_vec())
    }

    /// Reverses [`Self::pack`] of `bytes` bytes. `None` if `packed` does not expand to that length.
    pub fn unpack(&self, packed: &[u8], bytes: usize) -> Option<Vec<u8>> {
        if packed.len() == bytes { Some(packed.to_vec()) } else { self.expand(packed, bytes) }
    }

    fn compressor(&self) -> io::Result<Compressor<'static>> {
        let mut compressor = match self.dictionary {
            Some(dictionary) => Compressor::with_prepared_dictionary(&dictionary.encoder)?,
            None => Compressor::new(LEVEL)?,
        };
        compressor.set_parameter(CParameter::Format(FrameFormat::Magicless))?;
        compressor.include_checksum(false)?;
        compressor.include_contentsize(false)?;
        compressor.include_dictid(false)?;
        Ok(compressor)
    }

    fn expander(&self) -> io::Result<Decompressor<'static>> {
        let mut expander = match self.dictionary {
            Some(dictionary) => Decompressor::with_prepared_dictionary(&dictionary.decoder)?,
            None => Decompressor::new()?,
        };
        expander.set_parameter(DParameter::Format(FrameFormat::Magicless))?;
        Ok(expander)
    }

    fn with<T>(&self, run: impl FnOnce(&Contexts) -> Option<T>) -> Option<T> {
        self.contexts.try_with(run).ok().flatten()
    }
}

impl Contexts {
    pub const fn new() -> Self {
        Self { compressor: RefCell::new(None), expander: RefCell::new(None) }
    }
}

impl Dictionary {
    pub fn new(bytes: &'static [u8]) -> Self {
        Self { encoder: EncoderDictionary::new(bytes, LEVEL), decoder: DecoderDictionary::new(bytes) }
    }
}

/// Runs an operation with the kept context. `None` if it fails, or if there is no context and none can be created.
fn run<C, T>(
    kept: &RefCell<Option<C>>,
    create: impl FnOnce() -> io::Result<C>,
    run: impl FnOnce(&mut C) -> io::Result<T>,
) -> Option<T> {
    let mut context = kept.try_borrow_mut().ok()?;
    if context.is_none() {
        *context = Some(create().ok()?);
    }
    run(context.as_mut()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    static DICTIONARY: LazyLock<Dictionary> = LazyLock::new(|| Dictionary::new(b"columns and texts of a dictionary"));
    thread_local! {
        static CONTEXTS: Contexts = const { Contexts::new() };
    }
    static WITH_DICTIONARY: Compression = Compression { contexts: &CONTEXTS, dictionary: Some(&DICTIONARY) };

    #[test]
    fn what_is_compressed_expands_to_its_length_only() {
        let text = "columns and texts ".repeat(50);
        for compression in [&PLAIN, &WITH_DICTIONARY] {
            let compressed = compression.compress(text.as_bytes()).unwrap();
            assert_eq!(compression.expand(&compressed, text.len()).unwrap(), text.as_bytes());
            for bytes in [0, 1, text.len() - 1, text.len() + 1] {
                assert!(compression.expand(&compressed, bytes).is_none());
            }
            assert!(!compressed.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "no magic number");
        }
    }

    #[test]
    fn what_is_packed_is_unpacked_to_its_length_only() {
        for text in [String::new(), "abc".into(), "columns and texts ".repeat(50)] {
            let packed = PLAIN.pack(text.as_bytes());
            assert!(packed.len() <= text.len());
            assert_eq!(PLAIN.unpack(&packed, text.len()).unwrap(), text.as_bytes());
            assert!(PLAIN.unpack(&packed, text.len() + 1).is_none());
        }
    }

    #[test]
    fn what_does_not_shrink_is_not_compressed() {
        assert_eq!((PLAIN.compress(b""), WITH_DICTIONARY.compress(b"abc")), (None, None));
    }
}
