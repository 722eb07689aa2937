//! Faults that the first edition of the log did not survive, one by one.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cleat::proto::WatchEventsRequest;
use cleat::proto::WatchStart;
use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::watch_events_response::Message;
use cleat::proto::watch_start::Position;
use tonic::Code;

use super::child::{Child, Started};
use super::harm::{Kind, values};
use super::judge::{Judge, Judged, Naming};
use super::prepared::{Prepared, prepared};
use super::table::Outcome;
use super::tree::Tree;
use crate::support::{Api, Sender};

static JUDGE: LazyLock<Judge<'static>> = LazyLock::new(|| Judge::of(prepared()).unwrap());

#[track_caller]
fn judged(tree: &Tree) -> Judged {
    JUDGE.judge(tree, Naming::AtStart, 1).unwrap()
}

/// Returns the directory with the log of the older copy.
fn with_older_log(prepared: &Prepared) -> Tree {
    let mut tree = prepared.tree.clone();
    tree.remove(Path::new("log"));
    tree.put(prepared.older.part(|path| path.starts_with("log")));
    tree
}

#[test]
fn a_flipped_bit_in_garbage_of_a_journal_hides_nothing() {
    let tree = &prepared().tree;
    let file = Kind::LastJournal.paths(tree).pop().unwrap();
    let bytes = tree.get(&file).unwrap();
    let values = values(bytes);
    let is_garbage = |at: &usize| bytes[*at] != 0 && !values.iter().any(|value| value.contains(at));
    let garbage: Vec<usize> = (0..bytes.len()).filter(is_garbage).collect();
    assert!(garbage.len() > 500, "{}", garbage.len());
    for at in garbage.iter().step_by(garbage.len() / 20) {
        let mut harmed = tree.clone();
        harmed.bytes_mut(&file)[*at] ^= 16;
        let judged = judged(&harmed);
        assert_eq!(judged.outcome, Outcome::Harmless, "byte {at}: {judged:?}");
    }
}

/// Neither a start nor the fold reads these frames.
#[test]
fn damage_that_only_a_watch_reads_is_logged_and_made_good() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    prepared().tree.write(&data);
    let mut child = Child::start(directory.path(), "");
    let Started::Open(open) = child.started().unwrap() else { panic!("{}", child.log()) };
    open.connections().unwrap();
    let tree = Tree::read_part(&data, "views");
    let files = Kind::Changes.paths(&tree);
    assert!(!files.is_empty());
    for path in files {
        let mut bytes = tree.get(&path).unwrap().clone();
        bytes.iter_mut().skip(500).step_by(997).for_each(|byte| *byte ^= 4);
        // Written in place, because the daemon has the file open.
        OpenOptions::new().write(true).open(data.join(path)).unwrap().write_all(&bytes).unwrap();
    }
    assert!(!child.log().contains("damaged"), "{}", child.log());
    assert!(JUDGE.changes_are_right(&open).unwrap(), "it reads no damage");
    let log = child.log();
    assert!(log.contains("the views' files cannot be read") && log.contains("serving the rebuilt views"), "{log}");
    assert!(!JUDGE.changes_are_right(&open).unwrap());
}

#[test]
fn log_put_back_is_refused_by_each_file_that_has_seen_more() {
    let mut tree = with_older_log(prepared());
    for (part, seen_by) in [("none", "its witness"), ("witness", "a checkpoint"), ("dedup", "a checkpoint")] {
        tree.remove(Path::new(part));
        let judged = judged(&tree);
        assert_eq!(judged.outcome, Outcome::Refused);
        assert!(judged.refusal.contains(seen_by) && judged.refusal.contains("older copy"), "{}", judged.refusal);
    }
    let mut tree = with_older_log(prepared());
    tree.remove(Path::new("witness"));
    tree.remove(Path::new("views"));
    let judged = judged(&tree);
    assert!(judged.refusal.contains("dedup run"), "{judged:?}");
}

#[test]
fn a_missing_or_empty_directory_is_refused_and_no_log_is_made() {
    for is_there in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let data: PathBuf = directory.path().join("data");
        if is_there {
            std::fs::create_dir(&data).unwrap();
        }
        let mut child = Child::start(directory.path(), "");
        assert!(matches!(child.started().unwrap(), Started::Refused(Some(1))));
        assert!(child.log().contains("there is no log") && child.log().contains("cleat init"), "{}", child.log());
        assert_eq!(data.exists(), is_there);
        assert!(!is_there || Tree::read(&data) == Tree::default());
    }
}

#[test]
fn whole_directory_put_back_is_found_by_anchor_and_clients() {
    let prepared = prepared();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    prepared.tree.write(&data);
    let keys = format!("anchor = \"{}\"", directory.path().join("anchor").display());
    let mut child = Child::start(directory.path(), &keys);
    let Started::Open(open) = child.started().unwrap() else { panic!("{}", child.log()) };
    let sample = &prepared.events[0];
    assert!(Sender::connect(open.webhooks).unwrap().deliver(&sample.id, &sample.body).unwrap().taken().1);
    let token = resume_token(&Api::connect(open.grpc), prepared.head());
    drop(open);
    child.terminate().unwrap();

    std::fs::remove_dir_all(&data).unwrap();
    prepared.older.write(&data);
    let mut child = Child::start(directory.path(), &keys);
    assert!(matches!(child.started().unwrap(), Started::Refused(Some(1))));
    assert!(child.log().contains("the anchor") && child.log().contains("older copy"), "{}", child.log());
    assert_eq!(Tree::read(&data).difference(&prepared.older), None);

    // Without the anchor only clients that were further find it.
    let mut child = Child::start(directory.path(), "");
    let Started::Open(open) = child.started().unwrap() else { panic!("{}", child.log()) };
    assert!(open.head < prepared.head());
    let api = Api::connect(open.grpc);
    let refused = watch(&api, Position::ResumeToken(token)).err().unwrap();
    assert!(refused.code() == Code::FailedPrecondition && refused.message().contains("history"), "{refused}");
    let refused = watch(&api, Position::AfterPosition(prepared.head())).err().unwrap();
    assert!(refused.message().contains("the log has not come so far"), "{refused}");
}

type Watching = tonic::Streaming<cleat::proto::WatchEventsResponse>;

fn watch(api: &Api, position: Position) -> Result<Watching, tonic::Status> {
    let start = Some(WatchStart { position: Some(position) });
    let request = WatchEventsRequest { start, ..Default::default() };
    let mut client = EventServiceClient::new(api.channel());
    Ok(api.wait(client.watch_events(request))?.into_inner())
}

/// Returns the token of a watch that has seen everything up to `position`.
fn resume_token(api: &Api, position: u64) -> String {
    let mut watching = watch(api, Position::AfterPosition(position - 1)).unwrap();
    loop {
        let message = api.wait(watching.message()).unwrap().unwrap();
        if matches!(message.message, Some(Message::EventBatch(_))) && message.position == position {
            return message.resume_token;
        }
    }
}
