//! The configuration: what the operator wrote, parsed, completed with defaults, checked, secrets gathered.
//!
//! Plain data: it starts nothing and knows no other module but the words of `event`. The environment is handed in as
//! a lookup. `config.toml` at the root documents every key and is compiled in; a test holds it to this code.

mod check;
mod endpoint;
mod exposure;
mod permissions;
mod ranges;
mod secret;
mod sections;
#[cfg(test)]
mod tests;
mod value;

use std::ffi::OsString;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use endpoint::Endpoint;
use permissions::Findings;
pub use secret::{DEVELOPMENT_SECRET, Secret};
pub use sections::{
    BODY_LIMIT_MAX, Data, Grpc, Log, Operations, REQUEST_BYTES, Shutdown, Unauthenticated, Views, Webhooks,
};
pub use value::Listen;

/// The configuration that holds when no file is named: the development set-up.
const BUILT_IN: &str = include_str!("../config.toml");
const BUILT_IN_NAME: &str = "the built-in config.toml";

/// Looks up an environment variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// All of it. One field a section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub data: Data,
    pub webhooks: Webhooks,
    pub grpc: Grpc,
    pub operations: Operations,
    pub log: Log,
    pub views: Views,
    pub shutdown: Shutdown,
    /// About files, as they were when they were read.
    #[serde(skip)]
    file_warnings: Vec<String>,
}

/// Why there is no configuration. Never shows the value of a string, which may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    /// The text is not TOML, a key is unknown, or a value is of the wrong type. Line and column count from 1.
    #[error("{file}:{line}:{column}: {message}")]
    Parse { file: String, line: usize, column: usize, message: String },
    /// Well-formed, but it cannot be run with. Every problem names its key.
    #[error("{file} cannot be used: {}", problems.join("; "))]
    Invalid { file: String, problems: Vec<String> },
}

impl Config {
    /// Reads the file, or what is built in if there is none, and the secret files that it names. Blocking.
    pub fn load(path: Option<&Path>, env: Env<'_>) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Self::parse(BUILT_IN_NAME, BUILT_IN, env);
        };
        let name = path.display().to_string();
        let (opened, text) =
            permissions::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse_file(&name, &text, Some(&opened), env)
    }

    /// `file` is what errors call the text.
    pub fn parse(file: &str, text: &str, env: Env<'_>) -> Result<Self, ConfigError> {
        Self::parse_file(file, text, None, env)
    }

    /// `opened` is `None` if the text comes from no file.
    fn parse_file(file: &str, text: &str, opened: Option<&Metadata>, env: Env<'_>) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| located(file, text, &error))?;
        config.data.complete(env);
        let mut findings = Findings::default();
        config.webhooks.gather_endpoints(env, &mut findings);
        if let Some(opened) = opened {
            findings.check_permissions("the file itself", opened, findings.inline_secrets);
        }
        // A directory that is not there yet is made for nobody else to read.
        if let Ok(opened) = std::fs::metadata(config.data.directory()) {
            let path = config.data.directory().to_string_lossy();
            findings.check_permissions(&format!("data.directory: {}", secret::shown_path(&path)), &opened, true);
        }
        let mut problems = findings.problems;
        problems.extend(check::problems(&config, env));
        config.file_warnings = findings.warnings;
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid { file: file.to_owned(), problems }) }
    }

    /// What can be run with, but the operator should know. Each names its key, none a secret.
    pub fn warnings(&self) -> Vec<String> {
        exposure::warnings(self).into_iter().chain(self.file_warnings.iter().cloned()).collect()
    }
}

/// Without the line itself, which toml would print: it may hold a secret.
fn located(file: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    ConfigError::Parse {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before.chars().rev().take_while(|&c| c != '\n').count() + 1,
        message: without_value(error.message()),
    }
}

/// Serde quotes a string of the wrong type (`invalid type: string "...", expected a sequence`) and one that is none of the
/// words it may be (`unknown variant `...`, expected one of`). A key is quoted too, and shown unless it looks like a secret.
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
