//! Free space of the file system that holds a path. Must not know its content.

use std::io;
use std::path::Path;

/// Returns the bytes that this user may still write.
pub fn free_space(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
