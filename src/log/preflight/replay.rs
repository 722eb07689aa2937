//! sled 0.34.7's recovery without its writes: which bytes of its file it would leave unread or overwrite with zeros.
//! Step by step what sled's `pagecache/iterator.rs` and `snapshot.rs` do. Knows nothing of what the messages mean.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::segment::{HEADER_BYTES, Header, MESSAGE_HEADER_MAX, Message, SEGMENT_BYTES, message};

/// Bytes of the file that recovery leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    pub bytes: Range<u64>,
    /// Of their segment; None: its header cannot be read. Messages of another number are from before it was reused.
    pub number: Option<u64>,
    /// Recovery overwrites them.
    pub zeroed: bool,
}

/// What recovery from `snapshot` (the lsn that sled's snapshot ends at, 0 without one) leaves out.
pub(super) fn unread(file: &File, snapshot: u64) -> io::Result<Vec<Unread>> {
    let from = segment_start(snapshot);
    let len = file.metadata()?.len();
    let mut unread = Vec::new();
    let (mut order, mut stable) = (BTreeMap::new(), from);
    for offset in (0..).map(|n| n * SEGMENT_BYTES).take_while(|offset| offset + HEADER_BYTES <= len) {
        match Header::read(file, offset)? {
            None => {
                let bytes = offset..(offset + SEGMENT_BYTES).min(len);
                unread.push(Unread { bytes, number: None, zeroed: false });
            }
            Some(header) if header.lsn >= from => {
                stable = stable.max(header.stable.unwrap_or(0));
                order.insert(header.lsn, offset);
            }
            Some(_) => {}
        }
    }
    let end = end_of_tail(file, &order, stable)?;
    let mut walk = Walk { file, order, at: None, segment: None, end, skips_bad: true, skipped: Vec::new() };
    walk.run()?;
    let torn = walk.torn(snapshot, len);
    unread.extend(walk.skipped);
    unread.extend(torn);
    unread.extend(walk.order.into_iter().map(|(lsn, offset)| Unread {
        bytes: offset..(offset + SEGMENT_BYTES).min(len),
        number: Some(lsn / SEGMENT_BYTES),
        zeroed: true,
    }));
    Ok(unread)
}

/// The last lsn that is part of a whole message, if the segments from that of `stable` on join up. None: there is none.
fn end_of_tail(file: &File, order: &BTreeMap<u64, u64>, stable: u64) -> io::Result<Option<i64>> {
    let mut expected = segment_start(stable);
    let mut tail = BTreeMap::new();
    let mut missing = None;
    for (lsn, offset) in order.range(expected..) {
        if *lsn != expected {
            missing = Some(signed(expected));
            break;
        }
        tail.insert(*lsn, *offset);
        expected += SEGMENT_BYTES;
    }
    let mut walk = Walk { file, order: tail, at: None, segment: None, end: missing, skips_bad: false, skipped: vec![] };
    walk.run()?;
    Ok(Some(signed(walk.at.unwrap_or(0)) - 1))
}

/// sled's `LogIter`.
struct Walk<'a> {
    file: &'a File,
    /// Those not begun: lsn, offset.
    order: BTreeMap<u64, u64>,
    /// The lsn of the next message.
    at: Option<u64>,
    /// The one that is read.
    segment: Option<(u64, Vec<u8>)>,
    /// No message after this one is read.
    end: Option<i64>,
    /// Whether a bad message ends its segment, or everything.
    skips_bad: bool,
    skipped: Vec<Unread>,
}

impl Walk<'_> {
    fn run(&mut self) -> io::Result<()> {
        let past = |lsn: u64, end: Option<i64>| end.is_some_and(|end| signed(lsn) > end);
        loop {
            let within = self.at.unwrap_or(0) % SEGMENT_BYTES;
            if !(HEADER_BYTES..=SEGMENT_BYTES - MESSAGE_HEADER_MAX).contains(&within) {
                self.segment = None;
            }
            if self.segment.is_none() {
                match self.order.first_key_value() {
                    Some((lsn, _)) if !past(*lsn, self.end) && lsn.is_multiple_of(SEGMENT_BYTES) => {}
                    _ => return Ok(()),
                }
                self.next_segment()?;
            }
            let (Some(at), Some((offset, bytes))) = (self.at, &self.segment) else { return Ok(()) };
            if past(at, self.end) {
                return Ok(());
            }
            let within = at % SEGMENT_BYTES;
            match message(bytes, usize::try_from(within).unwrap_or(usize::MAX), at / SEGMENT_BYTES) {
                Message::Manifest(last, _) if past(last, self.end) => return Ok(()),
                Message::Whole(len) | Message::Manifest(_, len) => self.at = Some(at + len),
                Message::Cap => self.segment = None,
                Message::Bad if self.skips_bad => {
                    let bytes = offset + within..offset + bytes.len() as u64;
                    self.skipped.push(Unread { bytes, number: Some(at / SEGMENT_BYTES), zeroed: false });
                    self.segment = None;
                }
                Message::Bad | Message::Unreadable => return Ok(()),
            }
        }
    }

    fn next_segment(&mut self) -> io::Result<()> {
        let Some((lsn, offset)) = self.order.pop_first() else { return Ok(()) };
        let mut bytes = self.segment.take().map_or_else(Vec::new, |(_, bytes)| bytes);
        let left = self.file.metadata()?.len().saturating_sub(offset).min(SEGMENT_BYTES);
        bytes.resize(usize::try_from(left).unwrap_or(0), 0);
        self.file.read_exact_at(&mut bytes, offset)?;
        self.at = Some(lsn + HEADER_BYTES);
        self.segment = Some((offset, bytes));
        Ok(())
    }

    /// What sled takes for the torn end of the last segment that it read.
    fn torn(&self, snapshot: u64, len: u64) -> Option<Unread> {
        let (at, (offset, _)) = (self.at?, self.segment.as_ref()?);
        let within = at % SEGMENT_BYTES;
        let empty = snapshot == 0 && at == 0;
        (!empty && within + MESSAGE_HEADER_MAX < SEGMENT_BYTES).then(|| Unread {
            bytes: offset + within..(offset + SEGMENT_BYTES - 1).min(len),
            number: Some(at / SEGMENT_BYTES),
            zeroed: true,
        })
    }
}

fn segment_start(lsn: u64) -> u64 {
    lsn / SEGMENT_BYTES * SEGMENT_BYTES
}

fn signed(lsn: u64) -> i64 {
    i64::try_from(lsn).unwrap_or(i64::MAX)
}
