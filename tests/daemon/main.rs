//! Tests of the real binary, over real sockets and real disks: its promises under load, when it is stopped or killed,
//! and when disk space or power is lost. `support` starts the binary and sends to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

mod backfill;
mod broken_disk;
mod clock;
mod commands;
mod damage;
mod exposure;
mod failure;
mod faults;
mod first_minute;
mod full_disk;
mod histories;
mod kill;
mod load;
mod memory;
mod open_files;
mod permissions;
mod power_cut;
mod preload;
mod privacy;
mod shutdown;
mod stalled_views;
mod support;
mod sync_order;
mod terminal;
mod watching;
mod workload;
