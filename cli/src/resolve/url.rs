//! URLs of servers: checked, and parted from their credentials. No error
//! repeats a URL that may hold a password.

use phasegate_runtime::secret::Secret;

/// A server's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host and, where given, port.
    pub authority: String,
    /// The path, without a slash at its end; empty or starting with one.
    pub path: String,
    /// The value of an `Authorization` header, where the URL had a user.
    pub authorization: Option<Secret>,
}

impl ServerUrl {
    /// Parses `text`: `http[s]://[user[:password]@]host[:port][/path]`.
    ///
    /// # Errors
    /// Anything else, as a clause with the remedy.
    pub fn parse(text: &str) -> Result<Self, String> {
        const RIGHT: &str = "give http://host:port or https://host";
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("the URL has no scheme; {RIGHT}"));
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => "http",
            "https" => "https",
            _ => return Err(format!("the URL is neither http nor https; {RIGHT}")),
        };
        if rest.contains(['?', '#']) {
            return Err(format!("the URL has a query or a fragment, which is not sent; {RIGHT}"));
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        check_host(host).map_err(|problem| format!("{problem}; {RIGHT}"))?;
        if path.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("the URL's path has a space or control character; {RIGHT}"));
        }
        let authorization = match user {
            Some(user) => Some(basic(user)?),
            None => None,
        };
        let path = path.trim_end_matches('/').to_owned();
        Ok(Self { scheme, authority: host.to_ascii_lowercase(), path, authorization })
    }

    /// The URL without credentials.
    #[must_use]
    pub fn plain(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path)
    }

    /// `/metrics` of the same host.
    #[must_use]
    pub fn metrics(&self) -> String {
        format!("{}://{}/metrics", self.scheme, self.authority)
    }

    /// The host, without brackets, and the port, the scheme's own where none is
    /// given: what a connection is made to.
    #[must_use]
    pub fn host_and_port(&self) -> (&str, u16) {
        let (host, port) = split_port(&self.authority);
        let own = if self.scheme == "https" { 443 } else { 80 };
        let port = port.and_then(|p| p.parse().ok()).unwrap_or(own);
        (host.trim_start_matches('[').trim_end_matches(']'), port)
    }
}

/// A URL that is written into the artifacts: one with credentials is refused.
///
/// # Errors
/// As [`ServerUrl::parse`], and credentials.
pub fn public(text: &str) -> Result<String, String> {
    let url = ServerUrl::parse(text)?;
    if url.authorization.is_some() {
        return Err("the URL has a user or password, which only the endpoint's URL may have; \
                    remove them"
            .to_owned());
    }
    Ok(url.plain())
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    // The colons of an IPv6 address stand inside brackets.
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => {
            (&authority[..colon], Some(&authority[colon + 1..]))
        }
        Some(_) | None => (authority, None),
    }
}

fn check_host(authority: &str) -> Result<(), &'static str> {
    let (host, port) = split_port(authority);
    if port.is_some_and(|p| p.parse::<u16>().is_err()) {
        return Err("the URL's port is not a number from 0 to 65535");
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return match inner.parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err("the URL's host is not an IPv6 address"),
        };
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty() || !host.chars().all(allowed) {
        return Err("the URL's host is empty or has a character that no host name has");
    }
    Ok(())
}

/// `Basic` credentials of RFC 7617 from a URL's user part.
fn basic(user: &str) -> Result<Secret, String> {
    const BAD: &str = "the URL's user or password has a bad %-escape; write % as %25";
    let pair = percent_decode(user).ok_or(BAD)?;
    // A user without a password has an empty one.
    let pair = if user.contains(':') { pair } else { [pair, b":".to_vec()].concat() };
    Ok(Secret::new(format!("Basic {}", base64(&pair))))
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}

/// Base64 of RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (word >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit > chunk.len() { '=' } else { char::from(DIGITS[index]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_a_header_and_leave_the_url() {
        let url = ServerUrl::parse("https://me:p%40ss@Host:8443/v1/").expect("valid");
        assert_eq!(url.plain(), "https://host:8443/v1");
        let header = url.authorization.as_ref().map(Secret::expose);
        assert_eq!(header, Some(format!("Basic {}", base64(b"me:p@ss")).as_str()));
        assert!(!format!("{url:?}").contains("Basic"));
        let alone = ServerUrl::parse("http://me@h").expect("valid").authorization;
        assert_eq!(alone, Some(Secret::new(format!("Basic {}", base64(b"me:")))));
    }

    #[test]
    fn base64_is_the_rfcs() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in vectors {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn metrics_are_at_the_host_whatever_the_path() {
        let url = ServerUrl::parse("http://[::1]:8000/v1").expect("valid");
        assert_eq!(url.metrics(), "http://[::1]:8000/metrics");
        assert_eq!(url.host_and_port(), ("::1", 8000));
        let url = ServerUrl::parse("https://example.org").expect("valid");
        assert_eq!(url.host_and_port(), ("example.org", 443));
    }

    #[test]
    fn what_is_not_a_server_url_is_refused_without_repeating_it() {
        let bad = [
            "hush:8000",
            "ftp://hush",
            "http://",
            "http://u:hush@",
            "http://u:hush@h:99999",
            "http://h?key=hush",
            "http://hush host",
            "http://u:hush%zz@h",
            "http://[hush]",
            "http://h/hu sh",
        ];
        for text in bad {
            let error = ServerUrl::parse(text).expect_err(text);
            assert!(!error.contains("hush") && error.contains(';'), "{text}: {error}");
        }
        assert!(public("http://u:hush@h/metrics").is_err_and(|e| !e.contains("hush")));
    }
}
