//! The gRPC API over a real log, a real projection and a real socket, asked by generated clients.

mod drain;
mod follower;
mod lists;
mod privacy;
mod reads;
mod refusals;
mod support;
mod watches;
