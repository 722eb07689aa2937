//! What a stream holds from its first header to the last byte of its answer. Its bodies share it.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::quota::{QuotaFull, Reservation};
use super::seats::ConnectionPermit;

pub(super) struct OpenStream {
    connection: Arc<ConnectionPermit>,
    /// For the bytes of the request that have been announced: what is made of them lives as long as the stream.
    request: Mutex<Reservation>,
    /// One of the streams that may be open. `None` for a stream that is refused at once.
    _permit: Option<Reservation>,
}

impl OpenStream {
    pub fn new(connection: Arc<ConnectionPermit>, request: Reservation, permit: Option<Reservation>) -> Arc<Self> {
        connection.open_stream();
        Arc::new(Self { connection, request: Mutex::new(request), _permit: permit })
    }

    /// Sets what the request is charged.
    pub fn charge_request(&self, bytes: usize) -> Result<(), QuotaFull> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner).resize(bytes)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.connection.close_stream();
    }
}
