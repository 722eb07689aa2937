//! Deliveries made in advance and kept outside this process's resident memory, so that the memory measured is the
//! log's.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use cleat::event::{Delivery, EventKey};
use rustix::fs::{MemfdFlags, memfd_create};

pub struct Batch {
    /// Fields that all deliveries have in common.
    like: Delivery,
    /// A memfd: in memory, not on the disk that is measured.
    file: File,
    made: Vec<Made>,
}

struct Made {
    nonce: [u8; 16],
    begin: u64,
    /// End offsets of id, timestamp, signature and body, counted from `begin`.
    ends: [usize; 4],
}

impl Batch {
    /// Takes `count` deliveries from an endless stream.
    pub fn of(stream: impl Iterator<Item = Delivery>, count: usize) -> Self {
        let file = File::from(memfd_create("deliveries", MemfdFlags::CLOEXEC).unwrap());
        let mut stream = stream.take(count).peekable();
        let like = common(stream.peek().expect("not an empty batch"));
        let mut out = BufWriter::new(&file);
        let mut begin = 0;
        let mut made = Vec::with_capacity(count);
        for delivery in stream {
            made.push(write(&mut out, begin, &delivery));
            begin += made[made.len() - 1].ends[3] as u64;
        }
        out.flush().unwrap();
        drop(out);
        Self { like, file, made }
    }

    pub fn len(&self) -> usize {
        self.made.len()
    }

    pub fn get(&self, index: usize) -> Option<Delivery> {
        let Made { nonce, begin, ends: [id, timestamp, signature, body] } = *self.made.get(index)?;
        let mut bytes = vec![0; body];
        self.file.read_exact_at(&mut bytes, begin).unwrap();
        let bytes = Bytes::from(bytes);
        let text = |from: usize, to: usize| String::from_utf8(bytes[from..to].to_vec()).unwrap();
        let webhook_id = text(0, id);
        Some(Delivery {
            key: Some(EventKey::of(Some(&webhook_id), "")),
            webhook_id,
            webhook_timestamp: text(id, timestamp),
            webhook_signature: text(timestamp, signature),
            nonce,
            body: bytes.slice(signature..).into(),
            ..self.like.clone()
        })
    }
}

fn write(out: &mut BufWriter<&File>, begin: u64, delivery: &Delivery) -> Made {
    let fields = [
        delivery.webhook_id.as_bytes(),
        delivery.webhook_timestamp.as_bytes(),
        delivery.webhook_signature.as_bytes(),
        &delivery.body,
    ];
    let mut end = 0;
    let ends = fields.map(|field| {
        out.write_all(field).unwrap();
        end += field.len();
        end
    });
    Made { nonce: delivery.nonce, begin, ends }
}

/// Copy of a delivery of the standard workload without the fields that differ from one delivery to the next.
fn common(delivery: &Delivery) -> Delivery {
    Delivery {
        key: None,
        webhook_id: String::new(),
        webhook_timestamp: String::new(),
        webhook_signature: String::new(),
        body: Bytes::new().into(),
        ..delivery.clone()
    }
}
