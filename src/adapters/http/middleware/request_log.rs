//! The line that the log has of each request.

use std::time::Duration;

use poem::http::{Method, StatusCode};

use crate::router::Route;
use app::request_context::RequestContext;

/// Target of the lines of requests, by which `RUST_LOG` filters them and the program recognizes them.
pub const REQUESTS: &str = "agentidp_http::requests";

/// Writes the one line that the log has of every request. Those of health probes are at `debug`, because there are many.
///
/// The line of a failed authentication says why it failed, and what address it came from.
pub fn log_request(
    context: &RequestContext,
    method: &Method,
    route: &Route,
    status: StatusCode,
    took: Duration,
) {
    let failure = context.failure();
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: REQUESTS,
                request_id = context.id,
                trace_id = context.origin.trace.map(display),
                client_id = context.client().map(display),
                organization_id = context.organization().map(display),
                %method,
                route = route.template,
                status = status.as_u16(),
                duration_ms = took.as_micros() as f64 / 1e3,
                reason = failure.map(|failure| failure.reason.as_str()),
                auth_method = failure.map(|failure| failure.method),
                claimed_client_id = failure.and_then(|failure| failure.claimed).map(|claimed| display(claimed.agent)),
                address = failure.and(context.origin.address).map(display),
                "answered"
            )
        };
    }
    match route.template.starts_with("/health") {
        true => line!(debug),
        false => line!(info),
    }
}
