//! Measures reads over gRPC: one connection, one call after the other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cleat::proto::connection_service_client::ConnectionServiceClient;
use cleat::proto::{ConnectionFilter, GetConnectionRequest, ListConnectionsRequest};
use testkit::benchmark::{Bound, Quantiles, Table};
use tonic::transport::{Channel, Endpoint};

use super::crowds;
use super::sample::Known;

const CALLS: usize = 1000;

type Client = ConnectionServiceClient<Channel>;

pub fn measure(table: &mut Table, address: SocketAddr, known: &[Known]) {
    table.part(&format!("Reads over gRPC: {CALLS} calls each, one connection, one after the other"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut client = Client::new(endpoint.connect().await.unwrap());
        let connections = known.iter().map(|known| known.connection.clone());
        row(table, "GetConnection", get(&mut client, repeated(connections)).await);
        let few = repeated(known.iter().map(|known| known.external_id.clone()));
        list(table, &mut client, few).await;
        list(table, &mut client, repeated(crowds::external_ids())).await;
    });
}

/// Ids of all calls: `ids`, repeated.
fn repeated(ids: impl Iterator<Item = String> + Clone) -> impl Iterator<Item = String> {
    ids.cycle().take(CALLS)
}

fn row(table: &mut Table, name: &str, times: Vec<Duration>) {
    let quantiles = Quantiles::of(times);
    table.row(&format!("{name}, p50"), quantiles.percent(50), "ms", Bound::None);
    table.row(&format!("{name}, p99"), quantiles.percent(99), "ms", Bound::None);
}

async fn get(client: &mut Client, ids: impl Iterator<Item = String>) -> Vec<Duration> {
    let mut times = Vec::new();
    for org_connection_id in ids {
        let request = GetConnectionRequest { org_connection_id, ..Default::default() };
        let begun = Instant::now();
        client.get_connection(request).await.unwrap();
        times.push(begun.elapsed());
    }
    times
}

async fn list(table: &mut Table, client: &mut Client, external_ids: impl Iterator<Item = String>) {
    let mut times = Vec::new();
    let mut rows = 0;
    for external_id in external_ids {
        let filter = ConnectionFilter { external_ids: vec![external_id], ..Default::default() };
        let request = ListConnectionsRequest {
            filter: Some(filter),
            page_size: crowds::CONNECTIONS as i32,
            ..Default::default()
        };
        let begun = Instant::now();
        rows += client.list_connections(request).await.unwrap().into_inner().connections.len();
        times.push(begun.elapsed());
    }
    let rows = rows as f64 / times.len() as f64;
    row(table, &format!("ListConnections by external_id, {rows:.1} rows"), times);
}
