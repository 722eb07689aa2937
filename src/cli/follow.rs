//! Keeps a watch going: when it breaks, connects again automatically, with the token of the last handled message, while
//! that may help. So nothing is missed. After an end of this process, only messages that were being handled, or were
//! handled after the place was last kept, come again.

mod exec;
mod pause;
mod place;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use cleat::proto::WatchStart;
use cleat::proto::watch_start::Position;
use tonic::{Code, Status, Streaming};
use tonic_types::{ErrorInfo, StatusExt as _};

use self::pause::Pause;
use self::place::Place;
use super::client::Unreachable;
use super::{Span, print};

pub(super) use exec::until_done;

/// Number of heartbeats that may be missing.
const HEARTBEATS_MISSED: u32 = 3;

#[derive(Args)]
pub(super) struct Keep {
    /// Keep the place in this file: go on where the last run with it ended.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Run this by `sh -c` for each change, which it has as JSON on stdin, and go on only when it exits with 0.
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,
    /// How often the daemon says that it is there. When it says nothing for three times as long, the watch is begun again.
    #[arg(long, value_name = "SPAN", default_value = "15s")]
    heartbeat: Span,
}

/// One message of a watch.
pub(super) trait Watched {
    fn resume_token(&self) -> &str;

    fn pulse(&self) -> Pulse;
}

/// The state of the watch, according to a message.
pub(super) enum Pulse {
    /// More messages may come at once.
    Busy,
    Quiet,
    /// The daemon is going away, and may say when to come back.
    GoingAway(Option<prost_types::Duration>),
}

/// The start of a watch: after the last handled message; without one, at the requested position.
pub(super) fn start(token: Option<String>, asked: &Position) -> WatchStart {
    let position = token.map_or_else(|| asked.clone(), Position::ResumeToken);
    WatchStart { position: Some(position) }
}

/// How one stream ended.
enum Broken {
    /// Trying again may help.
    ForNow(String),
    ForGood(anyhow::Error),
}

impl Keep {
    pub fn heartbeat(&self) -> prost_types::Duration {
        self.heartbeat.into()
    }

    fn watchdog(&self) -> Duration {
        Duration::try_from(self.heartbeat()).unwrap_or(Duration::from_secs(15)) * HEARTBEATS_MISSED
    }

    /// Follows a watch until interrupted, or until it cannot go on. `open` gets the token to resume from, if there is
    /// one.
    pub async fn follow<M: Watched>(
        &self,
        open: impl AsyncFn(Option<String>) -> anyhow::Result<Streaming<M>>,
        handle: impl AsyncFn(&M) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut place = Place::open(self.token_file.as_deref())?;
        let ended = {
            let following = pin!(self.again_and_again(&mut place, open, handle));
            tokio::select! {
                ended = following => ended,
                interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot listen for signals"),
            }
        };
        place.save()?;
        ended
    }

    async fn again_and_again<M: Watched>(
        &self,
        place: &mut Place,
        open: impl AsyncFn(Option<String>) -> anyhow::Result<Streaming<M>>,
        handle: impl AsyncFn(&M) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (mut pause, mut connected) = (Pause::default(), false);
        loop {
            let why = match self.once(place, &mut pause, &mut connected, &open, &handle).await {
                Broken::ForGood(error) => return Err(error),
                Broken::ForNow(why) => why,
            };
            place.save()?;
            let wait = pause.next();
            print::note(&format!("{why}; trying again in {:.1} s", wait.as_secs_f64()));
            tokio::time::sleep(wait).await;
        }
    }

    /// Handles one stream to its end.
    async fn once<M: Watched>(
        &self,
        place: &mut Place,
        pause: &mut Pause,
        connected: &mut bool,
        open: impl AsyncFn(Option<String>) -> anyhow::Result<Streaming<M>>,
        handle: impl AsyncFn(&M) -> anyhow::Result<()>,
    ) -> Broken {
        let silent = || Broken::ForNow("the daemon says nothing".to_owned());
        let opened = tokio::time::timeout(self.watchdog(), open(place.token())).await;
        let mut messages = match opened {
            Err(_) => return silent(),
            Ok(Err(error)) => return refused(error, *connected),
            Ok(Ok(messages)) => messages,
        };
        *connected = true;
        loop {
            let message = match tokio::time::timeout(self.watchdog(), messages.message()).await {
                Err(_) => return silent(),
                Ok(Err(status)) => return broken(status),
                Ok(Ok(None)) => return Broken::ForNow("the watch ended without a word".to_owned()),
                Ok(Ok(Some(message))) => message,
            };
            let pulse = message.pulse();
            let at_once = self.exec.is_some() || !matches!(pulse, Pulse::Busy);
            let handled = handle(&message).await.and_then(|()| place.reach(message.resume_token(), at_once));
            if let Err(error) = handled {
                return Broken::ForGood(error);
            }
            pause.reset(if let Pulse::GoingAway(after) = pulse { after } else { None });
        }
    }
}

/// Judges why a stream could not be opened. A daemon that was never reached may not exist: that ends the watch.
fn refused(error: anyhow::Error, connected: bool) -> Broken {
    if error.is::<Unreachable>() && connected {
        return Broken::ForNow(format!("{error:#}"));
    }
    match error.downcast::<Status>() {
        Ok(status) => broken(status),
        Err(error) => Broken::ForGood(error),
    }
}

/// Judges why a stream broke. A request that is refused as such would be refused again: that ends the watch. Damage does not:
/// views are made again while they serve, and a damaged part of the log can be put back.
fn broken(status: Status) -> Broken {
    let is_too_large = |info: &ErrorInfo| info.reason == "CHANGE_TOO_LARGE";
    if status.get_error_details().error_info().is_some_and(is_too_large) {
        return Broken::ForGood(status.into());
    }
    match status.code() {
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented
        | Code::OutOfRange => Broken::ForGood(status.into()),
        code => Broken::ForNow(format!("the watch broke ({code:?}: {})", status.message())),
    }
}
