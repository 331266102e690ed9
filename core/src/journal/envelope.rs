//! How an envelope stands in the journal: as its own wire form.
//!
//! For `#[serde(with = "crate::journal::envelope")]`. The journal's encoding is
//! not self-describing and an envelope's JSON is, so the envelope goes in as
//! bytes and stays readable by newer versions.

use serde::{Deserialize, Deserializer, Serializer};

use crate::message::Envelope;

/// Writes the envelope's wire form as bytes.
///
/// # Errors
/// The serializer's own.
pub fn serialize<S: Serializer>(envelope: &Envelope, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(&envelope.encode())
}

/// Reads the envelope's wire form from bytes.
///
/// # Errors
/// The deserializer's own, or that the bytes are not an envelope.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Envelope, D::Error> {
    let bytes = Vec::<u8>::deserialize(deserializer)?;
    Envelope::decode(&bytes).map_err(serde::de::Error::custom)
}
