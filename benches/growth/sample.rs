//! A sample of the workload's connections, kept for later reads.

use cleat::event::Delivery;
use serde::{Deserialize, Serialize};

/// Maximum of kept connections: one for each call.
const KNOWN: u64 = 1000;

#[derive(Serialize, Deserialize)]
pub struct Known {
    pub connection: String,
    pub external_id: String,
}

pub struct Sample {
    pub known: Vec<Known>,
    /// Deliveries for each connection kept.
    stride: u64,
    seen: u64,
}

impl Sample {
    /// Returns an empty sample, to be spread over `events` deliveries.
    pub fn over(events: u64) -> Self {
        Self { known: Vec::new(), stride: (events / KNOWN).max(1), seen: 0 }
    }

    /// Keeps the first connection that a delivery names in each stride.
    pub fn look(&mut self, delivery: &Delivery) {
        if self.seen / self.stride >= self.known.len() as u64 {
            self.known.extend(connection(&delivery.body));
        }
        self.seen += 1;
    }
}

fn connection(body: &[u8]) -> Option<Known> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let text = |name: &str| body["data"][name].as_str().map(str::to_owned);
    Some(Known { connection: text("org_connection_id")?, external_id: text("external_id")? })
}
