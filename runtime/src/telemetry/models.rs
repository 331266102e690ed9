//! Whether an endpoint is ready, and which models it serves.

use serde::Deserialize;

use super::fetch::{Fetch, Request, read_body, status_text};
use super::urls;
use crate::secret::Secret;

/// A list of models beyond this size is not read.
const LIMIT: usize = 4 << 20;

/// What an endpoint says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It answers. The ids of its models, in its order; empty where it has no
    /// list of them.
    Ready {
        /// The ids.
        models: Vec<String>,
    },
    /// It does not answer yet, or not with success: why.
    NotReady(String),
    /// It refuses the credentials, which waiting does not change: what to do.
    Denied(String),
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

/// Asks an endpoint once: `/v1/models`, and `/health` where that has no success.
/// There is no time limit here: drop the future to give up.
///
/// `endpoint` is the base URL (a path is a prefix, less the API's own); `headers`
/// are sent with both, an API key as `Authorization: Bearer …`.
///
/// # Errors
/// If `endpoint` is no HTTP URL: what would be right.
pub async fn probe(
    fetch: &dyn Fetch,
    endpoint: &str,
    headers: &[(String, Secret)],
) -> Result<Probe, String> {
    let request = |path| {
        let url = urls::beside(endpoint, path)?;
        Ok::<_, String>(Request::new(url, "application/json,*/*;q=0.5").with_headers(headers))
    };
    let models = request("/v1/models")?;
    let status = match fetch.get(&models).await {
        Ok(answer) => match answer.status() {
            200..300 => {
                let body = read_body(answer, &models, LIMIT).await;
                return Ok(match body {
                    Ok(body) => Probe::Ready { models: model_ids(&body) },
                    Err(error) => Probe::NotReady(error.message),
                });
            }
            status => status,
        },
        Err(error) => return Ok(Probe::NotReady(error.message)),
    };
    let what = format!("{} answered {}", models.shown(), status_text(status));
    if matches!(status, 401 | 403) {
        let remedy = "check the API key (--api-key or OPENAI_API_KEY) and --header";
        return Ok(Probe::Denied(format!("{what}; {remedy}")));
    }
    let health = request("/health")?;
    Ok(match fetch.get(&health).await {
        Ok(answer) => match answer.status() {
            200..300 => Probe::Ready { models: Vec::new() },
            status => Probe::NotReady(format!("{what}, /health {}", status_text(status))),
        },
        Err(error) => Probe::NotReady(format!("{what}; {}", error.message)),
    })
}

/// The ids in an OpenAI-style list; none if it is no such list.
fn model_ids(body: &[u8]) -> Vec<String> {
    let list = serde_json::from_slice::<ModelList>(body);
    list.map(|list| list.data.into_iter().map(|model| model.id).collect()).unwrap_or_default()
}
