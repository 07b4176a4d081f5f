//! Arbitrary bytes for every parser: what the fuzz targets do for long, run briefly on every change.

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Nearly valid inputs, in which single bytes are then replaced.
const NEARLY: [&str; 12] = [
    "MDE5MjAwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAwOmFpZHBfc2tf",
    "grant_type=client_credentials&scope=files%3Aread&resource=https%3A%2F%2Fapi.example.com",
    r#"{"email":"a@example.com","agentType":"custom","version":"1.0.0","capabilities":["a:b"],"owner":"o"}"#,
    "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImsifQ.eyJpc3MiOiJhIiwic3ViIjoiYiIsImF1ZCI6ImMifQ.c2ln",
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN"}"#,
    "action=token.issued&outcome=success&fromDate=2026-01-15T12%3A00%3A00Z&limit=50",
    "1.1.1.1, evil, , 999.1.1.1, [::1]:80, ::ffff:192.0.2.1",
    "api/v1/agents/01920000-0000-7000-8000-000000000000/credentials/%00/rotate",
    "1.0.0-alpha.1+build.5",
    "files:read.all",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v\n-----END PRIVATE KEY-----\n",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let broken =
        (0..NEARLY.len(), proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6));
    let broken = broken.prop_map(|(which, changes)| {
        let mut bytes = NEARLY[which].as_bytes().to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    });
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..300), broken]
}

#[test]
fn no_bytes_break_what_reads_them() {
    for whole in NEARLY {
        bodies::run("", whole.as_bytes());
    }
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&bytes(), |bytes| {
        bodies::run("", &bytes);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
