//! What a read is answered from: the handles that all services share, and the one state that an answer shows. Knows
//! nothing of single methods.

pub mod as_of;
pub mod consistency;
mod context;
mod retained_views;

pub use context::{Context, Sources, WatchSlot};
pub use retained_views::{Loan, RetainedViews};
