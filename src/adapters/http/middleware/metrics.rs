//! Request metrics.

use std::time::Duration;

use poem::http::StatusCode;

/// Counts an answered request.
pub fn request_answered(status: StatusCode, took: Duration) {
    let class = match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    metrics::counter!("agentidp_http_requests_total", "class" => class).increment(1);
    metrics::histogram!("agentidp_http_request_seconds").record(took.as_secs_f64());
}
