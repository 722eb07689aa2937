//! Ten thousand deliveries at once: each has one position, however often it is sent, and every watch agrees.

mod follower;

use std::net::SocketAddr;
use std::thread;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::support::{Api, Launch, Sender, signed, until};
use crate::workload::{Sample, shown_states, states};
use follower::Followed;

const DELIVERIES: u64 = 10_000;
const CONNECTIONS: usize = 256;

#[test]
fn ten_thousand_deliveries_are_taken_once_and_all_watches_agree() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let samples: Vec<Sample> = (0..DELIVERIES).map(|n| Sample::new(&format!("load-{n}"), &mut random)).collect();
    let daemon = Launch { endpoint: "api_mode = \"live\"", ..Launch::new(directory.path()) }.start().ready();
    let follow = |grpc| {
        let watch = Api::connect(grpc).watch();
        thread::spawn(move || Followed::through(watch, DELIVERIES))
    };

    let before = follow(daemon.grpc);
    let mut during = None;
    let taken = deliver_all(daemon.webhooks, &samples, || {
        let api = Api::connect(daemon.grpc);
        until("some are taken", || !api.connections().is_empty());
        during = Some(follow(daemon.grpc));
    });
    assert!(taken.iter().all(|(_, duplicate)| !duplicate));
    let mut positions: Vec<u64> = taken.iter().map(|(position, _)| *position).collect();

    let listed = Api::connect(daemon.grpc).connections();
    let after = follow(daemon.grpc);
    let mut by_position: Vec<(u64, &Sample)> = positions.iter().copied().zip(&samples).collect();
    by_position.sort_by_key(|(position, _)| *position);
    assert_eq!(shown_states(&listed), states(by_position));
    let [before, during, after] = [before, during.unwrap(), after].map(|watch| watch.join().unwrap());
    for followed in [&before, &during, &after] {
        assert!(followed.connections.values().eq(&listed));
    }
    assert_eq!((before.started, after.started), (0, DELIVERIES));
    assert!(during.started > 0 && during.started < DELIVERIES, "{}", during.started);

    let again: Vec<_> = positions.iter().map(|position| (*position, true)).collect();
    assert!(deliver_all(daemon.webhooks, &samples, || ()) == again, "sent again");
    assert!(daemon.terminate().success());
    let daemon = Launch { endpoint: "api_mode = \"live\"", ..Launch::new(directory.path()) }.start().ready();
    assert!(deliver_all(daemon.webhooks, &samples, || ()) == again, "sent again after a restart");
    positions.sort_unstable();
    assert!(positions.iter().copied().eq(1..=DELIVERIES));
}

/// Sends everything before it reads any answer, which HTTP/1.1 permits. The last byte of one delivery waits until
/// `meanwhile` has ended, so that `meanwhile` ends before all deliveries are taken.
fn deliver_all(webhooks: SocketAddr, samples: &[Sample], meanwhile: impl FnOnce()) -> Vec<(u64, bool)> {
    let own = |n| samples.iter().skip(n).step_by(CONNECTIONS);
    let mut begun = in_parallel(0..CONNECTIONS, |n| {
        let mut sender = Sender::connect(webhooks).unwrap();
        let bytes = own(n).flat_map(|sample| signed(&sample.id, &sample.body)).collect::<Vec<_>>();
        let (now, later) = bytes.split_at(bytes.len() - usize::from(n == 0));
        sender.write(now).unwrap();
        (n, sender, later.to_owned())
    });
    meanwhile();
    let (_, sender, later) = &mut begun[0];
    sender.write(later).unwrap();
    let answers =
        in_parallel(begun, |(n, mut sender, _)| own(n).map(|_| sender.finish().unwrap().taken()).collect::<Vec<_>>());
    (0..samples.len()).map(|n| answers[n % CONNECTIONS][n / CONNECTIONS]).collect()
}

fn in_parallel<T: Send, R: Send>(inputs: impl IntoIterator<Item = T>, run: impl Fn(T) -> R + Sync) -> Vec<R> {
    let run = &run;
    thread::scope(|scope| {
        let threads: Vec<_> = inputs.into_iter().map(|input| scope.spawn(move || run(input))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
