//! What is measured: URL, API, headers, key.

use phasegate_runtime::config::{EndpointConfig, EndpointType};
use phasegate_runtime::secret::Secret;

use super::url::ServerUrl;
use super::wrong;
use crate::args::env::{self, Environment};
use crate::args::gate::pair;
use crate::args::{RunArgs, parse};
use crate::config::FileConfig;
use crate::exit::Usage;

pub(super) fn endpoint(
    args: &RunArgs,
    env: &Environment,
    file: &FileConfig,
) -> Result<(EndpointConfig, ServerUrl), Usage> {
    let (from, section) = (&args.endpoint, &file.endpoint);
    let given = from.url.as_ref().or(section.url.as_ref()).ok_or_else(|| match &file.source {
        Some(source) => source.error("endpoint.url", "is missing; give it, or --url URL"),
        None => Usage::new("no endpoint is given; give --url URL, or try --demo"),
    })?;
    let url_wrong = |e: String| wrong(from.url.is_some(), "url", file, "endpoint.url", &e);
    let url = ServerUrl::parse(given.expose()).map_err(url_wrong)?;
    let kind = from.endpoint_type.or(section.kind).map_or(EndpointType::Chat, Into::into);
    let by_flag = pair(from.streaming, from.no_streaming);
    let streaming = by_flag.or(section.streaming);
    if kind == EndpointType::Embeddings && streaming == Some(true) {
        let problem = "embeddings are never streamed; remove it";
        return Err(wrong(by_flag.is_some(), "streaming", file, "endpoint.streaming", problem));
    }
    let mut headers = section.headers.clone();
    for text in &from.header {
        let (name, value) =
            parse::header(text.expose()).map_err(|e| Usage::new(format!("--header: {e}")))?;
        // A flag replaces the file's header of that name.
        headers.retain(|(n, _)| !n.eq_ignore_ascii_case(&name));
        headers.push((name, Secret::new(value)));
    }
    let api_key = authorise(&mut headers, &url, api_key(from.api_key.as_ref(), env, file)?)?;
    let mut extra_inputs = file.input.extra_inputs.clone();
    for text in &args.input.extra_inputs {
        let map =
            parse::extra_inputs(text).map_err(|e| Usage::new(format!("--extra-inputs: {e}")))?;
        extra_inputs.extend(map);
    }
    let config = EndpointConfig {
        url: url.plain(),
        model: from.model.clone().or_else(|| section.model.clone()),
        kind,
        streaming: kind != EndpointType::Embeddings && streaming.unwrap_or(true),
        api_key,
        headers,
        extra_inputs,
    };
    Ok((config, url))
}

/// A key and where it came from.
struct ApiKey {
    key: Secret,
    from: String,
    /// It was merely in the environment: what was asked for goes first.
    ambient: bool,
}

/// The key of the flag, of the variable that the file names, or of
/// `OPENAI_API_KEY`.
fn api_key(
    flag: Option<&Secret>,
    env: &Environment,
    file: &FileConfig,
) -> Result<Option<ApiKey>, Usage> {
    let found = if let Some(key) = flag {
        Some(ApiKey { key: key.clone(), from: "--api-key".to_owned(), ambient: false })
    } else if let Some(name) = &file.endpoint.api_key_env {
        let Some(key) = env.get(name) else {
            let problem = format!("the variable {name} is not set; set it, or remove the key");
            return Err(wrong(false, "api-key", file, "endpoint.api_key_env", &problem));
        };
        Some(ApiKey { key: Secret::new(key), from: name.clone(), ambient: false })
    } else {
        let from = env::API_KEY.name.to_owned();
        env.get(&from).map(|key| ApiKey { key: Secret::new(key), from, ambient: true })
    };
    let sendable = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_graphic());
    match found {
        Some(found) if !sendable(found.key.expose()) => {
            let problem = "is empty, or has a space or a character that no header takes";
            Err(Usage::new(format!("{}: the key {problem}; give it without", found.from)))
        }
        found => Ok(found),
    }
}

/// The key to send. The URL's credentials become a header; two claims on the
/// header `Authorization` are a contradiction.
fn authorise(
    headers: &mut Vec<(String, Secret)>,
    url: &ServerUrl,
    api_key: Option<ApiKey>,
) -> Result<Option<Secret>, Usage> {
    let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let api_key = api_key.filter(|k| !(k.ambient && (named || url.authorization.is_some())));
    let claims = [
        url.authorization.as_ref().map(|_| "the URL's user and password"),
        named.then_some("a header Authorization"),
        api_key.as_ref().map(|k| k.from.as_str()),
    ];
    let claims: Vec<&str> = claims.into_iter().flatten().collect();
    if claims.len() > 1 {
        return Err(Usage::new(format!(
            "{} would both be sent as the header Authorization; give only one of them",
            claims.join(" and ")
        )));
    }
    if let Some(basic) = &url.authorization {
        headers.push(("Authorization".to_owned(), basic.clone()));
    }
    Ok(api_key.map(|k| k.key))
}
