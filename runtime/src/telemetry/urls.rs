//! What users write as a URL, and what of it may be shown.

use reqwest::Url;

use crate::config::EndpointType;

/// Parses a URL that a user wrote. `http://` may be left out.
///
/// # Errors
/// What is wrong and what would be right, without credentials.
pub fn parse(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let refuse = |why: &str| {
        let shown = mask(text);
        Err(format!("{shown:?} is not an HTTP URL ({why}); write http://HOST:PORT/PATH"))
    };
    // `://` may also be in the query of a URL without a scheme.
    let has_scheme = text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    });
    let with_scheme = if has_scheme { text.to_owned() } else { format!("http://{text}") };
    match Url::parse(&with_scheme) {
        Err(error) => refuse(&error.to_string()),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            refuse(&format!("the scheme is {}", url.scheme()))
        }
        Ok(url) if url.host_str().is_none_or(str::is_empty) => refuse("there is no host"),
        Ok(mut url) => {
            url.set_fragment(None);
            Ok(url)
        }
    }
}

/// The URL of an exposition as a user wrote it: without a path it means
/// `/metrics`. Credentials stay.
///
/// # Errors
/// As [`parse`].
pub fn exposition(text: &str) -> Result<Url, String> {
    let mut url = parse(text)?;
    if url.path() == "/" {
        url.set_path("/metrics");
    }
    Ok(url)
}

/// The URL without user and password.
///
/// # Errors
/// As [`parse`].
pub fn without_credentials(text: &str) -> Result<String, String> {
    Ok(bare(parse(text)?).into())
}

/// The URL of `path` (`/v1/models`, `/health`) beside an endpoint's API. The
/// path of `endpoint` is a prefix, less the API's own (`/v1/…`). Credentials
/// stay.
///
/// # Errors
/// As [`parse`].
pub fn beside(endpoint: &str, path: &str) -> Result<Url, String> {
    let mut url = parse(endpoint)?;
    url.set_query(None);
    let own = url.path().trim_end_matches('/');
    let apis = EndpointType::ALL.iter().map(|kind| kind.path()).chain(["/models", ""]);
    let prefix = apis
        .filter_map(|api| own.strip_suffix(api))
        .find_map(|version| version.strip_suffix("/v1"))
        .unwrap_or(own);
    let whole = format!("{prefix}{path}");
    url.set_path(&whole);
    Ok(url)
}

/// The URL as it may be shown: without user and password, and with `***` for the
/// value of every query parameter, any of which may be a token.
#[must_use]
pub fn shown(url: &Url) -> String {
    let mut url = bare(url.clone());
    let query = url.query().map(|query| {
        let hide = |part: &str| match part.split_once('=') {
            Some((name, _)) => format!("{name}=***"),
            // Without a name, all of it may be the token.
            None if part.is_empty() => String::new(),
            None => "***".to_owned(),
        };
        query.split('&').map(hide).collect::<Vec<_>>().join("&")
    });
    url.set_query(query.as_deref());
    url.into()
}

fn bare(mut url: Url) -> Url {
    // These fail only for URLs that can have no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    url
}

/// Text that is no URL, without what may be credentials in it.
fn mask(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match text.rsplit_once('@') {
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://***@{host}"),
            None => format!("***@{host}"),
        },
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_beside_the_api_keeps_the_prefix() {
        let cases = [
            ("http://h:1", "http://h:1/v1/models"),
            ("http://h:1/v1/", "http://h:1/v1/models"),
            ("http://h:1/a/b/v1/completions?x=y", "http://h:1/a/b/v1/models"),
            ("http://u:p@h/a", "http://u:p@h/a/v1/models"),
            ("http://h:1/x/v1/chat/completions?k=1", "http://h:1/x/v1/models"),
        ];
        for (endpoint, expected) in cases {
            assert_eq!(beside(endpoint, "/v1/models").map(String::from).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn an_exposition_without_a_path_is_at_metrics() {
        let url = |text| exposition(text).map(String::from);
        assert_eq!(url("h:9400").as_deref(), Ok("http://h:9400/metrics"));
        assert_eq!(url("http://u:p@h/a?b=c#d").as_deref(), Ok("http://u:p@h/a?b=c"));
        assert_eq!(url("h/a?b=c://d").as_deref(), Ok("http://h/a?b=c://d"));
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        for text in
            ["http://usr:SECRET@h/m?token=SECRET&x=SECRET", "http://SECRET@h/m?SECRET#SECRET"]
        {
            let url = parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert!(!shown(&url).contains("SECRET"), "{}", shown(&url));
        }
        let url = parse("http://h/m?a=1&b").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(shown(&url), "http://h/m?a=***&***");
    }

    #[test]
    fn what_is_no_url_is_refused_without_showing_credentials() {
        let bad =
            ["", "ftp://u:SECRET@h/", "http://u:SECRET@h h/?k=SECRET", "u:SECRET@", "http://"];
        let shown: Vec<_> = bad.iter().map(|text| parse(text).err().unwrap_or_default()).collect();
        assert!(!shown.join("\n").contains("SECRET"), "{shown:?}");
        insta::assert_snapshot!(shown.join("\n"));
    }
}
