//! Lifecycle of a running watch of any kind: heartbeats, catching up, age, and its end. Knows nothing of the content
//! of its messages.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use crate::event::Position;
use crate::proto::GoingAway;
use crate::serve::read::{Context, WatchSlot};
use crate::serve::refusal::Refusal;
use crate::serve::serving_state::ServingState;

const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(15);
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
const HEARTBEAT_MAX: Duration = Duration::from_secs(300);

pub struct Lifecycle {
    state: watch::Receiver<ServingState>,
    /// Whether a state ends the watch.
    is_end: fn(&ServingState) -> bool,
    heartbeat: Interval,
    expires: Instant,
    /// Position that was durable when the watch began, or fell behind. `None` once everything up to it has been sent.
    target: Option<Position>,
    reconnect_after: Duration,
    ending: Option<Refusal>,
}

/// Outcome of a wait: the first of these to happen.
pub enum WaitOutcome<T> {
    Heartbeat,
    /// Result of the awaited work.
    Done(T),
    End(Refusal),
}

impl Lifecycle {
    pub fn begin(context: &Context, slot: &WatchSlot, heartbeat: Duration, is_end: fn(&ServingState) -> bool) -> Self {
        let now = Instant::now();
        let mut interval = interval_at(now + heartbeat, heartbeat);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            state: context.sources.state.clone(),
            is_end,
            heartbeat: interval,
            expires: slot.expires,
            target: Some(context.sources.reader.head().position),
            reconnect_after: reconnect_after(slot.ordinal),
            ending: None,
        }
    }

    /// Waits until there is more to read. Everything already read has been sent.
    pub async fn wait(&mut self, more: impl Future<Output = ()>) -> WaitOutcome<()> {
        tokio::select! {
            biased;
            // First, or a watch whose filter matches nothing would be silent while changes of others pour in.
            _ = self.heartbeat.tick() => WaitOutcome::Heartbeat,
            () = sleep_until(self.expires) => WaitOutcome::End(Refusal::WatchMaxAge),
            () = more => WaitOutcome::Done(()),
            // Last: at a shutdown the data to send is final, and all of it is sent.
            refusal = ended(&mut self.state, self.is_end) => WaitOutcome::End(refusal),
        }
    }

    /// Waits for the work on the next message. A shutdown does not end it: the message is sent first.
    pub async fn wait_for_work<T>(&mut self, work: impl Future<Output = T>) -> WaitOutcome<T> {
        let is_end = self.is_end;
        let fails = move |state: &ServingState| is_end(state) && *state != ServingState::ShuttingDown;
        tokio::select! {
            biased;
            done = work => WaitOutcome::Done(done),
            _ = self.heartbeat.tick() => WaitOutcome::Heartbeat,
            () = sleep_until(self.expires) => WaitOutcome::End(Refusal::WatchMaxAge),
            refusal = ended(&mut self.state, fails) => WaitOutcome::End(refusal),
        }
    }

    /// Checks before each message whether the watch goes on. Nothing waits while there is more to send at once.
    pub fn check(&mut self) -> Result<Option<GoingAway>, Refusal> {
        match self.ending.take() {
            Some(refusal) => Err(refusal),
            None if Instant::now() >= self.expires => self.end(Refusal::WatchMaxAge).map(Some),
            None => Ok(None),
        }
    }

    /// Takes the target if everything up to it has been sent, and then returns true.
    pub fn take_caught_up(&mut self, at: Position) -> bool {
        self.target.take_if(|target| at >= *target).is_some()
    }

    /// Whether the watch has yet to report that it has caught up.
    pub fn is_catching_up(&self) -> bool {
        self.target.is_some()
    }

    /// Records that changes the watch has not seen are no longer in memory. If it had caught up, returns true, and
    /// `head` becomes its new target.
    pub fn restart_catch_up(&mut self, head: Position) -> bool {
        let had_caught_up = self.target.is_none();
        self.target.get_or_insert(head);
        had_caught_up
    }

    /// Ends the watch. A planned end is announced, and then comes as the error of [`Self::check`]. Any other end is
    /// returned as the error.
    pub fn end(&mut self, refusal: Refusal) -> Result<GoingAway, Refusal> {
        if !matches!(refusal, Refusal::ShuttingDown | Refusal::WatchMaxAge) {
            return Err(refusal);
        }
        let reconnect_after = prost_types::Duration::try_from(self.reconnect_after).ok();
        let going_away = GoingAway { reason: refusal.reason().to_owned(), reconnect_after };
        self.ending = Some(refusal);
        Ok(going_away)
    }

    /// Whether the end has been announced.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }
}

/// Spreads the reconnects of watches that end together: each 10 ms after the one before, within a minute.
fn reconnect_after(ordinal: usize) -> Duration {
    let turn = u32::try_from(ordinal % 6000).unwrap_or_default();
    Duration::from_secs(1) + Duration::from_millis(10) * turn
}

/// Resolves once all watches must end. Returns the reason.
async fn ended(state: &mut watch::Receiver<ServingState>, is_end: impl Fn(&ServingState) -> bool) -> Refusal {
    match state.wait_for(is_end).await.as_deref() {
        Ok(ServingState::Stalled { position, reason }) => {
            Refusal::ViewsStalled { position: *position, reason: reason.clone() }
        }
        Ok(ServingState::Damaged { reason }) => Refusal::DataDamaged(reason.clone()),
        _ => Refusal::ShuttingDown,
    }
}

/// Reads the interval of heartbeats that a request asks for.
pub fn heartbeat(interval: Option<prost_types::Duration>) -> Result<Duration, Refusal> {
    let Some(interval) = interval else { return Ok(HEARTBEAT_DEFAULT) };
    match Duration::try_from(interval) {
        Ok(interval) if (HEARTBEAT_MIN..=HEARTBEAT_MAX).contains(&interval) => Ok(interval),
        _ => Err(Refusal::InvalidField { field: "heartbeat_interval", problem: "not between 1 s and 5 min" }),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn lifecycle(heartbeat: Duration, age: Duration, state: &watch::Sender<ServingState>) -> Lifecycle {
        let now = Instant::now();
        Lifecycle {
            state: state.subscribe(),
            is_end: ServingState::ends_watches,
            heartbeat: interval_at(now + heartbeat, heartbeat),
            expires: now + age,
            target: None,
            reconnect_after: Duration::ZERO,
            ending: None,
        }
    }

    const SOON: Duration = Duration::from_millis(5);
    const LATE: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn long_work_neither_silences_a_watch_nor_keeps_it_open() {
        let state = watch::Sender::new(ServingState::Serving);
        let mut with_heartbeats = lifecycle(SOON, LATE, &state);
        assert!(matches!(with_heartbeats.wait_for_work(pending::<()>()).await, WaitOutcome::Heartbeat));
        let mut short = lifecycle(LATE, SOON, &state);
        assert!(matches!(short.wait_for_work(pending::<()>()).await, WaitOutcome::End(Refusal::WatchMaxAge)));
        state.send_replace(ServingState::Stalled { position: 1, reason: "a test".into() });
        let stalled = lifecycle(LATE, LATE, &state).wait_for_work(pending::<()>()).await;
        assert!(matches!(stalled, WaitOutcome::End(Refusal::ViewsStalled { position: 1, .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_what_is_being_sent() {
        let state = watch::Sender::new(ServingState::ShuttingDown);
        let mut lifecycle = lifecycle(SOON, LATE, &state);
        assert!(matches!(lifecycle.wait_for_work(pending::<()>()).await, WaitOutcome::Heartbeat), "and not the end");
        assert!(matches!(lifecycle.wait_for_work(ready(7)).await, WaitOutcome::Done(7)));
    }
}
