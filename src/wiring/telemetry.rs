//! The log and the traces of the program.

use std::io::IsTerminal as _;
use std::time::Duration;

use metrics::counter;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use super::log_format::RequestLines;
use crate::cli::LogFormat;
use crate::config::{ConfigError, TraceConfig};

/// Maximum number of lines that wait to be written.
const MAX_LINES: usize = 4_096;
/// Maximum time that the exit waits for the collector of traces.
const LAST_EXPORT: Duration = Duration::from_secs(2);

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The log and the traces of a service, until this is dropped.
///
/// A thread writes the lines. If standard error blocks, lines are dropped and counted, and no request waits. Another thread
/// sends the traces; if the collector is unreachable, they are lost.
pub struct Telemetry {
    dropped: ErrorCounter,
    traces: Option<SdkTracerProvider>,
    _writer: WorkerGuard,
}

impl Telemetry {
    /// Starts the log of a service in this format, and its traces if there is a collector for them.
    ///
    /// Returns [`ConfigError`] if the URL of the collector cannot be used.
    pub fn start(format: LogFormat, traces: Option<&TraceConfig>) -> Result<Self, ConfigError> {
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_LINES);
        let (writer, guard) = builder.thread_name("log").finish(std::io::stderr());
        let dropped = writer.error_counter();
        let traces = traces.map(provider).transpose()?;
        log_to(writer, format, traces.as_ref().map(|traces| traces.tracer("agentidp")));
        Ok(Self { dropped, traces, _writer: guard })
    }

    /// Reports the number of dropped lines as a metric.
    pub fn report(&self) -> impl Fn() + Send + 'static {
        let dropped = self.dropped.clone();
        move || {
            let lines = dropped.dropped_lines().try_into().unwrap_or(u64::MAX);
            counter!("agentidp_log_lines_dropped_total").absolute(lines);
        }
    }
}

impl Drop for Telemetry {
    /// Sends the last traces, and writes the last lines.
    fn drop(&mut self) {
        if let Some(Err(error)) = self.traces.take().map(|traces| traces.shutdown_with_timeout(LAST_EXPORT)) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Starts the log of a command that ends soon, as text on standard error.
pub fn log_to_stderr() {
    log_to(std::io::stderr, LogFormat::Text, None);
}

fn log_to(
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
    format: LogFormat,
    tracer: Option<Tracer>,
) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = fmt::layer()
        .with_writer(writer)
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let log: BoxedLayer = match format {
        LogFormat::Text => log.map_event_format(|others| RequestLines { format, others }).boxed(),
        LogFormat::Json => {
            let log = log.json().flatten_event(true);
            log.map_event_format(|others| RequestLines { format, others }).boxed()
        }
    };
    match tracer {
        // Without traces, the filter of the log is that of all: a span that is not logged costs nothing.
        None => Registry::default().with(log).with(filter).init(),
        Some(tracer) => Registry::default().with(log.with_filter(filter)).with(spans(tracer)).init(),
    }
    if format == LogFormat::Json {
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panicked")));
    }
}

/// Returns the layer that makes traces of the spans of this program.
fn spans<S>(tracer: Tracer) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let is_ours = FilterFn::new(|span| span.is_span() && span.target().starts_with("agentidp"));
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
    layer.with_filter(is_ours.with_max_level_hint(LevelFilter::DEBUG))
}

/// Returns the provider that sends traces to this collector.
///
/// Sampling, batches, time-outs and headers are those of the standard variables `OTEL_*`.
fn provider(config: &TraceConfig) -> Result<SdkTracerProvider, ConfigError> {
    let exporter = SpanExporter::builder().with_http().with_endpoint(&config.endpoint).build();
    let exporter = exporter
        .map_err(|error| ConfigError::new(format!("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: {error}")))?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource =
        Resource::builder().with_service_name(config.service.clone()).with_attribute(version).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
