//! A message that can be encoded once and sent many times. Knows nothing of the message's content.

use std::ops::Deref;

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};

/// A message, or its encoding in place of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Once<M> {
    message: M,
    encoded: Bytes,
}

impl<M: Message + Default> Once<M> {
    /// Encodes the message. The result is cheap to clone and to send, but its fields can no longer be read: they have
    /// their default values.
    pub fn encoded(message: &M) -> Self {
        Self { message: M::default(), encoded: message.encode_to_vec().into() }
    }

    /// Returns the message. Only for a message that was received: one made by [`Self::encoded`] has default values.
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
