//! The named points of power cuts: the situation of the daemon, and the operation on a file at which it is frozen.
//!
//! The patterns begin with the name of the thread that does the operation, as in `cleat-writer:`; see `faults.c`.

use super::recovered::NEW;
use crate::faults::{Rule, STOP_AFTER, STOP_BEFORE};

pub struct Point {
    pub name: &'static str,
    pub when: When,
    pub rule: Rule,
}

/// Unsynced data that the cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// A random half of the contents of files, in pieces.
    Torn,
    All,
}

impl Point {
    /// Returns the state that tests most at this point: a sync that is over must have sufficed, a sync that is due may
    /// come too late, and a name that was not synced may stay all the same.
    pub fn worst(&self) -> Left {
        match (self.rule.operation, self.rule.action) {
            ("sync", STOP_AFTER) | ("rename" | "link" | "unlink", STOP_BEFORE) => Left::Nothing,
            ("sync" | "write", _) => Left::Torn,
            _ => Left::All,
        }
    }
}

impl Point {
    /// Whether the point is in files derived from the log. Such a point is cut twice, each time with another state of
    /// the disk.
    pub fn is_of_derived_files(&self) -> bool {
        let of_files = ["dedup", "views", "changes", ".checkpoint"].iter().any(|part| self.rule.path.contains(part));
        of_files && matches!(self.when, Load | Rebuild)
    }

    /// Returns the warnings that the start after the cut may log, because the start that was cut need not have repaired
    /// the damage.
    pub fn notes(&self) -> &'static [&'static str] {
        match self.when {
            Made => &[NEW],
            Start(Before::Lost("EPOCHS")) => &["/EPOCHS is missing: a start makes it again"],
            Start(Before::Lost("CLEAT")) => &["/CLEAT is missing: a start makes it again"],
            Start(Before::Damaged("SECRET")) => &["a copy of the secret in the file SECRET is damaged"],
            Start(Before::Lost("SECRET")) => {
                &["the file SECRET is lost", "rebuilding the dedup runs of another log secret"]
            }
            Start(Before::Unsealed(_)) => &["is still there, and is sealed again"],
            _ => &[],
        }
    }
}

/// Situation of the daemon at a point.
#[derive(Clone, Copy)]
pub enum When {
    /// A log is made in a new directory.
    Made,
    /// The daemon takes the first event of its life.
    FirstCommit,
    /// The daemon takes further events.
    Load,
    /// The daemon takes large events, which fill journals.
    Filling,
    /// The daemon rebuilds the views.
    Rebuild,
    /// The daemon starts after this change to its data.
    Start(Before),
    /// The daemon starts over many small segments, after this change to its data.
    Merge(Before),
}

/// Change to the data before the start that is cut.
#[derive(Clone, Copy)]
pub enum Before {
    Nothing,
    /// A file or directory was removed.
    Lost(&'static str),
    /// A byte of a file was changed.
    Damaged(&'static str),
    /// A start was killed at another point.
    Killed(Rule),
    /// Like [`Self::Killed`], and the newest segment was damaged.
    Unsealed(Rule),
}

const fn before(operation: &'static str, path: &'static str, nth: u32) -> Rule {
    Rule { operation, path, nth, action: STOP_BEFORE }
}

const fn after(operation: &'static str, path: &'static str, nth: u32) -> Rule {
    Rule { operation, path, nth, action: STOP_AFTER }
}

const fn point(name: &'static str, when: When, rule: Rule) -> Point {
    Point { name, when, rule }
}

use When::{Filling, FirstCommit, Load, Made, Merge, Rebuild, Start};

const SEALED: Rule = before("rename", "cleat-sealer:*.gone", 1);
const GONE: Rule = after("rename", "cleat-sealer:*.gone", 1);
const MERGED: Rule = before("unlink", "cleat-sealer:*.seg", 1);
const HELD: When = Start(Before::Nothing);
const MANY: When = Merge(Before::Nothing);

/// All points, in the order in which they come in the life of a log.
pub const POINTS: &[Point] = &[
    // The first start.
    point("the directory of the log is made", Made, after("mkdir", "*/log", 1)),
    point("the secret is written", Made, before("sync", "*/SECRET.new", 1)),
    point("the secret has its name", Made, after("rename", "*/SECRET", 1)),
    point("the epochs have their name", Made, after("rename", "*/EPOCHS", 1)),
    point("the witness has its name", Made, after("rename", "*/witness", 1)),
    point("CLEAT is written", Made, before("sync", "*/CLEAT.new", 1)),
    point("CLEAT has its name", Made, after("rename", "*/CLEAT", 1)),
    point("the directory of the runs is made", Made, after("mkdir", "*/dedup", 1)),
    point("the first journal's directory is made", Made, after("mkdir", "*/journal-*", 1)),
    point("the first journal is written", Made, before("sync", "*/journal-*/db", 1)),
    point("the first journal is synced, its name not", Made, before("sync", "cleat-sealer:*/log", 1)),
    point("the first generation's directory is made", Made, after("mkdir", "*/views/1", 1)),
    point("the first change segment is made", Made, before("sync", "*/views/1/changes", 1)),
    // A commit.
    point("the first commit is written", FirstCommit, before("sync", "cleat-writer:*/db", 1)),
    point("the first commit is synced", FirstCommit, after("sync", "cleat-writer:*/db", 1)),
    point("the first commit's witness is written", FirstCommit, after("write", "cleat-writer:*/witness", 1)),
    point("the first commit's witness is synced", FirstCommit, after("sync", "cleat-writer:*/witness", 1)),
    point("a part of a commit is written", Load, after("write", "*/journal-*/db", 5)),
    point("a commit is written", Load, before("sync", "cleat-writer:*/db", 4)),
    point("a commit is synced", Load, after("sync", "cleat-writer:*/db", 4)),
    point("a commit's witness is written", Load, after("write", "cleat-writer:*/witness", 4)),
    point("the witness is to be synced", Load, before("sync", "cleat-witness:*/witness", 1)),
    point("the witness is synced", Load, after("sync", "cleat-witness:*/witness", 1)),
    // The next journal.
    point("the next journal's directory is made", Filling, after("mkdir", "cleat-sealer:*/journal-*", 1)),
    point("the next journal is written", Filling, before("sync", "cleat-sealer:*/journal-*/db", 1)),
    point("the next journal's name is synced", Filling, after("sync", "cleat-sealer:*/log", 1)),
    point("the next journal's first witness is written", Filling, before("sync", "cleat-writer:*/witness", 1)),
    point("the next journal's first witness is synced", Filling, after("sync", "cleat-writer:*/witness", 1)),
    point("a journal is being sealed beside commits", Filling, before("link", "cleat-sealer:*.seg", 1)),
    // Sealing, and the removal of a journal.
    point("a segment is written", HELD, before("sync", "cleat-sealer:*/log/*.new", 1)),
    point("a segment is synced", HELD, before("link", "cleat-sealer:*.seg", 1)),
    point("a segment has its name", HELD, after("link", "cleat-sealer:*.seg", 1)),
    point("a segment's name is synced", HELD, before("unlink", "cleat-sealer:*/log/*.new", 1)),
    point("a segment has one name", HELD, SEALED),
    point("a journal is renamed", HELD, GONE),
    point("a journal's new name is synced", HELD, before("unlink", "cleat-sealer:*.gone/*", 1)),
    point("a part of a journal has gone", HELD, after("unlink", "cleat-sealer:*.gone/*", 2)),
    point("a journal has gone", HELD, after("unlink", "cleat-sealer:*.gone", 1)),
    // Merging.
    point("a merged segment is written", MANY, before("sync", "cleat-sealer:*/log/*.new", 2)),
    point("a merged segment is synced", MANY, before("link", "cleat-sealer:*.seg", 2)),
    point("a merged segment has its name", MANY, after("link", "cleat-sealer:*.seg", 2)),
    point("a merged segment's name is synced", MANY, MERGED),
    point("some of what was merged have gone", MANY, after("unlink", "cleat-sealer:*.seg", 30)),
    point("all of what was merged have gone", MANY, after("unlink", "cleat-sealer:*.seg", 65)),
    // Runs, checkpoints, views.
    point("a run is written", Load, before("sync", "cleat-dedup:*/dedup/*.new", 1)),
    point("a run has its name", Load, after("rename", "cleat-dedup:*.run", 1)),
    point("a merged run has its name", Load, before("unlink", "cleat-dedup:*.run", 1)),
    point("some runs that were merged have gone", Load, after("unlink", "cleat-dedup:*.run", 4)),
    point("all runs that were merged have gone", Load, after("unlink", "cleat-dedup:*.run", 8)),
    point("changes are written", Load, before("sync", "*/changes/*.open", 2)),
    point("changes are synced", Load, after("sync", "*/changes/*.open", 2)),
    point("a checkpoint is written", Load, before("sync", "*/views/*.new", 1)),
    point("a checkpoint has its name", Load, after("rename", "*.checkpoint", 1)),
    point("an older checkpoint has gone", Load, after("unlink", "*.checkpoint", 1)),
    point("another generation's directory is made", Rebuild, after("mkdir", "cleat-rebuild:*/views/*", 1)),
    point("another generation's first change segment is made", Rebuild, before("sync", "cleat-rebuild:*/changes", 1)),
    point("another generation's first checkpoint has its name", Rebuild, after("rename", "*.checkpoint", 1)),
    point("an older generation is going", Rebuild, after("unlink", "*/views/*/changes/*.open", 1)),
    point("an older generation has gone", Rebuild, after("unlink", "cleat-projector:*/views/*", 1)),
    // Recovery itself.
    point("a start writes the witness", HELD, after("write", "*/witness", 1)),
    point("a start syncs the witness", HELD, before("sync", "*/witness", 2)),
    point("the witness is made again", Start(Before::Lost("witness")), after("rename", "*/witness", 1)),
    point("the epochs are made again", Start(Before::Lost("EPOCHS")), after("rename", "*/EPOCHS", 1)),
    point("CLEAT is made again", Start(Before::Lost("CLEAT")), after("rename", "*/CLEAT", 1)),
    point("the secret is made whole again", Start(Before::Damaged("SECRET")), after("rename", "*/SECRET", 1)),
    point("a new secret is made", Start(Before::Lost("SECRET")), after("rename", "*/SECRET", 1)),
    point("the runs are made again", Start(Before::Lost("dedup")), after("rename", "*.run", 1)),
    point("the views are made again", Start(Before::Lost("views")), after("rename", "*.checkpoint", 1)),
    point("a start removes a journal that goes", Start(Before::Killed(GONE)), after("unlink", "*.gone/*", 1)),
    point("a start removes a sealed journal", Start(Before::Killed(SEALED)), after("rename", "*.gone", 1)),
    point("a start puts a segment aside", Start(Before::Unsealed(SEALED)), after("rename", "*.damaged", 1)),
    point("a start removes what was merged", Merge(Before::Killed(MERGED)), after("unlink", "*.seg", 5)),
];
