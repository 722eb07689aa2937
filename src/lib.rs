//! cleat: the durable record of an organisation's Fasten Connect connections.

pub mod event;
pub mod log;
pub mod token;
