//! The format of the log.
//!
//! The line of a request is written without the general formats, which take four times as many instructions. Its text is
//! the same.

use std::cell::RefCell;
use std::fmt::{self, Debug, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::REQUESTS;
use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::LogFormat;

/// Writes the lines of requests, and leaves all others to another format.
pub struct RequestLines<F> {
    /// Format of this line.
    pub format: LogFormat,
    /// Writes all other lines, and those with colours or within a span.
    pub others: F,
}

impl<S, N, F> FormatEvent<S, N> for RequestLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if metadata.target() != REQUESTS || writer.has_ansi_escapes() || context.lookup_current().is_some() {
            return self.others.format_event(context, writer, event);
        }
        let level = metadata.level().as_str();
        LINE.with_borrow_mut(|text| {
            text.clear();
            let mut line = Line { text, is_json: self.format == LogFormat::Json };
            if line.is_json {
                *line.text += "{\"timestamp\":\"";
                line.time();
                *line.text += "\",\"level\":\"";
                *line.text += level;
                line.text.push('"');
                event.record(&mut line);
                *line.text += ",\"target\":\"";
                *line.text += REQUESTS;
                *line.text += "\"}\n";
            } else {
                line.time();
                *line.text += if level.len() == 4 { "  " } else { " " };
                *line.text += level;
                line.text.push(' ');
                *line.text += REQUESTS;
                line.text.push(':');
                event.record(&mut line);
                line.text.push('\n');
            }
            writer.write_str(text)
        })
    }
}

thread_local! {
    /// The last line, whose memory the next one uses.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
    /// The last second of which a line was written, in seconds since the epoch and as text.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// A line that is being written.
struct Line<'a> {
    text: &'a mut String,
    is_json: bool,
}

impl Line<'_> {
    /// Writes the name of a field. That of the message is not written as text.
    fn name(&mut self, field: &Field) {
        let name = field.name();
        if self.is_json {
            *self.text += ",\"";
            *self.text += name;
            *self.text += "\":";
        } else {
            self.text.push(' ');
            if name != "message" {
                *self.text += name;
                self.text.push('=');
            }
        }
    }

    fn value(&mut self, value: impl Debug) {
        write!(self.text, "{value:?}").expect("a text takes everything");
    }

    /// Writes the time in UTC, to the microsecond. All of it but the fraction is kept for the next line.
    fn time(&mut self) {
        let now = now();
        SECOND.with_borrow_mut(|(second, text)| {
            if *second != now.as_secs() || text.is_empty() {
                let at = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
                *text = Timestamp::from_second(at).unwrap_or(Timestamp::MAX).to_string();
                text.truncate("2026-01-15T12:00:00".len());
                *second = now.as_secs();
            }
            *self.text += text;
        });
        self.fraction(now.subsec_micros(), 1_000_000);
        self.text.push('Z');
    }

    fn number(&mut self, number: u64) {
        *self.text += itoa::Buffer::new().format(number);
    }

    /// Writes a point, and a fraction of this many parts, a power of ten.
    fn fraction(&mut self, numerator: u32, parts: u32) {
        self.text.push('.');
        // The first digit keeps the zeros that follow.
        *self.text += &itoa::Buffer::new().format(parts + numerator)[1..];
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "lines have the time of the system, whatever clock the service has"
)]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        // IDs of requests, methods, templates of routes and names of reasons have no character that JSON or Rust would escape.
        self.text.push('"');
        *self.text += value;
        self.text.push('"');
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        self.number(value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.name(field);
        let thousandths = (value * 1e3).round();
        if thousandths / 1e3 != value || !(0.0..1e9).contains(&thousandths) {
            return self.value(value);
        }
        // A duration in milliseconds, of which the microseconds are known.
        let thousandths = thousandths as u64;
        self.number(thousandths / 1_000);
        self.fraction((thousandths % 1_000) as u32, 1_000);
        while self.text.ends_with('0') && !self.text.ends_with(".0") {
            self.text.pop();
        }
    }

    /// Writes a value that displays itself: an ID, an address or the message.
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.name(field);
        if self.is_json {
            self.text.push('"');
            self.value(value);
            self.text.push('"');
        } else {
            self.value(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{Layer, Registry, fmt};
    use uuid::Uuid;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        /// Returns the lines without their time, which differs.
        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text");
            let without_time = |line: &str| {
                let at = line.find("20").expect("a year");
                assert_eq!(line.as_bytes()[at + 26], b'Z', "{line}");
                format!("{}{}", &line[..at], &line[at + 27..])
            };
            text.lines().map(without_time).collect()
        }
    }

    /// Logs requests of every kind, of which the last one is not at the default level, and another line.
    fn log() {
        let id = Some(Uuid::from_u128(7));
        for (client, status, took) in [
            (id, 200_u16, 9_861),
            (None, 401, 0),
            (id, 201, 1_000_000),
            (id, 204, 1_010),
            (id, 503, 5_000_100),
        ] {
            tracing::info!(
                target: REQUESTS,
                request_id = "a.b-c_1".to_owned(),
                client_id = client.map(display),
                method = "POST",
                route = "/api/v1/agents/{agentId}",
                status,
                duration_ms = f64::from(took) / 1e3,
                reason = client.is_none().then_some("unknown_client"),
                address = client.is_none().then_some(display(std::net::Ipv6Addr::LOCALHOST)),
                "answered"
            );
        }
        tracing::debug!(target: REQUESTS, request_id = "1", status = 200_u16, "answered");
        tracing::info!(target: "other", text = "a \"quoted\" text", "said");
        let _within = tracing::info_span!("request", id = 1).entered();
        tracing::info!(target: REQUESTS, request_id = "1", status = 200_u16, "answered");
    }

    /// Returns the lines of [`log`], as they are written by the general format or by the one of this program.
    fn lines(format: LogFormat, is_own: bool) -> Vec<String> {
        let written = Written::default();
        let log_layer = log_layer(format, written.clone(), is_own);
        tracing::subscriber::with_default(Registry::default().with(log_layer), log);
        written.lines()
    }

    fn log_layer(
        format: LogFormat,
        written: Written,
        is_own: bool,
    ) -> Box<dyn Layer<Registry> + Send + Sync> {
        let layer = fmt::layer().with_ansi(false).with_writer(move || written.clone());
        let json = |layer: fmt::Layer<Registry, _, _, _>| layer.json().flatten_event(true);
        match (format, is_own) {
            (LogFormat::Text, false) => layer.boxed(),
            (LogFormat::Text, true) => {
                layer.map_event_format(|others| RequestLines { format, others }).boxed()
            }
            (LogFormat::Json, false) => json(layer).boxed(),
            (LogFormat::Json, true) => {
                json(layer).map_event_format(|others| RequestLines { format, others }).boxed()
            }
        }
    }

    #[test]
    fn the_line_of_a_request_is_the_one_of_the_general_format() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let usual = lines(format, false);
            assert_eq!(usual.len(), 8, "{usual:?}");
            assert_eq!(lines(format, true), usual);
        }
    }
}
