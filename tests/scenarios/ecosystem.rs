//! Third-party libraries, unchanged: a client and a resource server.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use oauth2::basic::BasicClient;
use oauth2::{ClientId, ClientSecret, Scope, TokenResponse as _, TokenUrl};
use reqwest::Method;
use serde_json::Value;
use testing::{TestServer, Wiring};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    the_oauth2_crate_gets_a_token_and_jsonwebtoken_checks_it_offline,
    the_oauth2_crate_reads_a_refusal,
]);

/// Sends the library's requests to the service, as the library's own HTTP clients do.
async fn carry(request: oauth2::HttpRequest) -> Result<oauth2::HttpResponse, reqwest::Error> {
    let (parts, body) = request.into_parts();
    let sent = reqwest::Client::new()
        .request(parts.method, parts.uri.to_string())
        .headers(parts.headers)
        .body(body)
        .send()
        .await?;
    let mut response = oauth2::HttpResponse::new(Vec::new());
    *response.status_mut() = sent.status();
    *response.headers_mut() = sent.headers().clone();
    *response.body_mut() = sent.bytes().await?.to_vec();
    Ok(response)
}

async fn the_oauth2_crate_gets_a_token_and_jsonwebtoken_checks_it_offline(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let client = server.client(&admin, None, &["files:read", "files:write"]).await;
    let metadata =
        server.send(server.request(Method::GET, "/.well-known/oauth-authorization-server")).await.json();
    let url = metadata["token_endpoint"].as_str().expect("a URL").to_owned();
    let library = BasicClient::new(ClientId::new(client.id.clone()))
        .set_client_secret(ClientSecret::new(client.secret.clone()))
        .set_token_uri(TokenUrl::new(url).expect("a URL"));
    let request = library.exchange_client_credentials().add_scope(Scope::new("files:read".into()));
    let token = request.request_async(&carry).await.expect("a token");
    assert_eq!(token.scopes().map(Vec::len), Some(1));
    assert_eq!(token.expires_in().map(|time| time.as_secs()), Some(3600));

    let keys: JwkSet =
        serde_json::from_str(&server.send(server.request(Method::GET, "/.well-known/jwks.json")).await.text)
            .expect("a key set");
    let token = token.access_token().secret();
    let header = jsonwebtoken::decode_header(token).expect("a header");
    assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::RS256, Some("at+jwt")));
    let key = keys.find(header.kid.as_deref().expect("a key id")).expect("published");
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[server.issuer()]);
    validation.set_audience(&[server.issuer()]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // The service's clock stands in the past; the library uses the system clock.
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(key).expect("a key");
    let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).expect("valid").claims;
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&Value::from(client.id.as_str()), &Value::from(client.id.as_str()))
    );
    assert_eq!(claims["scope"], "files:read");

    let mut forged = token.clone();
    forged.insert(forged.find('.').expect("parts") + 5, 'A');
    assert!(jsonwebtoken::decode::<Value>(&forged, &key, &validation).is_err());
}

async fn the_oauth2_crate_reads_a_refusal(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let administrator = server.administrator();
    let library = BasicClient::new(ClientId::new(administrator.id))
        .set_client_secret(ClientSecret::new("wrong".into()))
        .set_token_uri(TokenUrl::new(server.url("/api/v1/token")).expect("a URL"));
    let refusal = library.exchange_client_credentials().request_async(&carry).await.expect_err("refused");
    let oauth2::RequestTokenError::ServerResponse(response) = refusal else { panic!("{refusal:?}") };
    assert_eq!(*response.error(), oauth2::basic::BasicErrorResponseType::InvalidClient);
}
