//! A message that can be encoded once and sent many times.

use std::ops::Deref;

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};

/// A message, or, in place of it, what it is on the wire.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Once<M> {
    message: M,
    encoded: Bytes,
}

impl<M: Message + Default> Once<M> {
    /// Cheap to clone and to send; what is in it is no longer told here.
    pub fn encoded(message: &M) -> Self {
        Self { message: M::default(), encoded: message.encode_to_vec().into() }
    }

    /// Of a message that was received.
    pub fn into_inner(self) -> M {
        self.message
    }
}

impl<M> From<M> for Once<M> {
    fn from(message: M) -> Self {
        Self { message, encoded: Bytes::new() }
    }
}

impl<M> Deref for Once<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.message
    }
}

impl<M: Message + Default> Message for Once<M> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.message.encode_raw(buf);
        buf.put_slice(&self.encoded);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        self.message.merge_field(tag, wire, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.message.encoded_len() + self.encoded.len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
