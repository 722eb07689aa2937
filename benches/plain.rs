//! The limit for the log's benchmark: an append-only file of the same records, prepared by the same producers, with one
//! fdatasync per batch and nothing else.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::thread::JoinHandle;

use cleat::event::Delivery;
use cleat::log::fuzzing::prepared;
use tokio::sync::{mpsc, oneshot};

use crate::BATCH_EVENTS;

#[derive(Clone)]
pub struct PlainFile(mpsc::Sender<(Vec<u8>, oneshot::Sender<()>)>);

impl PlainFile {
    pub fn create(path: &Path) -> (Self, JoinHandle<()>) {
        let file = File::create(path).unwrap();
        let (sender, receiver) = mpsc::channel(2 * BATCH_EVENTS);
        (Self(sender), std::thread::spawn(move || run(file, receiver)))
    }

    pub async fn append(&self, delivery: Delivery) {
        let (reply, answer) = oneshot::channel();
        let record = prepared(&delivery).unwrap();
        drop(delivery);
        self.0.send((record, reply)).await.unwrap();
        answer.await.unwrap();
    }
}

fn run(mut file: File, mut queue: mpsc::Receiver<(Vec<u8>, oneshot::Sender<()>)>) {
    let mut bytes = Vec::new();
    let mut replies = Vec::new();
    let mut expected = 0;
    while let Some(first) = queue.blocking_recv() {
        let mut next = Some(first);
        let mut yields = 0;
        while let Some((record, reply)) = next {
            bytes.extend(record);
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

/// Takes the next record as the log's writer does: yields up to 100 times while a batch is smaller than the one before.
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
