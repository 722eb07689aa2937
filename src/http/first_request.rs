//! How much of a connection's first request has arrived. hyper reports when it has read a head, but not whether the
//! body came with it. Knows nothing of seats.

use parking_lot::Mutex;

const HEAD_END: &[u8; 4] = b"\r\n\r\n";

/// Progress of a connection's first request.
#[derive(Default)]
pub(super) struct FirstRequest(Mutex<Arrived>);

#[derive(Default)]
struct Arrived {
    /// Whether the head has begun. hyper skips empty lines before it.
    has_begun: bool,
    /// Length of the beginning of [`HEAD_END`] that has just arrived.
    matched: usize,
    /// Number of bytes that came after the head.
    body_bytes: u64,
    is_taken: bool,
}

impl FirstRequest {
    /// Records bytes that have arrived.
    pub fn record(&self, bytes: &[u8]) {
        let mut arrived = self.0.lock();
        if !arrived.is_taken {
            arrived.advance(bytes);
        }
    }

    /// Whether a body of this length has arrived whole. False if its length is unknown, and for every request but the
    /// first. Call it once for each request.
    pub fn take_whole(&self, body_bytes: Option<u64>) -> bool {
        let mut arrived = self.0.lock();
        let is_first = !std::mem::replace(&mut arrived.is_taken, true);
        let has_head = arrived.matched == HEAD_END.len();
        is_first && has_head && body_bytes.is_some_and(|bytes| arrived.body_bytes >= bytes)
    }
}

impl Arrived {
    fn advance(&mut self, bytes: &[u8]) {
        let mut rest = bytes.iter();
        if !self.has_begun {
            let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.has_begun = empty < bytes.len();
            rest = bytes[empty..].iter();
        }
        while self.matched < HEAD_END.len()
            && let Some(byte) = rest.next()
        {
            self.matched = match byte {
                byte if *byte == HEAD_END[self.matched] => self.matched + 1,
                b'\r' => 1,
                _ => 0,
            };
        }
        self.body_bytes += rest.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_whole_however_its_request_is_cut() {
        let request = b"\r\n\r\nPOST / HTTP/1.1\r\nx: \r\r\n\r\n12345";
        for piece in 1..=request.len() {
            for body_bytes in 4..=6 {
                let first = FirstRequest::default();
                request.chunks(piece).for_each(|piece| first.record(piece));
                assert_eq!(first.take_whole(Some(body_bytes)), body_bytes <= 5, "{body_bytes} in pieces of {piece}");
                assert!(!first.take_whole(Some(0)), "the second request");
            }
        }
    }
}
