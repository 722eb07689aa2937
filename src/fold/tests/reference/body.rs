//! Owns the fields of a body, read from its bytes as one `serde_json::Value`. Knows no state.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::event::Timestamp;
use crate::event::{Link, Stats};

pub(super) struct Body {
    /// Type of the event. `""` if there is none.
    pub kind: String,
    date: Option<String>,
    fields: Map<String, Value>,
}

impl Body {
    /// Reads a body. `None` if it is not a JSON object.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let whole: Value = serde_json::from_slice(bytes).ok()?;
        let envelope = whole.as_object()?.clone();
        let kind = string(&envelope, "type").or(string(&envelope, "event_type")).unwrap_or_default();
        let date = string(&envelope, "date");
        let fields = match envelope.get("data") {
            Some(Value::Object(data)) => data.clone(),
            _ => envelope,
        };
        Some(Self { kind, date, fields })
    }

    pub fn text(&self, name: &str) -> Option<Arc<str>> {
        string(&self.fields, name).map(|text| kept(&text, 2048))
    }

    /// Returns an id: a text, or a number that is written with digits alone.
    pub fn id(&self, name: &str) -> Option<Arc<str>> {
        match self.fields.get(name) {
            Some(Value::Number(number)) if number.is_u64() => Some(number.to_string().into()),
            _ => self.text(name),
        }
    }

    /// Returns a date. `None` if it is absent, unreadable, or before the year 1, where the API's dates begin.
    pub fn date(&self, name: &str) -> Option<Timestamp> {
        instant(&string(&self.fields, name)?)
    }

    pub fn envelope_date(&self) -> Option<Timestamp> {
        instant(self.date.as_ref()?)
    }

    /// Returns the links of both fields as one list. Each field is a link or several, each link an object or a URL. The
    /// first link of a URL stays.
    pub fn links(&self) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        for name in ["download_links", "download_link"] {
            let values = match self.fields.get(name) {
                None => vec![],
                Some(Value::Array(several)) => several.clone(),
                Some(one) => vec![one.clone()],
            };
            for value in values {
                let fields = match value {
                    Value::Object(fields) => fields,
                    bare => Map::from_iter([("url".to_owned(), bare)]),
                };
                let Some(url) = string(&fields, "url") else { continue };
                if links.iter().any(|link| *link.url == *url) {
                    continue;
                }
                links.push(Link {
                    url: kept(&url, 16 * 1024),
                    export_type: string(&fields, "export_type").map(|text| kept(&text, 2048)),
                    content_type: string(&fields, "content_type").map(|text| kept(&text, 2048)),
                });
            }
        }
        links
    }

    /// Returns the stats. Figures that are no counts are left out.
    pub fn stats(&self) -> Option<Stats> {
        let Some(Value::Object(stats)) = self.fields.get("stats") else { return None };
        let mut by_type = BTreeMap::new();
        if let Some(Value::Object(counts)) = stats.get("total_by_resource_type") {
            for (resource_type, count) in counts {
                if let Some(count) = count.as_u64() {
                    by_type.insert(kept(resource_type, 2048).as_ref().to_owned(), count);
                }
            }
        }
        let total_resources = stats.get("total_resources").and_then(Value::as_u64);
        Some(Stats { total_resources, total_by_resource_type: by_type })
    }
}

/// Returns a text as it is kept. One that is too long keeps as much as fits before a mark and the digest of the whole
/// text.
fn kept(text: &str, bytes_max: usize) -> Arc<str> {
    if text.len() <= bytes_max {
        return text.into();
    }
    let end = format!("…cut sha256:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(text)));
    let mut first = String::new();
    for letter in text.chars() {
        if first.len() + letter.len_utf8() + end.len() > bytes_max {
            break;
        }
        first.push(letter);
    }
    (first + &end).into()
}

fn instant(date: &str) -> Option<Timestamp> {
    let date: jiff::Timestamp = date.parse().ok()?;
    let first: jiff::Timestamp = "0001-01-01T00:00:00Z".parse().unwrap();
    if date < first {
        return None;
    }
    Some(Timestamp::from_micros(date.as_microsecond()))
}

/// Returns a string field. `None` if it is `""` or not a string.
fn string(fields: &Map<String, Value>, name: &str) -> Option<String> {
    match fields.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}
