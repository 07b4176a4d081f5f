//! Keys that an OpenID configuration leads to.

use std::time::Duration;

use domain::id::OrganizationId;
use domain::issuer::{IssuerUrl, KeySource};
use ports::issuer_keys::{IssuerKeys as _, KeysUnavailable};
use serde_json::{Value, json};

use super::super::fetch::{NOT_ALLOWED, OTHER_ISSUER, UNREACHABLE, WRONG_ANSWER};
use super::server::{Answer, Server};
use super::{Fixture, ids_of, issuer, set};

/// An issuer with its configuration at this path of a server.
struct OpenIdIssuer {
    server: Server,
    issuer: IssuerUrl,
}

impl OpenIdIssuer {
    /// Starts a server that gives this configuration, in which `ORIGIN` is replaced, and a set of one key.
    async fn start(path: &str, configuration: Value) -> Self {
        let server = Server::start(Answer::raw("")).await;
        let origin = format!("http://127.0.0.1:{}", server.port);
        let issuer = issuer(&format!("{origin}{path}"));
        let configuration = configuration.to_string().replace("ORIGIN", &origin);
        server.answer_by(move |head| {
            let is_configuration = head.contains("/.well-known/openid-configuration ");
            if is_configuration { Answer::ok(&configuration) } else { Answer::json(&set(&["a"])) }
        });
        Self { server, issuer }
    }

    async fn ids(&self, fixture: &Fixture) -> Result<Vec<String>, KeysUnavailable> {
        fixture
            .keys
            .keys(OrganizationId::NIL, &self.issuer, &KeySource::Discovery, None)
            .await
            .map(|keys| ids_of(&keys))
    }
}

fn loopback() -> Fixture {
    Fixture::new(&["127.0.0.1/32"])
}

#[tokio::test]
async fn the_configuration_of_an_issuer_leads_to_its_keys() {
    for (path, requests) in [
        ("", ["/.well-known/openid-configuration", "/k?v=1"]),
        ("/", ["/.well-known/openid-configuration", "/k?v=1"]),
        ("/tenant/v2.0", ["/tenant/v2.0/.well-known/openid-configuration", "/k?v=1"]),
        ("/tenant/", ["/tenant/.well-known/openid-configuration", "/k?v=1"]),
    ] {
        let stated = json!({ "issuer": format!("ORIGIN{path}"), "jwks_uri": "ORIGIN/k?v=1", "other": [{}] });
        let openid = OpenIdIssuer::start(path, stated).await;
        let fixture = loopback();
        assert_eq!(openid.ids(&fixture).await, Ok(vec!["a".to_owned()]), "{path}");
        assert_eq!(fixture.error_of(&openid.issuer, &KeySource::Discovery), None);
        let paths = openid
            .server
            .requests()
            .iter()
            .map(|head| head.split(' ').nth(1).expect("a path").to_owned())
            .collect::<Vec<_>>();
        assert_eq!(paths, requests);
        openid.ids(&fixture).await.expect("cached");
        assert_eq!(openid.server.count(), 2);
    }
}

#[tokio::test]
async fn a_configuration_that_is_wrong_leads_nowhere() {
    for (configuration, requests, sentence) in [
        (json!({ "issuer": "ORIGIN/other", "jwks_uri": "ORIGIN/k" }), 1, OTHER_ISSUER),
        (json!({ "issuer": "ORIGIN/T", "jwks_uri": "ORIGIN/k" }), 1, OTHER_ISSUER),
        (json!({ "issuer": "ORIGIN", "jwks_uri": "ORIGIN/k" }), 1, OTHER_ISSUER),
        (json!({ "issuer": "HTTP://127.0.0.1/t", "jwks_uri": "ORIGIN/k" }), 1, OTHER_ISSUER),
        (json!({ "issuer": "", "jwks_uri": "ORIGIN/k" }), 1, OTHER_ISSUER),
        // Its configuration has the same URL, so it is compared when the keys are used.
        (json!({ "issuer": "ORIGIN/t/", "jwks_uri": "ORIGIN/k" }), 2, OTHER_ISSUER),
        (json!({ "issuer": ["ORIGIN/t"], "jwks_uri": "ORIGIN/k" }), 1, WRONG_ANSWER),
        (json!({ "jwks_uri": "ORIGIN/k" }), 1, WRONG_ANSWER),
        (json!({ "issuer": "ORIGIN/t" }), 1, WRONG_ANSWER),
        (json!({ "issuer": "ORIGIN/t", "jwks_uri": null }), 1, WRONG_ANSWER),
        (json!([]), 1, WRONG_ANSWER),
        (set(&["a"]), 1, WRONG_ANSWER),
        (
            json!({ "issuer": "ORIGIN/t", "jwks_uri": "ORIGIN/.well-known/openid-configuration" }),
            2,
            WRONG_ANSWER,
        ),
        (json!({ "issuer": "ORIGIN/t", "jwks_uri": "/k" }), 1, NOT_ALLOWED),
        (json!({ "issuer": "ORIGIN/t", "jwks_uri": "http://8.8.8.8/k" }), 1, NOT_ALLOWED),
        (json!({ "issuer": "ORIGIN/t", "jwks_uri": "http://keys.example/k" }), 1, NOT_ALLOWED),
        (json!({ "issuer": "ORIGIN/t", "jwks_uri": "https://169.254.169.254/k" }), 1, NOT_ALLOWED),
        (json!({ "issuer": "ORIGIN/t", "jwks_uri": "https://[::1]/k" }), 1, NOT_ALLOWED),
        (json!({ "issuer": "ORIGIN/t", "jwks_uri": "https://user@keys.example/k" }), 1, NOT_ALLOWED),
        (json!({ "issuer": "ORIGIN/t", "jwks_uri": "file:///etc/passwd" }), 1, NOT_ALLOWED),
        (json!({ "issuer": "ORIGIN/t", "jwks_uri": format!("ORIGIN/{}", "k".repeat(512)) }), 1, NOT_ALLOWED),
        (json!({ "issuer": "ORIGIN/t", "jwks_uri": "https://127.0.0.1:1/k" }), 1, UNREACHABLE),
    ] {
        let openid = OpenIdIssuer::start("/t", configuration.clone()).await;
        let fixture = loopback();
        assert_eq!(openid.ids(&fixture).await, Err(KeysUnavailable { retry_after: 30 }), "{configuration}");
        assert_eq!(
            fixture.error_of(&openid.issuer, &KeySource::Discovery),
            Some(sentence),
            "{configuration}"
        );
        assert_eq!(openid.server.count(), requests, "{configuration}");
    }
}

#[tokio::test]
async fn an_issuer_in_the_wrong_spelling_does_not_lock_out_the_right_one() {
    let stated = json!({ "issuer": "ORIGIN/t", "jwks_uri": "ORIGIN/k" });
    let right = OpenIdIssuer::start("/t", stated).await;
    let wrong = issuer(&format!("{}/", right.issuer.as_str()));
    let fixture = loopback();
    for _ in 0..2 {
        let keys = fixture.keys.keys(OrganizationId::NIL, &wrong, &KeySource::Discovery, None).await;
        assert_eq!(keys, Err(KeysUnavailable { retry_after: 30 }));
        assert_eq!(right.ids(&fixture).await, Ok(vec!["a".to_owned()]));
    }
    assert_eq!(fixture.error_of(&wrong, &KeySource::Discovery), Some(OTHER_ISSUER));
    assert_eq!(fixture.error_of(&right.issuer, &KeySource::Discovery), None);
    assert_eq!(right.server.count(), 2, "both issuers have one configuration, which is fetched once");
}

#[tokio::test]
async fn both_requests_together_have_three_seconds() {
    let stated = json!({ "issuer": "ORIGIN", "jwks_uri": "ORIGIN/k" });
    let openid = OpenIdIssuer::start("", stated).await;
    let body = format!(r#"{{"issuer":"{0}","jwks_uri":"{0}/k"}}"#, openid.issuer.as_str());
    openid.server.answer_by(move |head| {
        let answer = if head.contains("well-known") { Answer::ok(&body) } else { Answer::json(&set(&["a"])) };
        answer.after(Duration::from_millis(1_700))
    });
    let fixture = loopback();
    assert!(openid.ids(&fixture).await.is_err());
    assert_eq!(fixture.error_of(&openid.issuer, &KeySource::Discovery), Some(UNREACHABLE));
    assert_eq!(openid.server.count(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_a_trust_domain_has_no_configuration() {
    let fixture = loopback();
    let domain = issuer("spiffe://example.org");
    assert!(fixture.keys.keys(OrganizationId::NIL, &domain, &KeySource::Discovery, None).await.is_err());
    assert_eq!(fixture.error_of(&domain, &KeySource::Discovery), Some(NOT_ALLOWED));
}
