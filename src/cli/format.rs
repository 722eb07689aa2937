//! Formats the values of an answer for a person.

/// A time. Empty if there is none.
pub(super) fn time(at: Option<prost_types::Timestamp>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// `yes`, or empty.
pub(super) fn yes(flag: bool) -> String {
    if flag { "yes".to_owned() } else { String::new() }
}

/// A position. Empty if it is 0, which stands for none.
pub(super) fn position(position: u64) -> String {
    if position > 0 { position.to_string() } else { String::new() }
}

/// The text, or `-` if it is empty: a cell of a table may not be empty.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// The word for a value of an enum, from its name in the API and the common prefix of the enum's names.
pub(super) fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

/// The facts that are not empty, one a line.
pub(super) fn facts<const N: usize>(facts: [(&str, String); N]) -> Vec<Vec<String>> {
    let present = facts.into_iter().filter(|(_, fact)| !fact.is_empty());
    present.map(|(name, fact)| vec![name.to_owned(), fact]).collect()
}
