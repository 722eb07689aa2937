//! The message `cleat.v1.ChangeBatch` of `proto/cleat/v1/connection.proto`, which can be encoded once and sent many times.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use super::{Change, Event};

/// All changes of one position that match; never split.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChangeBatch {
    pub changes: Vec<Change>,
    /// Only with include_event.
    pub event: Option<Event>,
    /// Both, in place of them.
    encoded: Bytes,
}

const CHANGES: u32 = 1;
const EVENT: u32 = 2;

impl ChangeBatch {
    pub fn new(changes: Vec<Change>, event: Option<Event>) -> Self {
        Self { changes, event, encoded: Bytes::new() }
    }

    /// The same for whoever receives it, cheap to clone; what is in it is no longer told here.
    #[must_use]
    pub fn encoded(self) -> Self {
        Self { encoded: self.encode_to_vec().into(), ..Self::default() }
    }
}

impl Message for ChangeBatch {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encoding::message::encode_repeated(CHANGES, &self.changes, buf);
        if let Some(event) = &self.event {
            encoding::message::encode(EVENT, event, buf);
        }
        buf.put_slice(&self.encoded);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            CHANGES => encoding::message::merge_repeated(wire, &mut self.changes, buf, context),
            EVENT => encoding::message::merge(wire, self.event.get_or_insert_default(), buf, context),
            _ => encoding::skip_field(wire, tag, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let event = self.event.as_ref().map_or(0, |event| encoding::message::encoded_len(EVENT, event));
        encoding::message::encoded_len_repeated(CHANGES, &self.changes) + event + self.encoded.len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, DynamicMessage};

    use super::*;
    use crate::proto::{FILE_DESCRIPTOR_SET, change::Effect};

    #[test]
    fn it_is_on_the_wire_as_the_protos_say_encoded_once_or_not() {
        let change = |effect: Effect| Change { effect: effect.into(), ..Change::default() };
        let event = Event { tenant: "t".into(), ..Event::default() };
        let batch = ChangeBatch::new(vec![change(Effect::Left), change(Effect::Entered)], Some(event));
        let bytes = batch.encode_to_vec();

        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let descriptor = pool.get_message_by_name("cleat.v1.ChangeBatch").unwrap();
        let told = DynamicMessage::decode(descriptor, &*bytes).unwrap();
        let names: Vec<_> = told.fields().map(|(field, _)| field.name().to_owned()).collect();
        assert_eq!((names, told.unknown_fields().count()), (vec!["changes".to_owned(), "event".to_owned()], 0));
        assert_eq!(ChangeBatch::decode(&*bytes).unwrap(), batch);
        assert_eq!(batch.encoded_len(), bytes.len());

        let once = batch.clone().encoded();
        assert_eq!((once.encode_to_vec(), once.encoded_len()), (bytes.clone(), bytes.len()));
        assert!(once.changes.is_empty() && once.event.is_none());
    }
}
