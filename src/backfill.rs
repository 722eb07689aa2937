//! Events that enter the log other than through the webhook door: an operator's payloads without signatures, and events
//! that applied to no mode, which are appended again.
//!
//! Both can be repeated: an event that is in the log already is a duplicate. Knows nothing of the callers and their
//! protocol.

mod handle;
mod import;
mod readmit;

pub use handle::{Backfill, BackfillError};
pub use import::{Import, Summary, Unfit};
pub use readmit::ReadmitError;
