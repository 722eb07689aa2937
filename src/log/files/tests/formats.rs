//! `CLEAT`, `EPOCHS`, `SECRET` and the anchor: the bytes written are read back, or reading is an error. A newer format
//! has its own error.

use std::fs;

use tempfile::tempdir;
use zeroize::Zeroizing;

use super::{flips, mode, witness};
use crate::log::files::anchor::{self, AnchorFile, AnchorRead};
use crate::log::files::cleat_file::{self, CleatFile};
use crate::log::files::epochs::{self, Epoch, Epochs, EpochsError};
use crate::log::files::file::{FileError, Undecodable};
use crate::log::files::secret::{self, LogSecret, SecretRead};
use crate::log::files::witness::WitnessSlot;
use crate::log::files::{sector, text};

fn cleat() -> CleatFile {
    CleatFile { format: 3, log_id: 0xfeed_0000_0000_0000_0000_0000_0000_beef, made_by: "0.1.0-rc.1+x".into() }
}

fn first_epoch() -> Epoch {
    Epoch { id: 9, from: 1, before: [0xab; 32] }
}

fn epochs() -> Epochs {
    let second = Epoch { id: u128::MAX, from: u64::MAX, before: [0; 32] };
    let third = Epoch { id: 1, ..second };
    Epochs::new(vec![first_epoch(), second, third]).unwrap()
}

fn log_secret() -> LogSecret {
    let mut key = Zeroizing::new([0; 32]);
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::try_from(index).unwrap();
    }
    LogSecret { generation: 3, key }
}

fn is_damaged<T>(result: &Result<T, Undecodable>) -> bool {
    matches!(result, Err(Undecodable::Damaged(_)))
}

/// Checks that every flipped bit, every cut and an added byte of a text file is damage.
fn assert_text_is_checked<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, Undecodable>) {
    assert!(decode(bytes).is_ok());
    for (at, flipped) in flips(bytes) {
        assert!(is_damaged(&decode(&flipped)), "a bit at {at}");
    }
    for length in 0..bytes.len() {
        assert!(is_damaged(&decode(&bytes[..length])), "cut at {length}");
    }
    assert!(is_damaged(&decode(&[bytes, b"\n"].concat())));
}

#[test]
fn cleat_file_is_a_text_that_is_read_back() {
    let text = String::from_utf8(cleat().encode()).unwrap();
    let body =
        "cleat data directory\nformat 3\nlog feed000000000000000000000000beef\nmade by cleat 0.1.0-rc.1+x\ncrc32c ";
    assert!(text.starts_with(body) && text.len() == body.len() + 9, "{text}");
    assert_eq!(CleatFile::decode(text.as_bytes()), Ok(cleat()));
}

#[test]
fn cleat_file_with_any_change_is_damaged() {
    assert_text_is_checked(&cleat().encode(), CleatFile::decode);
}

#[test]
fn cleat_file_of_a_version_with_control_characters_stays_whole() {
    let file = CleatFile { made_by: "1\n2\x1b[31m".into(), ..cleat() };
    assert_eq!(CleatFile::decode(&file.encode()).unwrap().made_by, "12[31m");
}

#[test]
fn cleat_file_of_a_newer_format_is_refused_by_name() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("CLEAT");
    let newer = text::seal("cleat data directory", 4, "something else\nmade by cleat 9.8.7\n");
    fs::write(&path, &newer).unwrap();
    let error = cleat_file::read(&path).unwrap_err();
    assert!(error.to_string().ends_with("has format 4, which a newer version of cleat wrote: cleat 9.8.7"), "{error}");
    assert!(matches!(error, FileError::Newer { format: 4, made_by: Some(version), .. } if version == "9.8.7"));
    for (at, flipped) in flips(&newer) {
        assert!(is_damaged(&CleatFile::decode(&flipped)), "a bit at {at}");
    }
}

#[test]
fn cleat_file_that_is_whole_but_wrong_is_damaged() {
    for (title, format, lines) in [
        ("cleat data directory", 1, "log 00\n"),
        ("cleat data directory", 2, ""),
        ("cleat data directory", 2, "log feed000000000000000000000000BEEF\nmade by cleat 1\n"),
        ("cleat data directory", 2, "log feed000000000000000000000000beef\nmade by cleat 1\nmore\n"),
        ("cleat epochs", 2, "log feed000000000000000000000000beef\nmade by cleat 1\n"),
    ] {
        assert!(is_damaged(&CleatFile::decode(&text::seal(title, format, lines))), "{title} {format} {lines}");
    }
}

#[test]
fn text_files_that_are_missing_say_so() {
    let directory = tempdir().unwrap();
    assert!(matches!(cleat_file::read(&directory.path().join("CLEAT")), Err(FileError::Missing { .. })));
    assert!(matches!(epochs::read(&directory.path().join("EPOCHS")), Err(FileError::Missing { .. })));
}

#[test]
fn text_files_are_replaced_whole_and_private() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("EPOCHS");
    fs::write(directory.path().join("EPOCHS.new"), "what a crash left, with another mode").unwrap();
    epochs::write(&path, &epochs()).unwrap();
    assert_eq!(epochs::read(&path).unwrap(), epochs());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn epochs_are_read_back_and_any_change_is_damage() {
    assert_eq!(Epochs::decode(&epochs().encode()), Ok(epochs()));
    assert_text_is_checked(&epochs().encode(), Epochs::decode);
}

#[test]
fn epochs_of_a_newer_format_are_refused_by_name() {
    let newer = text::seal("cleat epochs", 2, "");
    assert!(matches!(Epochs::decode(&newer), Err(Undecodable::Newer { format: 2, made_by: None })));
}

#[test]
fn epochs_are_at_least_one_and_in_order() {
    let one = first_epoch();
    let at_zero = Epoch { from: 0, ..one };
    let later = Epoch { id: 8, from: 5, ..one };
    assert_eq!(Epochs::new(vec![]), Err(EpochsError::None));
    assert_eq!(Epochs::new(vec![at_zero]), Err(EpochsError::Order));
    assert_eq!(Epochs::new(vec![later, one]), Err(EpochsError::Order));
    assert_eq!(Epochs::new(vec![one, Epoch { from: 5, ..one }]), Err(EpochsError::Repeated));
    let epochs = Epochs::new(vec![one, later]).unwrap();
    let held_by = [0, 1, 4, 5, u64::MAX].map(|position| epochs.of(position).map(|epoch| epoch.id));
    assert_eq!(held_by, [None, Some(9), Some(9), Some(8), Some(8)]);
    assert_eq!(epochs.last(), &later);
    let forged = text::seal("cleat epochs", 1, "");
    assert!(is_damaged(&Epochs::decode(&forged)));
}

#[test]
fn secret_is_written_twice_and_private() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("SECRET");
    assert_eq!(secret::read(&path).unwrap(), SecretRead::Missing);
    secret::write(&path, &log_secret()).unwrap();
    assert_eq!(secret::read(&path).unwrap(), SecretRead::Whole(log_secret()));
    assert_eq!(mode(&path), 0o600);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes[..4096], bytes[4096..]);
}

fn secret_bytes() -> Vec<u8> {
    let directory = tempdir().unwrap();
    let path = directory.path().join("SECRET");
    secret::write(&path, &log_secret()).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn secret_with_any_one_bit_flipped_is_read_and_called_damaged() {
    for (at, flipped) in flips(&secret_bytes()) {
        assert_eq!(secret::decode(&flipped), SecretRead::Damaged(log_secret()), "a bit at {at}");
    }
}

#[test]
fn secret_that_is_cut_is_never_called_whole() {
    let bytes = secret_bytes();
    for length in 0..bytes.len() {
        let expected = if length < 512 { SecretRead::Lost } else { SecretRead::Damaged(log_secret()) };
        assert_eq!(secret::decode(&bytes[..length]), expected, "cut at {length}");
    }
    assert_eq!(secret::decode(&[&bytes[..], b"x"].concat()), SecretRead::Damaged(log_secret()));
}

#[test]
fn secret_with_both_copies_damaged_or_different_is_lost() {
    let mut bytes = secret_bytes();
    bytes[20] ^= 1;
    bytes[4096 + 20] ^= 1;
    assert_eq!(secret::decode(&bytes), SecretRead::Lost);
    let other = sector::seal(*b"cleatkey", 1, &[[0, 0, 0, 3].as_slice(), &[5; 32]].concat());
    let mut bytes = secret_bytes();
    bytes[4096..4096 + 512].copy_from_slice(&other);
    assert_eq!(secret::decode(&bytes), SecretRead::Lost);
}

#[test]
fn secret_of_a_newer_format_is_refused_by_name() {
    let mut bytes = secret_bytes();
    let newer = sector::seal(*b"cleatkey", 2, b"another layout");
    bytes[4096..4096 + 512].copy_from_slice(&newer);
    assert_eq!(secret::decode(&bytes), SecretRead::Newer { format: 2 });
    bytes[4096 + 8] = 3;
    assert_eq!(secret::decode(&bytes), SecretRead::Damaged(log_secret()));
}

#[test]
fn secret_is_never_printed() {
    assert_eq!(format!("{:?}", log_secret()), "LogSecret { generation: 3, .. }");
}

/// Expected bytes come from Python's `hmac`.
#[test]
fn keyed_digest_is_hmac_over_prefixed_parts() {
    let keyed = log_secret().keyed(b"conflict", &[&42_u64.to_be_bytes(), b"abc"]);
    assert_eq!(text::to_hex(&keyed), "84bbe00ab3db6af652480cc27060bfad");
}

#[test]
fn keyed_digest_of_parts_depends_on_where_they_are_cut() {
    let secret = log_secret();
    let forms: [(&[u8], &[&[u8]]); 6] = [
        (b"ab", &[b"c"]),
        (b"a", &[b"bc"]),
        (b"abc", &[]),
        (b"ab", &[b"c", b""]),
        (b"ab", &[b"", b"c"]),
        (b"", &[b"abc"]),
    ];
    for (index, (label, parts)) in forms.iter().enumerate() {
        for (other_label, other_parts) in &forms[..index] {
            assert_ne!(secret.keyed(label, parts), secret.keyed(other_label, other_parts));
        }
    }
}

#[test]
fn anchor_is_renewed_whole_and_read_back() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("data.anchor");
    assert_eq!(anchor::read(&path).unwrap(), AnchorRead::Missing);
    let mut file = AnchorFile::new(path.clone());
    for position in [4, 5] {
        assert!(file.renew(&WitnessSlot { number: position, witness: witness(position) }));
        assert_eq!(anchor::read(&path).unwrap(), AnchorRead::Whole(witness(position)));
    }
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn anchor_with_any_change_is_damaged_and_a_newer_one_named() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("data.anchor");
    let bytes = WitnessSlot { number: 9, witness: witness(8) }.encode();
    let cuts = (0..bytes.len()).map(|length| bytes[..length].to_vec());
    let longer = [&bytes[..], b"\0"].concat();
    for changed in flips(&bytes).step_by(7).map(|(_, flipped)| flipped).chain(cuts).chain([longer]) {
        fs::write(&path, changed).unwrap();
        assert!(matches!(anchor::read(&path).unwrap(), AnchorRead::Damaged(_)));
    }
    fs::write(&path, sector::seal(*b"cleatwit", 4, b"")).unwrap();
    assert_eq!(anchor::read(&path).unwrap(), AnchorRead::Newer { format: 4 });
}

#[test]
fn anchor_that_cannot_be_written_works_again_later() {
    let directory = tempdir().unwrap();
    let volume = directory.path().join("not mounted");
    let mut file = AnchorFile::new(volume.join("data.anchor"));
    let slot = WitnessSlot { number: 1, witness: witness(1) };
    assert!(!file.renew(&slot) && !file.renew(&slot));
    fs::create_dir(&volume).unwrap();
    assert!(file.renew(&slot));
}
