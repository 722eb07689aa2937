//! What the ends of the threads and a failed commit mean, with threads that end as a test says.

use super::*;
use crate::fold::{Fold, Views};

/// The far ends of a supervisor's threads.
struct Threads {
    state: watch::Sender<ServingState>,
    told: Told,
    health: watch::Sender<Health>,
    views: watch::Sender<Arc<Views>>,
    /// How the projector ends.
    projector: std::sync::mpsc::SyncSender<Result<(), ProjectionError>>,
    supervisor: Supervisor,
}

impl Threads {
    fn start(state: ServingState) -> Self {
        let (state, told) = (watch::Sender::new(state), Told::default());
        let (health, healths) = watch::channel(Health::Writable);
        let (views, receiver) = watch::channel(Fold::new(1).publish());
        let (projector, end) = std::sync::mpsc::sync_channel(1);
        let projection = Projection { views: receiver, thread: thread::spawn(move || end.recv().unwrap()) };
        let writer = thread::spawn(|| {});
        let supervisor = Supervisor::start(state.clone(), told.clone(), healths, projection, writer);
        Self { state, told, health, views, projector, supervisor }
    }

    async fn becomes(&self, condition: impl Fn(&ServingState) -> bool) -> ServingState {
        within(self.state.subscribe().wait_for(condition)).await.unwrap().clone()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it happens")
}

fn failed() -> Health {
    Health::Failed("no space".into())
}

#[tokio::test]
async fn a_failed_commit_is_told_while_the_views_catch_up_and_partial_views_are_not_read() {
    let threads = Threads::start(ServingState::CatchingUp { of: 1 });
    threads.health.send_replace(failed());
    assert_eq!(within(threads.told.wait()).await, Trouble::Storage("no space".into()));
    assert_eq!(*threads.state.borrow(), ServingState::CatchingUp { of: 1 });
    let ended = within(threads.supervisor.until(std::future::pending(), Duration::ZERO)).await;
    assert_eq!(ended.unwrap_err().to_string(), "the log takes nothing any more: no space");
}

#[tokio::test]
async fn a_failed_commit_leaves_the_views_to_read() {
    let threads = Threads::start(ServingState::CatchingUp { of: 0 });
    threads.becomes(|state| *state == ServingState::Serving).await;
    threads.health.send_replace(failed());
    let ServingState::ReadOnly { reason } =
        threads.becomes(|state| matches!(state, ServingState::ReadOnly { .. })).await
    else {
        panic!("it is read-only")
    };
    assert_eq!(&*reason, "the log takes nothing any more: no space");
}

#[tokio::test]
async fn a_fold_that_panics_is_trouble_and_no_damage() {
    let threads = Threads::start(ServingState::CatchingUp { of: 0 });
    threads.becomes(|state| *state == ServingState::Serving).await;
    // Its thread panics for want of a word.
    drop(threads.projector);
    let ended = within(threads.supervisor.until(std::future::pending(), Duration::ZERO)).await;
    assert_eq!(ended.unwrap_err().to_string(), "the views can tell nothing newer: the fold panicked");
    within(threads.state.subscribe().wait_for(|state| matches!(state, ServingState::ReadOnly { .. }))).await.unwrap();
    assert!(within(threads.supervisor.joined()).await.is_err(), "also if it is stopped meanwhile");
    drop(threads.views);
}

#[tokio::test]
async fn damage_is_told_as_damage_but_never_after_the_shutdown() {
    let damaged = || ProjectionError::Log(ReadError::Damaged { from: 7, reason: "a test says so" });
    let threads = Threads::start(ServingState::Serving);
    threads.projector.send(Err(damaged())).unwrap();
    threads.becomes(|state| matches!(state, ServingState::Damaged { .. })).await;
    assert_eq!(threads.told.now(), None);

    let threads = Threads::start(ServingState::ShuttingDown);
    threads.projector.send(Err(damaged())).unwrap();
    within(threads.supervisor.joined()).await.unwrap();
    assert_eq!(*threads.state.borrow(), ServingState::ShuttingDown);
}

#[tokio::test]
async fn a_failure_during_the_drain_is_the_end_that_is_told() {
    let threads = Threads::start(ServingState::Serving);
    within(threads.supervisor.until(async {}, Duration::ZERO)).await.unwrap();
    threads.health.send_replace(failed());
    threads.projector.send(Ok(())).unwrap();
    let ended = within(threads.supervisor.joined()).await;
    assert_eq!(ended.unwrap_err().to_string(), "the log takes nothing any more: no space");
}
