//! Limits on open streams and on the bytes they hold over all connections, and the bounds of each method's requests.
//! Knows nothing of the methods themselves.

use std::sync::Arc;
use std::time::Duration;

use super::seats::GrpcPermit;
use crate::serve::limits::{Caller, Quota, Reservation};
use crate::serve::refusal::Refusal;

/// Maximum number of streams beyond those of watches. Two callers never hold all of anything.
const CALLS_MAX: usize = 512;
const CALLS_SHARE: usize = 160;
/// Maximum number of streams of the reserved methods once all others are taken.
const RESERVE_MAX: usize = 64;
const RESERVE_SHARE: usize = 20;

/// Bounds of a method's requests.
#[derive(Clone, Copy)]
pub(in crate::serve) struct MethodBounds {
    /// Whether the method is also served on the reserve of connections and streams.
    pub is_reserved: bool,
    /// Whether the client sends any number of messages, rather than one.
    pub is_client_stream: bool,
    /// Time within which the client may send. `None` if it may send for as long as its messages arrive in time.
    pub age_max: Option<Duration>,
    /// Size of the largest message.
    pub message_bytes: usize,
}

pub(in crate::serve) struct Bounds {
    streams: Arc<Quota>,
    reserve: Arc<Quota>,
    inflight: Arc<Quota>,
    methods: fn(&str) -> MethodBounds,
}

impl Bounds {
    /// Creates bounds for this many watches, in all and of one caller. `inflight` counts the bytes of requests and
    /// answers.
    pub fn new(
        watches: usize,
        watches_share: usize,
        inflight: Arc<Quota>,
        methods: fn(&str) -> MethodBounds,
    ) -> Arc<Self> {
        Arc::new(Self {
            streams: Quota::new(watches + CALLS_MAX, watches_share + CALLS_SHARE),
            reserve: Quota::new(RESERVE_MAX, RESERVE_SHARE),
            inflight,
            methods,
        })
    }

    pub(super) fn of_method(&self, path: &str) -> MethodBounds {
        (self.methods)(path)
    }

    /// Returns the permit of a new stream.
    pub(super) fn admit(&self, seat: &GrpcPermit, method: MethodBounds) -> Result<Reservation, Refusal> {
        if !method.is_reserved && seat.is_reserve() {
            return Err(Refusal::TooManyConnections);
        }
        let ordinary = self.streams.reserve(seat.caller, 1);
        let permit =
            if method.is_reserved { ordinary.or_else(|_| self.reserve.reserve(seat.caller, 1)) } else { ordinary };
        permit.map_err(|_| Refusal::TooManyStreams)
    }

    /// Returns an empty reservation, which can grow.
    pub(super) fn no_bytes(&self, caller: Caller) -> Reservation {
        Reservation::empty(&self.inflight, caller)
    }
}
