//! How the values of an answer are told to a person.

/// Empty if it is not told.
pub(super) fn time(at: Option<prost_types::Timestamp>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// Nothing is told of what is not so.
pub(super) fn yes(it: bool) -> String {
    if it { "yes".to_owned() } else { String::new() }
}

/// For a cell of a table, which may not be empty.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// One value of an enum, from its name in the API and what all names of that enum begin with.
pub(super) fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

/// What is told, a line a fact.
pub(super) fn facts<const N: usize>(facts: [(&str, String); N]) -> Vec<Vec<String>> {
    let told = facts.into_iter().filter(|(_, fact)| !fact.is_empty());
    told.map(|(name, fact)| vec![name.to_owned(), fact]).collect()
}
