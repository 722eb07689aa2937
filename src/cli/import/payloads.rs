//! Reads payloads from files and sorts them by date: delivery logs are shown newest first, and if the order of two
//! events cannot be known from the events themselves, the one that comes last counts.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use cleat::config::BODY_LIMIT_MAX;
use cleat::event::Envelope;
use serde_json::value::RawValue;

use crate::cli::print;

/// Maximum bytes of one message, before its last payload. With the largest one the message is still below the daemon's
/// limit of 1 MiB.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_PAYLOADS: usize = 1000;

/// A payload, and where it was found.
pub struct Payload {
    file: Arc<str>,
    /// Number in its file, from 1.
    ordinal: usize,
    body: Bytes,
}

impl Payload {
    /// Whether the payload fits a request. A larger one would make its whole message too large, and no daemon takes it.
    pub fn fits_a_request(&self) -> bool {
        self.body.len() as u64 <= BODY_LIMIT_MAX.as_u64()
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: payload {} ({} B)", self.file, self.ordinal, self.body.len())
    }
}

/// Reads all payloads, or none. Prints a note for each file that cannot be read, with the position.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Payload>> {
    let mut payloads = Vec::new();
    let mut problems = Vec::new();
    for file in files(paths)? {
        match read_file(&file) {
            Ok(found) => payloads.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        for problem in &problems {
            print::note(problem);
        }
        bail!("nothing is imported");
    }
    payloads.sort_by_cached_key(|payload| {
        let date = Envelope::read(&payload.body).date.and_then(|date| date.parse::<jiff::Timestamp>().ok());
        (date.is_none(), date)
    });
    Ok(payloads)
}

/// The files at the paths. For a directory, its files by name, without hidden ones and subdirectories.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = path.read_dir().and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.with_context(|| format!("cannot read {}", path.display()))?;
        let visible = entries.into_iter().filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
        let mut found: Vec<_> = visible.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn read_file(path: &Path) -> Result<Vec<Payload>, String> {
    let (name, from): (Arc<str>, Box<dyn Read>) = if path.as_os_str() == "-" {
        ("stdin".into(), Box::new(std::io::stdin()))
    } else {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
        (name.into(), Box::new(file))
    };
    let mut bodies = Vec::new();
    values(BufReader::new(from), &mut bodies).map_err(|error| {
        let what = if error.is_io() { "it cannot be read" } else { "it is no JSON from here on" };
        format!("{name}:{}:{}: {what}", error.line(), error.column())
    })?;
    let of_file = |(ordinal, body)| Payload { file: name.clone(), ordinal, body };
    Ok((1..).zip(bodies).map(of_file).collect())
}

/// Reads documents in sequence, each as written. An array counts as its elements.
fn values(mut from: impl BufRead, bodies: &mut Vec<Bytes>) -> serde_json::Result<()> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if from.fill_buf().map_err(serde_json::Error::io)?.starts_with(MARK) {
        from.consume(MARK.len());
    }
    for value in serde_json::Deserializer::from_reader(from).into_iter::<Box<RawValue>>() {
        let value = value?;
        match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(elements) => {
                bodies.extend(elements.iter().map(|element| Bytes::copy_from_slice(element.get().as_bytes())));
            }
            Err(_) => bodies.push(Bytes::from(String::from(Box::<str>::from(value)))),
        }
    }
    Ok(())
}

/// The bodies, grouped into messages of a bounded size.
pub fn batches(payloads: &[Payload]) -> impl Iterator<Item = Vec<Bytes>> + use<> {
    let bodies: Vec<_> = payloads.iter().map(|payload| payload.body.clone()).collect();
    let mut left = bodies.into_iter();
    std::iter::from_fn(move || {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && batch.len() < BATCH_PAYLOADS {
            let Some(body) = left.next() else { break };
            bytes += body.len();
            batch.push(body);
        }
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use cleat::proto::ImportEventsRequest;
    use prost::Message as _;

    use super::*;

    fn texts(text: &str) -> Result<Vec<String>, (usize, usize)> {
        let mut bodies = Vec::new();
        let read = values(text.as_bytes(), &mut bodies);
        read.map_err(|error| (error.line(), error.column()))?;
        Ok(bodies.into_iter().map(|body| String::from_utf8(body.to_vec()).unwrap()).collect())
    }

    #[test]
    fn a_document_lines_and_arrays_are_read_as_they_are_written() {
        assert_eq!(texts("\u{feff}{ \"a\" : 1 }\n"), Ok(vec!["{ \"a\" : 1 }".into()]));
        assert_eq!(
            texts("{\"a\":1}\n\n{\"a\":\n2} [{\"a\":3}, 4]"),
            Ok(["{\"a\":1}", "{\"a\":\n2}", "{\"a\":3}", "4"].map(Into::into).into())
        );
        assert_eq!(texts(""), Ok(vec![]));
        assert_eq!(texts("{\"a\":1}\n{\"a\" 2}"), Err((2, 6)));
        assert_eq!(texts("[1,"), Err((1, 3)));
    }

    #[test]
    fn a_message_is_below_the_daemons_limit() {
        let limit = usize::try_from(BODY_LIMIT_MAX.as_u64()).unwrap();
        let payload = |len: usize| Payload { file: "f".into(), ordinal: 1, body: vec![b' '; len].into() };
        assert!(payload(limit).fits_a_request() && !payload(limit + 1).fits_a_request());
        let mut payloads: Vec<_> = (0..999).map(|_| payload(262)).collect();
        payloads.extend([payload(limit), payload(limit)]);
        for payloads in batches(&payloads) {
            let request = ImportEventsRequest { payloads, ..ImportEventsRequest::default() };
            assert!(request.encoded_len() < 1024 * 1024 - 1024, "{}", request.encoded_len());
        }
    }

    #[test]
    fn a_batch_is_bounded_by_bytes_and_by_count() {
        let payload = |len: usize| Payload { file: "f".into(), ordinal: 1, body: vec![b' '; len].into() };
        let sizes = |payloads: &[Payload]| batches(payloads).map(|batch| batch.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        let small: Vec<_> = (0..2001).map(|_| payload(1)).collect();
        assert_eq!(sizes(&small), [1000, 1000, 1]);
        assert_eq!(sizes(&[payload(200 * 1024), payload(200 * 1024), payload(1)]), [2, 1]);
    }
}
