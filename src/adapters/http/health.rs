//! `/health` and `/health/ready`.

use std::collections::BTreeMap;
use std::sync::Arc;

use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::lifecycle::Lifecycle;
use super::operations::Tag;

/// What probes ask.
pub struct HealthApi {
    pub lifecycle: Arc<Lifecycle>,
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
    /// For readiness probes and load balancers: 503 from the moment that an end has begun.
    #[oai(path = "/health/ready", method = "get", operation_id = "readReadiness")]
    async fn ready(&self) -> ReadyResponse {
        let readiness = |status: &str| {
            let components = BTreeMap::from([("store".to_owned(), "memory".to_owned())]);
            Json(Readiness { status: status.to_owned(), components })
        };
        if self.lifecycle.is_ending() {
            ReadyResponse::NotReady(readiness("shutting down"))
        } else {
            ReadyResponse::Ready(readiness("ok"))
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
    Ready(Json<Readiness>),
    /// It may not: it is shutting down
    #[oai(status = 503)]
    NotReady(Json<Readiness>),
}

/// The state of the service
#[derive(Object)]
struct Readiness {
    /// `ok`, `degraded`, or why it is not ready
    status: String,
    /// What it stands on
    components: BTreeMap<String, String>,
}
