//! Metrics of requests, by route.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};
use poem::http::{Method, StatusCode};

use crate::error::ApiError;

const REQUESTS: &str = "agentidp_http_requests_total";
const SECONDS: &str = "agentidp_http_request_duration_seconds";
const REFUSALS: &str = "agentidp_token_refusals_total";

/// `path` of requests without a route.
pub const UNKNOWN_PATH: &str = "other";

/// Metrics of one route.
///
/// The documented answers are registered once: they are reported before the first of them, and counting one looks nothing
/// up.
pub struct RouteMetrics {
    path: String,
    methods: Vec<MethodMetrics>,
}

struct MethodMetrics {
    method: Method,
    seconds: Histogram,
    by_status: Vec<(StatusCode, Counter)>,
}

impl RouteMetrics {
    /// Registers the metrics of a route, with the statuses that each of its methods may return.
    ///
    /// `path` is its template, never the path of a request.
    pub fn new(path: &str, methods: &[(Method, Vec<StatusCode>)]) -> Self {
        let methods = methods.iter().map(|(method, statuses)| MethodMetrics {
            method: method.clone(),
            seconds: seconds(path, method),
            by_status: statuses.iter().map(|status| (*status, requests(path, method, *status))).collect(),
        });
        Self { path: path.to_owned(), methods: methods.collect() }
    }

    /// Counts an answered request.
    pub fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        let Some(known) = self.methods.iter().find(|known| known.method == *method) else {
            requests(&self.path, method, status).increment(1);
            return seconds(&self.path, method).record(took);
        };
        match known.by_status.iter().find(|(documented, _)| *documented == status) {
            Some((_, counter)) => counter.increment(1),
            None => requests(&self.path, method, status).increment(1),
        }
        known.seconds.record(took);
    }
}

/// Errors of the token endpoint that are reported before the first of them.
const ERRORS: [&str; 14] = [
    "access_denied",
    "internal_server_error",
    "invalid_client",
    "invalid_dpop_proof",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "method_not_allowed",
    "payload_too_large",
    "rate_limit_exceeded",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_media_type",
];

/// Counts the errors of the token endpoint, by OAuth's name or by this API's code.
pub struct TokenRefusals([(&'static str, Counter); ERRORS.len()]);

impl TokenRefusals {
    /// Registers the errors that are expected.
    pub fn new() -> Self {
        Self(ERRORS.map(|name| (name, counter!(REFUSALS, "error" => name))))
    }

    /// Counts an error.
    pub fn count(&self, error: &ApiError) {
        let name = error.name();
        match self.0.iter().find(|(known, _)| *known == name) {
            Some((_, counter)) => counter.increment(1),
            None => counter!(REFUSALS, "error" => name).increment(1),
        }
    }
}

/// Counts a request that was answered before its route was looked up.
pub fn answered_without_route(method: &Method, status: StatusCode) {
    requests(UNKNOWN_PATH, method, status).increment(1);
}

fn requests(path: &str, method: &Method, status: StatusCode) -> Counter {
    let (path, status) = (path.to_owned(), status.as_str().to_owned());
    counter!(REQUESTS, "method" => name_of(method), "path" => path, "status" => status)
}

fn seconds(path: &str, method: &Method) -> Histogram {
    histogram!(SECONDS, "method" => name_of(method), "path" => path.to_owned())
}

/// Returns a method as metrics and traces name it. A client may send any word as its method, and names must be bounded.
pub fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
