//! Resources that a stream holds from its first header to the last byte of its answer. Its request and answer bodies
//! share them. Knows nothing of the bytes themselves.

use std::sync::Arc;

use parking_lot::Mutex;

use super::seats::GrpcPermit;
use crate::serve::limits::{QuotaFull, Reservation};

/// Bytes of its request, and again of its answer, that each stream may hold without a charge. Small requests are
/// answered however much others hold.
pub const FREE_BYTES: usize = 16 * 1024;

pub(super) struct OpenStream {
    connection: Arc<GrpcPermit>,
    /// Charge for the announced bytes of the request. The data made of them lives as long as the stream.
    request: Mutex<Reservation>,
    /// Permit of one open stream. `None` if the stream is refused at once.
    _permit: Option<Reservation>,
}

impl OpenStream {
    pub fn new(connection: Arc<GrpcPermit>, request: Reservation, permit: Option<Reservation>) -> Arc<Self> {
        connection.open_stream();
        Arc::new(Self { connection, request: Mutex::new(request), _permit: permit })
    }

    /// Sets the charge for the request.
    pub fn charge_request(&self, bytes: usize) -> Result<(), QuotaFull> {
        self.request.lock().resize(bytes)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.connection.close_stream();
    }
}
