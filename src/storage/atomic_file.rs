//! Plain files that appear whole and durable, or not at all. Must not know their content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Extension of a file that is being written.
const NEW: &str = "new";

/// Writes `path` as `write` does: temporary file, fsync, rename, fsync of the directory.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension(NEW);
    let file = File::create(&new)?;
    replace(path, &new, file, write)
}

/// Like [`write_whole`], but writes `bytes`, and only this user can read the file. The temporary file `<path>.new` has
/// mode 0600 already, whatever an earlier crash left under that name.
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

/// Fills `file`, which is at `new`, and renames it to `path`.
fn replace(path: &Path, new: &Path, mut file: File, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    if let Err(error) = write(&mut file).and_then(|()| file.sync_all()) {
        fs::remove_file(new)?;
        return Err(error);
    }
    fs::rename(new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Removes the half-written files that a crash left in a directory. Only for a start: later such a file may be in use.
pub fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == NEW) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
