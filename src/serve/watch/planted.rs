//! Known bugs of watches, each planted on demand, to verify that the checks of watches detect it. Only with the feature
//! `planted-bugs`: no build for use has any of this. Changes only start tokens and messages; knows nothing of how a
//! watch works.

use std::sync::Arc;

use async_stream::try_stream;
use prost::Message as _;
use tokio_stream::StreamExt as _;

use super::super::context::Context;
use super::super::status::Refusal;
use super::start::Resumable;
use super::{At, Messages};
use crate::proto::watch_connections_response::Message as Body;
use crate::proto::watch_start::Position as Asked;
use crate::proto::{ChangeBatch, Changes, WatchConnectionsResponse, WatchStart};
use crate::token::{Token, chain_prefix};

/// Interval of `repeat`: one of this many batches is sent twice.
const REPEATED: usize = 50;

fn is_planted(bug: &str) -> bool {
    std::env::var("CLEAT_PLANTED_BUG").is_ok_and(|planted| planted == bug)
}

/// `any-epoch`: takes a token of another log for one of this log.
pub(super) async fn admit(context: &Context, start: &mut Option<WatchStart>) -> Result<(), Refusal> {
    let Some(Asked::ResumeToken(text)) = start.as_mut().and_then(|start| start.position.as_mut()) else {
        return Ok(());
    };
    let identity = context.reader.identity();
    if let Some(token) = Token::decode(text).ok().filter(|it| it.identity != identity && is_planted("any-epoch")) {
        let position = token.position.min(context.reader.head().position);
        let event = context.read(move |reader| reader.get(position)).await?;
        let chain_prefix = event.map_or(At::BEGINNING.chain, |event| chain_prefix(&event.chain));
        *text = Token { identity, position, chain_prefix, ..token }.encode();
    }
    Ok(())
}

/// Plants all other bugs.
pub(super) fn spoil(context: Arc<Context>, resumable: Resumable, mut messages: Messages) -> Messages {
    let mut batches = 0;
    Box::pin(try_stream! {
        while let Some(message) = messages.next().await {
            let mut message = message?;
            let batch = match message.message.take() {
                Some(Body::ChangeBatch(batch)) => batch,
                Some(Body::Heartbeat(_)) if is_planted("progress-ahead") => {
                    yield ahead(&context, &resumable, message);
                    continue;
                }
                other => {
                    message.message = other;
                    yield message;
                    continue;
                }
            };
            batches += 1;
            if batches == 1 && is_planted("skip-at-hand-over") {
                continue;
            }
            for batch in split(batch) {
                let again = batches % REPEATED == 0 && is_planted("repeat");
                let message = WatchConnectionsResponse { message: Some(Body::ChangeBatch(batch)), ..message.clone() };
                if again {
                    yield message.clone();
                }
                yield message;
            }
        }
    })
}

/// `progress-ahead`: reports the head of the log in place of the watch's position.
fn ahead(
    context: &Context,
    resumable: &Resumable,
    mut heartbeat: WatchConnectionsResponse,
) -> WatchConnectionsResponse {
    let head = context.reader.head();
    let at = At::new(head.position, &head.chain);
    heartbeat.position = at.position;
    heartbeat.resume_token = resumable.token(context.reader.identity(), at);
    heartbeat.message = Some(Body::Heartbeat(crate::proto::Heartbeat {}));
    heartbeat
}

/// `split`: sends the changes of one position in two batches.
fn split(batch: ChangeBatch) -> Vec<ChangeBatch> {
    if !is_planted("split") {
        return vec![batch];
    }
    let Ok(Changes { mut changes, event }) = Changes::decode(&*batch.encode_to_vec()) else { return vec![batch] };
    let rest = changes.split_off(changes.len().min(1));
    let rest = Some(Changes { changes: rest, event: None }).filter(|rest| !rest.changes.is_empty());
    std::iter::once(Changes { changes, event }).chain(rest).map(ChangeBatch::from).collect()
}
