//! `/health` and `/health/ready`.

use std::collections::BTreeMap;

use poem_openapi::{ApiResponse, Object, OpenApi};

use crate::extract::context::Ctx;
use crate::json::Json;
use crate::operation::{Operation, Tag, operation};

/// The health endpoints, for probes.
pub struct HealthApi;

#[OpenApi(tag = "Tag::Health")]
impl HealthApi {
    /// Liveness
    ///
    /// For liveness probes. Responds as long as the process is able to.
    #[oai(path = "/health", method = "get", operation_id = "getHealth")]
    async fn health(&self) -> Json<Health> {
        Json(Health { status: "ok".to_owned() })
    }

    /// Readiness
    ///
    /// For readiness probes and load balancers. 503 while the service is starting or draining, and while PostgreSQL is
    /// not writable. Without Redis, while this instance counts request rates by itself, and while PostgreSQL refuses it
    /// further connections, the service is `degraded` but keeps serving.
    #[oai(path = "/health/ready", method = "get", operation_id = "getReadiness")]
    async fn ready(&self, ctx: Ctx) -> ReadyResponse {
        let report = ctx.app.readiness.report().await;
        let state = |answers| if answers { "ok" } else { "unavailable" };
        let components = report.stores.iter().map(|(name, answers)| ((*name).into(), state(*answers).into()));
        let body =
            |status: &str| Json(ReadyState { status: status.to_owned(), components: components.collect() });
        if ctx.shutdown.is_draining() {
            ReadyResponse::NotReady(body("draining"))
        } else if !report.is_ready {
            ReadyResponse::NotReady(body("unavailable"))
        } else {
            ReadyResponse::Ready(body(if report.is_whole { "ok" } else { "degraded" }))
        }
    }
}

/// State of the process
#[derive(Object)]
struct Health {
    /// Always `ok`
    status: String,
}

#[derive(ApiResponse)]
enum ReadyResponse {
    /// Ready
    #[oai(status = 200)]
    Ready(Json<ReadyState>),
    /// Not ready: starting, draining, or a required store is unavailable
    #[oai(status = 503)]
    NotReady(Json<ReadyState>),
}

/// State of the service
#[derive(Object)]
#[oai(rename = "Readiness")]
struct ReadyState {
    /// `ok`, `degraded`, `unavailable`, `starting` or `draining`
    status: String,
    /// State of each store: `ok` or `unavailable`
    components: BTreeMap<String, String>,
}

/// The operations on the wire.
pub const OPERATIONS: &[Operation] = &[operation("getHealth", &[]), operation("getReadiness", &[])];
