//! `/health` and `/health/ready`.

use std::collections::BTreeMap;
use std::sync::Arc;

use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::lifecycle::Lifecycle;
use super::operations::Tag;
use crate::app::readiness::Readiness;

/// What probes ask.
pub struct HealthApi {
    pub lifecycle: Arc<Lifecycle>,
    pub readiness: Arc<Readiness>,
}

#[OpenApi(tag = "Tag::Health")]
impl HealthApi {
    /// Ask whether the process lives
    ///
    /// For liveness probes: it answers as long as the process can.
    #[oai(path = "/health", method = "get", operation_id = "readHealth")]
    async fn health(&self) -> Json<Health> {
        Json(Health { status: "ok".to_owned() })
    }

    /// Ask whether it may be sent requests
    ///
    /// For readiness probes and load balancers: 503 where a store is away that nothing works without, and from
    /// the moment that an end has begun. Without another store the service is degraded, and serves on.
    #[oai(path = "/health/ready", method = "get", operation_id = "readReadiness")]
    async fn ready(&self) -> ReadyResponse {
        let report = self.readiness.report().await;
        let state = |answers| if answers { "ok" } else { "away" };
        let components = report.stores.iter().map(|(name, answers)| ((*name).into(), state(*answers).into()));
        let told =
            |status: &str| Json(ReadyState { status: status.to_owned(), components: components.collect() });
        if self.lifecycle.is_ending() {
            ReadyResponse::NotReady(told("shutting down"))
        } else if !report.is_ready {
            ReadyResponse::NotReady(told("away"))
        } else {
            ReadyResponse::Ready(told(if report.is_whole { "ok" } else { "degraded" }))
        }
    }
}

/// The state of the process
#[derive(Object)]
struct Health {
    /// `ok`
    status: String,
}

#[derive(ApiResponse)]
enum ReadyResponse {
    /// It may
    #[oai(status = 200)]
    Ready(Json<ReadyState>),
    /// It may not: a store is away, or it is shutting down
    #[oai(status = 503)]
    NotReady(Json<ReadyState>),
}

/// The state of the service
#[derive(Object)]
#[oai(rename = "Readiness")]
struct ReadyState {
    /// `ok`, `degraded`, or why it is not ready
    status: String,
    /// What it stands on, each `ok` or `away`
    components: BTreeMap<String, String>,
}
