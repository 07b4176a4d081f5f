//! Introspection and revocation.

use Expected::{AnyOf, Dead, Done, Refused};
use serde_json::json;
use testing::{NOON, basic_auth};

use crate::fixtures::{Fixtures, claims_of, header_of, signed};
use crate::wire::{Expected, FORM, JSON, Row, ask, request, try_all};

const INVALID: Expected = Refused(400, "invalid_request");

#[tokio::test]
async fn nothing_is_told_of_what_is_dead_foreign_or_no_token() {
    rows(&Fixtures::in_memory().await).await;
}

#[tokio::test]
async fn nothing_is_told_of_what_is_dead_foreign_or_no_token_on_two_instances() {
    rows(&Fixtures::on_stores().await).await;
}

async fn rows(fixtures: &Fixtures) {
    let organization = fixtures.organization(json!({})).await;
    let reader = fixtures.client(&["tokens:read"], Some(&organization)).await;
    let own = fixtures.client(&["files:read", "agents:read"], Some(&organization)).await;
    let suspended = fixtures.client(&["files:read"], Some(&organization)).await;
    let (own_token, foreign) = (fixtures.token_of(&own, "files:read").await, fixtures.admin.clone());
    let of_suspended = fixtures.token_of(&suspended, "files:read").await;
    let path = format!("/agents/{}", suspended.id);
    assert_eq!(fixtures.call("PATCH", &path, r#"{"status":"suspended"}"#).await.status, 200);
    let header = header_of(&own_token);
    let mut claims = claims_of(&own_token);
    claims["exp"] = json!(NOON.as_seconds() - 1);
    let expired = signed(&header, &claims);
    let bearer = format!("Bearer {}", fixtures.token_of(&reader, "tokens:read").await);
    let unable = format!("Bearer {}", fixtures.token_of(&own, "agents:read").await);
    let sent = |authorization: &str, body: &str| {
        let headers = [("Authorization", authorization), FORM];
        request("POST /api/v1/token/introspect", &headers, body.as_bytes())
    };
    let (message, signature) = own_token.rsplit_once('.').expect("three parts");
    let forged = format!("{message}.{}", signature.chars().rev().collect::<String>());
    let hint = "x".repeat(10_000);
    let basic = basic_auth(&reader.id, &reader.secret);
    let mut rows: Vec<Row> = [
        ("its own organization's", format!("token={own_token}"), Done),
        ("by client authentication", String::new(), Done),
        ("another organization's", format!("token={foreign}"), Dead),
        ("a suspended agent's", format!("token={of_suspended}"), Dead),
        ("past its end", format!("token={expired}"), Dead),
        ("forged", format!("token={forged}"), Dead),
        ("garbage", "token=garbage".to_owned(), Dead),
        ("dots", "token=..".to_owned(), Dead),
        ("beyond ASCII", "token=%C3%A4".to_owned(), Dead),
        ("a megabyte", format!("token={}", "x".repeat(1_000_000)), Dead),
        ("none", "x=1".to_owned(), INVALID),
        ("an empty one", "token=".to_owned(), INVALID),
        ("two", format!("token={own_token}&token={own_token}"), INVALID),
        ("a hint that is wrong", format!("token={own_token}&token_type_hint=refresh_token"), Done),
        ("an unknown hint", format!("token={own_token}&token_type_hint=x"), Done),
        ("a hint of ten thousand bytes", format!("token={own_token}&token_type_hint={hint}"), Done),
        ("two hints", format!("token={own_token}&token_type_hint=a&token_type_hint=b"), INVALID),
    ]
    .into_iter()
    .map(|(name, body, expected)| {
        let request = match body.is_empty() {
            true => sent(&basic, &format!("token={own_token}")),
            false => sent(&bearer, &body),
        };
        Row { name: name.to_owned(), request, expected }
    })
    .collect();
    let about = format!("token={own_token}");
    let json =
        request("POST /api/v1/token/introspect", &[("Authorization", &bearer), JSON], b"{\"token\":\"x\"}");
    let get = request(&format!("GET /api/v1/token/introspect?{about}"), &[("Authorization", &bearer)], b"");
    for (name, request, expected) in [
        ("JSON", json, INVALID),
        ("by GET", get, AnyOf(&[405])),
        ("without the scope", sent(&unable, &about), AnyOf(&[403])),
        (
            "without anything",
            request("POST /api/v1/token/introspect", &[FORM], about.as_bytes()),
            AnyOf(&[401]),
        ),
        ("by an inactive token", sent(&format!("Bearer {of_suspended}"), &about), AnyOf(&[401])),
        ("by the token itself", sent(&format!("Bearer {own_token}"), &about), AnyOf(&[403])),
    ] {
        rows.push(Row { name: name.to_owned(), request, expected });
    }
    try_all(fixtures, rows).await;
}

#[tokio::test]
async fn a_revocation_of_what_is_not_ones_own_stores_nothing() {
    let fixtures = Fixtures::on_stores().await;
    let organization = fixtures.organization(json!({})).await;
    let client = async |capabilities: &[&str]| fixtures.client(capabilities, Some(&organization)).await;
    let own = client(&["files:read"]).await;
    let neighbour = client(&["files:read"]).await;
    let of_neighbour = fixtures.token_of(&neighbour, "files:read").await;
    let foreign = fixtures.admin.clone();
    let authorization = basic_auth(&own.id, &own.secret);
    let sent = |body: &str| {
        let headers = [("Authorization", authorization.as_str()), FORM];
        request("POST /api/v1/token/revoke", &headers, body.as_bytes())
    };
    let (message, _) = of_neighbour.rsplit_once('.').expect("three parts");
    let rows = vec![
        ("a neighbour's", format!("token={of_neighbour}"), AnyOf(&[403])),
        ("another organization's", format!("token={foreign}"), Done),
        ("forged", format!("token={message}.AAAA"), Done),
        ("garbage", "token=x".to_owned(), Done),
        ("none", "x=1".to_owned(), INVALID),
        ("an empty one", "token=".to_owned(), INVALID),
        ("an unknown hint", "token=x&token_type_hint=zzz".to_owned(), Done),
    ];
    let rows = rows
        .into_iter()
        .map(|(name, body, expected)| Row { name: name.to_owned(), request: sent(&body), expected })
        .collect();
    try_all(&fixtures, rows).await;
    let database = fixtures.server.database.as_ref().expect("it is on stores").client("postgres").await;
    let stored = database.query_one("SELECT count(*) FROM token_revocations", &[]).await.expect("an answer");
    assert_eq!(stored.get::<_, i64>(0), 0, "what revoked nothing has stored nothing");
    assert_eq!(fixtures.call("GET", "/agents", "").await.status, 200, "the foreign token lives");
    let about = format!("token={of_neighbour}");
    let bearer = format!("Bearer {}", fixtures.admin);
    let headers = [("Authorization", bearer.as_str()), FORM];
    let answer =
        ask(fixtures.address(), &request("POST /api/v1/token/introspect", &headers, about.as_bytes())).await;
    assert_eq!(answer.json()["active"], true, "the neighbour's is active");
}
