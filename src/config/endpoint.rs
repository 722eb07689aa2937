//! One webhook endpoint: as written in the file, and as used, with its secrets read from their sources.
//!
//! Problems name the endpoint and the secret's label, never a value.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::permissions::{self, Findings};
use super::secret::{Secret, shown, shown_path};
use super::value::Env;
use crate::event::ApiMode;

/// One path under `/webhooks/`, with its tenant and the secrets that may sign for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    pub tenant: String,
    /// `None` if the endpoint takes both modes.
    pub api_mode: Option<ApiMode>,
    /// 1 to 16 secrets with unique labels.
    pub secrets: Vec<Secret>,
}

/// An endpoint as written in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    name: String,
    #[serde(default = "default_tenant")]
    tenant: String,
    #[serde(default)]
    api_mode: WrittenMode,
    #[serde(default)]
    secrets: Vec<InlineSecret>,
    #[serde(default)]
    secret_files: Vec<PathBuf>,
    #[serde(default)]
    secret_credentials: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenMode {
    #[default]
    Any,
    Live,
    Test,
}

/// A secret as written in the file. Has its own `Deserialize`: an untagged enum would make a copy that is never wiped.
enum InlineSecret {
    Plain(Zeroizing<String>),
    Labelled(Labelled),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Labelled {
    label: String,
    secret: Zeroizing<String>,
}

struct InlineSecretVisitor;

impl<'de> Visitor<'de> for InlineSecretVisitor {
    type Value = InlineSecret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret, either a string or { label = \"...\", secret = \"...\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<InlineSecret, E> {
        Ok(InlineSecret::Plain(Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<InlineSecret, E> {
        Ok(InlineSecret::Plain(Zeroizing::new(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<InlineSecret, A::Error> {
        Labelled::deserialize(MapAccessDeserializer::new(map)).map(InlineSecret::Labelled)
    }
}

impl<'de> Deserialize<'de> for InlineSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InlineSecretVisitor)
    }
}

impl fmt::Debug for InlineSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Written {
    pub(super) fn gather(self, env: Env<'_>, findings: &mut Findings) -> Endpoint {
        let mut gathered = Gathered { endpoint: &self.name, secrets: Vec::new(), findings };
        gathered.add_inline(self.secrets);
        for path in &self.secret_files {
            gathered.add_file(path);
        }
        for name in &self.secret_credentials {
            gathered.add_credential(name, env);
        }
        let secrets = gathered.secrets;
        let api_mode = match self.api_mode {
            WrittenMode::Any => None,
            WrittenMode::Live => Some(ApiMode::Live),
            WrittenMode::Test => Some(ApiMode::Test),
        };
        Endpoint { name: self.name, tenant: self.tenant, api_mode, secrets }
    }
}

/// Collects the secrets of one endpoint.
struct Gathered<'a> {
    endpoint: &'a str,
    secrets: Vec<Secret>,
    findings: &'a mut Findings,
}

impl Gathered<'_> {
    fn add_inline(&mut self, written: Vec<InlineSecret>) {
        let before = self.secrets.len();
        for (index, secret) in written.into_iter().enumerate() {
            match secret {
                InlineSecret::Plain(text) => self.add(&(index + 1).to_string(), &text),
                InlineSecret::Labelled(Labelled { label, secret }) => self.add(&label, &secret),
            }
        }
        self.findings.inline_secrets |= self.secrets[before..].iter().any(|secret| !secret.is_development());
    }

    /// Adds the secret in a file. The label is the file's name.
    fn add_file(&mut self, path: &Path) {
        let label = path.file_name().unwrap_or_default().to_string_lossy();
        let shown_file = path.to_string_lossy();
        let shown_file = shown_path(&shown_file);
        match permissions::read(path) {
            Ok((opened, text)) => {
                self.add(&label, text.strip_suffix('\n').unwrap_or(&text));
                let name = self.name(&label);
                self.findings.check_permissions(&format!("{name} in {shown_file}"), &opened, true);
            }
            Err(error) => {
                // A misplaced secret may contain a slash. Then the label is only its last part.
                let label = if path.as_os_str() == shown_file { &*label } else { shown_file };
                self.add_problem(label, format_args!("cannot be read from {shown_file}: {error}"));
            }
        }
    }

    /// Adds the secret in a credential. The label is the credential's name.
    fn add_credential(&mut self, name: &str, env: Env<'_>) {
        let Some(directory) = env("CREDENTIALS_DIRECTORY") else {
            return self.add_problem(name, format_args!("is a credential, but $CREDENTIALS_DIRECTORY is not set"));
        };
        if name.is_empty() || name.contains('/') {
            return self.add_problem(name, format_args!("is not the name of a credential"));
        }
        self.add_file(&Path::new(&directory).join(name));
    }

    fn add(&mut self, label: &str, text: &str) {
        match Secret::decode(label, text) {
            Ok(secret) => self.secrets.push(secret),
            Err(error) => self.add_problem(label, format_args!("{error}")),
        }
    }

    fn add_problem(&mut self, label: &str, what: fmt::Arguments<'_>) {
        let name = self.name(label);
        self.findings.problems.push(format!("{name} {what}"));
    }

    /// The name of a secret in messages.
    fn name(&self, label: &str) -> String {
        format!("webhooks.endpoints: \"{}\": secret \"{}\"", shown(self.endpoint), shown(label))
    }
}

fn default_tenant() -> String {
    "default".to_owned()
}
