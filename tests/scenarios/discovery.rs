use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{TestServer, Wiring};

use crate::scenarios::scenarios;

scenarios!(stateless [
    what_discovery_names_is_there,
    the_keys_may_be_kept_for_five_minutes,
    an_issuer_with_a_path_is_found_where_the_rfcs_say,
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
    assert_eq!(metadata, read(&server, "/.well-known/openid-configuration").await);
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["response_types_supported"], json!([]));
    assert_eq!(metadata["grant_types_supported"], json!(["client_credentials"]));
    for endpoint in ["token", "introspection", "revocation"] {
        let methods = &metadata[format!("{endpoint}_endpoint_auth_methods_supported")];
        assert_eq!(*methods, json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]));
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
}

async fn the_keys_may_be_kept_for_five_minutes(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let answer = server.send(server.request(Method::GET, "/.well-known/jwks.json")).await;
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let keys = answer.json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1));
    assert!(keys["keys"][0].get("d").is_none());
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
