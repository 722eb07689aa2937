//! Changes of each position: the newest in memory, all of them in the change log. Knows nothing of how an event changes
//! an entity.

mod change_log;
mod frame;
mod lookup;
pub mod record;
mod recorder;
mod ring;
mod writer;

pub use change_log::ChangeLog;
pub use frame::{Disposition, Recorded};
pub use lookup::ChangeLookup;
pub use recorder::Recorder;
pub use ring::{ChangeRange, Ring};
