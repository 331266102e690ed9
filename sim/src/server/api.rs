//! Which request is answered by whom.

use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request as HttpRequest, Response, StatusCode};
use serde_json::json;

use super::body::{Body, Closed};
use super::engine::Work;
use super::error::ApiError;
use super::hazard::{Exporter, RequestFaults};
use super::request::{Api, Refused, parse};
use super::shared::{Process, Shared};
use super::{generate, respond, scrape};

/// The longest request body.
const MOST_BYTES: usize = 32 << 20;
/// The header that names the phase under which `/truth` counts a request.
pub const PHASE_HEADER: &str = "x-phasegate-phase";

/// Answers one request; an error closes the connection.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    request: HttpRequest<Incoming>,
) -> Result<Response<Body>, Closed> {
    let path = request.uri().path().to_owned();
    let api = Api::at(&path);
    let allowed = if api.is_some() { Method::POST } else { Method::GET };
    let known = ["/health", "/v1/models", "/metrics", "/gpu/metrics", "/truth"];
    let replica = replica(&shared, &path);
    if api.is_none() && replica.is_none() && !known.contains(&path.as_str()) {
        let message = format!("there is nothing at {path}");
        return Ok(ApiError::new(StatusCode::NOT_FOUND, message).response());
    }
    if *request.method() != allowed {
        let message = format!("{path} takes {allowed}");
        return Ok(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).response());
    }
    if let Some((api, handler)) = api {
        let (process, response) = generation(&shared, api, request).await?;
        let status = response.status().as_u16();
        shared.with(process, |engine| engine.answered(handler, "POST", status));
        return Ok(response);
    }
    if replica.is_some() {
        return scrape::scrape(&shared, Exporter::Server, replica).await;
    }
    match path.as_str() {
        "/metrics" => scrape::scrape(&shared, Exporter::Server, None).await,
        "/gpu/metrics" => scrape::scrape(&shared, Exporter::Gpu, None).await,
        "/truth" => {
            let body = serde_json::to_vec_pretty(&shared.truth()).unwrap_or_default();
            Ok(respond(StatusCode::OK, "application/json", Body::whole(body)))
        }
        _ if !shared.ready() => Ok(not_ready().response()),
        "/health" => Ok(respond(StatusCode::OK, "text/plain", Body::whole(""))),
        _ => Ok(models(&shared)),
    }
}

/// The process whose own exposition is asked for.
fn replica(shared: &Shared, path: &str) -> Option<Process> {
    let number = path.strip_prefix("/replica/")?.strip_suffix("/metrics")?;
    let process = number.parse::<usize>().ok()?.checked_sub(1)?;
    shared.processes().contains(&process).then_some(process)
}

fn not_ready() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the model is still loading")
}

fn models(shared: &Shared) -> Response<Body> {
    let config = &shared.config;
    let list = json!({"object": "list", "data": [{
        "id": config.model,
        "object": "model",
        "created": shared.started_at.as_secs(),
        "owned_by": "phasegate",
        "root": config.model,
        "parent": null,
        "max_model_len": config.max_model_len,
    }]});
    respond(StatusCode::OK, "application/json", Body::whole(list.to_string()))
}

async fn generation(
    shared: &Arc<Shared>,
    api: Api,
    request: HttpRequest<Incoming>,
) -> Result<(Process, Response<Body>), Closed> {
    let phase = request.headers().get(PHASE_HEADER);
    let phase = phase.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let phase = phase.as_deref();
    let body = match Limited::new(request.into_body(), MOST_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body is longer than {MOST_BYTES} bytes");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok((0, reject((shared, 0), phase, None, status, message)));
        }
        // The client went away, or does not speak HTTP.
        Err(_) => return Err(Closed),
    };
    let (nth, faults) = shared.next_request();
    let process = shared.turn(nth);
    Ok((process, compute(shared, (process, faults), api, phase, &body).await?))
}

/// Answers a request whose body is here.
async fn compute(
    shared: &Arc<Shared>,
    (process, faults): (Process, RequestFaults),
    api: Api,
    phase: Option<&str>,
    body: &[u8],
) -> Result<Response<Body>, Closed> {
    let parsed = parse(api, body, &shared.config);
    let prompt = match &parsed {
        Ok(request) => Some(request.prompt.as_str()),
        Err(refused) => refused.prompt.as_deref(),
    };
    if !shared.ready() {
        let ApiError { status, message } = not_ready();
        return Ok(reject((shared, process), phase, prompt, status, message));
    }
    if let Some(status) = faults.status {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = format!("the simulated server answers {status} on purpose");
        return Ok(reject((shared, process), phase, prompt, status, message));
    }
    let request = match parsed {
        Ok(request) => request,
        Err(Refused { error: ApiError { status, message }, prompt }) => {
            return Ok(reject((shared, process), phase, prompt.as_deref(), status, message));
        }
    };
    // A stream that would be over before it is struck is struck at its end.
    let halt_after =
        faults.halt.map(|halt| halt.after.min(request.output_tokens.saturating_sub(1)));
    let booked = shared.with(process, |engine| engine.receive(phase, Some(&request.prompt)));
    let work = Work {
        prompt: request.prompt.clone(),
        prompt_tokens: request.prompt_tokens,
        output_tokens: request.output_tokens,
        max_tokens: request.max_tokens,
        finish: request.finish,
        halt_after,
        phase: booked.clone(),
        foreign: false,
    };
    let Ok(ticket) = shared.submit(process, work) else {
        shared.with(process, |engine| engine.reject(booked.as_deref()));
        let message = format!("{} requests are queued already", shared.config.queue_limit);
        return Ok(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).response());
    };
    generate::answer(Arc::clone(shared), request, ticket, faults).await
}

/// Books and answers a request that is refused.
fn reject(
    (shared, process): (&Shared, Process),
    phase: Option<&str>,
    prompt: Option<&str>,
    status: StatusCode,
    message: String,
) -> Response<Body> {
    shared.with(process, |engine| {
        let booked = engine.receive(phase, prompt);
        engine.reject(booked.as_deref());
    });
    ApiError::new(status, message).response()
}

/// The service of one connection.
pub(crate) fn service(
    shared: Arc<Shared>,
) -> impl hyper::service::Service<
    HttpRequest<Incoming>,
    Response = Response<Body>,
    Error = Closed,
    Future = impl Future<Output = Result<Response<Body>, Closed>> + Send,
> {
    hyper::service::service_fn(move |request| handle(Arc::clone(&shared), request))
}
