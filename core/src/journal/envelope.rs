<<<<<<< HEAD
//! How an [`Envelope`] stands in the journal: as its wire form, in bytes.
//!
//! The journal's own encoding has no room for the tagged and forward-compatible
//! forms of a message, so `#[serde(with = "crate::journal::envelope")]` puts the
//! JSON there that went over the wire.

use serde::{Deserialize, Deserializer, Serializer, de};
=======
//! An envelope inside a journal frame: its own JSON wire form as bytes, because
//! internally tagged messages cannot pass through a format that is not
//! self-describing.

use core::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};
>>>>>>> w/conductor

use crate::message::Envelope;

/// Writes the wire form as bytes.
///
/// # Errors
<<<<<<< HEAD
/// Those of the serializer.
=======
/// Whatever the format reports.
>>>>>>> w/conductor
pub fn serialize<S: Serializer>(envelope: &Envelope, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(&envelope.encode())
}

<<<<<<< HEAD
/// Reads an envelope from the bytes of its wire form.
///
/// # Errors
/// Those of the deserializer, or that the bytes are no envelope.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Envelope, D::Error> {
    let bytes = Vec::<u8>::deserialize(deserializer)?;
    Envelope::decode(&bytes).map_err(de::Error::custom)
=======
/// Reads the wire form from bytes.
///
/// # Errors
/// If the bytes are not an envelope's wire form.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Envelope, D::Error> {
    struct Bytes;
    impl<'de> Visitor<'de> for Bytes {
        type Value = Envelope;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the JSON bytes of an envelope")
        }
        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Envelope, E> {
            Envelope::decode(bytes).map_err(E::custom)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Envelope, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = seq.next_element::<u8>()? {
                bytes.push(byte);
            }
            self.visit_bytes(&bytes)
        }
    }
    deserializer.deserialize_bytes(Bytes)
>>>>>>> w/conductor
}
