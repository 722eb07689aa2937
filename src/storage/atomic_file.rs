//! Plain files that appear whole and durable, or not at all. Knows nothing of what is in them.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Of a file that is being written.
const NEW: &str = "new";

/// Writes `path` as `write` does: temporary, fsync, rename, fsync of the directory.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension(NEW);
    let mut file = File::create(&new)?;
    if let Err(error) = write(&mut file).and_then(|()| file.sync_all()) {
        fs::remove_file(&new)?;
        return Err(error);
    }
    fs::rename(new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Removes what a crash left half written in a directory. Only at a start: later there may be some that is being written.
pub fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == NEW) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
