//! Time travel (`as_of`): finds the position that a request asks for, and views that have reached it. Knows nothing of
//! the data read there.

use std::sync::Arc;

use super::consistency;
use super::context::Context;
use crate::event::Position;
use crate::fold::Views;
use crate::proto::as_of::Moment;
use crate::proto::{AsOf, ReadConsistency};
use crate::serve::refusal::Refusal;
use crate::serve::wire;

/// Returns views as fresh as required, and the position to read at: that of the views, unless the request names
/// another.
pub async fn views(
    context: &Context,
    consistency: Option<&ReadConsistency>,
    as_of: Option<&AsOf>,
) -> Result<(Arc<Views>, Position), Refusal> {
    let views = consistency::views(context, consistency).await?;
    let position = match as_of.and_then(|as_of| as_of.moment.as_ref()) {
        None => return Ok((views.clone(), views.position())),
        Some(Moment::Position(position)) => *position,
        Some(Moment::Time(time)) => {
            let time = wire::micros(time).ok_or(Refusal::InvalidField { field: "as_of.time", problem: "no time" })?;
            context.read(move |reader| reader.position_at(time)).await?
        }
    };
    if position > context.sources.reader.head().position {
        return Err(Refusal::InvalidField { field: "as_of.position", problem: "it is after the head of the log" });
    }
    Ok((consistency::views_at_least(context, position, consistency).await?, position))
}
