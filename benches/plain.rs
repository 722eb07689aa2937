//! The limit that the log is measured against: an append-only file with one fdatasync a batch, and nothing else.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::thread::JoinHandle;

use cleat::event::Delivery;
use tokio::sync::{mpsc, oneshot};

use crate::BATCH_EVENTS;

#[derive(Clone)]
pub struct PlainFile(mpsc::Sender<(Delivery, oneshot::Sender<()>)>);

impl PlainFile {
    pub fn create(path: &Path) -> (Self, JoinHandle<()>) {
        let file = File::create(path).unwrap();
        let (sender, receiver) = mpsc::channel(2 * BATCH_EVENTS);
        (Self(sender), std::thread::spawn(move || run(file, receiver)))
    }

    pub async fn append(&self, delivery: Delivery) {
        let (reply, answer) = oneshot::channel();
        self.0.send((delivery, reply)).await.unwrap();
        answer.await.unwrap();
    }
}

fn run(mut file: File, mut queue: mpsc::Receiver<(Delivery, oneshot::Sender<()>)>) {
    let (mut bytes, mut replies, mut expected) = (Vec::new(), Vec::new(), 0);
    while let Some(first) = queue.blocking_recv() {
        let (mut next, mut yields) = (Some(first), 0);
        while let Some((delivery, reply)) = next {
            write(&mut bytes, &delivery);
            replies.push(reply);
            next = next_waiting(&mut queue, replies.len(), expected, &mut yields);
        }
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        bytes.clear();
        expected = replies.len();
        replies.drain(..).for_each(|reply| reply.send(()).unwrap());
    }
}

/// As the log's writer does it.
fn next_waiting<T>(queue: &mut mpsc::Receiver<T>, taken: usize, expected: usize, yields: &mut usize) -> Option<T> {
    if taken == BATCH_EVENTS {
        return None;
    }
    loop {
        let next = queue.try_recv().ok();
        if next.is_some() || taken >= expected || *yields == 100 {
            return next;
        }
        *yields += 1;
        std::thread::yield_now();
    }
}

/// As many bytes as a record of the log has before compression: position, time, kinds, nonce, and each field with its length.
fn write(out: &mut Vec<u8>, delivery: &Delivery) {
    out.extend([0; 19]);
    out.extend(delivery.nonce);
    let key = delivery.key.as_ref().unwrap();
    let fields: [&[u8]; 8] = [
        delivery.tenant.as_bytes(),
        delivery.endpoint.as_bytes(),
        delivery.secret_label.as_bytes(),
        delivery.webhook_id.as_bytes(),
        delivery.webhook_timestamp.as_bytes(),
        delivery.webhook_signature.as_bytes(),
        key.as_str().as_bytes(),
        &delivery.body,
    ];
    for field in fields {
        out.extend((field.len() as u32).to_be_bytes());
        out.extend(field);
    }
}
