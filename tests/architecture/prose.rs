//! Checks the language of comments and documents: words that make a sentence hard to read are not used.

use std::path::Path;

use super::source;

/// In the order in which they follow each other.
const AVOIDED: [&str; 11] = [
    "told",
    "tell",
    "tells",
    "whoever",
    "anew",
    "so many",
    "held against",
    "at hand",
    "let go of",
    "lets go of",
    "letting go of",
];
/// Directories whose Rust files are read. The help texts of commands follow with the commands.
const SOURCES: [&str; 5] = ["src", "tests", "benches", "crates", "fuzz"];
const HELP_TEXTS: &str = "src/cli";
const DOCUMENTS: [&str; 4] = ["README.md", "docs", "config.toml", "CONTRIBUTING.md"];

#[test]
fn comments_and_documents_are_plain_english() {
    let mut found = Vec::new();
    for source in source::all(&SOURCES) {
        if source.path.starts_with(HELP_TEXTS) {
            continue;
        }
        let comments: Vec<_> = source.text.lines().map(|line| comment(line).unwrap_or_default()).collect();
        look(&source.path, &comments, &mut found);
    }
    for document in DOCUMENTS {
        look_in_document(&source::root().join(document), &mut found);
    }
    assert!(found.is_empty(), "{} lines:\n{}", found.len(), found.join("\n"));
}

/// The comment at the end of a line, or all of it.
fn comment(line: &str) -> Option<&str> {
    let (code, comment) = line.split_once("//")?;
    // Inside a string, as in an address.
    let is_text = code.matches('"').count() % 2 == 1;
    (!is_text).then(|| comment.trim_start_matches(['/', '!']).trim())
}

fn look_in_document(path: &Path, found: &mut Vec<String>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let documents = entries.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        return documents.for_each(|path| look_in_document(&path, found));
    }
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let mut is_code = false;
    let lines = text.lines().map(|line| {
        is_code ^= line.trim_start().starts_with("```");
        if is_code { "" } else { line }
    });
    look(&path.display().to_string(), &lines.collect::<Vec<_>>(), found);
}

/// Looks at lines without their inline code.
fn look(path: &str, lines: &[&str], found: &mut Vec<String>) {
    for (number, line) in (1..).zip(lines) {
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        let words: Vec<&str> =
            prose.split(|letter: char| !letter.is_alphabetic()).filter(|it| !it.is_empty()).collect();
        let is_avoided = |avoided: &&str| {
            let avoided: Vec<&str> = avoided.split(' ').collect();
            words.windows(avoided.len()).any(|part| part.iter().zip(&avoided).all(|(a, b)| a.eq_ignore_ascii_case(b)))
        };
        let begins_with_of = words.contains(&"Of").then_some(&"Of ...");
        found.extend(
            AVOIDED.iter().find(|it| is_avoided(it)).or(begins_with_of).map(|it| format!("{path}:{number}: {it}")),
        );
    }
}

#[test]
fn words_to_avoid_are_found_in_comments_and_not_in_code() {
    let found = |line: &str| {
        let mut found = Vec::new();
        look("x", &[comment(line).unwrap_or_default()], &mut found);
        found.len()
    };
    assert_eq!(found("let told = 1; // Counts what is told."), 1);
    assert_eq!(found("/// Of the last change."), 1);
    assert_eq!(found("    //! So many at once."), 1);
    assert_eq!(found(&format!("let told = {:?};", "https://told")), 0);
    assert_eq!(found("/// Calls `told` of [`Many`]. The position of the last change."), 0);
}
