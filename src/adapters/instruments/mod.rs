//! Instruments of metrics and traces that several adapters use.

#![warn(missing_docs)]

mod trace_context;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{LazyLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use metrics::{Gauge, Histogram, gauge, histogram};
pub use trace_context::{join_trace, traceparent};
use tracing::{Instrument as _, Span, debug_span};

/// Durations of operations: one histogram, with the name of the operation as its label.
///
/// A name is registered when it is first used. Names must come from the program, not from its callers, because each one
/// takes memory.
pub struct Durations {
    metric: &'static str,
    label: &'static str,
    by_name: RwLock<HashMap<String, Histogram>>,
}

impl Durations {
    /// Creates the instrument. `metric` ends in `_seconds`.
    pub fn new(metric: &'static str, label: &'static str) -> Self {
        Self { metric, label, by_name: RwLock::default() }
    }

    /// Records that an operation took this long.
    pub fn record(&self, name: &str, took: Duration) {
        let known = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = known.get(name) {
            return histogram.record(took);
        }
        drop(known);
        let mut known = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let histogram = || histogram!(self.metric, self.label => name.to_owned());
        known.entry(name.to_owned()).or_insert_with(histogram).record(took);
    }

    /// Runs an operation in a span of its own, and records how long it took, whatever its outcome. If it is dropped before
    /// its end, because its time is over, the time until then is recorded.
    pub async fn of<T>(&self, name: &str, operation: impl Future<Output = T>) -> T {
        let span = debug_span!("operation", otel.name = name, otel.kind = "client");
        let _running = Running { durations: self, name, began: Instant::now() };
        operation.instrument(span).await
    }
}

/// An operation that is recorded when this is dropped.
struct Running<'a> {
    durations: &'a Durations,
    name: &'a str,
    began: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.durations.record(self.name, self.began.elapsed());
    }
}

/// Durations of the operations of a database, by name.
pub static QUERIES: LazyLock<Durations> =
    LazyLock::new(|| Durations::new("agentidp_db_query_duration_seconds", "operation"));

/// Returns the name of an SQL statement: its first line, which is a comment.
pub fn name_of_statement(sql: &str) -> &str {
    sql.lines().next().unwrap_or_default().trim_start_matches("-- ")
}

/// Returns the span of a batch of requests with these spans.
///
/// It is part of the first one's trace. It and the spans of all requests name each other, so that the trace of every request
/// leads to the batch.
pub fn batch_span<'a>(name: &str, requests: impl ExactSizeIterator<Item = &'a Span> + Clone) -> Span {
    let parent = requests.clone().next().and_then(Span::id);
    let size = requests.len();
    let span = debug_span!(parent: parent, "batch", otel.name = format_args!("batch {name}"), statement = name, size);
    for request in requests {
        span.follows_from(request);
        request.follows_from(&span);
    }
    span
}

/// A queue whose requests are done in batches.
#[derive(Clone)]
pub struct QueueMetrics {
    depth: Gauge,
    batch_size: Histogram,
}

impl QueueMetrics {
    /// Registers the metrics of the queue of this operation.
    pub fn new(operation: &str) -> Self {
        let operation = operation.to_owned();
        let depth = gauge!("agentidp_db_queue_depth", "operation" => operation.clone());
        depth.set(0);
        Self { depth, batch_size: histogram!("agentidp_db_batch_size", "operation" => operation) }
    }

    /// Notes that a request has joined the queue.
    pub fn joined(&self) {
        self.depth.increment(1);
    }

    /// Notes that this many requests have left the queue.
    pub fn left(&self, requests: usize) {
        self.depth.decrement(requests as f64);
    }

    /// Notes that this many requests are done as one batch.
    pub fn batch(&self, requests: usize) {
        self.batch_size.record(requests as f64);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn each_operation_has_a_count_of_its_own() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let rendered = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let durations = Durations::new("query_seconds", "operation");
            for name in ["find", "find", "list"] {
                durations.record(name, Duration::from_millis(1));
            }
        });
        let text = rendered.render();
        for line in
            [r#"query_seconds_count{operation="find"} 2"#, r#"query_seconds_count{operation="list"} 1"#]
        {
            assert!(text.lines().any(|one| one == line), "{text}");
        }
    }

    #[test]
    fn an_operation_that_is_given_up_is_recorded_as_well() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let rendered = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let durations = Durations::new("query_seconds", "operation");
            let mut hanging = Box::pin(durations.of("find", std::future::pending::<()>()));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(hanging.as_mut().poll(&mut context).is_pending());
        });
        let text = rendered.render();
        assert!(text.lines().any(|one| one == r#"query_seconds_count{operation="find"} 1"#), "{text}");
    }

    #[test]
    fn a_queue_is_as_deep_as_requests_have_joined_and_not_left() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let rendered = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let queue = QueueMetrics::new("find");
            (0..5).for_each(|_| queue.joined());
            queue.left(3);
            queue.batch(3);
        });
        let text = rendered.render();
        for line in [
            r#"agentidp_db_queue_depth{operation="find"} 2"#,
            r#"agentidp_db_batch_size_sum{operation="find"} 3"#,
        ] {
            assert!(text.lines().any(|one| one == line), "{text}");
        }
    }

    #[test]
    fn a_statement_is_named_by_its_first_line() {
        assert_eq!(name_of_statement("-- agent_store.find\nSELECT 1"), "agent_store.find");
    }
}
