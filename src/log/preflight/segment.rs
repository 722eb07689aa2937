//! One segment of sled 0.34.7's file, read as sled reads it. Knows the bytes' format, nothing of recovery.
//!
//! ```text
//! segment  0 u32 !CRC32 of 4..20 ‖ 4 u64 lsn ^ i64::MAX ‖ 12 u64 greatest stable lsn ^ i64::MAX ‖ 20 messages; 512 KiB
//! message  0 u32 !CRC32 of body and 4.. ‖ 4 u8 kind ‖ 5 varints: body's length, lsn / 512 KiB, page ‖ body
//! ```
#![expect(clippy::little_endian_bytes, reason = "sled's numbers are")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::storage::{Garbled, Take};

const SEGMENT_LEN: usize = 512 * 1024;
pub(super) const SEGMENT_BYTES: u64 = SEGMENT_LEN as u64;
const HEADER_LEN: usize = 20;
pub(super) const HEADER_BYTES: u64 = HEADER_LEN as u64;
/// sled begins no message with less room than this left.
pub(super) const MESSAGE_HEADER_MAX: u64 = 32;
/// From larger ones sled makes blob files.
const MESSAGE_LEN_MAX: usize = SEGMENT_LEN / 4;
/// sled reads a message's header from so many bytes, zeros where the file ends before.
const HEADER_WINDOW: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub lsn: u64,
    /// Below this everything was written (not: synced) when the segment was begun. None: nothing was.
    pub stable: Option<u64>,
}

pub(super) enum Message {
    /// Of so many bytes, header and body.
    Whole(u64),
    /// Counts only if the log is whole up to this lsn, itself so many bytes.
    Manifest(u64, u64),
    /// Nothing more in this segment.
    Cap,
    /// Not a message of this segment.
    Bad,
    /// Not even a header, or a body behind the file's end: sled ends its recovery here, wherever that is.
    Unreadable,
}

impl Header {
    /// None if there is no whole header.
    pub fn read(file: &File, offset: u64) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEADER_LEN];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(Self::parse(&bytes).ok().flatten())
    }

    fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Option<Self>, Garbled> {
        let mut take = Take(bytes);
        let crc = !u32::from_le_bytes(take.array()?);
        let lsn = i64::from_le_bytes(take.array()?) ^ i64::MAX;
        let stable = i64::from_le_bytes(take.array()?) ^ i64::MAX;
        let whole = crc == crc32fast::hash(&bytes[4..]);
        Ok(u64::try_from(lsn).ok().filter(|_| whole).map(|lsn| Self { lsn, stable: u64::try_from(stable).ok() }))
    }
}

/// What sled finds at `at` of the segment numbered `number`. `bytes` is shorter than a segment where the file ends.
pub(super) fn message(bytes: &[u8], at: usize, number: u64) -> Message {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut window = [0; HEADER_WINDOW];
    let held = rest.len().min(HEADER_WINDOW);
    window[..held].copy_from_slice(&rest[..held]);
    let mut take = Take(&window);
    let Ok((crc, kind, len, found, _page)) = header(&mut take) else { return Message::Unreadable };
    let header_len = HEADER_WINDOW - take.0.len();
    let room = SEGMENT_LEN.saturating_sub(at + header_len);
    let Some(len) = usize::try_from(len).ok().filter(|len| *len <= room && (1..=11).contains(&kind)) else {
        return Message::Bad;
    };
    let body = if len <= take.0.len() { take.0.get(..len) } else { rest.get(header_len..header_len + len) };
    let Some(body) = body else { return Message::Unreadable };
    if found != number {
        return Message::Bad;
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(&window[4..header_len]);
    if !hasher.finalize() != crc {
        return Message::Bad;
    }
    let total = (header_len + len) as u64;
    match kind {
        2 => Message::Cap,
        3 => body.try_into().map_or(Message::Unreadable, |lsn| Message::Manifest(u64::from_le_bytes(lsn), total)),
        _ => Message::Whole(total),
    }
}

/// Whether a whole message lies over `at`, and begins at `from` or after; of this number, if it is known.
pub(super) fn is_in_message(bytes: &[u8], from: usize, at: usize, number: Option<u64>) -> bool {
    (from.max(at.saturating_sub(MESSAGE_LEN_MAX))..at).rev().any(|begin| {
        let mut take = Take(&bytes[begin..]);
        let found = header(&mut take).ok().map(|(_, _, _, found, _)| found);
        let whole = |number| match message(bytes, begin, number) {
            Message::Whole(len) => begin as u64 + len > at as u64,
            _ => false,
        };
        found.is_some_and(|found| number.is_none_or(|number| number == found) && whole(found))
    })
}

fn header(take: &mut Take<'_>) -> Result<(u32, u8, u64, u64, u64), Garbled> {
    let crc = u32::from_le_bytes(take.array()?);
    Ok((crc, take.u8()?, varint(take)?, varint(take)?, varint(take)?))
}

fn varint(take: &mut Take<'_>) -> Result<u64, Garbled> {
    let first = take.u8()?;
    Ok(match first {
        0..=240 => u64::from(first),
        241..=248 => 240 + 256 * (u64::from(first) - 241) + u64::from(take.u8()?),
        249 => 2288 + 256 * u64::from(take.u8()?) + u64::from(take.u8()?),
        _ => {
            let mut bytes = [0; 8];
            let len = usize::from(first) - 247;
            bytes[..len].copy_from_slice(take.bytes(len)?);
            u64::from_le_bytes(bytes)
        }
    })
}
