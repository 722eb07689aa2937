//! Senders that keep the daemon busy until the power is cut, and the events acknowledged before that.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;

use testkit::bodies::{self, filler};

use super::disk::Keep;
use super::fuse::SharedDisk;
use crate::support::{Sender, until};

#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Number of senders. One makes commits of one event each, many make large ones.
    pub senders: usize,
    /// Number of acknowledged events at which the cut is armed.
    pub events: usize,
}

/// An event that must never be lost.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub id: String,
    pub body: Vec<u8>,
    pub position: u64,
}

/// One run of a load.
struct Run<'a> {
    load: Load,
    name: u64,
    daemon: SocketAddr,
    disk: &'a SharedDisk,
    acknowledged: Mutex<Vec<Acknowledged>>,
    arm: (u32, Keep),
}

impl Load {
    /// Sends until the power is cut, `arm.0` writes after the cut was armed. Returns the acknowledged events once every
    /// sender has noticed.
    pub fn run(self, name: u64, daemon: SocketAddr, disk: &SharedDisk, arm: (u32, Keep)) -> Vec<Acknowledged> {
        let run = Run { load: self, name, daemon, disk, acknowledged: Mutex::default(), arm };
        thread::scope(|scope| {
            for sender in 0..self.senders {
                let run = &run;
                scope.spawn(move || run.send(sender));
            }
            until("the power is cut", || disk.lock().was_cut().is_some());
        });
        run.acknowledged.into_inner().unwrap()
    }
}

impl Run<'_> {
    fn send(&self, sender: usize) {
        let mut connection = Sender::connect(self.daemon).unwrap();
        for n in 0.. {
            let id = format!("{}-{sender}-{n}", self.name);
            let body = body(&id, n, length(n));
            let delivered = connection.deliver_patiently(&id, &body);
            // Checked under the lock that every write takes, so that only answers read before the cut count.
            let mut disk = self.disk.lock();
            if disk.was_cut().is_some() {
                return;
            }
            let position = delivered.unwrap().as_new().unwrap_or_else(|| panic!("{id} was never sent before"));
            let mut acknowledged = self.acknowledged.lock().unwrap();
            acknowledged.push(Acknowledged { id, body, position });
            if acknowledged.len() == self.load.events {
                disk.cut_after(self.arm.0, self.arm.1);
            }
        }
    }
}

/// Returns the length of the nth filler: mostly the body is as large as Fasten's; some take several values.
fn length(n: usize) -> usize {
    if n % 16 == 3 { 24_000 } else { 600 }
}

/// Returns the `n`-th body of a sender, with a filler of this length.
pub fn body(id: &str, n: usize, length: usize) -> Vec<u8> {
    let data = serde_json::json!({ "org_connection_id": format!("c{}", n % 50), "connection_status": "authorized",
        "platform_type": "epic", "filler": filler(id, length) });
    bodies::event("patient.connection_success", id, &data).to_string().into_bytes()
}
