//! A directory tree in memory, byte for byte. It knows nothing of the files' meaning.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Contents by path below the directory. `None` if the path is a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Tree {
    pub fn read(directory: &Path) -> Self {
        let mut tree = Self::default();
        tree.read_below(directory, Path::new(""));
        tree
    }

    /// Reads everything below a part of `root`. Paths are relative to `root`.
    pub fn read_part(root: &Path, part: &str) -> Self {
        let mut tree = Self::default();
        tree.read_below(root, Path::new(part));
        tree
    }

    /// Adds everything below a path. Skips entries that a running daemon removes meanwhile.
    fn read_below(&mut self, root: &Path, below: &Path) {
        let is_there = |error: &io::Error| error.kind() != io::ErrorKind::NotFound;
        let entries = match fs::read_dir(root.join(below)) {
            Err(error) if !is_there(&error) => return,
            entries => entries.unwrap(),
        };
        for entry in entries {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                self.0.insert(path.clone(), None);
                self.read_below(root, &path);
                continue;
            }
            match fs::read(entry.path()) {
                Err(error) if !is_there(&error) => {}
                bytes => drop(self.0.insert(path, Some(bytes.unwrap()))),
            }
        }
    }

    /// Writes the tree into a directory that does not exist yet.
    pub fn write(&self, directory: &Path) {
        fs::DirBuilder::new().mode(0o700).create(directory).unwrap();
        for (path, content) in &self.0 {
            let path = directory.join(path);
            match content {
                None => fs::create_dir(path).unwrap(),
                Some(bytes) => fs::write(path, bytes).unwrap(),
            }
        }
    }

    /// Returns the wanted files in order of their paths.
    pub fn files(&self, is_wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let files = self.0.iter().filter(|(path, content)| content.is_some() && is_wanted(path));
        files.map(|(path, _)| path.clone()).collect()
    }

    pub fn bytes_mut(&mut self, file: &Path) -> &mut Vec<u8> {
        self.0.get_mut(file).unwrap().as_mut().unwrap()
    }

    /// Returns the bytes of a file. `None` if there is no such file.
    pub fn get(&self, file: &Path) -> Option<&Vec<u8>> {
        self.0.get(file)?.as_ref()
    }

    /// Removes a file, or a directory with everything in it.
    pub fn remove(&mut self, path: &Path) {
        self.0.retain(|other, _| !other.starts_with(path));
    }

    /// Adds everything of another tree, and replaces entries that exist.
    pub fn put(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns the wanted files and directories.
    pub fn part(&self, is_wanted: impl Fn(&Path) -> bool) -> Self {
        let wanted = self.0.iter().filter(|(path, _)| is_wanted(path));
        Self(wanted.map(|(path, content)| (path.clone(), content.clone())).collect())
    }

    /// Returns `from` and everything below it, as `to`.
    pub fn moved(&self, from: &Path, to: &Path) -> Self {
        let moved = self.0.iter().filter_map(|(path, content)| {
            let path = path.strip_prefix(from).ok()?;
            // Joining an empty path would add a slash.
            Some((if path == Path::new("") { to.to_owned() } else { to.join(path) }, content.clone()))
        });
        Self(moved.collect())
    }

    /// Returns the first path at which the trees differ.
    pub fn difference(&self, other: &Self) -> Option<PathBuf> {
        let is_other = |path: &&PathBuf| self.0.get(*path) != other.0.get(*path);
        self.0.keys().chain(other.0.keys()).find(is_other).cloned()
    }
}
