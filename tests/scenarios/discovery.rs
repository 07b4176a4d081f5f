use agentidp::adapters::crypto::generate_pem;
use agentidp::domain::jwk::KeyType;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{TestServer, Wiring, settings};

use crate::scenarios::scenarios;

scenarios!(stateless [
    what_discovery_names_is_there,
    the_keys_may_be_kept_for_five_minutes,
    an_issuer_with_a_path_is_found_where_the_rfcs_say,
    an_issuer_is_used_byte_for_byte,
]);

async fn read(server: &TestServer, path: &str) -> Value {
    let answer = server.send(server.request(Method::GET, path)).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.json()
}

async fn what_discovery_names_is_there(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let issuer = server.issuer();
    let metadata = read(&server, "/.well-known/oauth-authorization-server").await;
    let mut openid = read(&server, "/.well-known/openid-configuration").await;
    assert_eq!(openid["response_types_supported"].take(), json!(["id_token"]));
    openid["response_types_supported"] = json!(["none"]);
    assert_eq!(metadata, openid);
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["scopes_supported"], Value::Null, "some clients request every scope that is listed");
    assert_eq!(
        metadata["grant_types_supported"],
        json!(["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"])
    );
    for endpoint in ["token", "introspection", "revocation"] {
        let methods = &metadata[format!("{endpoint}_endpoint_auth_methods_supported")];
        assert_eq!(
            *methods,
            json!(["client_secret_basic", "client_secret_post", "private_key_jwt", "spiffe_jwt"])
        );
        let algorithms = &metadata[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")];
        assert_eq!(
            *algorithms,
            json!(["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"])
        );
    }
    for (endpoint, status) in
        [("token_endpoint", 400), ("introspection_endpoint", 401), ("revocation_endpoint", 401)]
    {
        let url = metadata[endpoint].as_str().expect("a URL");
        let path = url.strip_prefix(&issuer).expect("of the issuer");
        let answer = server.send(server.request(Method::POST, path).form(&[("token", "x")])).await;
        assert_eq!(answer.status.as_u16(), status, "{endpoint}");
    }
    let authorize = metadata["authorization_endpoint"].as_str().expect("a URL");
    let path = authorize.strip_prefix(&issuer).expect("of the issuer");
    let answer = server.send(server.request(Method::GET, path)).await;
    answer.assert_error(400, "unsupported_response_type");
    let resource = read(&server, "/.well-known/oauth-protected-resource").await;
    assert_eq!(
        (&resource["resource"], &resource["authorization_servers"]),
        (&json!(issuer), &json!([issuer]))
    );
    assert_eq!(resource["scopes_supported"].as_array().map(Vec::len), Some(8));
}

#[tokio::test]
async fn rs256_is_listed_for_id_tokens_whatever_the_key() {
    for (key, listed) in [
        (KeyType::Rsa, json!(["RS256"])),
        (KeyType::P256, json!(["ES256", "RS256"])),
        (KeyType::Ed25519, json!(["EdDSA", "RS256"])),
    ] {
        let mut config = settings(&[]);
        config.keys.private = Some(generate_pem(key).expect("a key").into());
        let server = TestServer::start_from(Wiring::Memory, config).await;
        for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
            assert_eq!(read(&server, path).await["id_token_signing_alg_values_supported"], listed, "{path}");
        }
    }
}

async fn the_keys_may_be_kept_for_five_minutes(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let answer = server.send(server.request(Method::GET, "/.well-known/jwks.json")).await;
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let keys = answer.json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1));
    assert!(keys["keys"][0].get("d").is_none());
}

async fn an_issuer_is_used_byte_for_byte(wiring: Wiring) {
    for (issuer, base, place) in [
        ("https://id.example.com", "https://id.example.com", ""),
        ("https://id.example.com/", "https://id.example.com", ""),
        ("https://id.example.com/a", "https://id.example.com/a", "/a"),
        ("https://id.example.com/a/", "https://id.example.com/a", "/a"),
        ("https://id.example.com/a/", "https://id.example.com/a", "/a/"),
        ("https://ID.example.com:443/A", "https://ID.example.com:443/A", "/A"),
    ] {
        let server = TestServer::start_with(wiring, &["--issuer-url", issuer]).await;
        let metadata = read(&server, &format!("/.well-known/oauth-authorization-server{place}")).await;
        assert_eq!(metadata["issuer"], issuer);
        assert_eq!(metadata["token_endpoint"], format!("{base}/api/v1/token"));
        let resource = read(&server, &format!("/.well-known/oauth-protected-resource{place}")).await;
        assert_eq!(
            (&resource["resource"], &resource["authorization_servers"][0]),
            (&json!(issuer), &json!(issuer))
        );
        let description = server.introspect(&server.admin_token().await).await;
        assert_eq!((&description["iss"], &description["aud"]), (&json!(issuer), &json!(issuer)));
        let is_below = server.request(Method::GET, "/a/.well-known/openid-configuration").send().await;
        let status = is_below.expect("an answer").status();
        assert_eq!(status.is_success(), place.starts_with("/a"), "{issuer}");
    }
}

async fn an_issuer_with_a_path_is_found_where_the_rfcs_say(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--issuer-url", "https://id.example.com/agents"]).await;
    let metadata = read(&server, "/.well-known/oauth-authorization-server/agents").await;
    assert_eq!(metadata["issuer"], "https://id.example.com/agents");
    assert_eq!(metadata["token_endpoint"], "https://id.example.com/agents/api/v1/token");
    read(&server, "/agents/.well-known/openid-configuration").await;
    read(&server, "/.well-known/openid-configuration/agents").await;
    read(&server, "/.well-known/openid-configuration").await;
    read(&server, "/.well-known/oauth-protected-resource/agents").await;
    read(&server, "/agents/.well-known/jwks.json").await;
    read(&server, "/agents/health").await;
    let other = server.request(Method::GET, "/.well-known/oauth-authorization-server").send().await;
    assert_eq!(other.expect("an answer").status(), StatusCode::NOT_FOUND, "the metadata of another issuer");
    let token =
        server.request(Method::POST, "/agents/api/v1/token").form(&[("grant_type", "client_credentials")]);
    let administrator = server.administrator();
    let answer = server.send(token.basic_auth(administrator.id, Some(administrator.secret))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    let made = server.post(&token, "/agents/api/v1/agents", testing::new_agent(&["files:read"])).await;
    let place = made.header("location").expect("a place");
    assert!(place.starts_with("/agents/api/v1/agents/"), "{place}");
    assert_eq!(server.get(&token, place).await.json(), made.json());
    let document = read(&server, "/agents/openapi.json").await;
    assert_eq!(document["servers"][0]["url"], "/agents");
    let flow = &document["components"]["securitySchemes"]["OAuth2"]["flows"]["clientCredentials"];
    assert_eq!(flow["tokenUrl"], "/agents/api/v1/token");
}
