//! What the process shows to others: its files only to its own user, and its memory, which holds secrets and patients'
//! data, to nobody.

use std::io;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};

/// Lets no other user read or write what is created from now on.
pub(super) fn keep_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Forbids core dumps, and that other processes of the same user read this one's memory.
pub(super) fn forbid_core_dumps() -> io::Result<()> {
    // A core handler that is a pipe disregards the limit, but not the second.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
