//! The progress of a watch: a resume token, kept in a file on request. The file holds nothing else, and is whole at any
//! time.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

/// Minimum time between two saves while many changes come. This much may be handled again after a kill.
const SAVED_EVERY: Duration = Duration::from_secs(1);

pub struct TokenFile {
    file: Option<PathBuf>,
    token: Option<String>,
    /// The token in the file, and when it was saved.
    saved: Option<String>,
    saved_at: Instant,
}

impl TokenFile {
    /// Opens the token file. There is no token if there is no such file yet.
    pub fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        let token = file.map_or(Ok(None), read)?;
        Ok(Self { file: file.map(Path::to_owned), saved: token.clone(), token, saved_at: Instant::now() })
    }

    /// The token to resume from.
    pub fn token(&self) -> Option<String> {
        self.token.clone()
    }

    /// Records that everything up to `token` is handled. Saves it at once if `at_once`, else soon.
    pub fn reach(&mut self, token: &str, at_once: bool) -> anyhow::Result<()> {
        self.token = Some(token.to_owned());
        if at_once || self.saved_at.elapsed() >= SAVED_EVERY { self.save() } else { Ok(()) }
    }

    pub fn save(&mut self) -> anyhow::Result<()> {
        let (Some(file), Some(token)) = (&self.file, &self.token) else { return Ok(()) };
        if self.saved.as_ref() == Some(token) {
            return Ok(());
        }
        let mut temporary = file.clone().into_os_string();
        temporary.push(".new");
        let write = || {
            let mut new = File::create(&temporary)?;
            new.write_all(token.as_bytes())?;
            // Otherwise a power cut could leave an empty file, and the place would be lost.
            new.sync_all()?;
            std::fs::rename(&temporary, file)
        };
        write().with_context(|| format!("cannot keep the place in {}", file.display()))?;
        self.saved = self.token.clone();
        self.saved_at = Instant::now();
        Ok(())
    }
}

fn read(file: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let token = text.trim();
            Ok(if token.is_empty() { None } else { Some(token.to_owned()) })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_again_and_saved_at_once_only_on_request() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let kept = || TokenFile::open(Some(&file)).unwrap().token();
        let mut token_file = TokenFile::open(Some(&file)).unwrap();
        assert_eq!(token_file.token(), None);
        token_file.reach("one", true).unwrap();
        token_file.reach("two", false).unwrap();
        assert_eq!((token_file.token().as_deref(), kept().as_deref()), (Some("two"), Some("one")));
        token_file.save().unwrap();
        assert_eq!(kept().as_deref(), Some("two"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing temporary stays");
        assert!(TokenFile::open(Some(directory.path())).is_err(), "a directory is no token file");
    }
}
