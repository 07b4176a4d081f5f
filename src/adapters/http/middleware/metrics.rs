//! Request metrics, by route.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};
use poem::http::StatusCode;

/// Classes of status codes.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// Metrics of one route, registered once, so that counting a request looks nothing up.
pub struct RouteMetrics {
    by_class: [Counter; 4],
    seconds: Histogram,
}

impl RouteMetrics {
    /// Registers the metrics of a route. `path` is its template, never the path of a request.
    pub fn new(path: &str) -> Self {
        let path = || path.to_owned();
        Self {
            by_class: CLASSES
                .map(|class| counter!("agentidp_http_requests_total", "class" => class, "path" => path())),
            seconds: histogram!("agentidp_http_request_seconds", "path" => path()),
        }
    }

    /// Counts an answered request.
    pub fn answered(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        self.by_class[class].increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}
