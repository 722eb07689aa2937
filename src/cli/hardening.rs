//! Protects the process: only its own user can read its files, and no other process its memory, which holds secrets and
//! patients' data.

use std::io;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};

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
