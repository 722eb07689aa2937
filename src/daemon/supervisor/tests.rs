//! Tests of the supervisor: phases of the views, ends of the threads, and a failed commit. The tests end the threads.

use super::*;
use crate::fold::Fold;

/// A supervisor, with the other ends of its channels and threads.
struct Threads {
    state: watch::Sender<ServingState>,
    fatal: FatalCell,
    health: watch::Sender<Health>,
    phase: watch::Sender<ProjectionPhase>,
    stalled: Gauge,
    /// The projector ends when this is dropped.
    projector: std::sync::mpsc::SyncSender<()>,
    supervisor: Supervisor,
}

impl Threads {
    fn start() -> Self {
        let first = ProjectionPhase::CatchingUp { through: 1 };
        let state = watch::Sender::new(ServingState::CatchingUp { of: 1 });
        let fatal = FatalCell::default();
        let (health, healths) = watch::channel(Health::Writable);
        let (phase, phases) = watch::channel(first);
        let (_, views) = watch::channel(Fold::new(1).publish());
        let (projector, end) = std::sync::mpsc::sync_channel::<()>(1);
        let thread = thread::spawn(move || assert!(end.recv().is_err()));
        let projection = Projection { views, phase: phases, thread };
        let writer = thread::spawn(|| {});
        let stalled = Gauge::default();
        let supervisor = Supervisor::start(state.clone(), fatal.clone(), healths, projection, writer, stalled.clone());
        Self { state, fatal, health, phase, stalled, projector, supervisor }
    }

    async fn wait_for(&self, expected: ServingState) {
        let mut state = self.state.subscribe();
        within(state.wait_for(|state| *state == expected)).await.unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it happens")
}

fn failed() -> Health {
    Health::Failed("no space".into())
}

fn stalled(is_log_damage: bool) -> ProjectionPhase {
    ProjectionPhase::Stalled { position: 7, reason: "a test says so".into(), is_log_damage }
}

#[tokio::test]
async fn a_failed_commit_during_catch_up_leaves_nothing_to_read() {
    let threads = Threads::start();
    threads.health.send_replace(failed());
    assert_eq!(within(threads.fatal.wait()).await, FatalError("no space".into()));
    assert_eq!(*threads.state.borrow(), ServingState::CatchingUp { of: 1 });
    let ended = within(threads.supervisor.wait_until(std::future::pending(), Duration::ZERO)).await;
    assert_eq!(ended.unwrap_err().to_string(), "the log accepts no more events: no space");
}

#[tokio::test]
async fn a_failed_commit_leaves_the_views_to_read() {
    let threads = Threads::start();
    threads.phase.send_replace(ProjectionPhase::Following);
    threads.wait_for(ServingState::Serving).await;
    threads.health.send_replace(failed());
    let reason = "the log accepts no more events: no space".into();
    threads.wait_for(ServingState::ReadOnly { reason }).await;
}

#[tokio::test]
async fn views_that_stall_end_nothing_and_serve_again_once_they_go_on() {
    let threads = Threads::start();
    threads.phase.send_replace(ProjectionPhase::Following);
    threads.wait_for(ServingState::Serving).await;
    threads.phase.send_replace(stalled(false));
    threads.wait_for(ServingState::Stalled { position: 7, reason: "a test says so".into() }).await;
    assert_eq!((threads.fatal.get(), threads.stalled.get()), (None, 7));
    threads.phase.send_replace(ProjectionPhase::CatchingUp { through: 9 });
    threads.wait_for(ServingState::CatchingUp { of: 9 }).await;
    threads.phase.send_replace(ProjectionPhase::Following);
    threads.wait_for(ServingState::Serving).await;
    assert_eq!(threads.stalled.get(), 0);

    // Damage of the log itself has a state of its own.
    threads.phase.send_replace(stalled(true));
    threads.wait_for(ServingState::Damaged { reason: "a test says so".into() }).await;
    let until = threads.supervisor.wait_until(std::future::pending(), Duration::ZERO);
    assert!(tokio::time::timeout(Duration::from_millis(100), until).await.is_err(), "the daemon goes on");
    drop(threads.projector);
    within(threads.supervisor.join()).await.unwrap();
}

#[tokio::test]
async fn nothing_follows_the_shutdown() {
    let threads = Threads::start();
    threads.state.send_replace(ServingState::ShuttingDown);
    threads.phase.send_replace(stalled(true));
    drop(threads.projector);
    within(threads.supervisor.join()).await.unwrap();
    assert_eq!(*threads.state.borrow(), ServingState::ShuttingDown);
}

#[tokio::test]
async fn a_failure_during_the_drain_is_the_end_that_is_reported() {
    let threads = Threads::start();
    within(threads.supervisor.wait_until(async {}, Duration::ZERO)).await.unwrap();
    threads.health.send_replace(failed());
    drop(threads.projector);
    let ended = within(threads.supervisor.join()).await;
    assert_eq!(ended.unwrap_err().to_string(), "the log accepts no more events: no space");
}
