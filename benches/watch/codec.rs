//! Counts the changes that a watch receives without decoding them, because the measuring client must cost little.

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// Field numbers in the protos.
const POSITION: u32 = 1;
const CHANGES: u32 = 1;

/// Counts taken from a message.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counted {
    pub position: u64,
    pub changes: u64,
    pub caught_up: bool,
}

/// Codec that counts the answers to requests of type `R`.
pub struct Counting<R> {
    /// Field numbers in the protos.
    pub batch: u32,
    pub caught_up: u32,
    pub request: PhantomData<R>,
}

impl<R: Message + 'static> Codec for Counting<R> {
    type Encode = R;
    type Decode = Counted;
    type Encoder = ProstEncoder<R>;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self {
        Self { request: PhantomData, ..*self }
    }
}

impl<R> Decoder for Counting<R> {
    type Item = Counted;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Counted>, Status> {
        let mut bytes = from.copy_to_bytes(from.remaining());
        let mut counted = Counted::default();
        let malformed = |_| Status::internal("garbled");
        while bytes.has_remaining() {
            let (field, wire) = decode_key(&mut bytes).map_err(malformed)?;
            match (field, wire) {
                (POSITION, WireType::Varint) => counted.position = decode_varint(&mut bytes).map_err(malformed)?,
                (field, WireType::LengthDelimited) if field == self.batch => {
                    let len = decode_varint(&mut bytes).map_err(malformed)?;
                    let mut batch = bytes.split_to(usize::try_from(len).unwrap());
                    while batch.has_remaining() {
                        let (field, wire) = decode_key(&mut batch).map_err(malformed)?;
                        counted.changes += u64::from(field == CHANGES);
                        skip_field(wire, field, &mut batch, DecodeContext::default()).map_err(malformed)?;
                    }
                }
                (field, wire) => {
                    counted.caught_up |= field == self.caught_up;
                    skip_field(wire, field, &mut bytes, DecodeContext::default()).map_err(malformed)?;
                }
            }
        }
        Ok(Some(counted))
    }
}
