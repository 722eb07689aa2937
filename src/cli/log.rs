//! `cleat log`: inspects a data directory without a daemon. Kept apart: each command has a file.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use cleat::log::{self, InspectedJournal, InspectedSegment, Inspection};

use super::print;

#[derive(Subcommand)]
pub(super) enum Log {
    /// List segments and journals with their positions, sizes and epochs, and what is not well. Reads and checks all of it.
    Inspect {
        /// The data directory.
        directory: PathBuf,
    },
}

impl Log {
    pub fn run(self) -> anyhow::Result<()> {
        let Self::Inspect { directory } = self;
        let opened = log::open_read_only(&directory);
        let inspection = opened.with_context(|| format!("cannot open the log in {}", directory.display()))?.inspection;
        show(&inspection)?;
        match inspection.problems.len() {
            0 => print::line("all is well"),
            1 => bail!("1 problem was found"),
            count => bail!("{count} problems were found"),
        }
    }
}

fn show(inspection: &Inspection) -> anyhow::Result<()> {
    print::line(&format!("log {:032x}", inspection.identity.log_id))?;
    for (epoch, from) in &inspection.epochs {
        print::line(&format!("epoch {epoch:032x} from position {from}"))?;
    }
    for segment in &inspection.segments {
        let InspectedSegment { first, last, bytes, merges, .. } = segment;
        let state = if segment.damage.is_some() { "damaged" } else { "whole" };
        print::line(&format!("segment {first} to {last}, {bytes} bytes, merged {merges} times, {state}"))?;
    }
    for InspectedJournal { sequence, first, last, bytes } in &inspection.journals {
        let range = if *last == 0 { "empty".to_owned() } else { format!("{first} to {last}") };
        print::line(&format!("journal {sequence}, {range}, {bytes} bytes of frames"))?;
    }
    let witnessed = inspection.witnessed.map_or_else(|| "lost".to_owned(), |position| format!("at {position}"));
    print::line(&format!("head at {}, witness {witnessed}", inspection.head.position))?;
    inspection.problems.iter().try_for_each(|problem| print::line(&format!("problem: {problem}")))
}
