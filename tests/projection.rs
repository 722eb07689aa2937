//! The projection over a real log: it catches up with the events it finds, follows new ones, and ends with the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

use std::path::Path;
use std::sync::Arc;

use cleat::event::{Identity, Timestamp};
use cleat::fold::{self, Connection, Fold, Views};
use cleat::log::{Log, LogOptions, NewLog, Reader, TimeEvidence, TimeSource};
use testkit::delivery::webhook;
use tokio::runtime::Handle;

fn open(directory: &Path) -> Log {
    let time = TimeSource::trusted(Arc::new(|| Timestamp::from_micros(1_790_000_000_000_000)));
    let fresh = NewLog::new(Identity { log_id: 7, epoch: 8 }, [9; 32]);
    let options = LogOptions { batch_events: 16, dedup_run_events: 100, ..LogOptions::new(time, fresh) };
    cleat::log::open(directory, options).unwrap()
}

async fn append(log: &Log, number: usize) {
    let status = ["authorized", "revoked", "rejected"][number % 3];
    let body = format!(
        r#"{{"type":"patient.connection_success","data":{{"org_connection_id":"c{}","connection_status":"{status}"}}}}"#,
        number % 50
    );
    log.appender.append(webhook(None, body), TimeEvidence::Signed).await.unwrap();
}

/// Returns all connections of the views.
fn all_connections(views: &Views) -> Vec<Connection> {
    let connections = |realm| views.connections(&realm, None).map(|(_, connection)| Connection::clone(&connection));
    views.realms().into_iter().flat_map(connections).collect()
}

fn folded(reader: &Reader) -> Arc<Views> {
    let mut fold = Fold::new(64);
    while let Some(event) = reader.get(fold.position() + 1).unwrap() {
        fold.advance(&event).unwrap();
    }
    fold.publish()
}

#[tokio::test]
async fn the_state_is_the_fold_of_the_log_live_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for number in 0..300 {
        append(&log, number).await;
    }
    let Log { appender, writer, reader, .. } = log;
    drop((appender, reader));
    writer.join().unwrap();

    let log = open(directory.path());
    let options = fold::ProjectionOptions {
        directory: directory.path().join("views"),
        ring_len: 64,
        checkpoint_events: 100,
        segment_bytes: 4096,
        disk_reserve: 0,
    };
    let (projection, _) =
        fold::spawn(log.reader.clone(), log.hand_over.clone(), options, Handle::current(), |_| {}).unwrap();
    let mut views = projection.views;
    views.wait_for(|views| views.position() == 300).await.unwrap();
    for number in 300..400 {
        append(&log, number).await;
    }
    let live = views.wait_for(|views| views.position() == 400).await.unwrap().clone();
    assert!(all_connections(&live) == all_connections(&folded(&log.reader)));
    assert_eq!((live.connection_count(), live.chain()), (50, log.reader.head().chain));

    let Log { appender, reader, .. } = log;
    drop(appender);
    tokio::task::spawn_blocking(move || projection.thread.join().unwrap()).await.unwrap();
    assert!(views.has_changed().is_err(), "nothing more will come");
    assert!(all_connections(&views.borrow()) == all_connections(&folded(&reader)), "and what is known stays");
}
