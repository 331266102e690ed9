//! The artifact directory's name.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// `artifacts/<model>-<time>`, the time in UTC as `20250131T235959Z`. A
/// character of the model that is awkward in a file name becomes `_`; a model
/// that is not known yet is `model`.
#[must_use]
pub fn default_dir(model: Option<&str>, now: SystemTime) -> PathBuf {
    let seconds = now.duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default();
    let model = file_name(model.unwrap_or("model"));
    PathBuf::from("artifacts").join(format!("{model}-{}", compact_utc(seconds)))
}

/// [`default_dir`] with `<time>`, and `<model>` if that is not known.
#[must_use]
pub fn pattern(model: Option<&str>) -> String {
    format!("artifacts/{}-<time>", model.map_or_else(|| "<model>".to_owned(), file_name))
}

fn file_name(model: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' };
    model.chars().take(80).map(plain).collect()
}

/// Seconds since 1970 as a compact ISO 8601 time.
fn compact_utc(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let second = seconds % 86_400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Days since 1970 as year, month and day of the Gregorian calendar: Howard
/// Hinnant's `civil_from_days`, for days that are not negative.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(compact_utc(0), "19700101T000000Z");
        assert_eq!(compact_utc(951_782_399), "20000228T235959Z");
        assert_eq!(compact_utc(951_782_400), "20000229T000000Z");
        assert_eq!(compact_utc(1_735_689_599), "20241231T235959Z");
    }

    #[test]
    fn a_model_with_slashes_is_one_directory() {
        let dir = default_dir(Some("meta/Llama 3:8b"), UNIX_EPOCH);
        assert_eq!(dir, PathBuf::from("artifacts/meta_Llama_3_8b-19700101T000000Z"));
        assert_eq!(
            default_dir(None, UNIX_EPOCH),
            PathBuf::from("artifacts/model-19700101T000000Z")
        );
    }
}
