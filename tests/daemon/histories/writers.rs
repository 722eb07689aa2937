//! Writers that deliver one event after the other, and each event until it is acknowledged: as Fasten does, but with
//! shorter pauses.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::story::Sample;
use crate::support::Sender;

const WRITERS: u64 = 4;

/// Address that the writers deliver to.
#[derive(Debug, Clone)]
pub struct Door {
    pub address: SocketAddr,
    /// Last acknowledged position.
    pub durable: Arc<AtomicU64>,
}

pub struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Lock that each writer holds while one of its events is not acknowledged.
    gate: RwLock<()>,
    door: Mutex<Door>,
    ended: AtomicBool,
    /// Events sent, by id.
    sent: Mutex<HashMap<String, Arc<Sample>>>,
    acknowledged: Mutex<Vec<(u64, String)>>,
    count: AtomicUsize,
}

impl Writers {
    /// Starts the writers. `pause` is the maximum between two events of a writer.
    pub fn start(seed: u64, door: Door, pause: Duration) -> Self {
        let shared = Arc::new(Shared {
            gate: RwLock::new(()),
            door: Mutex::new(door),
            ended: AtomicBool::new(false),
            sent: Mutex::default(),
            acknowledged: Mutex::default(),
            count: AtomicUsize::new(0),
        });
        let start = |number| {
            let shared = shared.clone();
            let random = StdRng::seed_from_u64(seed << 8 | number);
            thread::spawn(move || shared.write(number, random, pause))
        };
        Self { threads: (0..WRITERS).map(start).collect(), shared }
    }

    pub fn send_to(&self, door: Door) {
        *self.shared.door.lock().unwrap() = door;
    }

    /// Waits until everything sent is acknowledged. Nothing more is sent while the guard is held.
    pub fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.gate.write().unwrap()
    }

    /// Number of all acknowledged events.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    pub fn sample(&self, id: &str) -> Arc<Sample> {
        self.shared.sent.lock().unwrap()[id].clone()
    }

    /// Returns the ids acknowledged since the last call, with their positions.
    pub fn acknowledged(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.shared.acknowledged.lock().unwrap())
    }
}

impl Drop for Writers {
    /// Ends all writers, also after a failed test.
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Shared {
    fn write(&self, writer: u64, mut random: StdRng, pause: Duration) {
        let mut sender = None;
        for number in 0.. {
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(pause.mul_f64(random.random()));
            // Fails if the holder of the lock has panicked.
            let Ok(_gate) = self.gate.read() else { return };
            let sample = Arc::new(Sample::new(format!("{writer}-{number}"), &mut random));
            self.sent.lock().unwrap().insert(sample.id.clone(), sample.clone());
            while !self.deliver(&mut sender, &sample) {
                if self.ended.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Delivers an event. Returns whether it was acknowledged.
    fn deliver(&self, sender: &mut Option<Sender>, sample: &Sample) -> bool {
        let door = self.door.lock().unwrap().clone();
        let connected = sender.take().map_or_else(|| Sender::connect(door.address), Ok);
        let Ok(mut connected) = connected else { return false };
        let Ok(answer) = connected.deliver(&sample.id, &sample.body) else { return false };
        *sender = Some(connected);
        if answer.status != 200 {
            // The daemon is being stopped.
            return false;
        }
        let (position, _) = answer.taken();
        self.acknowledged.lock().unwrap().push((position, sample.id.clone()));
        door.durable.fetch_max(position, Ordering::Release);
        self.count.fetch_add(1, Ordering::Relaxed);
        true
    }
}
