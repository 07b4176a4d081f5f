use std::sync::{Arc, Mutex};

use agentidp::app::background::{AtShutdown, tasks};
use agentidp::app::bootstrap::Administrator;
use agentidp::app::request_context::RequestContext;
use agentidp::app::token::TokenRequest;
use agentidp::domain::audit::Origin;
use agentidp::domain::jwk::KeyType;
use agentidp::domain::usage::MonthlyUsage;
use agentidp::ports::store_error::StoreError;
use agentidp::ports::usage_mirror::UsageMirror;
use async_trait::async_trait;
use testing::{NOON, PlainHasher, plain_core, plain_ports, presented};

use crate::fixtures::*;

contract!([memory, postgres, sqlite][the_tasks_of_shutdown_publish_what_clients_were_issued]);

/// Mirror that refuses what it is given until it is let go.
#[derive(Default)]
struct Mirror {
    works: Mutex<bool>,
    published: Mutex<Vec<MonthlyUsage>>,
}

#[async_trait]
impl UsageMirror for Mirror {
    async fn publish(&self, usage: &MonthlyUsage) -> Result<(), StoreError> {
        if !*self.works.lock().expect("no panic") {
            return Err(StoreError::Unavailable { store: "mirror", source: "unreachable".into() });
        }
        self.published.lock().expect("no panic").push(*usage);
        Ok(())
    }
}

async fn the_tasks_of_shutdown_publish_what_clients_were_issued(stores: Stores) {
    let mirror = Arc::new(Mirror::default());
    let key = agentidp::adapters::crypto::generate_pem(KeyType::Ed25519).expect("a key");
    let mut ports = plain_ports(Arc::new(PlainHasher), &stores, stores.clock.clone(), &key);
    ports.stores.usage_mirror = Some(mirror.clone());
    let app = Arc::new(plain_core(&ports));
    let Administrator { client_id, client_secret, .. } =
        app.bootstrap.first_administrator().await.expect("the first");
    let context = RequestContext::new(String::new(), Origin::NONE);
    let request = TokenRequest { grant_type: Some("client_credentials".into()), ..TokenRequest::default() };
    for _ in 0..3 {
        app.tokens.issue(&context, &presented(client_id, &client_secret), &request).await.expect("a token");
    }
    for works in [false, true, true] {
        *mirror.works.lock().expect("no panic") = works;
        for task in tasks(&app).iter().filter(|task| task.at_shutdown == AtShutdown::RunOnce) {
            assert!(task.run().await.is_ok() || !works, "{}", task.failure);
        }
    }
    let published = mirror.published.lock().expect("no panic").clone();
    assert_eq!(published, [MonthlyUsage { client: client_id, month: NOON.month(), tokens: 3 }]);
}
