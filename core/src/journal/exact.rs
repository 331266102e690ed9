//! A floating-point number that comes back from JSON bit for bit.
//!
//! JSON has no infinity, and its readers may miss the last bit of a number with
//! many digits; a plan that is read from a journal must give the same planned
//! times to the nanosecond. Whatever a reader would not bring back is written
//! as text, which Rust reads exactly.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number, or its text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Number(f64),
    Text(String),
}

/// Writes a number, or its text where a reader might not bring it back.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let survives = serde_json::to_string(value)
        .and_then(|text| serde_json::from_str::<f64>(&text))
        .is_ok_and(|back| back.to_bits() == value.to_bits());
    let form = if survives { Form::Number(*value) } else { Form::Text(value.to_string()) };
    form.serialize(serializer)
}

/// Reads either form.
///
/// # Errors
/// Those of the deserializer, or that the text is no number.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match Form::deserialize(deserializer)? {
        Form::Number(value) => Ok(value),
        Form::Text(text) => text
            .parse()
            .map_err(|_| de::Error::custom(format_args!("{text:?} is not a number, nor inf"))),
    }
}

/// The same for a number that may not be there.
pub mod option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Exact(#[serde(with = "super")] f64);

    /// Writes the number, if it is there.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Exact).serialize(serializer)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Those of the deserializer, or that the text is no number.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Exact>::deserialize(d)?.map(|exact| exact.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use crate::plan::{Arrival, ArrivalProcess};

    fn round_trip(rate: f64, shape: f64) -> (f64, f64) {
        let process = ArrivalProcess::Gamma { shape };
        let arrival = Arrival::Rate { rate, process, max_concurrency: None };
        let json = serde_json::to_string(&arrival).unwrap();
        let back = serde_json::from_str(&json).unwrap();
        let Arrival::Rate { rate, process: ArrivalProcess::Gamma { shape }, .. } = back else {
            panic!("{back:?} from {json}");
        };
        (rate, shape)
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        #[serde(with = "crate::journal::exact")]
        one: f64,
        #[serde(with = "crate::journal::exact::option")]
        other: Option<f64>,
    }

    #[test]
    fn a_number_is_written_as_one_unless_it_would_not_come_back() {
        for (value, number) in [(0.5, true), (3.0, true), (f64::INFINITY, false)] {
            let both = Both { one: value, other: Some(value) };
            let json = serde_json::to_value(&both).unwrap();
            let written = [&json["one"], &json["other"]].map(|written| written.is_number());
            assert_eq!(written, [number; 2], "{json}");
            assert_eq!(serde_json::from_value::<Both>(json).unwrap(), both);
        }
        let none = Both { one: 0.0, other: None };
        let json = serde_json::to_string(&none).unwrap();
        assert_eq!(serde_json::from_str::<Both>(&json).unwrap(), none);
        assert!(serde_json::from_str::<Both>(r#"{"one":"many","other":null}"#).is_err());
    }

    #[test]
    fn an_infinite_rate_survives_json() {
        assert_eq!(round_trip(f64::INFINITY, 0.5), (f64::INFINITY, 0.5));
    }

    proptest! {
        #[test]
        fn every_rate_survives_json_bit_for_bit(
            rate in prop::num::f64::POSITIVE,
            shape in prop::num::f64::NORMAL,
        ) {
            prop_assert_eq!(round_trip(rate, shape), (rate, shape));
        }
    }
}
