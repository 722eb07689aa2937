//! External ids with many connections each. In the standard workload an external id has three; a list of fifty is
//! measured.

use cleat::event::Delivery;
use testkit::workload::Workload;

/// Number of crowds. With this many, no single one is always in the processor's cache.
const CROWDS: usize = 20;
/// Connections of each crowd.
pub const CONNECTIONS: usize = 50;
/// Events of all crowds: one for each connection.
pub const EVENTS: u64 = (CROWDS * CONNECTIONS) as u64;

pub fn external_ids() -> impl Iterator<Item = String> + Clone {
    (0..CROWDS).map(|crowd| format!("crowd-{crowd}"))
}

/// Returns the workload's next events of new connections, with the crowds' external ids. The log's API checks no
/// signature.
pub fn deliveries(workload: &mut Workload) -> impl Iterator<Item = Delivery> {
    let members = external_ids().flat_map(|id| std::iter::repeat_n(id, CONNECTIONS));
    let bodies = workload.filter_map(|delivery| {
        let body: serde_json::Value = serde_json::from_slice(&delivery.body).unwrap();
        body["data"].get("external_id").is_some().then_some((delivery, body))
    });
    members.zip(bodies).map(|(id, (delivery, mut body))| {
        body["data"]["external_id"] = id.into();
        Delivery { body: body.to_string().into(), ..delivery }
    })
}
