//! The metrics of the service: their descriptions, and what is read when they are scraped.

use std::sync::{Mutex, PoisonError};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::adapters::http::Scrape;
use crate::adapters::system::{PROCESS_METRICS, report_process};

/// Upper bounds of the buckets of durations, in seconds.
const DURATIONS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Upper bounds of the buckets of batch sizes.
const BATCH_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
const BATCH_SIZE: &str = "agentidp_db_batch_size";

/// Type of a metric.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Seconds,
    Sizes,
}

use Kind::{Counter, Gauge, Seconds, Sizes};

/// Every metric of this program, with its description.
const METRICS: [(&str, Kind, &str); 30] = [
    ("agentidp_build_info", Gauge, "1, with the version of the program as a label"),
    ("agentidp_http_requests_total", Counter, "Requests answered, by method, path template and status"),
    ("agentidp_http_request_duration_seconds", Seconds, "Time from the head of a request to its response"),
    ("agentidp_http_connections", Gauge, "Open connections"),
    ("agentidp_tokens_issued_total", Counter, "Tokens issued, by grant type and client authentication"),
    ("agentidp_token_refusals_total", Counter, "Token requests refused, by OAuth error or error code"),
    ("agentidp_introspections_total", Counter, "Tokens introspected, by whether they were active"),
    ("agentidp_revocations_total", Counter, "Revocations stored, by their kind"),
    ("agentidp_rate_limit_rejections_total", Counter, "Requests refused by a rate limit, by its key"),
    ("agentidp_quota_rejections_total", Counter, "Token requests refused by the monthly quota"),
    ("agentidp_agents", Gauge, "Agents of all organizations, by status"),
    ("agentidp_credentials_expiring", Gauge, "Credentials that are not revoked and expire within this time"),
    ("agentidp_db_query_duration_seconds", Seconds, "Duration of a statement, or of an operation on a file"),
    (BATCH_SIZE, Sizes, "Requests that were done as one batch"),
    ("agentidp_db_queue_depth", Gauge, "Requests that wait for their batch"),
    ("agentidp_db_connections", Gauge, "Pooled connections to PostgreSQL, by whether a request uses them"),
    (
        "agentidp_connections_refused_total",
        Counter,
        "Connections refused by a store that has no room for them",
    ),
    ("agentidp_redis_command_duration_seconds", Seconds, "Duration of a Redis command"),
    ("agentidp_store_up", Gauge, "1 if the store responds, else 0; checked every 10 seconds"),
    (
        "agentidp_store_failures_total",
        Counter,
        "Failed attempts to use a store that the service can do without",
    ),
    ("agentidp_bcrypt_duration_seconds", Seconds, "Duration of hashing or checking a secret by bcrypt"),
    ("agentidp_bcrypt_queue_depth", Gauge, "Secrets that wait for bcrypt"),
    (
        "agentidp_secret_cache_total",
        Counter,
        "Secrets found in memory (hit), in the store (stored) or neither (miss)",
    ),
    ("agentidp_signing_duration_seconds", Seconds, "Duration of the signature of a token"),
    (
        "agentidp_signing_key_age_seconds",
        Gauge,
        "Age of the file of the signing key, and of the verifying keys",
    ),
    ("agentidp_audit_dropped_total", Counter, "Audit events that could not be stored"),
    ("agentidp_outbox_pending", Gauge, "Messages, such as revocations, that are not delivered yet"),
    (
        "agentidp_log_lines_dropped_total",
        Counter,
        "Log lines dropped because standard error did not take them in time",
    ),
    ("agentidp_issuer_fetches_total", Counter, "Attempts to fetch the keys of trusted issuers, by result"),
    ("agentidp_issuer_keys_stale", Gauge, "Sources of issuers' keys that the last attempt could not fetch"),
];

type Reading = Box<dyn Fn() + Send>;

/// The metrics of this process.
pub(super) struct Metrics {
    recorded: PrometheusHandle,
    /// Gauges that are read at each scrape.
    readings: Mutex<Vec<Reading>>,
}

impl Metrics {
    /// Installs the recorder of this process.
    ///
    /// `None` if another service in this process has installed one before, which then reports both.
    pub(super) fn install() -> Option<Self> {
        let builder = PrometheusBuilder::new().set_buckets(&DURATIONS).expect("there are buckets");
        let builder = builder
            .set_buckets_for_metric(Matcher::Full(BATCH_SIZE.to_owned()), &BATCH_SIZES)
            .expect("there are buckets");
        let recorded = builder.install_recorder().ok()?;
        for (name, kind, description) in METRICS {
            match kind {
                Counter => describe_counter!(name, description),
                Gauge => describe_gauge!(name, description),
                Seconds => describe_histogram!(name, Unit::Seconds, description),
                Sizes => describe_histogram!(name, description),
            }
        }
        gauge!("agentidp_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
        for (name, is_counter, description) in PROCESS_METRICS {
            match is_counter {
                true => describe_counter!(name, description),
                false => describe_gauge!(name, description),
            }
        }
        Some(Self { recorded, readings: Mutex::default() })
    }

    /// Adds gauges that `read` sets at each scrape. It must not block.
    pub(super) fn read_at_scrape(&self, read: impl Fn() + Send + 'static) {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(read));
    }
}

impl Scrape for Metrics {
    fn text(&self) -> String {
        report_process();
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|read| read());
        self.recorded.render()
    }

    fn run_upkeep(&self) {
        self.recorded.run_upkeep();
    }
}
