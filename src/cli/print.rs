//! The output of commands: lines, tables, canonical proto3 JSON, notes and errors.
//!
//! The only place that writes to stdout and stderr. A patient chooses much of the output, so every text is escaped
//! here: a terminal gets no character that it acts on or hides, or that reorders others.

use std::io::Write as _;
use std::sync::OnceLock;

use anyhow::Context as _;
use cleat::config::ConfigError;
use cleat::proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use tonic_types::StatusExt as _;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};
use unicode_width::UnicodeWidthChar as _;

use super::args::Output;

/// Maximum width of a table's cell, and of the padding of any cell.
const CELL_COLUMNS_MAX: usize = 60;

/// Marks where a cell is cut.
const ELLIPSIS: char = '…';

pub(super) fn line(text: &str) -> anyhow::Result<()> {
    raw_line(&escaped(text))
}

/// Prints one line of cells, each cut to the maximum width of a table's cell.
pub(super) fn row(cells: &[impl AsRef<str>]) -> anyhow::Result<()> {
    raw_line(&cells.iter().map(|cell| cut(&escaped(cell.as_ref()))).collect::<Vec<_>>().join("  "))
}

/// Prints a table with columns as wide as their widest cell. Long cells are cut.
fn table(rows: &[Vec<String>]) -> anyhow::Result<()> {
    print_aligned(rows, |cell| cut(&escaped(cell)))
}

/// Prints lines of cells at their full length.
fn facts(rows: &[Vec<String>]) -> anyhow::Result<()> {
    print_aligned(rows, escaped)
}

fn print_aligned(rows: &[Vec<String>], cell: impl Fn(&str) -> String) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    aligned(&rows).iter().try_for_each(|line| raw_line(line))
}

/// The rows of escaped cells as lines. A cell wider than [`CELL_COLUMNS_MAX`] shifts only the rest of its own row.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|at| width(at).min(CELL_COLUMNS_MAX)).collect();
    rows.iter().map(|row| padded(row, &widths)).collect()
}

fn padded(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, wanted) in row.iter().zip(widths) {
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', wanted.saturating_sub(width(cell)) + 2));
    }
    line.truncate(line.trim_end().len());
    line
}

/// The text with each dangerous character as an escape, like `\u{1b}` or `\n`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

/// Whether a character is a control, a format (such as those that set a direction), a separator of lines or paragraphs,
/// private or unassigned.
fn is_dangerous(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Other
        || matches!(c.general_category(), GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator)
}

/// An escaped text if it fits a cell, else its beginning and an ellipsis.
fn cut(text: &str) -> String {
    let mut end = 0;
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += columns(c);
        if taken > CELL_COLUMNS_MAX {
            let mut beginning = text[..end].to_owned();
            beginning.push(ELLIPSIS);
            return beginning;
        }
        // The ellipsis takes one column.
        if taken < CELL_COLUMNS_MAX {
            end = at + c.len_utf8();
        }
    }
    text.to_owned()
}

fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// Number of columns of a character. A combining mark counts as one, so that the marks in a cell are bounded.
fn columns(c: char) -> usize {
    c.width().unwrap_or(1).max(1)
}

/// A message as JSON. `name` is the message's full name, like `cleat.v1.Connection`.
pub(super) fn json(name: &str, message: &impl Message, pretty: bool) -> anyhow::Result<String> {
    let descriptor = api()?.get_message_by_name(name).with_context(|| format!("{name} is not in the API"))?;
    let message = DynamicMessage::decode(descriptor, &message.encode_to_vec()[..])?;
    let text = if pretty { serde_json::to_string_pretty(&message)? } else { serde_json::to_string(&message)? };
    Ok(escaped_json(&text))
}

/// JSON with each dangerous character as `\uXXXX`. Beyond ASCII these are in strings only. Those in ASCII are escaped
/// already, except DEL.
fn escaped_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c >= '\u{7f}' && is_dangerous(c) {
            escaped.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// The descriptors of the API. Decoded once: there may be millions of messages.
fn api() -> anyhow::Result<&'static DescriptorPool> {
    static API: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let read = || DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok();
    API.get_or_init(read).as_ref().context("the API's descriptors cannot be read")
}

/// Prints one message: as lines for a person, or as JSON.
pub(super) fn one<M: Message>(
    name: &str,
    message: &M,
    output: Output,
    lines: impl Fn(&M) -> Vec<Vec<String>>,
) -> anyhow::Result<()> {
    match output {
        Output::Table => facts(&lines(message)),
        Output::Json => raw_line(&json(name, message, true)?),
        Output::Ndjson => raw_line(&json(name, message, false)?),
    }
}

/// Prints several messages: as a table for a person, or as JSON.
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
            raw_line(&format!("[{}]", all.join(",\n ")))
        }
        Output::Ndjson => messages.iter().try_for_each(|message| raw_line(&json(name, message, false)?)),
    }
}

/// Prints a note on stderr, separate from the data.
pub(super) fn note(text: &str) {
    raw_note(&format!("cleat: {}\n", escaped(text)));
}

/// Prints an error with all its causes on stderr; for a refused call, its reason and message.
pub(super) fn error(error: &anyhow::Error) {
    if let Some(ConfigError::Invalid { file, problems }) = error.downcast_ref() {
        note(&format!("{file} cannot be used:"));
        for problem in problems {
            note(&format!("  {problem}"));
        }
        return;
    }
    let text = match error.downcast_ref::<tonic::Status>() {
        Some(status) => match status.get_error_details().error_info() {
            Some(info) => format!("{}: {}", info.reason, status.message()),
            None => format!("{:?}: {}", status.code(), status.message()),
        },
        None => format!("{error:#}"),
    };
    note(&text);
}

/// Prints a usage error on stderr. It quotes arguments, which may come from data. A line break in an argument is kept.
pub(super) fn usage(error: &clap::Error) {
    let text = error.render().to_string();
    let lines = text.lines().map(|line| escaped(line) + "\n");
    raw_note(&lines.collect::<String>());
}

fn raw_line(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

fn raw_note(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes())); // if stderr is gone, nothing can be reported
}

#[cfg(test)]
mod tests {
    use cleat::proto::Connection;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Any text, with many characters that a terminal acts on.
    fn texts() -> impl Strategy<Value = String> {
        let dangerous = "\u{0}\u{7}\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\
                         \u{202e}\u{2066}\u{2069}\u{feff}\u{e0001}\u{f0000}";
        let dangerous = proptest::sample::select(dangerous.chars().collect::<Vec<_>>());
        let harmless = proptest::sample::select("a \"\\é漢\u{301}".chars().collect::<Vec<_>>());
        vec(prop_oneof![any::<char>(), dangerous, harmless], 0..200).prop_map(String::from_iter)
    }

    /// Such characters, listed independently of the library.
    fn is_forbidden(c: char) -> bool {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}'..='\u{e007f}')
    }

    proptest! {
        #[test]
        fn no_text_brings_a_dangerous_character_or_a_row(rows in vec(vec(texts(), 3), 0..4)) {
            for cell in [cut_cell, escaped] {
                let cells: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
                let lines = aligned(&cells);
                prop_assert_eq!(lines.len(), rows.len());
                prop_assert!(!lines.concat().contains(is_forbidden), "{:?}", lines);
            }
        }

        #[test]
        fn a_cut_cell_is_bounded_and_begins_its_text(text in texts()) {
            let cell = cut_cell(&text);
            prop_assert!(width(&cell) <= CELL_COLUMNS_MAX);
            prop_assert!(escaped(&text).starts_with(cell.trim_end_matches(ELLIPSIS)) || text.contains(ELLIPSIS));
        }

        #[test]
        fn json_keeps_its_values_without_a_dangerous_character(text in texts(), pretty: bool) {
            let message = Connection { external_id: text.clone(), ..Connection::default() };
            let json = json("cleat.v1.Connection", &message, pretty).unwrap();
            prop_assert!(!json.contains(|c| c != '\n' && is_forbidden(c)), "{:?}", json);
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(value["externalId"].as_str().unwrap_or_default(), text);
        }
    }

    fn cut_cell(text: &str) -> String {
        cut(&escaped(text))
    }

    #[test]
    fn escapes_are_those_of_rust() {
        assert_eq!(escaped("a\n\u{1b}[31m\u{202e}\"\\é漢"), "a\\n\\u{1b}[31m\\u{202e}\"\\é漢");
        assert_eq!(escaped_json("\"\u{9b}\u{e0001}\u{7f}é\""), "\"\\u009b\\udb40\\udc01\\u007fé\"");
    }

    #[test]
    fn columns_are_aligned_and_a_long_fact_moves_no_other() {
        let lines = |rows: &[&[&str]]| {
            aligned(&rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect::<Vec<_>>())
        };
        assert_eq!(lines(&[&["a", "漢", "x"], &["bbb", "c", ""]]), ["a    漢  x", "bbb  c"]);
        let long = "x".repeat(70_000);
        assert_eq!(lines(&[&[&long, "y"], &["short", "z"]])[1], format!("short{}  z", " ".repeat(55)));
        assert_eq!(cut(&"x".repeat(60)), "x".repeat(60));
        assert_eq!(cut(&"x".repeat(61)), format!("{}…", "x".repeat(59)));
        assert_eq!(cut(&"漢".repeat(31)), format!("{}…", "漢".repeat(29)));
    }
}
