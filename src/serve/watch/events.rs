//! `WatchEvents`: the events of the log as it grows. Knows nothing of the fold.

mod source;
mod stream;

pub use source::EventFeeds;
pub use stream::{EventMessages, open};
