//! The webhook door over real sockets and a real log: what it takes, what it refuses, and that a refusal leaves no
//! event. `support` is the sender and the daemon around the door.

mod bounds;
mod private;
mod refused;
mod support;
mod taken;
