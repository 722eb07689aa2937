//! Text files that a person can read: a title, a format, lines, and a checksum of all before it. Knows no file's lines.
//!
//! ```text
//! <title>
//! format <n>
//! <lines>
//! crc32c <8 hex>
//! ```

use std::ops::RangeInclusive;

use super::file::Undecodable;

const NO_HEX: Undecodable = Undecodable::Damaged("a number is not in hexadecimal");

/// Adds title, format and checksum to `lines`, each of which ends with a newline.
pub fn seal(title: &str, format: u32, lines: &str) -> Vec<u8> {
    let mut text = format!("{title}\nformat {format}\n{lines}").into_bytes();
    let checksum = checksum(&text);
    text.extend(checksum.into_bytes());
    text
}

/// Returns the format, and the lines between it and the checksum. Fails unless the file is whole and of one of these
/// formats.
pub fn open<'a>(
    bytes: &'a [u8],
    title: &str,
    formats: RangeInclusive<u32>,
) -> Result<(u32, Vec<&'a str>), Undecodable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Undecodable::Damaged("it is not text"))?;
    let end = text.strip_suffix('\n').and_then(|rest| rest.rfind('\n')).map_or(0, |end| end + 1);
    let (body, last) = text.split_at(end);
    if last != checksum(body.as_bytes()) {
        return Err(Undecodable::Damaged("its checksum is wrong"));
    }
    let mut lines = body.lines();
    if lines.next() != Some(title) {
        return Err(Undecodable::Damaged("its title is wrong"));
    }
    let found = lines.next().and_then(|line| line.strip_prefix("format ")?.parse::<u32>().ok());
    let lines: Vec<&str> = lines.collect();
    match found {
        Some(found) if formats.contains(&found) => Ok((found, lines)),
        Some(found) if found > *formats.end() => Err(Undecodable::Newer { format: found, made_by: made_by(&lines) }),
        _ => Err(Undecodable::Damaged("it has an unknown format")),
    }
}

/// Returns the version of cleat that a file names. `None` if it names none, or one with control characters.
pub fn made_by(lines: &[&str]) -> Option<String> {
    let version = lines.iter().find_map(|line| line.strip_prefix("made by cleat "))?;
    if version.chars().any(char::is_control) { None } else { Some(version.to_owned()) }
}

pub fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Decodes exactly N bytes from hexadecimal digits.
pub fn hex<const N: usize>(text: &str) -> Result<[u8; N], Undecodable> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(NO_HEX);
    }
    let mut out = [0; N];
    for (index, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| NO_HEX)?;
    }
    Ok(out)
}

fn checksum(body: &[u8]) -> String {
    format!("crc32c {:08x}\n", crc32c::crc32c(body))
}
