//! Freshness of answers: waits until the views are fresh enough, and checks that a token belongs to this log's history.
//! Knows nothing of the data read.

use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use crate::event::{Cursor, Position};
use crate::fold::Views;
use crate::proto::ReadConsistency;
use crate::proto::read_consistency::Requirement;
use crate::serve::query::PageToken;
use crate::serve::refusal::Refusal;
use crate::token::{Token, TokenError};

const WAIT_DEFAULT: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Returns views that are as fresh as required.
pub async fn views(context: &Context, consistency: Option<&ReadConsistency>) -> Result<Arc<Views>, Refusal> {
    let max_wait = max_wait(consistency)?;
    match consistency.and_then(|consistency| consistency.requirement.as_ref()) {
        Some(Requirement::MinimizeLatency(false) | Requirement::FullyConsistent(false)) => {
            Err(Refusal::InvalidField { field: "consistency", problem: "false has no meaning" })
        }
        None | Some(Requirement::MinimizeLatency(true)) => context.views(),
        Some(Requirement::FullyConsistent(true)) => {
            wait_for(context, context.sources.reader.head().position, max_wait).await
        }
        Some(Requirement::AtLeastAsFresh(token)) => {
            let token = Token::decode(token).map_err(|error| Refusal::InvalidReadToken(fault(error)))?;
            if token.identity != context.sources.reader.identity() {
                return Err(Refusal::LogEpochChanged);
            }
            let views = wait_for(context, token.cursor.position, max_wait).await?;
            check_history(context, &views, token).await?;
            Ok(views)
        }
    }
}

/// Returns views that have reached this position. Waits as long as the request allows.
pub async fn views_at_least(
    context: &Context,
    wanted: Position,
    consistency: Option<&ReadConsistency>,
) -> Result<Arc<Views>, Refusal> {
    wait_for(context, wanted, max_wait(consistency)?).await
}

/// Returns the views for a page: those of the previous page while they are kept, else views as fresh as required.
pub async fn page_views(
    context: &Context,
    page_token: Option<&PageToken>,
    consistency: Option<&ReadConsistency>,
) -> Result<Arc<Views>, Refusal> {
    match page_token.and_then(|token| context.snapshots.kept(token.position)) {
        Some(kept) => Ok(kept),
        None => views(context, consistency).await,
    }
}

/// Describes the fault of a token of any kind.
pub fn fault(error: TokenError) -> &'static str {
    match error {
        TokenError::Malformed => "it was cut or changed on its way",
        TokenError::Version => "it is of another version of cleat",
    }
}

fn max_wait(consistency: Option<&ReadConsistency>) -> Result<Duration, Refusal> {
    let Some(wait) = consistency.and_then(|consistency| consistency.max_wait) else { return Ok(WAIT_DEFAULT) };
    let wait = Duration::try_from(wait).ok().filter(|wait| *wait <= WAIT_MAX);
    wait.ok_or(Refusal::InvalidField { field: "consistency.max_wait", problem: "not between 0 and 60 s" })
}

async fn wait_for(context: &Context, wanted: Position, max_wait: Duration) -> Result<Arc<Views>, Refusal> {
    let mut views = context.sources.views.clone();
    let is_reached = |views: &Arc<Views>| views.is_readable() && views.position() >= wanted;
    let reached = async { views.wait_for(is_reached).await.ok().map(|views| views.clone()) };
    if let Ok(Some(views)) = tokio::time::timeout(max_wait, reached).await {
        return Ok(views);
    }
    Err(Refusal::StaleRead { at: context.views()?.position(), wanted })
}

/// Refuses a token of another history. A log restored from a copy may have other events at the same positions.
pub async fn check_history(context: &Context, views: &Views, token: Token) -> Result<(), Refusal> {
    let position = token.cursor.position;
    // Before the first event, all logs of one identity are the same.
    if position == 0 {
        return Ok(());
    }
    let found = if let Some(cursor) = views.cursor_at(position) {
        cursor
    } else {
        let event = context.read(move |reader| reader.get(position)).await?;
        Cursor::new(position, &event.ok_or(Refusal::LogEpochChanged)?.chain)
    };
    if found == token.cursor { Ok(()) } else { Err(Refusal::LogEpochChanged) }
}
