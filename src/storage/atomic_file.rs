//! Plain files that appear whole and durable, or not at all. Knows nothing of what is in them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Of a file that is being written.
const NEW: &str = "new";

/// Writes `path` as `write` does: temporary, fsync, rename, fsync of the directory.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension(NEW);
    let file = File::create(&new)?;
    replace(path, &new, file, write)
}

/// Writes `path` with these bytes in the same way, and for nobody else to read: the temporary file `<path>.new` already has
/// mode 0600, whatever an earlier crash left under that name.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".");
    new.push(NEW);
    let new = Path::new(&new);
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    replace(path, new, file, |file| file.write_all(bytes))
}

/// Fills `file`, which is at `new`, and gives it the name `path`.
fn replace(path: &Path, new: &Path, mut file: File, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    if let Err(error) = write(&mut file).and_then(|()| file.sync_all()) {
        fs::remove_file(new)?;
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
