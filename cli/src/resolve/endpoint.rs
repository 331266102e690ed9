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
) -> Result<(EndpointConfig, Vec<ServerUrl>), Usage> {
    let (from, section) = (&args.endpoint, &file.endpoint);
    let urls = urls(args, file)?;
    let Some((url, more)) = urls.split_first() else {
        return Err(match &file.source {
            Some(source) => source.error("endpoint.url", "is missing; give it, or --url URL"),
            None => Usage::new("no endpoint is given; give --url URL, or try --demo"),
        });
    };
    let kind = from.endpoint_type.or(section.kind).map_or(EndpointType::Chat, Into::into);
    let by_flag = pair(from.streaming, from.no_streaming);
    let streaming = by_flag.or(section.streaming);
    if !kind.produces_tokens() && streaming == Some(true) {
        let problem = format!("{} is never streamed; remove it", kind.word());
        return Err(wrong(by_flag.is_some(), "streaming", file, "endpoint.streaming", &problem));
    }
    let mut headers = section.headers.clone();
    for text in &from.header {
        let (name, value) =
            parse::header(text.expose()).map_err(|e| Usage::new(format!("--header: {e}")))?;
        // A flag replaces the file's header of that name.
        headers.retain(|(n, _)| !n.eq_ignore_ascii_case(&name));
        headers.push((name, Secret::new(value)));
    }
    let api_key = api_key(from.api_key.as_ref(), kind, env, file)?;
    let api_key = authorise(&mut headers, kind, url, api_key)?;
    let mut extra_inputs = file.input.extra_inputs.clone();
    for text in &args.input.extra_inputs {
        let map =
            parse::extra_inputs(text).map_err(|e| Usage::new(format!("--extra-inputs: {e}")))?;
        extra_inputs.extend(map);
    }
    let config = EndpointConfig {
        url: url.plain(),
        more_urls: more.iter().map(ServerUrl::plain).collect(),
        model: from.model.clone().or_else(|| section.model.clone()),
        kind,
        streaming: kind.produces_tokens() && streaming.unwrap_or(true),
        api_key,
        headers,
        extra_inputs,
    };
    Ok((config, urls))
}

/// The URLs, of the flag or of the file. Only the first may have credentials,
/// which then are sent to all.
fn urls(args: &RunArgs, file: &FileConfig) -> Result<Vec<ServerUrl>, Usage> {
    let by_flag = !args.endpoint.url.is_empty();
    let given = if by_flag {
        args.endpoint.url.as_slice()
    } else {
        file.endpoint.url.as_deref().unwrap_or_default()
    };
    let mut urls: Vec<ServerUrl> = Vec::with_capacity(given.len());
    for text in given {
        let bad = |e: &str| wrong(by_flag, "url", file, "endpoint.url", e);
        let url = ServerUrl::parse(text.expose()).map_err(|e| bad(&e))?;
        if !urls.is_empty() && url.authorization.is_some() {
            return Err(bad(
                "a URL after the first has a user and password; give them with the first, which \
                 sends them to all, or give --header",
            ));
        }
        if urls.iter().any(|other| other.plain() == url.plain()) {
            return Err(bad(&format!("{} is listed twice; list it once", url.plain())));
        }
        urls.push(url);
    }
    Ok(urls)
}

/// A key and where it came from.
struct ApiKey {
    key: Secret,
    from: String,
    /// It was merely in the environment: what was asked for goes first.
    ambient: bool,
}

/// The key of the flag, of the variable that the file names, or of the one that
/// the API's own clients read.
fn api_key(
    flag: Option<&Secret>,
    kind: EndpointType,
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
        let variable = match kind {
            EndpointType::Messages => env::ANTHROPIC_API_KEY,
            EndpointType::Chat
            | EndpointType::Completions
            | EndpointType::Embeddings
            | EndpointType::Responses
            | EndpointType::Rerank => env::API_KEY,
        };
        let from = variable.name.to_owned();
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
    kind: EndpointType,
    url: &ServerUrl,
    api_key: Option<ApiKey>,
) -> Result<Option<Secret>, Usage> {
    // Anthropic's key has a header of its own.
    let (api_key, apart) = match kind {
        EndpointType::Messages => (None, api_key),
        EndpointType::Chat
        | EndpointType::Completions
        | EndpointType::Embeddings
        | EndpointType::Responses
        | EndpointType::Rerank => (api_key, None),
    };
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
    Ok(api_key.or(apart).map(|k| k.key))
}
