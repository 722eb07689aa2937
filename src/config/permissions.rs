//! Who else may read or write the files that the daemon trusts. Knows their modes, and nothing of what is in them.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;
use zeroize::Zeroizing;

/// The longest file that is read: far beyond any configuration.
const MIB_MAX: u64 = 16;
const BYTES_MAX: u64 = MIB_MAX * 1024 * 1024;
/// Room for what has no length, as a pipe.
const ROOM_MIN: u64 = 64 * 1024;

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
/// To read a file, or to list or enter a directory.
const OTHERS_READ: u32 = 0o005;

/// What was found while the configuration was read: what it cannot be used for, and what the operator should know.
#[derive(Default)]
pub(super) struct Findings {
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
    /// Whether the configuration itself holds a secret that is not the published one.
    pub inline_secrets: bool,
}

/// Reads a file that may hold secrets, and what was opened as it. The text is wiped when it is dropped.
pub(super) fn read(path: &Path) -> io::Result<(Metadata, Zeroizing<String>)> {
    let file = File::open(path)?;
    let opened = file.metadata()?;
    let too_long = || io::Error::new(ErrorKind::FileTooLarge, format!("it is longer than {MIB_MAX} MiB"));
    if opened.len() > BYTES_MAX {
        return Err(too_long());
    }
    // If the text moved while it grows, a copy would stay.
    let room = usize::try_from(opened.len().max(ROOM_MIN) + 1).map_err(|_| too_long())?;
    let mut text = Zeroizing::new(String::with_capacity(room));
    // A device has no length, and a file may have grown.
    file.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(too_long());
    }
    Ok((opened, text))
}

impl Findings {
    /// Checks who may write what was opened at a path and, if it is `confidential`, who may read it. `name` is what
    /// messages call it.
    pub fn check_permissions(&mut self, name: &str, opened: &Metadata, confidential: bool) {
        let (mode, owner) = (opened.mode() & 0o7777, opened.uid());
        if mode & GROUP_OR_OTHERS_WRITE != 0 {
            self.problems.push(format!("{name} has mode {mode:04o}: others than its owner may write it"));
        } else if owner != 0 && owner != geteuid().as_raw() {
            self.problems.push(format!("{name} belongs to user {owner}, who is neither root nor the daemon's user"));
        } else if confidential && mode & OTHERS_READ != 0 {
            self.warnings.push(format!("{name} has mode {mode:04o}: every local user may read it"));
        }
    }
}
