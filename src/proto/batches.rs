//! Messages `cleat.v1.ChangeBatch` and `cleat.v1.EventBatch` of the protos, each sent to many watches. Knows nothing of
//! how a batch is made.

use super::generated::{Change, Event};
use super::once::Once;

/// All matching changes of one position. Never split over two messages.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Changes {
    #[prost(message, repeated, tag = "1")]
    pub changes: Vec<Change>,
    /// Set only with `include_event`.
    #[prost(message, optional, tag = "2")]
    pub event: Option<Event>,
}

/// Events in order.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Events {
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<Event>,
}

pub type ChangeBatch = Once<Changes>;
pub type EventBatch = Once<Events>;

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_reflect::{DescriptorPool, DynamicMessage};

    use super::*;
    use crate::proto::{FILE_DESCRIPTOR_SET, change::Effect};

    /// Asserts that the protos declare this message with exactly these fields, and that [`Once`] encodes it
    /// identically.
    fn assert_wire_form<M: prost::Message + Default + Clone + PartialEq>(name: &str, message: &M, fields: &[&str]) {
        let bytes = message.encode_to_vec();
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let decoded = DynamicMessage::decode(pool.get_message_by_name(name).unwrap(), &*bytes).unwrap();
        let names: Vec<_> = decoded.fields().map(|(field, _)| field.name().to_owned()).collect();
        assert_eq!(
            (names.iter().map(String::as_str).collect::<Vec<_>>(), decoded.unknown_fields().count()),
            (fields.to_vec(), 0)
        );

        let plain = Once::from(message.clone());
        let once = Once::encoded(message);
        assert_eq!((plain.encode_to_vec(), once.encode_to_vec()), (bytes.clone(), bytes.clone()));
        assert_eq!((plain.encoded_len(), once.encoded_len()), (bytes.len(), bytes.len()));
        assert!(Once::<M>::decode(&*bytes).unwrap().into_inner() == *message && *once == M::default());
    }

    #[test]
    fn batches_match_the_protos_on_the_wire_encoded_once_or_not() {
        let change = |effect: Effect| Change { effect: effect.into(), ..Change::default() };
        let event = Event { tenant: "t".into(), ..Event::default() };
        let changes =
            Changes { changes: vec![change(Effect::Left), change(Effect::Entered)], event: Some(event.clone()) };
        assert_wire_form("cleat.v1.ChangeBatch", &changes, &["changes", "event"]);
        assert_wire_form("cleat.v1.EventBatch", &Events { events: vec![event.clone(), event] }, &["events"]);
    }
}
