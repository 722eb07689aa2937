//! Watches: streams that their readers pull message by message.
//!
//! ```text
//!   Started ─▶ [SnapshotBatch.. ─▶ SnapshotEnd] ─▶ { ChangeBatch | CaughtUp | Heartbeat }.. ─▶ [GoingAway] ─▶ status
//! ```
//!
//! Between two messages a watch holds no state but a position, and never more than a few changes. A slow reader costs
//! others nothing, and is notified when the changes it has not seen are no longer in memory.

pub mod connections;
pub mod events;
mod shared;
