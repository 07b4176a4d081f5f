//! Bearer tokens.

use Expected::{AnyOf, Done, Refused};
use aws_lc_rs::hmac;
use jsonwebtoken::Header;
use serde_json::{Value, json};
use testing::{MANAGEMENT_SCOPES, NOON, UNKNOWN_ID};

use crate::fixtures::{Fixtures, KEY, claims_of, header_of, part, part_of, signed};
use crate::wire::{Expected, Row, ask, request, try_all};

const TOKEN: Expected = Refused(401, "UNAUTHORIZED");

fn sent(token: &str) -> Vec<u8> {
    let bearer = format!("Bearer {token}");
    request("GET /api/v1/agents", &[("Authorization", &bearer)], b"")
}

#[tokio::test]
async fn a_token_is_believed_only_if_all_of_it_is_right() {
    tokens(&Fixtures::in_memory().await).await;
}

#[tokio::test]
async fn a_token_is_believed_only_if_all_of_it_is_right_on_two_instances() {
    tokens(&Fixtures::on_stores().await).await;
}

async fn tokens(fixtures: &Fixtures) {
    let good = fixtures.admin.clone();
    let header = header_of(&good);
    let claims = claims_of(&good);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value,
        }
        signed(&header, &claims)
    };
    let typed =
        |kind: Option<&str>| signed(&Header { typ: kind.map(str::to_owned), ..header.clone() }, &claims);
    let under =
        |kid: Option<&str>| signed(&Header { kid: kid.map(str::to_owned), ..header.clone() }, &claims);
    let parts: Vec<&str> = good.split('.').collect();
    let [head, body, signature] = parts[..] else { panic!("three parts") };
    let flipped = |text: &str| {
        let middle = text.len() / 2;
        let other = if text.as_bytes()[middle] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &text[..middle], &text[middle + 1..])
    };
    let by_hmac = |key: &[u8]| {
        let message =
            format!("{}.{body}", part(&json!({ "alg": "HS256", "typ": "at+jwt", "kid": header.kid })));
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        format!("{message}.{}", part_of(hmac::sign(&key, message.as_bytes()).as_ref()))
    };
    let said = |algorithm: &str| {
        format!(
            "{}.{body}.{signature}",
            part(&json!({ "alg": algorithm, "typ": "at+jwt", "kid": header.kid }))
        )
    };
    let public = ask(fixtures.address(), &request("GET /.well-known/jwks.json", &[], b"")).await.body;
    let now = NOON.as_seconds();
    let rows: Vec<(&str, String, Expected)> = vec![
        ("a good one", good.clone(), Done),
        ("a good one that we signed ourselves", signed(&header, &claims), Done),
        ("nothing", String::new(), TOKEN),
        ("a header with a bit flipped", format!("{}.{body}.{signature}", flipped(head)), TOKEN),
        ("claims with a bit flipped", format!("{head}.{}.{signature}", flipped(body)), TOKEN),
        ("a signature with a bit flipped", format!("{head}.{body}.{}", flipped(signature)), TOKEN),
        ("no header", format!(".{body}.{signature}"), TOKEN),
        ("no claims", format!("{head}..{signature}"), TOKEN),
        ("no signature", format!("{head}.{body}."), TOKEN),
        ("two parts", format!("{head}.{body}"), TOKEN),
        ("four parts", format!("{good}.x"), TOKEN),
        ("a dot after it", format!("{good}."), TOKEN),
        ("padding", format!("{good}="), TOKEN),
        ("another alphabet", good.replace('-', "+").replace('_', "/") + "+/", TOKEN),
        ("a space in it", format!("{head}. {body}.{signature}"), TOKEN),
        ("twice", format!("{good} {good}"), TOKEN),
        ("the algorithm none", said("none"), TOKEN),
        (
            "the algorithm none without a signature",
            format!("{}.{body}.", part(&json!({ "alg": "none" }))),
            TOKEN,
        ),
        ("the algorithm RS512", said("RS512"), TOKEN),
        ("the algorithm with a space", said("ES256 "), TOKEN),
        ("the algorithm in small letters", said("es256"), TOKEN),
        ("an HMAC by the public keys", by_hmac(public.as_bytes()), TOKEN),
        ("an HMAC by the private key", by_hmac(KEY.as_bytes()), TOKEN),
        ("an HMAC by the empty key", by_hmac(b""), TOKEN),
        ("a typ of JWT", typed(Some("JWT")), TOKEN),
        ("no typ", typed(None), TOKEN),
        ("a typ of an assertion", typed(Some("client-authentication+jwt")), TOKEN),
        ("no key named", under(None), TOKEN),
        ("a key that is not ours", under(Some("evil")), TOKEN),
        ("a key that is a path", under(Some("../../../dev/null")), TOKEN),
        ("a key that is SQL", under(Some("' OR 1=1 --")), TOKEN),
        ("past its end by a second", with("exp", json!(now - 1)), TOKEN),
        ("past its end by a minute", with("exp", json!(now - 60)), TOKEN),
        ("past its end by fourteen minutes", with("exp", json!(now - 840)), TOKEN),
        ("no end", with("exp", Value::Null), TOKEN),
        ("an end that is text", with("exp", json!("never")), TOKEN),
        ("issued an hour ahead", with("iat", json!(now + 3_600)), TOKEN),
        ("no time of issue", with("iat", Value::Null), TOKEN),
        ("another issuer", with("iss", json!("http://evil.example.com")), TOKEN),
        ("no issuer", with("iss", Value::Null), TOKEN),
        ("for another audience", with("aud", json!("https://api.example.com")), TOKEN),
        ("no audience", with("aud", Value::Null), TOKEN),
        (
            "of an agent that does not exist",
            {
                let mut claims = claims.clone();
                claims["sub"] = json!(UNKNOWN_ID);
                claims["client_id"] = json!(UNKNOWN_ID);
                signed(&header, &claims)
            },
            TOKEN,
        ),
        ("of one agent for another", with("client_id", json!(UNKNOWN_ID)), TOKEN),
        ("of another organization", with("organization_id", json!(UNKNOWN_ID)), TOKEN),
        ("of no organization", with("organization_id", Value::Null), TOKEN),
        ("of a generation to come", with("gen", json!(1_000)), TOKEN),
        ("of a generation below all", with("gen", json!(-1)), TOKEN),
        ("of no generation", with("gen", Value::Null), TOKEN),
        ("no id", with("jti", Value::Null), TOKEN),
        ("an id that is no UUID", with("jti", json!("x")), TOKEN),
        ("no scope", with("scope", Value::Null), AnyOf(&[401, 403])),
        ("an empty scope", with("scope", json!("")), AnyOf(&[401, 403])),
        ("another scope", with("scope", json!("files:read")), AnyOf(&[401, 403])),
        ("a scope that looks like one", with("scope", json!("agents:read.x")), AnyOf(&[401, 403])),
        ("every scope", with("scope", json!("agents:*")), AnyOf(&[401, 403])),
        ("a scope that it has not", with("scope", json!("agents:read files:delete")), Done),
    ];
    let rows = rows
        .into_iter()
        .map(|(name, token, expected)| Row { name: name.to_owned(), request: sent(&token), expected })
        .chain(headers(&good))
        .collect();
    try_all(fixtures, rows).await;
}

/// The same token in other headers, and in places where no token is accepted.
fn headers(good: &str) -> Vec<Row> {
    let line = "GET /api/v1/agents";
    let row = |name: &str, headers: &[(&str, &str)], expected| Row {
        name: name.to_owned(),
        request: request(line, headers, b""),
        expected,
    };
    let value = |word: &str| format!("{word}{good}");
    let in_query = format!("{line}?access_token={good}");
    vec![
        row("no header", &[], TOKEN),
        row("bearer in small letters", &[("Authorization", &value("bearer "))], Done),
        row("two spaces", &[("Authorization", &value("Bearer  "))], AnyOf(&[200, 401])),
        row("no space", &[("Authorization", &value("Bearer"))], TOKEN),
        row("a tab", &[("Authorization", &value("Bearer\t"))], AnyOf(&[200, 401])),
        row("another scheme", &[("Authorization", &value("Token "))], TOKEN),
        row(
            "the header twice",
            &[("Authorization", &value("Bearer ")), ("Authorization", "Bearer x")],
            AnyOf(&[400, 401]),
        ),
        row("a proxy's header", &[("Proxy-Authorization", &value("Bearer "))], TOKEN),
        row("a cookie", &[("Cookie", &value("access_token="))], TOKEN),
        Row {
            name: "the query".to_owned(),
            request: request(&in_query, &[], b""),
            expected: AnyOf(&[400, 401]),
        },
        row(
            "another's method",
            &[("Authorization", &value("Bearer ")), ("X-HTTP-Method-Override", "DELETE")],
            Done,
        ),
    ]
}

/// A revoked token stays inactive on every instance, for each way to revoke tokens.
/// The ways are: the token itself, all tokens of the agent, suspending and reactivating the agent,
/// decommissioning it, rotating its secret, and suspending and reactivating its organization.
#[tokio::test]
async fn what_was_killed_stays_dead_on_every_instance() {
    let fixtures = Fixtures::on_stores().await;
    let organization = fixtures.organization(json!({})).await;
    let client = async || {
        let client = fixtures.client(&["agents:read"], Some(&organization)).await;
        let token = fixtures.token_of(&client, "agents:read").await;
        (client, token)
    };
    let mut rows = Vec::new();
    let (_, revoked) = client().await;
    let form = format!("token={revoked}");
    let bearer = format!("Bearer {}", fixtures.admin);
    let headers = [("Authorization", bearer.as_str()), crate::wire::FORM];
    let answer =
        ask(fixtures.address(), &request("POST /api/v1/token/revoke", &headers, form.as_bytes())).await;
    assert_eq!(answer.status, 200);
    rows.push(("revoked", revoked));
    let (agent, killed) = client().await;
    fixtures.call("POST", &format!("/agents/{}/tokens/revoke", agent.id), "").await;
    rows.push(("killed", killed));
    let (agent, suspended) = client().await;
    for status in ["suspended", "active"] {
        let body = json!({ "status": status }).to_string();
        assert_eq!(fixtures.call("PATCH", &format!("/agents/{}", agent.id), &body).await.status, 200);
    }
    rows.push(("suspended and brought back", suspended));
    let (agent, gone) = client().await;
    assert_eq!(fixtures.call("DELETE", &format!("/agents/{}", agent.id), "").await.status, 204);
    rows.push(("decommissioned", gone));
    let (agent, rotated) = client().await;
    let path = format!("/agents/{}/credentials/{}/rotate", agent.id, agent.credential);
    assert_eq!(fixtures.call("POST", &path, r#"{"revokeTokens":true}"#).await.status, 200);
    rows.push(("rotated away", rotated));
    let (agent, _) = client().await;
    let resource = fixtures.ask_token(&agent, "&resource=https://api.example.com").await;
    assert_eq!(resource.status, 400, "a management scope is for this service only");
    let (_, tenant) = client().await;
    for status in ["suspended", "active"] {
        let body = json!({ "status": status }).to_string();
        assert_eq!(
            fixtures.call("PATCH", &format!("/organizations/{organization}"), &body).await.status,
            200
        );
    }
    rows.push(("of a tenant that was suspended and brought back", tenant));
    let twice = rows.iter().chain(&rows);
    let rows = twice.map(|(name, token)| Row {
        name: (*name).to_owned(),
        request: request("GET /api/v1/agents", &[("Authorization", &format!("Bearer {token}"))], b""),
        expected: TOKEN,
    });
    try_all(&fixtures, rows.collect()).await;
}

/// The largest possible token fits into a header.
#[tokio::test]
async fn a_token_of_all_that_an_agent_may_have_works() {
    let fixtures = Fixtures::in_memory().await;
    let mut capabilities: Vec<String> =
        (0..56).map(|place| format!("files:{place:02}{}", "a".repeat(56))).collect();
    capabilities.extend(MANAGEMENT_SCOPES.map(str::to_owned));
    let names: Vec<&str> = capabilities.iter().map(String::as_str).collect();
    let client = fixtures.client(&names, None).await;
    let token = fixtures.token_of(&client, &names.join(" ")).await;
    assert_eq!(fixtures.call_as(&token, "GET", "/agents", "").await.status, 200, "{} bytes", token.len());
}
