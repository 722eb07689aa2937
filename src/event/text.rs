//! Texts of bodies as the state keeps them: bounded, and different where the bodies differ.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// A text as Fasten told it; opaque, never empty. None: never told.
pub type Text = Option<Arc<str>>;

/// The longest text of an entity. A body may hold longer ones; the event keeps them whole.
pub const TEXT_BYTES_MAX: usize = 2048;
/// The longest URL of a link: one that is cut opens nothing.
pub const URL_BYTES_MAX: usize = 16 * 1024;
/// Stands between the first part of a text that was cut and the SHA-256 of all of it, in base64url.
const CUT_MARK: &str = "\u{2026}cut sha256:";
const DIGEST_CHARS: usize = 43;

/// A text of at most [`TEXT_BYTES_MAX`]: a longer one by its first part, a mark and its digest, so that different texts stay
/// different. A text that is bounded already stays as it is.
pub fn bounded(text: &str) -> Cow<'_, str> {
    bounded_to(text, TEXT_BYTES_MAX)
}

pub fn bounded_to(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let first_max = bytes_max - CUT_MARK.len() - DIGEST_CHARS;
    let first = (0..=first_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(text));
    Cow::Owned(format!("{}{CUT_MARK}{digest}", &text[..first]))
}
