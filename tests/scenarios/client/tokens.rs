use agentidp::adapters::crypto::generate_pem;
use agentidp::domain::jwk::KeyType;
use agentidp::ports::clock::Clock as _;
use serde_json::Value;
use testing::{free_address, public_jwk};
use tokio::process::Command;

use super::{User, start};

#[tokio::test]
async fn a_token_is_printed_alone_introspected_and_revoked() {
    let (_server, user) = start().await;
    let token = user.done(&["token", "get", "--scope", "agents:read"]).await;
    let token = token.trim();
    assert_eq!(token.split('.').count(), 3);
    let answer = user.json(&["token", "get", "--scope", "agents:read", "-o", "json"]).await;
    assert_eq!(answer["scope"], "agents:read");
    let introspected: Value =
        serde_json::from_str(&user.run_with(&["token", "introspect", "-"], token).await.out).expect("JSON");
    assert_eq!(introspected["active"], true);
    let tree = user.run_with(&["token", "tree", "-", "-o", "table"], token).await;
    assert!(tree.out.contains("true"), "{tree:?}");
    assert_eq!(user.run_with(&["token", "revoke", "-"], token).await.code, 0);
    let after = user.run_with(&["token", "introspect", "-"], token).await;
    assert!(after.out.contains("\"active\": false"), "{}", after.out);
}

#[tokio::test]
async fn a_token_is_described_in_words_without_the_service() {
    let (_server, user) = start().await;
    let token = user.done(&["token", "get", "--scope", "agents:read"]).await;
    let offline = User::new(Vec::new());
    let ran = offline.run_with(&["token", "inspect", "-"], &token).await;
    for words in [
        "An access token",
        "Scope: agents:read",
        "It expired at 2026-01-15T13:00:00Z",
        "signature was not verified",
    ] {
        assert!(ran.out.contains(words), "{}", ran.out);
    }
    let wrong = offline.run(&["token", "inspect", "abc"]).await;
    assert!(wrong.code == 2 && wrong.err.contains("not a JWT"), "{}", wrong.err);
}

#[tokio::test]
async fn an_agent_acts_for_another_by_an_exchanged_token() {
    let (server, user) = start().await;
    let admin = server.admin_token().await;
    let subject = server.client(&admin, None, &["files:read"]).await;
    let actor = server.client(&admin, None, &["files:read"]).await;
    user.done(&["agents", "update", &subject.id, "--may-act", &actor.id]).await;
    let token = server.token(&subject, &[]).await;
    let mut acting = User::administrator(&server);
    acting.environment[1].1 = actor.id.clone();
    acting.environment[2].1 = actor.secret;
    let exchanged = acting.run_with(&["token", "exchange", "-"], &token).await;
    assert_eq!(exchanged.code, 0, "{}", exchanged.err);
    for (kind, code) in
        [("access_token", 0), ("urn:ietf:params:oauth:token-type:access_token", 0), ("jwt", 1)]
    {
        let ran = acting.run_with(&["token", "exchange", "-", "--subject-token-type", kind], &token).await;
        assert!(ran.code == code && !ran.err.contains("must be urn:"), "{kind}: {}", ran.err);
    }
    let described = acting.run_with(&["token", "inspect", "-"], &exchanged.out).await;
    assert!(described.out.contains(&format!("{} acts for the subject.", actor.id)), "{}", described.out);
    let table = user.run_with(&["token", "introspect", "-", "-o", "table"], &exchanged.out).await;
    let rows: Vec<Vec<&str>> = table.out.lines().map(|line| line.split_whitespace().collect()).collect();
    let of = |name: &str| rows[0].iter().position(|head| *head == name).map(|place| rows[1][place]);
    assert_eq!((of("ACT"), of("EXP")), (Some(&*actor.id), Some("2026-01-15T13:00:00Z")), "{}", table.out);
}

#[tokio::test]
async fn a_private_key_of_any_type_authenticates() {
    let (server, user) = start().await;
    // Assertions are judged by the clock of the service.
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    server.clock.advance_millis(i64::try_from(now).expect("small") - server.clock.now().as_millis());
    let id = user.environment[1].1.clone();
    let keyed = User::new(user.environment[..2].to_vec());
    for kind in [KeyType::Rsa, KeyType::P256, KeyType::Ed25519] {
        let pem = generate_pem(kind).expect("a key");
        keyed.file("key.pem", &pem);
        let jwk = public_jwk(&pem).to_string();
        user.done(&["credentials", "create", &id, "--type", "public_key", "--public-key", &jwk]).await;
        keyed.done(&["agents", "list", "--private-key", "key.pem"]).await;
    }
    let wrong = keyed.run(&["agents", "list", "--private-key", "none.pem"]).await;
    assert!(wrong.code == 2 && wrong.err.contains("none.pem: no such file"), "{}", wrong.err);
}

#[tokio::test]
async fn a_public_key_is_registered_from_its_pem_file() {
    let (_server, user) = start().await;
    let agent = user.agent("one@example.com").await;
    let id = agent["agentId"].as_str().expect("an ID");
    let create = |file: &'static str| ["credentials", "create", id, "--public-key", file];
    for kind in [KeyType::Rsa, KeyType::P256, KeyType::Ed25519] {
        let pem = generate_pem(kind).expect("a key");
        user.file("key.pem", &pem);
        let private = user.run(&create("@key.pem")).await;
        assert!(private.code == 2 && private.err.contains("openssl pkey -in key.pem -pubout"), "{private:?}");
        let mut openssl = Command::new("openssl");
        openssl.args(["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]);
        let public = openssl.current_dir(user.folder.path()).status().await.expect("openssl runs");
        assert!(public.success());
        let made = user.json(&create("@public.pem")).await;
        let jwk = public_jwk(&pem);
        assert_eq!(made["type"], "public_key");
        for member in ["kty", "crv", "x", "y", "n", "e"] {
            assert_eq!(made["publicKey"][member], jwk[member], "{member}: {made}");
        }
    }
    let missing = user.run(&create("@none.pem")).await;
    assert!(missing.code == 2 && missing.err.contains("none.pem: no such file"), "{}", missing.err);
    let federated = user.run(&["credentials", "create", id, "--issuer-id", id, "--subject", "s"]).await;
    assert!(federated.code == 1 && federated.err.contains("must be a trusted issuer"), "{}", federated.err);
}

#[tokio::test]
async fn an_agent_without_management_scopes_revokes_its_own_token() {
    let (server, mut user) = start().await;
    let admin = server.admin_token().await;
    let agent = server.client(&admin, None, &["files:read"]).await;
    user.environment[1].1 = agent.id;
    user.environment[2].1 = agent.secret;
    let token = user.done(&["token", "get"]).await;
    let ran = user.run_with(&["token", "revoke", "-"], &token).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!server.is_active(token.trim()).await);
}

#[tokio::test]
async fn a_text_that_is_neither_a_token_nor_an_id_is_not_revoked() {
    let user = User::new(vec![
        ("AGENTIDP_URL", format!("http://{}", free_address())),
        ("AGENTIDP_TOKEN", "a.b.c".to_owned()),
    ]);
    for text in ["abc", "a.b", "", "reader@agents.example.com", "a.b.c"] {
        for command in ["revoke", "tree"] {
            let ran = user.run_with(&["token", command, "-"], text).await;
            assert!(ran.code == 2 && ran.err.contains("neither a token"), "{text:?}: {}", ran.err);
        }
    }
}
