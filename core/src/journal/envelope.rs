//! How an [`Envelope`] stands in the journal: as its wire form, in bytes.
//!
//! The journal's own encoding has no room for the tagged and forward-compatible
//! forms of a message, so `#[serde(with = "crate::journal::envelope")]` puts the
//! JSON there that went over the wire.

use serde::{Deserialize, Deserializer, Serializer, de};

use crate::message::Envelope;

/// Writes the wire form as bytes.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(envelope: &Envelope, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(&envelope.encode())
}

/// Reads an envelope from the bytes of its wire form.
///
/// # Errors
/// Those of the deserializer, or that the bytes are no envelope.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Envelope, D::Error> {
    let bytes = Vec::<u8>::deserialize(deserializer)?;
    Envelope::decode(&bytes).map_err(de::Error::custom)
}
