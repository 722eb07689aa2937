//! Reads the files that the daemon trusts, and checks which other users may read or write them. Knows nothing of their
//! contents.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;
use zeroize::Zeroizing;

/// Maximum size of a file in MiB: far beyond any configuration.
const MIB_MAX: u64 = 16;
const BYTES_MAX: u64 = MIB_MAX * 1024 * 1024;
/// Minimum buffer, for files without a length, such as pipes.
const ROOM_MIN: u64 = 64 * 1024;

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
/// Permission bits that let other users read a file, or list or enter a directory.
const OTHERS_READ: u32 = 0o005;

/// Findings about the configuration: problems that make it unusable, and warnings for the operator.
#[derive(Default)]
pub(super) struct Findings {
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
    /// Whether the configuration itself holds a secret other than the published one.
    pub inline_secrets: bool,
}

/// Reads a file that may hold secrets. Returns the metadata of the opened file, and its text, which is wiped when
/// dropped.
pub(super) fn read(path: &Path) -> io::Result<(Metadata, Zeroizing<String>)> {
    let file = File::open(path)?;
    let opened = file.metadata()?;
    let too_long = || io::Error::new(ErrorKind::FileTooLarge, format!("it is longer than {MIB_MAX} MiB"));
    if opened.len() > BYTES_MAX {
        return Err(too_long());
    }
    // Allocated in full: a text that moves as it grows leaves an unwiped copy.
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
    /// Checks which users may write an opened file or directory and, if it is `confidential`, which may read it. `name`
    /// is its name in messages.
    pub fn check_permissions(&mut self, name: &str, opened: &Metadata, confidential: bool) {
        let mode = opened.mode() & 0o7777;
        let owner = opened.uid();
        if mode & GROUP_OR_OTHERS_WRITE != 0 {
            self.problems.push(format!("{name} has mode {mode:04o}: others than its owner may write it"));
        } else if owner != 0 && owner != geteuid().as_raw() {
            self.problems.push(format!("{name} belongs to user {owner}, who is neither root nor the daemon's user"));
        } else if confidential && mode & OTHERS_READ != 0 {
            self.warnings.push(format!("{name} has mode {mode:04o}: every local user may read it"));
        }
    }
}
