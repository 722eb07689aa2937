//! Limits and protection of the process: only its own user can read its files, and no other process its memory, which
//! holds secrets and patients' data. Every connection is an open file.

use std::io;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};

/// Files for the operations port's connections, and as many for the log, its threads and the listeners.
const OTHER_FILES: u64 = 128;

/// Prevents other users from reading or writing files created from now on.
pub(super) fn keep_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Forbids core dumps, and prevents other processes of the same user from reading this one's memory.
pub(super) fn forbid_core_dumps() -> io::Result<()> {
    // A core handler that is a pipe ignores the limit, but not the second setting.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Raises the limit of open files as far as the system allows. Warns if that is too little for this many connections.
pub(super) fn allow_open_files(connections: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let needed = connections + OTHER_FILES;
    // `None` if there is no limit.
    if let Some(allowed) = allowed
        && allowed < needed
    {
        tracing::warn!(allowed, needed, "the limit of open files is lower than the connections may need");
    }
}
