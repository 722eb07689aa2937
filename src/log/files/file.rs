//! Reading of one small file, and its errors. Knows no format.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Reason why one of the small files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} is missing", path.display())]
    Missing { path: PathBuf },
    /// The bytes read are not those that were written.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: &'static str },
    #[error("{} has format {format}, which a newer version of cleat wrote{}", path.display(), by(made_by.as_ref()))]
    Newer { path: PathBuf, format: u32, made_by: Option<String> },
    #[error("cannot {operation} {}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
}

/// Reason why bytes are not a file of this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    #[error("{0}")]
    Damaged(&'static str),
    /// Only bytes that are intact, with their checksum, give this error.
    #[error("format {format} is newer than this version of cleat{}", by(made_by.as_ref()))]
    Newer {
        format: u32,
        /// Version that wrote the file. `None` if the file does not say.
        made_by: Option<String>,
    },
}

fn by(made_by: Option<&String>) -> String {
    made_by.map_or_else(String::new, |version| format!(": cleat {version}"))
}

impl Undecodable {
    pub fn at(self, path: &Path) -> FileError {
        let path = path.to_owned();
        match self {
            Self::Damaged(reason) => FileError::Damaged { path, reason },
            Self::Newer { format, made_by } => FileError::Newer { path, format, made_by },
        }
    }
}

pub fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError::Io { operation, path: path.to_owned(), source }
}

/// Reads at most `limit` + 1 bytes of a file: a longer file is not one of ours. `None` if there is no file. The bytes
/// are wiped after use, since some are secret.
pub fn read_file(path: &Path, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open", path))?,
    };
    // Allocated in full at the start: a vector that grows leaves unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    let at_most = u64::try_from(limit + 1).unwrap_or(u64::MAX);
    file.take(at_most).read_to_end(&mut bytes).map_err(failed("read", path))?;
    Ok(Some(bytes))
}
