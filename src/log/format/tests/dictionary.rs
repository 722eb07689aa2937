//! Dictionary 1: the samples that it is made of, and a check that it never changes.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::log::format::dictionary::BYTES;
use crate::log::format::packing::{pack, parse_uuid};

/// SHA-256 of the dictionary that records are compressed with now.
const SHA_256: &str = "2a42d800a9d625b5c9ab5fab9fd4e72f03df0ebfa5a49d01b708e1ef05568da0";

/// Seeds of the samples. The figures use other seeds.
const SEEDS: [u64; 4] = [101, 102, 103, 104];
const DELIVERIES: usize = 4000;
const FIXTURE_COPIES: usize = 1000;
const SIZE: usize = 8192;
/// Number of hex digits in a row that may be an id.
const ID_DIGITS: usize = 16;

fn fixtures() -> Vec<String> {
    let directory = format!("{}/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// Removes the space between values.
fn compact(json: &str) -> String {
    let mut compact = String::new();
    let mut is_in_text = false;
    let mut is_escaped = false;
    for character in json.chars() {
        is_in_text ^= character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        if is_in_text || !character.is_whitespace() {
            compact.push(character);
        }
    }
    compact
}

/// Packs a body, and cuts short any ids left in it.
fn sample(webhook_id: &str, body: &str) -> Vec<u8> {
    let organisation = parse_uuid(b"d0000000-0000-4000-8000-000000000014");
    let mut text = pack(format!("{webhook_id}{body}").as_bytes(), organisation, true).unwrap().text;
    let mut run = 0;
    text.retain(|byte| {
        run = if byte.is_ascii_hexdigit() { run + 1 } else { 0 };
        run < ID_DIGITS / 2
    });
    text
}

fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for delivery in SEEDS.into_iter().flat_map(|seed| deliveries(seed, DELIVERIES)) {
        samples.push(sample(&delivery.webhook_id, str::from_utf8(&delivery.body).unwrap()));
    }
    for fixture in fixtures() {
        let of_fixture = sample("0f8fad5b-d9cb-469f-a165-70867728950e", &compact(&fixture));
        samples.extend(std::iter::repeat_n(of_fixture, FIXTURE_COPIES));
    }
    samples
}

/// Makes the dictionary. A next dictionary needs a number and a file of its own, never these.
#[test]
#[ignore = "makes the dictionary"]
fn make_the_dictionary() {
    let dictionary = zstd::dict::from_samples(&samples(), SIZE).unwrap();
    let path = format!("{}/src/log/format/dictionary1.bin", env!("CARGO_MANIFEST_DIR"));
    std::fs::write(path, dictionary).unwrap();
}

#[test]
fn the_dictionary_is_the_one_that_has_its_number() {
    let digest = Sha256::digest(BYTES).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    assert_eq!(digest, SHA_256);
    assert!((2048..=8192).contains(&BYTES.len()));
}

#[test]
fn the_dictionary_holds_no_id_and_no_address_but_the_fixtures() {
    let is_id =
        |text: &&[u8]| text.iter().all(u8::is_ascii_hexdigit) || parse_uuid(&text.to_ascii_lowercase()).is_some();
    assert_eq!(BYTES.windows(ID_DIGITS).find(is_id), None);
    assert_eq!(BYTES.windows(36).find(is_id), None);
    let known = fixtures().concat();
    let texts = BYTES.split(|byte| !byte.is_ascii_graphic() || *byte == b'"').map(|text| str::from_utf8(text).unwrap());
    let addresses: Vec<_> =
        texts.filter(|text| text.split_once('@').is_some_and(|(_, host)| host.contains('.'))).collect();
    assert!(!addresses.is_empty() && addresses.iter().all(|address| known.contains(address)), "{addresses:?}");
}
