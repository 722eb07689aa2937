//! `ImportEvents` and `ReadmitEvents`: pass events from the request to the log, and report the results. Knows nothing
//! of how an event is checked or appended.

use bytes::Bytes;
use tonic::{Status, Streaming};

use crate::backfill::{BackfillError, Import, ReadmitError, Summary};
use crate::event::Position;
use crate::log::{AppendError, Appended};
use crate::proto::{
    ImportEventsRequest, ImportEventsResponse, ReadmitEventsRequest, ReadmitEventsResponse, ReadmittedEvent,
    RefusedPayload,
};
use crate::serve::limits::{Caller, Reservation};
use crate::serve::principal::Principal;
use crate::serve::read::Context;
use crate::serve::refusal::Refusal;

const READMITTED_MAX: usize = 1000;
/// Maximum number of payloads in one message.
const PAYLOADS_MAX: usize = 5000;
/// Memory that a waiting payload takes in addition to its bytes.
const PAYLOAD_BYTES: usize = 2 * size_of::<Bytes>();

fn authorize(context: &Context, principal: &Principal) -> Result<(), Refusal> {
    context.gate_of_the_log()?;
    if principal.writes_events() { Ok(()) } else { Err(Refusal::ScopeRequired("events.write")) }
}

pub async fn import(
    context: &Context,
    caller: Caller,
    principal: Principal,
    mut requests: Streaming<ImportEventsRequest>,
) -> Result<ImportEventsResponse, Status> {
    authorize(context, &principal)?;
    let first = next(context, &mut requests).await?.unwrap_or_default();
    let tenant = principal.tenant(&first.tenant)?;
    let import = context.sources.backfill.import(&tenant, &first.endpoint, first.dry_run);
    let problem = "the tenant has no such endpoint, or has several and none is named";
    let import = import.ok_or(Refusal::InvalidField { field: "endpoint", problem })?;
    let mut intake = PayloadIntake::new(context, caller, import);
    intake.push(first.payloads).await?;
    while let Some(request) = next(context, &mut requests).await? {
        check_target(&tenant, &intake.import, &request)?;
        // A message without payloads would only keep the stream's place.
        if request.payloads.is_empty() {
            return Err(Refusal::InvalidField { field: "payloads", problem: "a later message has none" }.into());
        }
        intake.push(request.payloads).await?;
    }
    let import = intake.finish().await?;
    let (position, read_token) = context.head();
    Ok(ImportEventsResponse { position, read_token, ..import.summary().into() })
}

/// Payloads of one stream on their way into the log. The payloads of a message wait until the next message has been
/// checked: they may be meant for the target that the next message names.
struct PayloadIntake<'a> {
    context: &'a Context,
    caller: Caller,
    import: Import,
    waiting: Vec<Bytes>,
    charge: Reservation,
}

impl<'a> PayloadIntake<'a> {
    fn new(context: &'a Context, caller: Caller, import: Import) -> Self {
        Self { context, caller, import, waiting: Vec::new(), charge: Reservation::empty(&context.inflight, caller) }
    }

    /// Imports the payloads that waited. `payloads` wait in their place.
    async fn push(&mut self, payloads: Vec<Bytes>) -> Result<(), Refusal> {
        let taken = std::mem::replace(&mut self.waiting, payloads);
        self.charge(taken.len())?;
        // The look-ups of a dry run count as a scan.
        let scans = &self.context.scans;
        let _place = if self.import.is_dry_run() { Some(scans.take_place(self.caller).await?) } else { None };
        self.import.take(taken).await?;
        self.charge(0)
    }

    async fn finish(mut self) -> Result<Import, Refusal> {
        self.push(Vec::new()).await?;
        Ok(self.import)
    }

    /// Charges the memory held while `taken` payloads are imported.
    fn charge(&mut self, taken: usize) -> Result<(), Refusal> {
        let bytes = self.import.claimed_bytes() + PAYLOAD_BYTES * (taken + self.waiting.len());
        self.charge.resize(bytes).map_err(|_| Refusal::InflightBytesFull)
    }
}

/// Refuses a later message that names another target than the first. An empty field names nothing.
fn check_target(tenant: &str, import: &Import, later: &ImportEventsRequest) -> Result<(), Refusal> {
    let problem = "it is not the one that the first message of the stream names";
    let differs = |later: &str, first: &str| !later.is_empty() && later != first;
    if differs(&later.tenant, tenant) {
        return Err(Refusal::InvalidField { field: "tenant", problem });
    }
    if differs(&later.endpoint, import.endpoint()) {
        return Err(Refusal::InvalidField { field: "endpoint", problem });
    }
    if later.dry_run && !import.is_dry_run() {
        return Err(Refusal::InvalidField { field: "dry_run", problem });
    }
    Ok(())
}

/// Returns the next message. Fails with tonic's own error if the message cannot be read, and with `ShuttingDown` at a
/// shutdown, even if the caller still sends.
async fn next(
    context: &Context,
    requests: &mut Streaming<ImportEventsRequest>,
) -> Result<Option<ImportEventsRequest>, Status> {
    let request = tokio::select! {
        biased;
        () = context.wait_for_shutdown() => return Err(Refusal::ShuttingDown.into()),
        request = requests.message() => request?,
    };
    if request.as_ref().is_some_and(|request| request.payloads.len() > PAYLOADS_MAX) {
        return Err(Refusal::InvalidField { field: "payloads", problem: "more than 5000 values" }.into());
    }
    Ok(request)
}

pub async fn readmit(
    context: &Context,
    principal: Principal,
    request: ReadmitEventsRequest,
) -> Result<ReadmitEventsResponse, Refusal> {
    authorize(context, &principal)?;
    let tenant = principal.tenant(&request.tenant)?;
    if request.positions.len() > READMITTED_MAX {
        return Err(Refusal::InvalidField { field: "positions", problem: "more than 1000 values" });
    }
    let mut events = Vec::with_capacity(request.positions.len());
    for position in request.positions {
        context.gate_of_the_log()?;
        events.push(readmitted(position, context.sources.backfill.readmit(&tenant, position).await)?);
    }
    let (position, read_token) = context.head();
    Ok(ReadmitEventsResponse { events, position, read_token })
}

/// Returns the answer about one event. A failure of the log fails the whole request.
fn readmitted(position: Position, result: Result<Appended, ReadmitError>) -> Result<ReadmittedEvent, Refusal> {
    match result {
        Ok(applied) => Ok(ReadmittedEvent {
            position,
            applied_position: applied.position,
            duplicate: applied.is_duplicate(),
            problem: String::new(),
        }),
        Err(ReadmitError::Backfill(error)) => Err(error.into()),
        Err(error) => Ok(ReadmittedEvent { position, problem: error.to_string(), ..ReadmittedEvent::default() }),
    }
}

/// Converts all fields except the position and token of the log's head.
impl From<Summary> for ImportEventsResponse {
    fn from(Summary { imported, duplicates, conflicts, refused, listed }: Summary) -> Self {
        let listed = listed.into_iter().map(|(index, unfit)| RefusedPayload { index, problem: unfit.to_string() });
        Self { imported, duplicates, conflicts, refused, refused_payloads: listed.collect(), ..Self::default() }
    }
}

impl From<BackfillError> for Refusal {
    fn from(error: BackfillError) -> Self {
        match error {
            BackfillError::Closed | BackfillError::Append(AppendError::Closed) => Self::ShuttingDown,
            BackfillError::Append(AppendError::Failed(_)) => Self::StorageReadOnly,
            BackfillError::Append(AppendError::Unconfirmed(error)) | BackfillError::Read(error) => error.into(),
            BackfillError::Append(AppendError::TooLarge { .. }) => {
                Self::InvalidField { field: "payloads", problem: "one is larger than the log takes" }
            }
            BackfillError::Append(AppendError::Clock(error)) => Self::Clock(error),
            BackfillError::Append(AppendError::NotAccepting(error)) => Self::NotAccepting(error),
            BackfillError::Append(AppendError::Unstorable(_)) | BackfillError::Panicked => Self::Internal,
            BackfillError::TooManyKeys => Self::TooManyKeys,
        }
    }
}
