//! Values that TOML has no type for: durations ("5m"), sizes, permission bits, and addresses that may be Unix sockets.
//! Knows no key.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Looks up an environment variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Address on which a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(_) => Err(D::Error::custom("a path must follow `unix:`")),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                D::Error::custom("expected an address with a port, like 127.0.0.1:7481, or unix:/path/to/socket")
            }),
        }
    }
}

/// Reads a size, for `#[serde(deserialize_with)]`. The errors of `ByteSize` itself quote a part of the text, which may
/// be a secret.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom("expected a size: a number and B, KiB, MiB or GiB, like 256KiB"))
}

/// Reads a duration, for `#[serde(deserialize_with)]`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| D::Error::custom("expected a duration: digits and ms, s, m or h, like 300s"))
}

/// Reads permission bits, for `#[serde(deserialize_with)]`.
pub(super) fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_mode(&text).ok_or_else(|| D::Error::custom("expected permission bits: three or four octal digits, like 0660"))
}

fn parse_mode(text: &str) -> Option<u32> {
    if !(3..=4).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mode = u32::from_str_radix(text, 8).ok()?;
    (mode <= 0o777).then_some(mode)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let millis_each = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None; // u64 would read a plus sign.
    }
    digits.parse::<u64>().ok()?.checked_mul(millis_each).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_digits_and_one_unit() {
        assert_eq!(parse_duration("300s"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("2h"), Some(Duration::from_secs(7200)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
    }

    #[test]
    fn a_mode_is_three_or_four_octal_digits() {
        assert_eq!((parse_mode("0600"), parse_mode("660")), (Some(0o600), Some(0o660)));
        for text in ["", "60", "00600", "0o60", "+600", "0680", "1777", "4600"] {
            assert_eq!(parse_mode(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_text_of_any_other_form_is_no_duration() {
        for text in [
            "",
            "5",
            "s",
            "+5s",
            "-5s",
            "5 s",
            " 5s",
            "5S",
            "1.5s",
            "1h30m",
            "5d",
            "\u{665}s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }
}
