//! The artifact directory's name.

use std::path::PathBuf;
use std::time::SystemTime;

/// `artifacts/<model>-<time>`, the time in UTC as `20250131T235959Z`. A
/// character of the model that is awkward in a file name becomes `_`; a model
/// that is not known yet is `model`.
#[must_use]
pub fn default_dir(model: Option<&str>, now: SystemTime) -> PathBuf {
    let model = file_name(model.unwrap_or("model"));
    let time = humantime::format_rfc3339_seconds(now).to_string().replace(['-', ':'], "");
    PathBuf::from("artifacts").join(format!("{model}-{time}"))
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

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

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
