//! JSON bodies.

use Expected::{AnyOf, Done, Refused};
use serde_json::{Value, json};
use testing::new_agent;

use crate::fixtures::Fixtures;
use crate::wire::{Expected, Row, ask, request, try_all};

const WRONG: Expected = Refused(400, "VALIDATION_ERROR");

#[tokio::test]
async fn every_body_is_taken_whole_or_not_at_all() {
    let fixtures = Fixtures::in_memory().await;
    let bearer = format!("Bearer {}", fixtures.admin);
    let with = |name: &str, value: Value| {
        let mut body = new_agent(&["files:read"]);
        body[name] = value;
        body.to_string()
    };
    let without = |name: &str| {
        let mut body = new_agent(&["files:read"]);
        body.as_object_mut().expect("an object").remove(name);
        body.to_string()
    };
    let good = || new_agent(&["files:read"]).to_string();
    let repeated = good().replacen('{', r#"{"owner":"a","#, 1);
    let numbers = |version: &str| with("version", json!(version));
    let long = format!("{}@example.com", "a".repeat(250));
    let nested = format!("{}{}", "[".repeat(500_000), "]".repeat(400_000));
    let objects = r#"{"a":"#.repeat(150_000);
    let strings = format!("[{}\"\"]", "\"a\",".repeat(200_000));
    let mut rows: Vec<(String, String, Expected)> = vec![
        ("a good one".into(), good(), Done),
        ("spaces around".into(), format!(" \n{}\t", good()), Done),
        ("nothing".into(), String::new(), AnyOf(&[400, 415])),
        ("null".into(), "null".into(), WRONG),
        ("a list".into(), "[]".into(), WRONG),
        ("text".into(), "\"x\"".into(), WRONG),
        ("a number".into(), "7".into(), WRONG),
        ("an empty object".into(), "{}".into(), WRONG),
        ("half of one".into(), good()[..40].into(), WRONG),
        ("two".into(), format!("{}{}", good(), good()), WRONG),
        ("two lines".into(), format!("{}\n{}", good(), good()), WRONG),
        ("something after it".into(), format!("{}x", good()), WRONG),
        ("a comment".into(), format!("/* x */{}", good()), WRONG),
        ("single quotes".into(), good().replace('"', "'"), WRONG),
        ("a comma too many".into(), good().replace('}', ",}"), WRONG),
        ("an unknown field".into(), with("admin", json!(true)), WRONG),
        ("a field twice".into(), repeated, WRONG),
        ("a prototype".into(), with("__proto__", json!({})), WRONG),
        ("an id of its own".into(), with("agentId", json!("01920000-0000-7000-8000-000000000000")), WRONG),
        ("a status of its own".into(), with("status", json!("active")), WRONG),
        ("another's organization".into(), with("organizationId", json!("x")), AnyOf(&[400, 404])),
        ("deep lists".into(), nested, WRONG),
        ("deep objects".into(), objects, WRONG),
        ("very many texts".into(), strings, WRONG),
        ("a number beyond all".into(), with("owner", json!("x")).replace("\"x\"", "1e999"), WRONG),
        (
            "a number of many digits".into(),
            with("owner", json!("x")).replace("\"x\"", &"9".repeat(100_000)),
            WRONG,
        ),
        ("a lone surrogate".into(), with("owner", json!("x")).replace("\"x\"", r#""\ud800""#), WRONG),
        ("a NUL".into(), with("owner", json!("a\u{0}b")), WRONG),
        ("a control".into(), with("owner", json!("a\u{1b}[31mb")), WRONG),
        ("a line end".into(), with("owner", json!("a\nb")), WRONG),
        ("only spaces".into(), with("owner", json!("   ")), AnyOf(&[201, 400])),
        ("a long owner".into(), with("owner", json!("a".repeat(129))), WRONG),
        ("an owner in four bytes a letter".into(), with("owner", json!("🦀".repeat(128))), Done),
        ("capabilities as text".into(), with("capabilities", json!("a:b")), WRONG),
        ("no capabilities".into(), with("capabilities", json!([])), WRONG),
        ("a capability twice".into(), with("capabilities", json!(["a:b", "a:b"])), WRONG),
        ("very many capabilities".into(), with("capabilities", json!(vec!["a:b"; 100_000])), WRONG),
    ];
    for field in ["email", "agentType", "version", "capabilities", "owner", "deploymentEnv"] {
        rows.push((format!("no {field}"), without(field), WRONG));
        for value in [json!(null), json!(1), json!(true), json!({}), json!([[]]), json!([1]), json!("")] {
            rows.push((format!("{field} of {value}"), with(field, value), WRONG));
        }
    }
    for capability in [
        "*",
        "a",
        ":",
        "a:",
        ":b",
        "a:b:c",
        "A:b",
        "a:B",
        "a b:c",
        "a:b ",
        "agents:*",
        "agents:delete",
        "admin:*",
        "audit:readx",
        "tokens:write",
        "admin:orgs.",
        "-a:b",
        "a:-b",
        "ä:b",
        "a:b\n",
        "credentials:*",
        "agents:read:x",
    ] {
        rows.push((
            format!("the capability {capability:?}"),
            with("capabilities", json!([capability])),
            WRONG,
        ));
    }
    for email in [
        "a",
        "@",
        "a@",
        "@b",
        "a@@b.c",
        "a b@c.d",
        "a@b c.d",
        "a@b..c",
        "a@b.c\r\nBcc: x@y.z",
        "\"a\r\nb\"@c.d",
        &long,
        "a@\u{0}.b",
    ] {
        rows.push((format!("the address {email:.40?}"), with("email", json!(email)), WRONG));
    }
    for version in [
        "1",
        "1.0",
        "01.0.0",
        "1.0.0-",
        "1.0.0+",
        "v1.0.0",
        "1.0.0.0",
        "99999999999999999999.0.0",
        "1.0.0-01",
        " 1.0.0",
        "-1.0.0",
    ] {
        rows.push((format!("the version {version:?}"), numbers(version), WRONG));
    }
    rows.push(("a version of 65 letters".into(), numbers(&format!("1.0.0-{}", "a".repeat(59))), WRONG));
    let rows = rows
        .into_iter()
        .map(|(name, body, expected)| {
            let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
            Row { name, request: request("POST /api/v1/agents", &headers, body.as_bytes()), expected }
        })
        .chain(media(&bearer, &good()))
        .chain(changes(&fixtures, &bearer).await)
        .collect();
    try_all(&fixtures, rows).await;
}

/// Bodies whose media type is missing, is not JSON, or carries something more.
fn media(bearer: &str, body: &str) -> Vec<Row> {
    let row = |name: &str, headers: &[(&str, &str)], expected| {
        let headers = [&[("Authorization", bearer)], headers].concat();
        Row {
            name: name.to_owned(),
            request: request("POST /api/v1/agents", &headers, body.as_bytes()),
            expected,
        }
    };
    let not = Refused(415, "UNSUPPORTED_MEDIA_TYPE");
    vec![
        row("no media type", &[], not),
        row("text", &[("Content-Type", "text/plain")], not),
        row("a form", &[("Content-Type", "application/x-www-form-urlencoded")], not),
        row("another character set", &[("Content-Type", "application/json; charset=utf-16")], not),
        row("a kind of JSON", &[("Content-Type", "application/merge-patch+json")], not),
        row("packed", &[("Content-Type", "application/json"), ("Content-Encoding", "gzip")], not),
        row(
            "two media types",
            &[("Content-Type", "application/json"), ("Content-Type", "text/plain")],
            AnyOf(&[400, 415]),
        ),
    ]
}

/// Changes of an agent, its credentials and an organization.
async fn changes(fixtures: &Fixtures, bearer: &str) -> Vec<Row> {
    let client = fixtures.client(&["files:read"], None).await;
    let organization = fixtures.organization(json!({})).await;
    let agent = format!("PATCH /api/v1/agents/{}", client.id);
    let credentials = format!("POST /api/v1/agents/{}/credentials", client.id);
    let rotate = format!("{credentials}/{}/rotate", client.credential);
    let organization = format!("PATCH /api/v1/organizations/{organization}");
    let rows: Vec<(&str, &str, Expected)> = vec![
        (&agent, "{}", Done),
        (&agent, "null", WRONG),
        (&agent, "[]", WRONG),
        (&agent, r#"{"status":"decommissioned"}"#, WRONG),
        (&agent, r#"{"status":"ACTIVE"}"#, WRONG),
        (&agent, r#"{"email":"b@example.com"}"#, WRONG),
        (&agent, r#"{"capabilities":null}"#, WRONG),
        (&agent, r#"{"generation":0}"#, WRONG),
        (&credentials, r#"{"type":"client_secret","publicKey":{}}"#, WRONG),
        (&credentials, r#"{"type":"password"}"#, WRONG),
        (&credentials, r#"{"clientSecret":"mine"}"#, WRONG),
        (&credentials, r#"{"expiresAt":"yesterday"}"#, WRONG),
        (&credentials, r#"{"expiresAt":"2001-01-01T00:00:00Z"}"#, WRONG),
        (&credentials, r#"{"expiresAt":"2999-13-01T00:00:00Z"}"#, WRONG),
        (&credentials, r#"{"expiresAt":"2999-01-01"}"#, WRONG),
        (&credentials, r#"{"expiresAt":"300000-01-01T00:00:00Z"}"#, WRONG),
        (&credentials, r#"{"expiresAt":99999999999}"#, WRONG),
        (&rotate, r#"{"graceSeconds":-1}"#, WRONG),
        (&rotate, r#"{"graceSeconds":604801}"#, WRONG),
        (&rotate, r#"{"graceSeconds":1.5}"#, WRONG),
        (&rotate, r#"{"graceSeconds":"60"}"#, WRONG),
        (&rotate, r#"{"graceSeconds":1e3}"#, WRONG),
        (&rotate, r#"{"revokeTokens":"yes"}"#, WRONG),
        (&organization, r#"{"slug":"other"}"#, WRONG),
        (&organization, r#"{"plan":"platinum"}"#, WRONG),
        (&organization, r#"{"limits":{"maxAgents":0}}"#, WRONG),
        (&organization, r#"{"limits":{"maxAgents":-1}}"#, WRONG),
        (&organization, r#"{"limits":{"maxAgents":2147483648}}"#, WRONG),
        (&organization, r#"{"limits":{"maxAgents":9223372036854775808}}"#, WRONG),
        (&organization, r#"{"limits":{"maxAgents":1e9}}"#, WRONG),
        (&organization, r#"{"limits":{"maxTokens":1}}"#, WRONG),
        (&organization, r#"{"limits":[]}"#, WRONG),
        (&organization, r#"{"limits":{"maxAgents":null}}"#, Done),
        (&organization, r#"{"resources":["/relative"]}"#, WRONG),
        (&organization, r#"{"resources":["https://a.example.com#b"]}"#, WRONG),
        (&organization, r#"{"resources":"https://a.example.com"}"#, WRONG),
    ];
    let headers = [("Authorization", bearer), ("Content-Type", "application/json")];
    rows.into_iter()
        .map(|(line, body, expected)| {
            let name = format!("{} {body}", line.rsplit('/').next().unwrap_or_default());
            Row { name, request: request(line, &headers, body.as_bytes()), expected }
        })
        .collect()
}

/// All invalid fields are reported together, each by its name.
#[tokio::test]
async fn all_faults_of_a_body_are_told_together() {
    let fixtures = Fixtures::in_memory().await;
    let body = json!({ "email": 1, "version": "x", "capabilities": ["files:read"], "agentType": "custom", "owner": "o",
        "deploymentEnv": "production", "one": 1, "two": 2, "three": 3 });
    let bearer = format!("Bearer {}", fixtures.admin);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let answer =
        ask(fixtures.address(), &request("POST /api/v1/agents", &headers, body.to_string().as_bytes()))
            .await
            .json();
    let faults = answer["details"]["errors"].as_array().expect("a list");
    let mut fields: Vec<&str> = faults.iter().map(|fault| fault["field"].as_str().expect("text")).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["email", "one", "three", "two", "version"]);
}
