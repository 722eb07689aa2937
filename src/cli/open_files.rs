//! The limit of open files of the process: every connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for the operations port's connections, and as many for the log, its threads and the listeners.
const OTHERS: u64 = 128;

/// Raises the limit as far as the system allows. Warns if that is too little for this many connections.
pub(super) fn allow(connections: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let needed = connections + OTHERS;
    // `None` if there is no limit.
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(allowed, needed, "the limit of open files is lower than the connections may need");
    }
}
