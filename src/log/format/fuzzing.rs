//! Access to the format for the fuzzer and the benchmarks. Not an interface: it changes with the format.

use super::frames::{FrameBuilder, StoredRecord, records, unchecked};
use super::header::Header;
use super::packing::{Packed, pack, unpack};
use super::record::{self, Record};
use crate::event::{Delivery, Event, Hash, Timestamp};
use crate::segment::{Frame, FrameHeader};

const BEFORE: Hash = [1; 32];
const FIRST: u64 = 10;

/// Packs and unpacks a text. Returns its length while packed, and the unpacked text. `None` if it is not packed.
pub fn repacked(text: &[u8], organisation: Option<[u8; 16]>, has_date: bool) -> Option<(usize, Vec<u8>)> {
    let packed = pack(text, organisation, has_date)?;
    let bytes = packed.text.len();
    Some((bytes, unpack(&packed, organisation, text.len()).unwrap_or_default()))
}

/// Unpacks a text that may never have been packed. `None` if it is refused.
pub fn unpacked(text: &[u8], ids: &[[u8; 16]], date: i64, bytes_max: usize) -> Option<Vec<u8>> {
    let packed = Packed { ids: ids.to_vec(), date: Some(date), text: text.to_vec() };
    unpack(&packed, Some([7; 16]), bytes_max).ok()
}

/// Makes a record from a delivery, and a delivery from the record. `None` if either is refused.
pub fn recorded(delivery: &Delivery) -> Option<Delivery> {
    Record::new(delivery).ok()?.delivery().ok()
}

/// Decodes private bytes under the header of another delivery. `None` if they are refused.
pub fn opened(of: &Delivery, private: &[u8]) -> Option<Delivery> {
    let header: Header = Record::new(of).ok()?.header().clone();
    record::delivery(&header, private).ok()
}

/// Returns as many bytes as the log writes for a delivery: its private bytes, and zeros for its line in the columns.
/// `None` if the delivery is refused.
pub fn prepared(delivery: &Delivery) -> Option<Vec<u8>> {
    const COLUMNS_BYTES: usize = 16;
    let record = Record::new(delivery).ok()?;
    Some([record.private(), &[0; COLUMNS_BYTES]].concat())
}

/// Makes a frame of deliveries. `None` if they do not fit one.
pub fn framed(deliveries: &[Delivery]) -> Option<Vec<u8>> {
    let mut builder = FrameBuilder::new(FIRST, BEFORE, usize::MAX, usize::MAX);
    for (micros, delivery) in (0..).zip(deliveries) {
        let record = Record::new(delivery).ok().filter(|record| builder.fits(record.size()))?;
        builder.push(Timestamp::from_micros(micros), Some(FIRST - 1), &record);
    }
    builder.finish().ok()
}

/// Returns the events of a frame. `None` if it is refused.
pub fn events(frame: &[u8]) -> Option<Vec<Event>> {
    let frame = Frame::decode(frame).ok()?;
    records(&frame).ok()?.iter().map(|record| record.event().ok()).collect()
}

/// Returns the events of a frame, as if its checksum and chain matched its bytes. Skips events that are refused.
pub fn unchained(columns: &[u8], private: &[u8], count: u32, codec: u8, columns_expanded: u32) -> Vec<Event> {
    let time = Timestamp::default();
    let header = FrameHeader {
        codec,
        count,
        first: FIRST,
        first_recorded_at: time,
        last_recorded_at: time,
        before: BEFORE,
        after: BEFORE,
        columns_expanded,
    };
    let records = unchecked(&Frame { header, columns, private }).unwrap_or_default();
    records.iter().map(StoredRecord::event).filter_map(Result::ok).collect()
}
