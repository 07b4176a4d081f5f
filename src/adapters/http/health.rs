//! `/health` and `/health/ready`.

use std::collections::BTreeMap;
use std::sync::Arc;

use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::operations::Tag;
use super::shutdown::Shutdown;
use crate::app::readiness::Readiness;

/// What probes ask.
pub struct HealthApi {
    pub shutdown: Arc<Shutdown>,
    pub readiness: Arc<Readiness>,
}

#[OpenApi(tag = "Tag::Health")]
impl HealthApi {
    /// Ask whether the process lives
    ///
    /// For liveness probes: it answers as long as the process can.
    #[oai(path = "/health", method = "get", operation_id = "getHealth")]
    async fn health(&self) -> Json<Health> {
        Json(Health { status: "ok".to_owned() })
    }

    /// Ask whether it may be sent requests
    ///
    /// For readiness probes and load balancers. 503 while the service starts or drains, and while PostgreSQL cannot be
    /// written. Without Redis, or while rates are counted by this instance alone, the service is degraded and serves on.
    #[oai(path = "/health/ready", method = "get", operation_id = "getReadiness")]
    async fn ready(&self) -> ReadyResponse {
        let report = self.readiness.report().await;
        let state = |answers| if answers { "ok" } else { "unavailable" };
        let components = report.stores.iter().map(|(name, answers)| ((*name).into(), state(*answers).into()));
        let told =
            |status: &str| Json(ReadyState { status: status.to_owned(), components: components.collect() });
        if self.shutdown.is_draining() {
            ReadyResponse::NotReady(told("draining"))
        } else if !report.is_ready {
            ReadyResponse::NotReady(told("unavailable"))
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
    /// Not ready: starting, draining, or a store that nothing works without is unavailable
    #[oai(status = 503)]
    NotReady(Json<ReadyState>),
}

/// The state of the service
#[derive(Object)]
#[oai(rename = "Readiness")]
struct ReadyState {
    /// `ok`, `degraded`, `unavailable`, `starting` or `draining`
    status: String,
    /// Each store, `ok` or `unavailable`
    components: BTreeMap<String, String>,
}
