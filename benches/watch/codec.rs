//! Counts what a watch is told without making anything of it: whoever measures must cost little.

use bytes::Buf as _;
use cleat::proto::WatchConnectionsRequest;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// As the protos number them.
const POSITION: u32 = 1;
const CHANGE_BATCH: u32 = 6;
const CHANGES: u32 = 1;
const CAUGHT_UP: u32 = 7;

/// What of a message is counted.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counted {
    pub position: u64,
    pub changes: u64,
    pub caught_up: bool,
}

#[derive(Default)]
pub struct Counting;

impl Codec for Counting {
    type Encode = WatchConnectionsRequest;
    type Decode = Counted;
    type Encoder = ProstEncoder<WatchConnectionsRequest>;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Decoder for Counting {
    type Item = Counted;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Counted>, Status> {
        let mut bytes = from.copy_to_bytes(from.remaining());
        let mut counted = Counted::default();
        let garbled = |_| Status::internal("garbled");
        while bytes.has_remaining() {
            let (field, wire) = decode_key(&mut bytes).map_err(garbled)?;
            match (field, wire) {
                (POSITION, WireType::Varint) => counted.position = decode_varint(&mut bytes).map_err(garbled)?,
                (CHANGE_BATCH, WireType::LengthDelimited) => {
                    let len = decode_varint(&mut bytes).map_err(garbled)?;
                    let mut batch = bytes.split_to(usize::try_from(len).unwrap());
                    while batch.has_remaining() {
                        let (field, wire) = decode_key(&mut batch).map_err(garbled)?;
                        counted.changes += u64::from(field == CHANGES);
                        skip_field(wire, field, &mut batch, DecodeContext::default()).map_err(garbled)?;
                    }
                }
                (field, wire) => {
                    counted.caught_up |= field == CAUGHT_UP;
                    skip_field(wire, field, &mut bytes, DecodeContext::default()).map_err(garbled)?;
                }
            }
        }
        Ok(Some(counted))
    }
}
