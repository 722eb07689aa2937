//! Parts of every watch: where it starts, how it runs and ends, and the feeds that equal watches share. Knows nothing
//! of what is watched.

pub mod feed;
pub mod lifecycle;
mod progress;
mod registry;
mod session;
pub mod start;

pub use feed::{Feed, FeedEntry};
pub use lifecycle::Lifecycle;
pub use progress::ResumePoint;
pub use registry::FeedRegistry;
pub use session::{Session, SessionMessage, WatchRange, WatchSource};
pub use start::{Resumable, Start};
