//! Entities whose state the fold derives, and their parts. Nothing here knows where an entity is kept.

mod change;
mod connection;
mod entity;
mod export;
mod id;
mod interner;
mod occurrence;

pub use change::{Change, PositionChanges};
pub use connection::{Connection, Status};
pub use entity::{EventRef, Lineage, Realm, RelativePosition};
pub use export::{Export, ExportStatus, JoinedExport};
pub use id::Id;
pub use interner::Interner;
pub use occurrence::Occurrence;
