//! Seals the private bytes in files that are derived from the log, so that a codec that encrypts them changes no
//! format. Codec 0, the only one yet, copies. The log's own records have their codec in their header. Must not know the
//! meaning of the bytes.
//!
//! ```text
//! u8 codec 0 ‖ private bytes
//! ```

use super::codec::{DecodeError, Put, Take};

const CLEAR: u8 = 0;

/// Appends private bytes, sealed.
pub fn seal(private: &[u8], out: &mut Vec<u8>) {
    out.put_u8(CLEAR);
    out.put(private);
}

/// Returns the private bytes.
pub fn unseal(sealed: &[u8]) -> Result<&[u8], DecodeError> {
    let mut take = Take(sealed);
    if take.u8()? == CLEAR { Ok(take.0) } else { Err(DecodeError("it is sealed with a codec of a newer version")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_unsealed_and_another_codec_is_refused() {
        let mut sealed = Vec::new();
        seal(b"private", &mut sealed);
        assert_eq!(sealed.len(), b"private".len() + 1);
        assert_eq!(unseal(&sealed), Ok(&b"private"[..]));
        sealed[0] = 1;
        assert!(unseal(&sealed).is_err() && unseal(&[]).is_err());
    }
}
