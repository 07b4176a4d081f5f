//! A whole service in this process, in memory and without sockets: a request goes in, its answer comes out.

#[path = "plain_core.rs"]
mod plain_core;

use std::sync::Arc;

use agentidp::adapters::crypto::generate_pem;
use agentidp::adapters::http::body::Bodies;
use agentidp::adapters::http::document;
use agentidp::adapters::http::envelope::Envelope;
use agentidp::adapters::http::lifecycle::Lifecycle;
use agentidp::adapters::memory::{Memory, MemoryRateLimiter};
use agentidp::adapters::system::SystemClock;
use agentidp::app::App;
use agentidp::app::bootstrap::Administrator;
use agentidp::app::client_auth::ClientProof;
use agentidp::app::token::TokenRequest;
use agentidp::app::visit::Visit;
use agentidp::domain::audit::Origin;
use agentidp::domain::jwk::KeyType;
use agentidp::domain::secret::ClientSecret;
use agentidp::ports::stores::Stores;
use poem::{Request, Response};
use tokio::runtime::{Builder, Runtime};

use self::plain_core::{ISSUER, PlainHasher, plain_core};

/// One that runs until it is dropped.
pub struct PlainService {
    pub app: Arc<App>,
    pub administrator: Administrator,
    envelope: Envelope,
    runtime: Runtime,
}

impl PlainService {
    pub fn start() -> Self {
        // Time is driven: what waits for time to pass does not.
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let pem = generate_pem(KeyType::Ed25519).expect("a key");
        let limiter = Arc::new(MemoryRateLimiter::new(Arc::new(SystemClock)));
        let stores = Stores::of(&Arc::new(Memory::default()), limiter);
        let app = Arc::new(plain_core(Arc::new(PlainHasher), &stores, Arc::new(SystemClock), &pem));
        let administrator = runtime.block_on(app.bootstrap.first_administrator()).expect("the first");
        let lifecycle = Arc::new(Lifecycle::default());
        let documented = document::documented(&app, &ISSUER.into(), "", &lifecycle);
        let envelope = Envelope {
            app: app.clone(),
            endpoint: Arc::new(documented.endpoint),
            routes: documented.routes,
            lifecycle,
            bodies: Bodies::default(),
            trusted_proxies: vec!["0.0.0.0/0".parse().expect("a network")],
            cors_origins: Vec::new(),
            issuer_path: String::new(),
        };
        Self { app, administrator, envelope, runtime }
    }

    /// The answer to a request from somewhere.
    pub fn answer(&self, request: Request) -> Response {
        self.runtime.block_on(self.envelope.handle(request, [192, 0, 2, 1].into()))
    }

    /// A token of the administrator.
    pub fn token(&self) -> String {
        let Administrator { client_id, client_secret, .. } = &self.administrator;
        let secret = ClientSecret::parse(client_secret.expose());
        let proof = ClientProof::Secret { client: Some(*client_id), secret };
        let visit = Visit::new(Origin { address: None, user_agent: None });
        let request = TokenRequest::default();
        let issued = self.runtime.block_on(self.app.tokens.issue(&visit, &proof, &request));
        issued.expect("a token").token.expose().to_owned()
    }
}
