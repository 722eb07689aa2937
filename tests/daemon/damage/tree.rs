//! A directory in memory: what is in it, byte for byte. Knows nothing of what the files mean.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// By paths below the directory; `None` is a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Tree {
    pub fn read(directory: &Path) -> Self {
        let mut tree = Self::default();
        tree.read_below(directory, Path::new(""));
        tree
    }

    /// Only what is below a part, with the paths that it has from the root.
    pub fn read_part(root: &Path, part: &str) -> Self {
        let mut tree = Self::default();
        tree.read_below(root, Path::new(part));
        tree
    }

    /// Without what goes meanwhile, if a daemon runs over it.
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

    /// Into a directory that is not there yet.
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

    /// In order of their paths.
    pub fn files(&self, is_wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let files = self.0.iter().filter(|(path, content)| content.is_some() && is_wanted(path));
        files.map(|(path, _)| path.clone()).collect()
    }

    pub fn bytes_mut(&mut self, file: &Path) -> &mut Vec<u8> {
        self.0.get_mut(file).unwrap().as_mut().unwrap()
    }

    /// `None` if there is no such file.
    pub fn get(&self, file: &Path) -> Option<&Vec<u8>> {
        self.0.get(file)?.as_ref()
    }

    /// A file, or a directory with all that is in it.
    pub fn remove(&mut self, path: &Path) {
        self.0.retain(|other, _| !other.starts_with(path));
    }

    /// Everything of another tree, also over what is there.
    pub fn put(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The wanted files and directories.
    pub fn part(&self, is_wanted: impl Fn(&Path) -> bool) -> Self {
        let wanted = self.0.iter().filter(|(path, _)| is_wanted(path));
        Self(wanted.map(|(path, content)| (path.clone(), content.clone())).collect())
    }

    /// What is below a directory, below another one.
    pub fn moved(&self, from: &Path, to: &Path) -> Self {
        let moved = self.0.iter().filter_map(|(path, content)| {
            let path = path.strip_prefix(from).ok()?;
            // An empty path would end in a slash.
            Some((if path == Path::new("") { to.to_owned() } else { to.join(path) }, content.clone()))
        });
        Self(moved.collect())
    }

    /// The first path that both do not have alike.
    pub fn difference(&self, other: &Self) -> Option<PathBuf> {
        let is_other = |path: &&PathBuf| self.0.get(*path) != other.0.get(*path);
        self.0.keys().chain(other.0.keys()).find(is_other).cloned()
    }
}
