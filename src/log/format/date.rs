//! Converts dates of the form `YYYY-MM-DDTHH:MM:SSZ` to seconds since the epoch and back. A date that is parsed is
//! always printed the same again: stored bytes must not depend on a library's way of printing. Knows nothing of the
//! text around a date.

use crate::storage::DecodeError;

pub(super) const BYTES: usize = 20;
const FORM: &[u8; BYTES] = b"0000-00-00T00:00:00Z";
const DAY: i64 = 86_400;
/// Number of days in 400 years.
const ERA: i64 = 146_097;
/// Number of days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

/// Returns the seconds of a date. `None` if the text has another form, or names a time that does not exist.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let has_form = text.len() == BYTES
        && text.iter().zip(FORM).all(|(byte, form)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form });
    if !has_form {
        return None;
    }
    let number = |from: usize, to| text[from..to].iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let days = days(number(0, 4), number(5, 7), number(8, 10));
    let seconds = days * DAY + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
    let mut printed = Vec::with_capacity(BYTES);
    put(&mut printed, seconds).ok()?;
    (printed == text).then_some(seconds)
}

pub(super) fn put(out: &mut Vec<u8>, seconds: i64) -> Result<(), DecodeError> {
    let CivilDate { year, month, day } = civil(seconds.div_euclid(DAY));
    if !(0..10_000).contains(&year) {
        return Err(DecodeError("a date is out of range"));
    }
    let time = seconds.rem_euclid(DAY);
    let start = out.len();
    out.extend_from_slice(FORM);
    let mut digits = |from: usize, to: usize, mut number: i64| {
        for digit in out[start + from..start + to].iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
    };
    digits(0, 4, year);
    digits(5, 7, month);
    digits(8, 10, day);
    digits(11, 13, time / 3600);
    digits(14, 16, time / 60 % 60);
    digits(17, 19, time % 60);
    Ok(())
}

/// Returns the days since the epoch, in the proleptic Gregorian calendar. Years begin in March here, so that a leap day
/// is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS
}

/// Day of the proleptic Gregorian calendar.
struct CivilDate {
    year: i64,
    month: i64,
    day: i64,
}

/// Returns the date of a day since the epoch.
fn civil(days: i64) -> CivilDate {
    let days = days + EPOCH_DAYS;
    let era = days.div_euclid(ERA);
    let of_era = days.rem_euclid(ERA);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    CivilDate { year: year + era * 400 + i64::from(month <= 2), month, day }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in ["2026-00-01", "2026-13-01", "2026-02-29", "1900-02-29", "2026-04-31", "2026-04-00"] {
            assert_eq!(parse(format!("{text}T00:00:00Z").as_bytes()), None, "{text}");
        }
        for text in ["24:00:00", "23:60:00", "23:59:60"] {
            assert_eq!(parse(format!("2026-01-01T{text}Z").as_bytes()), None, "{text}");
        }
        for text in ["2026-01-01T00:00:00", "2026-01-01T00:00:00z", "2026-01-01t00:00:00Z", "+026-01-01T00:00:00Z"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert!(parse(b"2024-02-29T23:59:59Z").is_some() && parse(b"0000-01-01T00:00:00Z").is_some());
        for seconds in [i64::MIN, i64::MAX, -62_167_219_201, 253_402_300_800] {
            assert!(put(&mut Vec::new(), seconds).is_err(), "{seconds}");
        }
    }

    proptest! {
        #[test]
        fn a_date_is_the_one_that_jiff_knows(seconds in -62_167_219_200..=253_402_207_199_i64) {
            let mut text = Vec::new();
            put(&mut text, seconds).unwrap();
            let date = jiff::Timestamp::from_second(seconds).unwrap();
            prop_assert_eq!(String::from_utf8(text.clone()).unwrap(), date.to_string());
            prop_assert_eq!(parse(&text), Some(seconds));
        }
    }
}
