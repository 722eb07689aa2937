//! Dictionaries that records are compressed with, by number. They are compiled in, and made of synthetic texts only: a
//! dictionary that is trained on real bodies keeps parts of them, which no erasure reaches. The bytes of a number never
//! change. Knows nothing of a record's fields.

use std::sync::LazyLock;

use crate::storage::{Compression, Contexts, Dictionary};

/// Number of the dictionary that records are compressed with now.
pub(super) const NUMBER: u16 = 1;
pub(super) const BYTES: &[u8] = include_bytes!("dictionary1.bin");

static DICTIONARY: LazyLock<Dictionary> = LazyLock::new(|| Dictionary::new(BYTES));

thread_local! {
    static CONTEXTS: Contexts = const { Contexts::new() };
}

/// Compresses single records.
pub(super) static RECORDS: Compression = Compression { contexts: &CONTEXTS, dictionary: Some(&DICTIONARY) };
