//! What the benchmarks of the daemon share: its directory, its process with its times, a posting client, and the table
//! of figures. Knows no single measurement.

mod daemon;
mod home;
mod memory;
mod poster;
mod quantiles;
mod table;

pub use daemon::{Daemon, Started};
pub use home::Home;
pub use memory::Memory;
pub use poster::{Poster, request};
pub use quantiles::Quantiles;
pub use table::{Bound, Table};
