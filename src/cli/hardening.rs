//! What the process shows to others: its files only to its own user.

use rustix::fs::Mode;
use rustix::process::umask;

/// Lets no other user read or write what is created from now on.
pub(super) fn keep_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}
