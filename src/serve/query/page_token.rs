//! Page sizes and page tokens: where a list continues, for which filter, and from which position. Knows nothing of the
//! rows.
//!
//! ```text
//! token = base64url( version u8 ‖ filter hash u64 ‖ position u64 ‖ rank i64 ‖ last id ‖ CRC32C of all before )
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::order::RowPlace;
use super::scan::ScanLimits;
use crate::event::Position;
use crate::fold::Id;
use crate::serve::refusal::Refusal;

const VERSION: u8 = 1;
const HEADER: usize = 1 + 8 + 8 + 8;
const CRC: usize = 4;

const ROWS_DEFAULT: usize = 50;
const ROWS_MAX: usize = 1000;
/// Maximum size of a page: well below the 4 MiB that gRPC clients take by default.
pub const BYTES_MAX: usize = 1024 * 1024;
/// Maximum number of rows visited by one call. A filter that matches nothing then costs a bounded time per call.
pub const VISITS_MAX: usize = 10_000;

/// Returns the limits of one page. 0 rows mean the default.
pub fn limits(page_size: i32) -> Result<ScanLimits, Refusal> {
    let refused = Refusal::InvalidField { field: "page_size", problem: "not between 0 and 1000" };
    let rows = match usize::try_from(page_size) {
        Ok(0) => ROWS_DEFAULT,
        Ok(rows) if rows <= ROWS_MAX => rows,
        _ => return Err(refused),
    };
    Ok(ScanLimits { rows, bytes: BYTES_MAX, visits: VISITS_MAX })
}

/// Point where a list continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken {
    pub filter_hash: u64,
    /// Position of the views that the previous page showed.
    pub position: Position,
    /// Rank of the last row looked at, in the order of the list.
    pub rank: i64,
    /// Id of that row.
    pub last: String,
}

impl PageToken {
    /// Reads a page token. `None` if it is empty, which means the first page. `last` is the latest position that an
    /// answer can have reported.
    pub fn read(token: &str, filter_hash: u64, last: Position) -> Result<Option<Self>, Refusal> {
        if token.is_empty() {
            return Ok(None);
        }
        let token = Self::decode(token).ok_or(Refusal::InvalidPageToken("it was cut or changed on its way"))?;
        if token.filter_hash != filter_hash {
            return Err(Refusal::InvalidPageToken("the filter, the tenant or the mode is another"));
        }
        if token.position > last {
            return Err(Refusal::InvalidPageToken("it is from after the head of the log"));
        }
        Ok(Some(token))
    }

    pub fn place(&self) -> RowPlace {
        RowPlace { rank: self.rank, id: Id::find(&self.last) }
    }

    pub fn encode(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.filter_hash.to_be_bytes());
        bytes.extend(self.position.to_be_bytes());
        bytes.extend(self.rank.to_be_bytes());
        bytes.extend(self.last.as_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decode(token: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (bytes, crc) = bytes.split_last_chunk::<CRC>()?;
        if crc32c::crc32c(bytes).to_be_bytes() != *crc {
            return None;
        }
        let (header, last) = bytes.split_first_chunk::<HEADER>()?;
        let (version, numbers) = header.split_first()?;
        let (filter_hash, numbers) = numbers.split_first_chunk()?;
        let (position, rank) = numbers.split_first_chunk()?;
        (*version == VERSION).then_some(Self {
            filter_hash: u64::from_be_bytes(*filter_hash),
            position: u64::from_be_bytes(*position),
            rank: i64::from_be_bytes(rank.try_into().ok()?),
            last: String::from_utf8(last.to_vec()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_is_read_back_and_a_changed_one_is_noticed() {
        let page_token = PageToken { filter_hash: u64::MAX - 1, position: 7, rank: -9, last: "a1b2-\u{e9}".into() };
        let token = page_token.encode();
        assert_eq!(PageToken::decode(&token), Some(page_token));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(PageToken::decode(std::str::from_utf8(&changed).unwrap()), None, "at {at}");
            assert_eq!(PageToken::decode(&token[..at]), None, "cut at {at}");
        }
    }
}
