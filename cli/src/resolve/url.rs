//! URLs of servers: checked, and parted from their credentials. No error
//! repeats a URL that may hold a password.

use phasegate_runtime::secret::{Secret, basic_authorization};

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

/// The credentials of a URL's user part.
fn basic(user: &str) -> Result<Secret, String> {
    if !escapes_are_whole(user) {
        return Err("the URL's user or password has a bad %-escape; write % as %25".to_owned());
    }
    Ok(basic_authorization(user))
}

/// Whether every `%` begins an escape of two hexadecimal digits.
fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes().take(2);
        digits.len() == 2 && digits.all(|d| d.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_a_header_and_leave_the_url() {
        let url = ServerUrl::parse("https://me:p%40ss@Host:8443/v1/").expect("valid");
        assert_eq!(url.plain(), "https://host:8443/v1");
        let header = url.authorization.as_ref().map(Secret::expose);
        assert_eq!(header, Some("Basic bWU6cEBzcw=="));
        assert!(!format!("{url:?}").contains("Basic"));
        let alone = ServerUrl::parse("http://me@h").expect("valid").authorization;
        assert_eq!(alone, Some(Secret::new("Basic bWU6")));
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
            "http://u:hush%4@h",
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
