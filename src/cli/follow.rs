//! Keeps a watch going: when it breaks, connects again automatically, with the token of the last handled message, while
//! that may help. So nothing is missed. After an end of this process, only messages that were being handled, or were
//! handled after the token was last saved, come again. Also runs a command for a change until it succeeds.

mod token_file;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use cleat::proto::WatchStart;
use cleat::proto::watch_start::Position;
use rand::RngExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tonic::{Code, Status, Streaming};
use tonic_types::{ErrorInfo, StatusExt as _};

use self::token_file::TokenFile;
use super::args::Span;
use super::client::Unreachable;
use super::print;

/// Number of heartbeats that may be missing.
const HEARTBEATS_MISSED: u32 = 3;

const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(super) struct FollowArgs {
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

    fn liveness(&self) -> Liveness;
}

/// The state of the watch, according to a message.
pub(super) enum Liveness {
    /// More messages may come at once.
    Busy,
    Quiet,
    /// The daemon is going away, and may say when to come back.
    GoingAway(Option<prost_types::Duration>),
}

/// The start of a watch: after the last handled message; without one, at the requested position.
pub(super) fn start(token: Option<String>, requested: &Position) -> WatchStart {
    let position = token.map_or_else(|| requested.clone(), Position::ResumeToken);
    WatchStart { position: Some(position) }
}

/// How one stream ended.
enum StreamEnd {
    /// Trying again may help.
    ForNow(String),
    ForGood(anyhow::Error),
}

impl FollowArgs {
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
        let mut token_file = TokenFile::open(self.token_file.as_deref())?;
        let ended = {
            let following = pin!(self.follow_streams(&mut token_file, open, handle));
            tokio::select! {
                ended = following => ended,
                interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot listen for signals"),
            }
        };
        token_file.save()?;
        ended
    }

    /// Handles one stream after another, until the watch cannot go on.
    async fn follow_streams<M: Watched>(
        &self,
        token_file: &mut TokenFile,
        open: impl AsyncFn(Option<String>) -> anyhow::Result<Streaming<M>>,
        handle: impl AsyncFn(&M) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut pause = Pause::default();
        let mut connected = false;
        loop {
            let reason = match self.follow_stream(token_file, &mut pause, &mut connected, &open, &handle).await {
                StreamEnd::ForGood(error) => return Err(error),
                StreamEnd::ForNow(reason) => reason,
            };
            token_file.save()?;
            let wait = pause.next();
            print::note(&format!("{reason}; trying again in {:.1} s", wait.as_secs_f64()));
            tokio::time::sleep(wait).await;
        }
    }

    /// Handles one stream to its end.
    async fn follow_stream<M: Watched>(
        &self,
        token_file: &mut TokenFile,
        pause: &mut Pause,
        connected: &mut bool,
        open: impl AsyncFn(Option<String>) -> anyhow::Result<Streaming<M>>,
        handle: impl AsyncFn(&M) -> anyhow::Result<()>,
    ) -> StreamEnd {
        let silent = || StreamEnd::ForNow("the daemon says nothing".to_owned());
        let opened = tokio::time::timeout(self.watchdog(), open(token_file.token())).await;
        let Ok(opened) = opened else { return silent() };
        let mut messages = match opened {
            Ok(messages) => messages,
            Err(error) => return refused(error, *connected),
        };
        *connected = true;
        loop {
            let received = tokio::time::timeout(self.watchdog(), messages.message()).await;
            let Ok(received) = received else { return silent() };
            let message = match received {
                Ok(Some(message)) => message,
                Ok(None) => return StreamEnd::ForNow("the watch ended without a word".to_owned()),
                Err(status) => return broken(status),
            };
            let liveness = message.liveness();
            let at_once = self.exec.is_some() || !matches!(liveness, Liveness::Busy);
            let handled = handle(&message).await.and_then(|()| token_file.reach(message.resume_token(), at_once));
            if let Err(error) = handled {
                return StreamEnd::ForGood(error);
            }
            pause.reset(if let Liveness::GoingAway(after) = liveness { after } else { None });
        }
    }
}

/// Judges why a stream could not be opened. A daemon that was never reached may not exist: that ends the watch.
fn refused(error: anyhow::Error, connected: bool) -> StreamEnd {
    if error.is::<Unreachable>() && connected {
        return StreamEnd::ForNow(format!("{error:#}"));
    }
    match error.downcast::<Status>() {
        Ok(status) => broken(status),
        Err(error) => StreamEnd::ForGood(error),
    }
}

/// Judges why a stream broke. A request that is refused as such would be refused again: that ends the watch. Damage
/// does not: views are made again while they serve, and a damaged part of the log can be put back.
fn broken(status: Status) -> StreamEnd {
    let is_too_large = |info: &ErrorInfo| info.reason == "CHANGE_TOO_LARGE";
    if status.get_error_details().error_info().is_some_and(is_too_large) {
        return StreamEnd::ForGood(status.into());
    }
    match status.code() {
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented
        | Code::OutOfRange => StreamEnd::ForGood(status.into()),
        code => StreamEnd::ForNow(format!("the watch broke ({code:?}: {})", status.message())),
    }
}

/// Runs a command by the shell, with the JSON on stdin and its position as `CLEAT_POSITION`. Repeats it, with growing
/// pauses, until it exits with 0.
pub(super) async fn until_done(command: &str, json: &str, position: u64) -> anyhow::Result<()> {
    let mut pause = Pause::default();
    loop {
        let status = run_once(command, json, position).await.context("cannot run the command")?;
        if status.success() {
            return Ok(());
        }
        let wait = pause.next();
        print::note(&format!(
            "the command failed at position {position} ({status}); running it again in {:.1} s",
            wait.as_secs_f64()
        ));
        tokio::time::sleep(wait).await;
    }
}

async fn run_once(command: &str, json: &str, position: u64) -> std::io::Result<ExitStatus> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env("CLEAT_POSITION", position.to_string()).stdin(Stdio::piped());
    let mut child = shell.kill_on_drop(true).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(format!("{json}\n").as_bytes()).await {
            // The command need not read its input.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => drop(stdin),
        }
    }
    child.wait().await
}

/// The pause before the next try: longer each time, and random, so that many clients do not come back at once.
#[derive(Default)]
struct Pause {
    tries: u32,
    /// Pause that the daemon asked for.
    requested: Option<Duration>,
}

impl Pause {
    /// Records a success: the next pause is the shortest again, after the time that the daemon may have asked for.
    fn reset(&mut self, requested: Option<prost_types::Duration>) {
        self.tries = 0;
        let requested = requested.and_then(|requested| Duration::try_from(requested).ok());
        self.requested = requested.map(|requested| requested.min(PAUSE_MAX));
    }

    fn next(&mut self) -> Duration {
        let longest = PAUSE_FIRST.saturating_mul(1 << self.tries.min(10)).min(PAUSE_MAX);
        self.tries = self.tries.saturating_add(1);
        // Between half of it and all of it.
        self.requested.take().unwrap_or_default() + longest.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_grows_to_a_bound_and_restarts_at_the_daemons_wish() {
        let mut pause = Pause::default();
        for longest in [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
            let longest = Duration::from_millis(longest);
            assert!((longest / 2..=longest).contains(&pause.next()));
        }
        pause.reset(Some(prost_types::Duration { seconds: 2, nanos: 0 }));
        assert!((2100..=2200).contains(&pause.next().as_millis()));
        assert!((200..=400).contains(&pause.next().as_millis()), "a wish is for once");
    }
}
