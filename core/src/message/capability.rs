//! What a service can do, as it says when it registers.

use core::convert::Infallible;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::Domain;

/// A capability. The text form round-trips; a tag that this version does not
/// know is kept as it is and ignored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Capability {
    /// Takes a reading when a boundary asks for one.
    BaselineCollector,
    /// Hands in the result of a domain before the run may end.
    ResultProducer(Domain),
    /// Not known to this version.
    Unknown(String),
}

impl From<String> for Capability {
    fn from(text: String) -> Self {
        if text == "baseline_collector" {
            return Self::BaselineCollector;
        }
        match text.strip_prefix("result_producer:").map(str::parse) {
            Some(Ok(domain)) => Self::ResultProducer(domain),
            Some(Err(_)) | None => Self::Unknown(text),
        }
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.to_string()
    }
}

impl FromStr for Capability {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text.to_owned()))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BaselineCollector => f.write_str("baseline_collector"),
            Self::ResultProducer(domain) => write!(f, "result_producer:{domain}"),
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_domain_is_not_a_result_producer() {
        let parsed = Capability::from("result_producer:".to_owned());
        assert_eq!(parsed, Capability::Unknown("result_producer:".to_owned()));
    }

    proptest! {
        #[test]
        fn text_form_round_trips(text in "(baseline_collector|result_producer:[a-z_0-9]{0,8}|.{0,16})") {
            let parsed: Capability = text.parse().unwrap();
            prop_assert_eq!((parsed.to_string(), String::from(parsed)), (text.clone(), text));
        }
    }
}
