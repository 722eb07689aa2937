//! Bounds that all callers share: who a caller is, and how much of each resource it may hold. Knows nothing of the
//! resources.

mod caller;
mod quota;
pub mod scans;

pub use caller::Caller;
pub use quota::{Quota, QuotaFull, Reservation};
pub use scans::{Cancellation, Scans};
