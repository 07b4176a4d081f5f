//! The log of the program.

use std::io::IsTerminal as _;

use metrics::counter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::LogFormat;

/// Maximum number of lines that wait to be written.
const MAX_LINES: usize = 10_000;

/// The log of a service. Lines are written by a thread of their own, until this is dropped.
///
/// If standard error blocks, lines are dropped and counted, and no request waits.
pub struct Telemetry {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

impl Telemetry {
    /// Starts the log of a service, in this format.
    pub fn start(format: LogFormat) -> Self {
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_LINES);
        let (writer, guard) = builder.thread_name("log").finish(std::io::stderr());
        let dropped = writer.error_counter();
        log_to(writer, format);
        Self { dropped, _writer: guard }
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

/// Starts the log of a command that ends soon, as text on standard error.
pub fn log_to_stderr() {
    log_to(std::io::stderr, LogFormat::Text);
}

fn log_to(writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static, format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => {
            log.json().flatten_event(true).init();
            std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panicked")));
        }
    }
}
