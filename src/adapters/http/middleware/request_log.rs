//! The line that the log has of each request.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::time::Duration;

use poem::http::{Method, StatusCode};

use crate::router::Route;
use app::request_context::RequestContext;

/// Target of the lines of requests, by which `RUST_LOG` filters them and the program recognizes them.
pub const REQUESTS: &str = "agentidp_http::requests";

/// An address. That of IPv4 is written with a fifth of the instructions that the standard library takes.
struct Address(IpAddr);

impl Display for Address {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let IpAddr::V4(address) = self.0 else { return self.0.fmt(formatter) };
        let mut text = String::with_capacity("255.255.255.255.".len());
        for octet in address.octets() {
            text += itoa::Buffer::new().format(octet);
            text.push('.');
        }
        text.pop();
        formatter.write_str(&text)
    }
}

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
    let micros = took.as_secs() * 1_000_000 + u64::from(took.subsec_micros());
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: REQUESTS,
                request_id = context.id,
                trace_id = context.origin.trace.map(display),
                client_id = context.client().map(display),
                organization_id = context.organization().map(display),
                method = method.as_str(),
                route = route.template,
                status = status.as_u16(),
                duration_ms = micros as f64 / 1e3,
                reason = failure.map(|failure| failure.reason.as_str()),
                auth_method = failure.map(|failure| failure.method),
                claimed_client_id = failure.and_then(|failure| failure.claimed).map(|claimed| display(claimed.agent)),
                address = failure.and(context.origin.address).map(Address).map(display),
                "answered"
            )
        };
    }
    match route.template.starts_with("/health") {
        true => line!(debug),
        false => line!(info),
    }
}
