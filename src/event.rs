//! The shared vocabulary: deliveries, events, positions, modes. Pure data: no I/O, and no source of time.
//!
//! Knows nothing of storage, transport or configuration. Every module may import it.

mod body;
mod canonical;
mod delivery;
mod envelope;
mod fingerprint;
mod kind;
mod mode;
mod object;
mod payload;
mod position;
mod report;
mod text;
mod time;

pub use body::{Body, ParsedBody};
pub use delivery::{Contents, Delivery, Event, EventKey, Nonces, ParsedEvent, Provenance};
pub use envelope::{BodySummary, Envelope};
pub use fingerprint::fingerprint;
pub use kind::Kind;
pub use mode::{ApiMode, ModeVerdict};
pub use object::{Json, Object};
pub use position::{ChainPrefix, Cursor, Hash, Identity, Point, Position};
pub use report::{Attempt, Facts, Link, Outcome, Report, ReportKind, Stats};
pub use text::{TEXT_BYTES_MAX, Text, bounded};
pub use time::{Clock, Timestamp};
