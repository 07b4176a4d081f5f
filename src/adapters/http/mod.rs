//! HTTP adapter: translates requests into calls of the use cases.
//!
//! A request passes through `server` (connections, their limits and their end), `pipeline` (steps that
//! all requests share) and `router` to the file of its resource. There it is read strictly
//! (`input`) and handed to a use case, and the response is written, in case of an error by `error`.

mod agents;
mod answers;
mod audit;
mod authorization;
mod body;
mod connection_deadline;
mod context;
mod cors;
mod credentials;
mod detach_on_drop;
mod document;
mod error;
mod failure_log;
mod front;
mod health;
mod input;
mod introspection;
mod jwk;
mod metrics;
mod operation;
mod organizations;
mod pipeline;
mod revocation;
mod router;
mod server;
mod token;
mod usage;
mod well_known;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use poem::{Request, Response};

pub use self::document::{openapi, yaml};
pub use self::front::Front;
pub use self::metrics::serve as serve_metrics;
pub use self::server::serve;
use crate::app::App;
use crate::app::shutdown::Shutdown;

/// Settings of the HTTP API, chosen by the operator.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// Networks of the proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins that may send cross-origin requests.
    pub cors_origins: Vec<String>,
}

/// The HTTP API of one service.
pub struct HttpApi(pipeline::Pipeline);

impl HttpApi {
    /// Creates the API of this core.
    ///
    /// Requests whose caller disconnects continue as tasks of `shutdown`.
    pub fn new(app: Arc<App>, shutdown: Arc<Shutdown>, config: HttpConfig) -> Self {
        Self(pipeline::Pipeline::new(app, shutdown, config))
    }

    /// Answers a request from this peer.
    pub async fn respond(&self, request: Request, peer: IpAddr) -> Response {
        self.0.handle(request, peer).await
    }
}
