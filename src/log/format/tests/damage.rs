//! Frames that are damaged, or that were never written: refused, or read as they are, and never a panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::log::format::frames::unchecked;
use crate::segment::FrameHeader;
use crate::storage::PLAIN;

/// Returns the deliveries in `bytes`. `None` if they are not a frame of records.
fn read(bytes: &[u8]) -> Option<Vec<Delivery>> {
    let frame = Frame::decode(bytes).ok()?;
    let read = records(&frame).ok()?;
    read.iter().map(|record| record.event().ok().map(|event| event.delivery)).collect()
}

#[test]
fn each_flipped_bit_is_found_by_the_checksum() {
    let good = frame_of(&deliveries(1, 5));
    assert!(read(&good).is_some());
    for at in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        assert!(Frame::decode(&bytes).is_err(), "bit {at}");
    }
}

#[test]
fn each_flipped_bit_is_found_by_the_chain_too() {
    let good = frame_of(&deliveries(1, 5));
    let frame = Frame::decode(&good).unwrap();
    let columns = PLAIN.expand(frame.columns, frame.header.columns_expanded as usize).unwrap();
    assert!(read(&reframed(&frame, &columns, frame.private)).is_some());
    for at in 0..columns.len() * 8 {
        let mut columns = columns.clone();
        columns[at / 8] ^= 1 << (at % 8);
        assert_eq!(read(&reframed(&frame, &columns, frame.private)).map(|_| at), None, "of the columns");
    }
    for at in 0..frame.private.len() * 8 {
        let mut private = frame.private.to_vec();
        private[at / 8] ^= 1 << (at % 8);
        assert_eq!(read(&reframed(&frame, &columns, &private)).map(|_| at), None, "of the private bytes");
    }
}

#[test]
fn a_header_that_belongs_to_other_records_is_refused() {
    let good = frame_of(&deliveries(1, 5));
    let frame = Frame::decode(&good).unwrap();
    let with = |change: &dyn Fn(&mut FrameHeader)| {
        let mut header = frame.header;
        change(&mut header);
        let bytes = Frame { header, ..frame }.encode().unwrap();
        records(&Frame::decode(&bytes).unwrap()).is_ok()
    };
    assert!(with(&|_| ()));
    assert!(!with(&|header| header.first += 1));
    assert!(!with(&|header| header.count -= 1) && !with(&|header| header.count += 1));
    assert!(!with(&|header| header.before[0] ^= 1) && !with(&|header| header.after[31] ^= 1));
    assert!(!with(&|header| header.first_recorded_at = Timestamp::from_micros(BEGIN - 1)));
    assert!(!with(&|header| header.last_recorded_at = header.last_recorded_at.plus_micros(1)));
    assert!(!with(&|header| header.columns_expanded += 1) && !with(&|header| header.columns_expanded -= 1));
    assert!(!with(&|header| header.columns_expanded = 16 * 1024 * 1024));
}

/// Reads a frame that only an attacker with write access to the disk can make. It causes no panic, and takes no more
/// than its bound.
fn read_hostile(header: FrameHeader, columns: &[u8], private: &[u8]) {
    let frame = Frame { header: FrameHeader { codec: 0, ..header }, columns, private };
    let expanded = FrameHeader { columns_expanded: u32::try_from(columns.len()).unwrap(), ..frame.header };
    for record in unchecked(&Frame { header: expanded, ..frame }).unwrap_or_default() {
        let body = record.event().map_or(0, |event| event.delivery.body.len());
        assert!(body <= FRAME_BYTES_MAX);
    }
    let compressed = Frame { header: FrameHeader { codec: 1, ..header }, columns, private };
    assert!(unchecked(&compressed).unwrap_or_default().len() <= RECORDS_MAX);
}

fn header(count: u32, columns_expanded: u32) -> FrameHeader {
    let time = Timestamp::from_micros(BEGIN);
    FrameHeader {
        codec: 0,
        count,
        first: 1,
        first_recorded_at: time,
        last_recorded_at: time,
        before: [0; 32],
        after: [0; 32],
        columns_expanded,
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        columns in vec(any::<u8>(), 0..300),
        private in vec(any::<u8>(), 0..300),
        count in 0..5_u32,
        expanded in prop_oneof![0..1000_u32, any::<u32>()],
    ) {
        read_hostile(header(count, expanded), &columns, &private);
    }

    #[test]
    fn changed_columns_and_private_bytes_are_read_or_refused(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        to_private: bool,
    ) {
        let good = frame_of(&deliveries(1, 3));
        let frame = Frame::decode(&good).unwrap();
        let mut columns = PLAIN.expand(frame.columns, frame.header.columns_expanded as usize).unwrap();
        let mut private = frame.private.to_vec();
        for (at, byte) in changes {
            let part = if to_private { &mut private } else { &mut columns };
            let at = at.index(part.len());
            part[at] = byte;
        }
        read_hostile(frame.header, &columns, &private);
    }
}

#[test]
fn a_frame_of_too_many_records_is_refused() {
    let columns = vec![0; 20_000];
    let header = header(257, 20_000);
    assert!(unchecked(&Frame { header, columns: &columns, private: &[] }).is_err());
}
