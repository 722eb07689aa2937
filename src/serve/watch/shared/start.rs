//! Start of a watch: checks the requested start against this log, its history, and the rest of the request. Knows
//! nothing of the messages.

use super::progress::ResumePoint;
use crate::event::{Cursor, Identity, Position};
use crate::fold::Views;
use crate::proto::watch_start::Position as RequestedStart;
use crate::proto::{WatchStart, WatchStarted};
use crate::serve::read::Context;
use crate::serve::read::consistency::{check_history, fault};
use crate::serve::refusal::Refusal;
use crate::serve::wire::{self, IdentityText};
use crate::token::Token;

pub enum Start {
    /// Begins with everything that matches now.
    Snapshot,
    /// Begins after the newest position.
    Live,
    After(Cursor),
}

/// Values that a token must match, in addition to its place, to be resumed from: the hash of the request, and the
/// version of the fold whose states are shown.
#[derive(Clone, Copy)]
pub struct Resumable {
    pub filter_hash: u64,
    /// 0 for a watch of the log alone.
    pub fold_version: u16,
}

impl Resumable {
    /// Returns a token to resume from this point.
    pub fn token(&self, identity: Identity, point: ResumePoint) -> String {
        let Self { filter_hash, fold_version } = *self;
        Token { filter_hash, fold_version, ..point.token(identity) }.encode()
    }
}

/// Finds the start. A token that cannot be resumed from is refused with its own reason: nothing is skipped silently.
pub async fn find(
    context: &Context,
    resumable: &Resumable,
    views: &Views,
    start: Option<WatchStart>,
) -> Result<Start, Refusal> {
    let meaningless = |field| Err(Refusal::InvalidField { field, problem: "false has no meaning" });
    match start.and_then(|start| start.position) {
        None | Some(RequestedStart::Live(true)) => Ok(Start::Live),
        Some(RequestedStart::Snapshot(true)) => Ok(Start::Snapshot),
        Some(RequestedStart::Live(false)) => meaningless("start.live"),
        Some(RequestedStart::Snapshot(false)) => meaningless("start.snapshot"),
        Some(RequestedStart::AfterPosition(position)) => after(context, position).await,
        Some(RequestedStart::ResumeToken(token)) => resume(context, resumable, views, &token).await,
    }
}

async fn after(context: &Context, position: Position) -> Result<Start, Refusal> {
    if position == 0 {
        return Ok(Start::After(Cursor::BEGINNING));
    }
    let event = context.read(move |reader| reader.get(position)).await?;
    let problem = "the log has not come so far";
    let event = event.ok_or(Refusal::InvalidField { field: "start.after_position", problem })?;
    Ok(Start::After(Cursor::new(position, &event.chain)))
}

async fn resume(context: &Context, resumable: &Resumable, views: &Views, text: &str) -> Result<Start, Refusal> {
    let token = Token::decode(text).map_err(|error| Refusal::InvalidResumeToken(fault(error)))?;
    if token.identity != context.sources.reader.identity() {
        return Err(Refusal::LogEpochChanged);
    }
    if token.filter_hash == 0 {
        return Err(Refusal::InvalidResumeToken("it is no watch's"));
    }
    if token.filter_hash != resumable.filter_hash {
        return Err(Refusal::ResumeTokenFilterMismatch);
    }
    if token.fold_version != resumable.fold_version {
        return Err(Refusal::ViewVersionChanged);
    }
    match ResumePoint::of(&token) {
        ResumePoint::Snapshot => Ok(Start::Snapshot),
        ResumePoint::After(cursor) => {
            check_history(context, views, token).await?;
            Ok(Start::After(cursor))
        }
    }
}

pub fn started(context: &Context, snapshot: bool) -> WatchStarted {
    let IdentityText { log_id, epoch } = wire::identity(context.sources.reader.identity());
    WatchStarted { log_id, epoch, snapshot }
}
