//! Values that are never printed.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use serde::{Serialize, Serializer};

/// A key, token or header value. Shows and serialises as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the wire and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str("***")
    }
}

/// What stands for `user[:password]`, as a URL has it, in an `Authorization`
/// header (RFC 7617). A user without a password has an empty one.
#[must_use]
pub fn basic_authorization(user_info: &str) -> Secret {
    let mut pair: Vec<u8> = percent_decode_str(user_info).collect();
    if !user_info.contains(':') {
        pair.push(b':');
    }
    Secret::new(format!("Basic {}", BASE64_STANDARD.encode(pair)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_coded_as_the_rfc_has_it() {
        // RFC 7617, section 2; RFC 4648, section 10.
        let cases = [
            ("Aladdin:open%20sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("me:p%40ss", "Basic bWU6cEBzcw=="),
            ("me", "Basic bWU6"),
            ("foo%3", "Basic Zm9vJTM6"),
        ];
        for (user_info, value) in cases {
            assert_eq!(basic_authorization(user_info).expose(), value, "{user_info}");
        }
    }

    #[test]
    fn a_secret_shows_in_neither_debug_nor_json() -> Result<(), serde_json::Error> {
        let secret = Secret::new("sk-1");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret)?, "\"***\"");
        Ok(())
    }
}
