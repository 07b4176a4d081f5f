//! A secret that was right once is known to every instance with the same signing key, without its slow hash.

use std::sync::{Arc, Mutex};

use agentidp::adapters::crypto::{BcryptHasher, generate_pem};
use agentidp::app::bootstrap::Administrator;
use agentidp::app::request_context::RequestContext;
use agentidp::domain::audit::Origin;
use agentidp::domain::credential::StoredSecret;
use agentidp::domain::id::OrganizationId;
use agentidp::domain::jwk::KeyType;
use agentidp::domain::secret::ClientSecret;
use agentidp::ports::secret_hasher::{HasherError, SecretHasher, Verification};
use async_trait::async_trait;
use testing::{plain_core, plain_ports, presented};

use crate::fixtures::*;

contract!(
    [memory, postgres, sqlite][a_secret_is_hashed_once_for_each_signing_key_however_many_instances_start]
);

/// The hasher of an instance that has just started, which notes the results of its comparisons.
struct NewHasher {
    hasher: BcryptHasher,
    results: Mutex<Vec<Verification>>,
}

impl NewHasher {
    fn with_key(key: u8) -> Arc<Self> {
        let hasher = BcryptHasher::new(4, &[key; 32]).expect("threads");
        Arc::new(Self { hasher, results: Mutex::default() })
    }
}

#[async_trait]
impl SecretHasher for NewHasher {
    async fn hash(&self, secret: &ClientSecret, whose: OrganizationId) -> Result<StoredSecret, HasherError> {
        self.hasher.hash(secret, whose).await
    }

    async fn verify(
        &self,
        secret: &ClientSecret,
        stored: &StoredSecret,
        whose: OrganizationId,
    ) -> Result<Verification, HasherError> {
        let result = self.hasher.verify(secret, stored, whose).await?;
        self.results.lock().expect("no panic").push(result);
        Ok(result)
    }
}

async fn a_secret_is_hashed_once_for_each_signing_key_however_many_instances_start(stores: Stores) {
    let key = generate_pem(KeyType::Ed25519).expect("a key");
    let instance =
        |hasher: Arc<NewHasher>| plain_core(&plain_ports(hasher, &stores, stores.clock.clone(), &key));
    let first = instance(NewHasher::with_key(1));
    let Administrator { client_id, client_secret, .. } =
        first.bootstrap.first_administrator().await.expect("the first");
    let presented = presented(client_id, &client_secret);
    // A new digest is offered only after the slow hash.
    for (key, is_hashed) in [(1, false), (2, true), (2, false), (1, true), (1, false)] {
        let hasher = NewHasher::with_key(key);
        let context = RequestContext::new(String::new(), Origin::NONE);
        let caller = instance(hasher.clone()).clients.authenticate_caller(&context, &presented).await;
        assert_eq!(caller.expect("a caller").agent(), client_id);
        let results = hasher.results.lock().expect("no panic").clone();
        let [Verification::Right { new_digest }] = results[..] else { panic!("one result: {results:?}") };
        assert_eq!(new_digest.is_some(), is_hashed, "key {key}");
    }
}
