//! What a command prints: lines, tables of words, canonical proto3 JSON, errors.

use std::io::Write as _;
use std::sync::OnceLock;

use anyhow::Context as _;
use cleat::proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use tonic_types::StatusExt as _;

use super::Output;

pub(super) fn line(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// Columns as wide as their widest cell.
pub(super) fn table(rows: &[Vec<String>]) -> anyhow::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().try_for_each(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        line(cells.collect::<Vec<_>>().join("  ").trim_end())
    })
}

/// `name` is the message's full name, like `cleat.v1.Connection`.
pub(super) fn json(name: &str, message: &impl Message, pretty: bool) -> anyhow::Result<String> {
    let descriptor = api()?.get_message_by_name(name).with_context(|| format!("{name} is not in the API"))?;
    let message = DynamicMessage::decode(descriptor, &message.encode_to_vec()[..])?;
    Ok(if pretty { serde_json::to_string_pretty(&message)? } else { serde_json::to_string(&message)? })
}

/// Read once: there may be millions of messages.
fn api() -> anyhow::Result<&'static DescriptorPool> {
    static API: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let read = || DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok();
    API.get_or_init(read).as_ref().context("the API's descriptors cannot be read")
}

/// One message: its lines for a person, or itself.
pub(super) fn one<M: Message>(
    name: &str,
    message: &M,
    output: Output,
    lines: impl Fn(&M) -> Vec<Vec<String>>,
) -> anyhow::Result<()> {
    match output {
        Output::Table => table(&lines(message)),
        Output::Json => line(&json(name, message, true)?),
        Output::Ndjson => line(&json(name, message, false)?),
    }
}

/// Several messages: a table for a person, or themselves.
pub(super) fn many<M: Message>(
    name: &str,
    messages: &[M],
    output: Output,
    header: &[&str],
    row: impl Fn(&M) -> Vec<String>,
) -> anyhow::Result<()> {
    match output {
        Output::Table => {
            let header = header.iter().map(|name| (*name).to_owned()).collect();
            table(&std::iter::once(header).chain(messages.iter().map(row)).collect::<Vec<_>>())
        }
        Output::Json => {
            let all = messages.iter().map(|message| json(name, message, false)).collect::<anyhow::Result<Vec<_>>>()?;
            line(&format!("[{}]", all.join(",\n ")))
        }
        Output::Ndjson => messages.iter().try_for_each(|message| line(&json(name, message, false)?)),
    }
}

/// Beside the data, on stderr.
pub(super) fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "cleat: {text}")); // if stderr is gone there is nobody to tell
}

/// The whole chain of causes, on stderr; of a refused call its reason as well.
pub(super) fn error(error: &anyhow::Error) {
    let text = match error.downcast_ref::<tonic::Status>() {
        Some(status) => match status.get_error_details().error_info() {
            Some(info) => format!("{}: {}", info.reason, status.message()),
            None => format!("{:?}: {}", status.code(), status.message()),
        },
        None => format!("{error:#}"),
    };
    note(&text);
}
