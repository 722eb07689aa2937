//! Records from delivery to frame and back: on the standard workload, on any strings and bytes, and on damage.

mod damage;
mod dictionary;
mod figures;
mod forms;
mod identity;
mod vectors;
#[path = "../../../crates/testkit/src/workload.rs"]
mod workload;

use super::chain::next;
use super::columns::RECORDS_MAX;
use super::frames::Private;
use super::header::Header;
use super::*;
use crate::event::{Delivery, Hash, Timestamp};
use crate::segment::{FRAME_BYTES_MAX, Frame};

const LOG_ID: u128 = 7;
const BEGIN: i64 = 1_790_000_000_000_000;

fn deliveries(seed: u64, count: usize) -> Vec<Delivery> {
    workload::Workload::new(seed, |made| 1_780_000_000 + 3 * made).take(count).collect()
}

fn builder() -> FrameBuilder {
    FrameBuilder::new(1, genesis(LOG_ID), RECORDS_MAX, FRAME_BYTES_MAX)
}

/// Makes one frame of deliveries, a second apart.
fn frame_of(deliveries: &[Delivery]) -> Vec<u8> {
    let mut builder = builder();
    for (second, delivery) in (0..).zip(deliveries) {
        let recorded_at = Timestamp::from_micros(BEGIN + second * 1_000_000);
        builder.push(recorded_at, None, &Record::new(delivery).unwrap());
    }
    builder.finish().unwrap()
}

/// Returns the frame with other columns and private bytes, and with the checksum that they need.
fn reframed(frame: &Frame<'_>, columns: &[u8], private: &[u8]) -> Vec<u8> {
    let mut header = frame.header;
    header.codec = 0;
    header.columns_expanded = u32::try_from(columns.len()).unwrap();
    Frame { header, columns, private }.encode().unwrap()
}
