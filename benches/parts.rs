//! Time of individual hot parts: `cargo bench --bench parts`.
//!
//! A word after `--` selects the parts whose names contain the word.

use std::hint::black_box;
use std::sync::Arc;

use agentidp::adapters::crypto::{BcryptHasher, JwtProofVerifier, JwtSigner, KeySet, generate_pem};
use agentidp::adapters::memory::MemoryRateLimiter;
use agentidp::adapters::system::SystemClock;
use agentidp::domain::audit::Metadata;
use agentidp::domain::id::{AgentId, OrganizationId, TokenId};
use agentidp::domain::jwk::KeyType;
use agentidp::domain::rate::WindowCounts;
use agentidp::domain::scope::{MAX_CAPABILITIES, RequestedScope, Scopes};
use agentidp::domain::secret::ClientSecret;
use agentidp::domain::time::Timestamp;
use agentidp::domain::token::{Audience, Claims};
use agentidp::ports::proof_verifier::ProofVerifier as _;
use agentidp::ports::rate_limiter::{RateKey, RateLimiter as _};
use agentidp::ports::secret_hasher::SecretHasher as _;
use agentidp::ports::token_signer::TokenSigner as _;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use testing::ProofKey;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const ISSUER: &str = "https://idp.example.com";
const KINDS: [(&str, KeyType); 3] =
    [("RS256", KeyType::Rsa), ("ES256", KeyType::P256), ("EdDSA", KeyType::Ed25519)];

criterion_group!(parts, scopes, secrets, rates, events, tokens, proofs);
criterion_main!(parts);

fn scopes(bench: &mut Criterion) {
    let most = capabilities(MAX_CAPABILITIES);
    let asked = RequestedScope::parse("documents-0:read documents-63:read").expect("a scope");
    let part = most.grant(&asked).expect("capabilities");
    bench.bench_function("scope: parse a request", |bench| {
        bench.iter(|| RequestedScope::parse(black_box("documents-0:read documents-63:read")));
    });
    bench.bench_function("scope: grant 2 of 64", |bench| bench.iter(|| most.grant(black_box(&asked))));
    bench.bench_function("scope: grant 64 by default", |bench| {
        bench.iter(|| black_box(&most).default_grant());
    });
    bench.bench_function("scope: what is left of 2 in 64", |bench| {
        bench.iter(|| part.intersection(black_box(&most)));
    });
}

fn secrets(bench: &mut Criterion) {
    let secret = ClientSecret::from_random([7; 24]);
    bench.bench_function("secret: parse", |bench| {
        bench.iter(|| ClientSecret::parse(black_box(secret.expose())));
    });
    bench.bench_function("secret: fingerprint", |bench| bench.iter(|| black_box(&secret).fingerprint()));
    let runtime = runtime();
    let hasher = BcryptHasher::new(4, &[7; 32]).expect("threads");
    let nobody = agentidp::domain::id::OrganizationId(uuid::Uuid::nil());
    let stored = runtime.block_on(hasher.hash(&secret, nobody)).expect("hashed");
    bench.bench_function("secret: verify one that is remembered", |bench| {
        bench.iter(|| runtime.block_on(hasher.verify(black_box(&secret), &stored, nobody)));
    });
}

fn rates(bench: &mut Criterion) {
    bench.bench_function("rate: admit by the rule", |bench| {
        let mut usage = WindowCounts::default();
        bench.iter(|| usage.admit(black_box(u32::MAX / 2), NOW));
    });
    let (runtime, limiter) = (runtime(), MemoryRateLimiter::new(Arc::new(SystemClock)));
    let key = RateKey::Client(AgentId(Uuid::from_u128(1)));
    bench.bench_function("rate: admit in memory", |bench| {
        bench.iter(|| runtime.block_on(limiter.admit(black_box(key), u32::MAX / 2)));
    });
}

fn events(bench: &mut Criterion) {
    let (credential, scopes) = (Uuid::from_u128(1).to_string(), capabilities(2));
    bench.bench_function("event: metadata of a token", |bench| {
        bench.iter(|| {
            Metadata::default()
                .with("credentialId", black_box(credential.as_str()))
                .with("scope", scopes.as_str())
        });
    });
}

fn tokens(bench: &mut Criterion) {
    for (name, kind) in KINDS {
        let pem = generate_pem(kind).expect("a key");
        let signer = || JwtSigner::new(ISSUER.into(), KeySet::from_pem(&pem, "").expect("a key"));
        let (ours, claims) = (signer(), claims());
        let token = ours.sign(&claims).expect("signed");
        bench.bench_function(&format!("token: sign by {name}"), |bench| {
            bench.iter(|| ours.sign(black_box(&claims)));
        });
        bench.bench_function(&format!("token: verify by {name}, seen for the first time"), |bench| {
            let verify = |signer: JwtSigner| (signer.verify(black_box(token.expose()), NOW), signer);
            bench.iter_batched(signer, verify, BatchSize::SmallInput);
        });
        if kind == KeyType::Rsa {
            bench.bench_function("token: verify one that is remembered", |bench| {
                bench.iter(|| ours.verify(black_box(token.expose()), NOW));
            });
        }
    }
}

fn proofs(bench: &mut Criterion) {
    let proof = ProofKey::es256().proof(ISSUER, "GET", "/api/v1/agents", None);
    let verifier = JwtProofVerifier::default();
    bench.bench_function("proof: verify one by ES256 whose key is known", |bench| {
        bench.iter(|| verifier.verify(black_box(&proof)).expect("valid"));
    });
}

fn capabilities(number: usize) -> Scopes {
    let capabilities: Vec<_> = (0..number).map(|number| format!("documents-{number}:read")).collect();
    Scopes::capabilities(&capabilities).expect("valid")
}

fn claims() -> Claims {
    Claims {
        agent: AgentId(Uuid::from_u128(1)),
        organization: OrganizationId(Uuid::from_u128(2)),
        audience: Audience::Issuer,
        scopes: capabilities(2),
        id: TokenId(Uuid::from_u128(3)),
        issued_at: NOW.as_seconds(),
        expires_at: NOW.plus_seconds(3_600).as_seconds(),
        generation: 0,
        issuers: Vec::new(),
        key: None,
        delegation: None,
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}
