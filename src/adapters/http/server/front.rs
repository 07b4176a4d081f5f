//! Handler behind the listener: reports that the service is starting, then calls the [`HttpApi`].

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use poem::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use poem::{Request, Response};
use serde_json::json;

use crate::error::{ApiError, Code, FieldError};
use crate::extract::context::given_id;
use crate::json::JSON;
use crate::middleware::metrics::answered_without_route;
use crate::pipeline::{HttpApi, OAUTH_PATHS};

/// Answers requests from the moment that the service listens.
pub struct Front {
    api: OnceLock<Arc<HttpApi>>,
    /// Creates the ID of a request that has none.
    new_request_id: fn() -> String,
}

impl Front {
    /// Creates a front without an API. `new_request_id` creates the ID of a request that has none.
    pub const fn new(new_request_id: fn() -> String) -> Self {
        Self { api: OnceLock::new(), new_request_id }
    }

    /// Passes requests to this API from now on.
    pub fn open(&self, api: Arc<HttpApi>) {
        // The front is opened once; a second call would change nothing.
        let _ = self.api.set(api);
    }

    /// Answers a request from this peer.
    pub async fn handle(&self, request: Request, peer: IpAddr) -> Response {
        let refusal = match (refuse_host(request.headers(), request.version()), self.api.get()) {
            (None, Some(api)) => return api.respond(request, peer).await,
            (None, None) => self.starting(&request),
            (Some(error), _) => {
                let id = given_id(request.headers()).unwrap_or_else(self.new_request_id);
                answer_error(&error, &id)
            }
        };
        answered_without_route(request.method(), refusal.status());
        refusal
    }

    fn starting(&self, request: &Request) -> Response {
        let id = given_id(request.headers()).unwrap_or_else(self.new_request_id);
        let answer = |status: StatusCode, body: serde_json::Value| {
            let body = body.to_string();
            let mut response = Response::builder().status(status).content_type(JSON).body(body);
            name_request(&mut response, &id);
            response
        };
        match request.uri().path() {
            "/health" => answer(StatusCode::OK, json!({ "status": "ok" })),
            "/health/ready" => {
                answer(StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "starting", "components": {} }))
            }
            path => {
                let error =
                    ApiError::new(Code::ServiceUnavailable, "the service is starting; no change was made")
                        .with_retry_after(1);
                let error = if OAUTH_PATHS.contains(&path) { error.into_oauth() } else { error };
                answer_error(&error, &id)
            }
        }
    }
}

/// Refuses an HTTP/1.1 request without `Host`, or a request with several (RFC 9112 section 3.2).
///
/// A proxy in between could have routed such a request by another name.
fn refuse_host(headers: &HeaderMap, version: Version) -> Option<ApiError> {
    let problem = match headers.get_all(header::HOST).iter().count() {
        0 if version == Version::HTTP_11 => "is missing",
        0 | 1 => return None,
        _ => "must be sent once",
    };
    Some(ApiError::validation(&[FieldError::new("Host", problem)]))
}

fn answer_error(error: &ApiError, id: &str) -> Response {
    let mut response = error.to_response(id);
    name_request(&mut response, id);
    response
}

fn name_request(response: &mut Response, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-request-id", id);
    }
}
