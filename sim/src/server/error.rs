//! Errors as an OpenAI-compatible API answers them.

use hyper::StatusCode;
use serde_json::json;

use super::body::Body;
use super::respond;

/// A request that is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The error type, in vLLM's words.
    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            404 => "NotFoundError",
            429 => "RateLimitError",
            400..500 => "BadRequestError",
            503 => "ServiceUnavailableError",
            _ => "InternalServerError",
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind(),
            "param": null,
            "code": self.status.as_u16(),
        }})
    }

    pub(crate) fn response(&self) -> hyper::Response<Body> {
        respond(self.status, "application/json", Body::whole(self.json().to_string()))
    }
}
