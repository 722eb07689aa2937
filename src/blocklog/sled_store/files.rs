//! sled's files in a directory: their names, and how they are made to be what the disk holds. Knows nothing of what is in them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

pub struct SledFiles(PathBuf);

impl SledFiles {
    pub fn of(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn db(&self) -> PathBuf {
        self.0.join("db")
    }

    /// sled writes its recovery snapshot under a name that it then refuses to open over.
    pub fn remove_half_written_snapshots(&self) -> io::Result<()> {
        for path in self.snapshots()? {
            if path.extension().is_some_and(|extension| extension == "generating") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    pub fn refuse_blobs(&self) -> io::Result<()> {
        let blobs = self.0.join("blobs");
        match fs::read_dir(&blobs).map_or(0, Iterator::count) {
            0 => Ok(()),
            count => Err(io::Error::other(format!("{} holds {count}, which are never durable", blobs.display()))),
        }
    }

    /// Lets the page cache go: after a failed write it may hold, as clean, what the disk never took, and what is read from
    /// there would be taken for durable.
    pub fn forget_cached(&self) -> io::Result<()> {
        for path in self.files()? {
            let file = File::open(path)?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        self.fetch()
    }

    /// Has the kernel read what sled will read from its end to its beginning, many parts at once: all that its snapshot does
    /// not cover, which after a kill can be all there is.
    fn fetch(&self) -> io::Result<()> {
        let Ok(file) = File::open(self.db()) else { return Ok(()) };
        let covered = self.snapshots()?.into_iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_prefix("snap.")?;
            u64::from_str_radix(name, 16).ok()
        });
        // By lsn, which goes on where the file is used again: then this fetches too little, and nothing is lost.
        if covered.max().unwrap_or(0) < file.metadata()?.len() / 2 {
            fadvise(&file, 0, None, Advice::WillNeed)?;
        }
        Ok(())
    }

    /// Everything that is there, and the directory: sled syncs nothing at creation.
    pub fn sync(&self) -> io::Result<()> {
        let paths = self.files()?.into_iter().chain([self.0.join("blobs"), self.0.clone()]);
        paths.filter(|path| path.exists()).try_for_each(|path| File::open(path)?.sync_all())
    }

    /// Whether there was a snapshot to set aside.
    pub fn set_snapshots_aside(&self) -> bool {
        let aside = |path: PathBuf| {
            let name = path.file_name()?.to_string_lossy().replacen("snap.", "aside.snap.", 1);
            fs::rename(&path, path.with_file_name(name)).ok()
        };
        self.snapshots().is_ok_and(|found| !found.is_empty() && found.into_iter().all(|path| aside(path).is_some()))
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = vec![self.db(), self.0.join("conf")];
        files.extend(self.snapshots()?);
        files.retain(|path| path.exists());
        Ok(files)
    }

    fn snapshots(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")) {
                found.push(path);
            }
        }
        Ok(found)
    }
}
