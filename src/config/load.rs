//! Reads and parses a configuration, and reports every problem. Knows no rule of a single key.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use super::permissions::Findings;
use super::sections::Config;
use super::value::Env;
use super::{check, permissions, secret};

/// The configuration used if no file is named: the development setup.
pub(super) const BUILT_IN: &str = include_str!("../../config.toml");
const BUILT_IN_NAME: &str = "the built-in config.toml";

/// Why a configuration cannot be used. Never shows the value of a string, which may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    /// The text is not TOML, a key is unknown, or a value is of the wrong type. Line and column count from 1.
    #[error("{file}:{line}:{column}: {message}")]
    Parse { file: String, line: usize, column: usize, message: String },
    /// Well-formed, but unusable. Every problem names its key.
    #[error("{file} cannot be used: {}", problems.join("; "))]
    Invalid { file: String, problems: Vec<String> },
}

impl Config {
    /// Reads the file, or the built-in configuration if none is named, and the secret files that it names. Blocks.
    pub fn load(path: Option<&Path>, env: Env<'_>) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Self::parse(BUILT_IN_NAME, BUILT_IN, env);
        };
        let name = path.display().to_string();
        let (opened, text) =
            permissions::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse_file(&name, &text, Some(&opened), env)
    }

    /// Parses `text`, which errors call `file`.
    pub fn parse(file: &str, text: &str, env: Env<'_>) -> Result<Self, ConfigError> {
        Self::parse_file(file, text, None, env)
    }

    /// Like [`Self::parse`], but also checks the permissions of `opened`. `None` if the text is not from a file.
    fn parse_file(file: &str, text: &str, opened: Option<&Metadata>, env: Env<'_>) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| parse_error(file, text, &error))?;
        config.data.complete(env);
        let mut findings = Findings::default();
        config.webhooks.gather_endpoints(env, &mut findings);
        if let Some(opened) = opened {
            findings.check_permissions("the file itself", opened, findings.inline_secrets);
        }
        // A directory that does not exist yet is created for its owner only.
        if let Ok(opened) = std::fs::metadata(config.data.directory()) {
            let path = config.data.directory().to_string_lossy();
            findings.check_permissions(&format!("data.directory: {}", secret::shown_path(&path)), &opened, true);
        }
        let mut problems = findings.problems;
        problems.extend(check::problems(&config, env));
        config.file_warnings = findings.warnings;
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid { file: file.to_owned(), problems }) }
    }

    /// Problems that do not prevent a run, but that the operator should know. Each names its key, none a secret.
    pub fn warnings(&self) -> Vec<String> {
        check::warnings(self).into_iter().chain(self.file_warnings.iter().cloned()).collect()
    }
}

/// Builds the parse error: with line and column, but without the line itself, which toml would print. It may hold a
/// secret.
fn parse_error(file: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    ConfigError::Parse {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before.chars().rev().take_while(|&c| c != '\n').count() + 1,
        message: without_value(error.message()),
    }
}

/// Removes quoted values from a message of serde. serde quotes a string of the wrong type
/// (`invalid type: string "...", expected a sequence`) and an unknown variant
/// (`unknown variant `...`, expected one of`). It quotes a key, too, which stays unless it looks like a secret.
fn without_value(message: &str) -> String {
    let cut = [(" string ", "\"", "\", expected "), (" variant ", "`", "`, expected ")].iter().find_map(
        |(what, open, close)| {
            let from = message.find(&format!("{what}{open}"))?;
            let to = message.rfind(close).filter(|to| from < *to)?;
            Some(format!("{}{}{}", &message[..from], what.trim_end(), &message[to + 1..]))
        },
    );
    secret::shown_words(&cut.unwrap_or_else(|| message.to_owned()))
}
