//! Compresses single records with a dictionary, and the columns of a frame without one. Contexts are expensive to create, so
//! each thread keeps its own. Knows nothing of what it compresses.
//!
//! zstd frames are stored without their magic number, checksum, dictionary number and size: what reads them knows all four.

use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;
use std::thread::LocalKey;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::{CParameter, DParameter, FrameFormat};

use super::dictionary;
use crate::storage::Garbled;

/// In measurements, higher levels were slower and not smaller.
const LEVEL: i32 = 1;

static ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::new(dictionary::BYTES, LEVEL));
static DECODER: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::new(dictionary::BYTES));

thread_local! {
    static TEXT_COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static TEXT_EXPANDER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    static COLUMNS_COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static COLUMNS_EXPANDER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// `None` if it would not be smaller.
pub(super) fn compress_text(text: &[u8]) -> Option<Vec<u8>> {
    let create = || compressor(Compressor::with_prepared_dictionary(&ENCODER)?);
    compress(&TEXT_COMPRESSOR, create, text)
}

/// To exactly `bytes`.
pub(super) fn expand_text(stored: &[u8], bytes: usize) -> Result<Vec<u8>, Garbled> {
    let create = || expander(Decompressor::with_prepared_dictionary(&DECODER)?);
    expand(&TEXT_EXPANDER, create, stored, bytes).ok_or(Garbled("a record does not expand to its length"))
}

/// `None` if it would not be smaller.
pub(super) fn compress_columns(columns: &[u8]) -> Option<Vec<u8>> {
    compress(&COLUMNS_COMPRESSOR, || compressor(Compressor::new(LEVEL)?), columns)
}

/// To exactly `bytes`.
pub(super) fn expand_columns(stored: &[u8], bytes: usize) -> Result<Vec<u8>, Garbled> {
    let expanded = expand(&COLUMNS_EXPANDER, || expander(Decompressor::new()?), stored, bytes);
    expanded.ok_or(Garbled("a frame's columns do not expand to their length"))
}

fn compressor(mut compressor: Compressor<'static>) -> io::Result<Compressor<'static>> {
    compressor.set_parameter(CParameter::Format(FrameFormat::Magicless))?;
    compressor.include_checksum(false)?;
    compressor.include_contentsize(false)?;
    compressor.include_dictid(false)?;
    Ok(compressor)
}

fn expander(mut expander: Decompressor<'static>) -> io::Result<Decompressor<'static>> {
    expander.set_parameter(DParameter::Format(FrameFormat::Magicless))?;
    Ok(expander)
}

fn compress(
    local: &'static LocalKey<RefCell<Option<Compressor<'static>>>>,
    create: impl FnOnce() -> io::Result<Compressor<'static>>,
    text: &[u8],
) -> Option<Vec<u8>> {
    let compressed = with(local, create, |compressor| compressor.compress(text))?;
    (compressed.len() < text.len()).then_some(compressed)
}

fn expand(
    local: &'static LocalKey<RefCell<Option<Decompressor<'static>>>>,
    create: impl FnOnce() -> io::Result<Decompressor<'static>>,
    stored: &[u8],
    bytes: usize,
) -> Option<Vec<u8>> {
    let expanded = with(local, create, |expander| expander.decompress(stored, bytes))?;
    (expanded.len() == bytes).then_some(expanded)
}

/// `None` if it fails, or if there is no context and none can be created.
fn with<C, T>(
    local: &'static LocalKey<RefCell<Option<C>>>,
    create: impl FnOnce() -> io::Result<C>,
    run: impl FnOnce(&mut C) -> io::Result<T>,
) -> Option<T> {
    let ran = local.try_with(|cell| {
        let mut context = cell.try_borrow_mut().ok()?;
        if context.is_none() {
            *context = Some(create().ok()?);
        }
        run(context.as_mut()?).ok()
    });
    ran.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_expands_to_its_length_only() {
        let text = "columns and texts ".repeat(50);
        let (columns, record) = (compress_columns(text.as_bytes()).unwrap(), compress_text(text.as_bytes()).unwrap());
        assert_eq!(expand_columns(&columns, text.len()).unwrap(), text.as_bytes());
        assert_eq!(expand_text(&record, text.len()).unwrap(), text.as_bytes());
        for bytes in [0, 1, text.len() - 1, text.len() + 1] {
            assert!(expand_columns(&columns, bytes).is_err() && expand_text(&record, bytes).is_err());
        }
        assert!(!columns.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "no magic number");
    }

    #[test]
    fn what_does_not_shrink_is_not_compressed() {
        assert_eq!((compress_text(b""), compress_columns(b"abc")), (None, None));
    }
}
