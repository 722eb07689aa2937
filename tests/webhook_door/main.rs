//! Tests of the webhook door over real sockets and a real log: the requests that it takes, and those that it refuses,
//! which leave no event. `support` is the sender and the daemon around the door.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

mod bounds;
mod private;
mod refused;
mod support;
mod taken;
