//! The file name of a segment: its first and its last position. Must not know the content of the file.

use std::fmt;
use std::path::Path;

use crate::event::Position;

/// Name of a segment: `<first>-<last>.seg`, twenty digits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentName {
    pub first: Position,
    pub last: Position,
}

impl SegmentName {
    /// Returns the name of the file at `path`. `None` if it is not a segment's.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (first, last) = name.strip_suffix(".seg")?.split_once('-')?;
        let parsed = Self { first: first.parse().ok()?, last: last.parse().ok()? };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        write!(f, "{first:020}-{last:020}.seg")
    }
}
