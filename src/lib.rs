//! cleat: the durable record of an organisation's Fasten Connect connections.

pub mod event;
pub mod token;

pub mod config;
pub mod metrics;

pub mod log;

pub mod http;
pub mod ingest;

pub mod fold;

pub mod proto;
pub mod serve;

pub mod operations;

pub mod daemon;
pub mod telemetry;
