//! Changes of each position: the newest in memory, all of them in the change log. Knows nothing of how an event changes
//! an entity.

mod change_log;
mod frame;
mod lookup;
mod recent;
pub mod record;
mod recorder;
mod writer;

pub use change_log::ChangeLog;
pub use frame::{Disposition, Recorded};
pub use lookup::ChangeLookup;
pub use recent::{Ring, Stretch};
pub use recorder::Recorder;
