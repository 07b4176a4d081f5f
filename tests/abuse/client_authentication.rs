//! Client authentication by secrets.

use Expected::{AnyOf, Closed, Done, Refused};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use testing::{Client, UNKNOWN_ID, basic_auth};

use crate::fixtures::Fixtures;
use crate::wire::{Expected, FORM, JSON, Row, ask, request, try_all};

const CLIENT: Expected = Refused(401, "invalid_client");
const INVALID: Expected = Refused(400, "invalid_request");
const PLAIN: &str = "grant_type=client_credentials";

/// One client in each state: active, with a revoked credential, decommissioned, suspended and with a rotated
/// secret.
struct Clients {
    good: Client,
    revoked: Client,
    gone: Client,
    suspended: Client,
    rotated: Client,
}

async fn clients(fixtures: &Fixtures) -> Clients {
    let client = async || fixtures.client(&["files:read"], None).await;
    let (good, revoked, gone, suspended, rotated) =
        (client().await, client().await, client().await, client().await, client().await);
    let of = |client: &Client| format!("/agents/{}/credentials/{}", client.id, client.credential);
    assert_eq!(fixtures.call("DELETE", &of(&revoked), "").await.status, 204);
    assert_eq!(fixtures.call("DELETE", &format!("/agents/{}", gone.id), "").await.status, 204);
    let path = format!("/agents/{}", suspended.id);
    assert_eq!(fixtures.call("PATCH", &path, r#"{"status":"suspended"}"#).await.status, 200);
    assert_eq!(fixtures.call("POST", &format!("{}/rotate", of(&rotated)), "{}").await.status, 200);
    Clients { good, revoked, gone, suspended, rotated }
}

#[tokio::test]
async fn nobody_is_let_in_who_does_not_prove_it() {
    let fixtures = Fixtures::in_memory().await;
    let Clients { good, revoked, gone, suspended, rotated } = clients(&fixtures).await;
    let with = |id: &str, secret: &str| {
        let authorization = basic_auth(id, secret);
        request("POST /api/v1/token", &[("Authorization", &authorization), FORM], PLAIN.as_bytes())
    };
    let last_digit = {
        let (head, last) = good.secret.split_at(good.secret.len() - 1);
        format!("{head}{}", if last == "0" { "1" } else { "0" })
    };
    let braced = format!("{{{}}}", good.id);
    let urn = format!("urn:uuid:{}", good.id);
    let megabyte = "a".repeat(400_000);
    let mut rows: Vec<Row> = [
        ("the right secret", good.id.as_str(), good.secret.as_str(), Done),
        ("an unknown client", UNKNOWN_ID, &good.secret, CLIENT),
        ("another's secret", &good.id, &revoked.secret, CLIENT),
        ("a wrong last digit", &good.id, &last_digit, CLIENT),
        ("an empty secret", &good.id, "", CLIENT),
        ("an empty id", "", &good.secret, CLIENT),
        ("a revoked credential", &revoked.id, &revoked.secret, CLIENT),
        ("a decommissioned agent", &gone.id, &gone.secret, CLIENT),
        ("a suspended agent", &suspended.id, &suspended.secret, Refused(400, "unauthorized_client")),
        ("the secret before a rotation", &rotated.id, &rotated.secret, CLIENT),
        ("a secret and a byte", &good.id, &format!("{}a", good.secret), CLIENT),
        ("a secret and a line end", &good.id, &format!("{}%0A", good.secret), CLIENT),
        ("a secret and a NUL", &good.id, &format!("{}%00", good.secret), AnyOf(&[400, 401])),
        ("a secret in capitals", &good.id, &good.secret.to_uppercase(), CLIENT),
        ("a secret of 400 KB", &good.id, &megabyte, Closed),
        ("the id in capitals", &good.id.to_uppercase(), &good.secret, CLIENT),
        ("the id in braces", &braced, &good.secret, CLIENT),
        ("the id as a URN", &urn, &good.secret, CLIENT),
        ("the id without dashes", &good.id.replace('-', ""), &good.secret, CLIENT),
        ("the id and a space", &format!("{}+", good.id), &good.secret, CLIENT),
        ("SQL for an id", "' OR 1=1 --", &good.secret, CLIENT),
        ("a path for an id", "../../etc/passwd", &good.secret, CLIENT),
    ]
    .into_iter()
    .map(|(name, id, secret, expected)| Row { name: name.to_owned(), request: with(id, secret), expected })
    .collect();
    let raw =
        |value: &str| request("POST /api/v1/token", &[("Authorization", value), FORM], PLAIN.as_bytes());
    let pair = format!("{}:{}", good.id, good.secret);
    let url_safe = URL_SAFE.encode(format!("{}:>>>???", good.id));
    for (name, value, expected) in [
        ("Basic and nothing", "Basic".to_owned(), AnyOf(&[400, 401])),
        ("Basic and a space", "Basic ".to_owned(), AnyOf(&[400, 401])),
        ("no base64", "Basic !!!".to_owned(), AnyOf(&[400, 401])),
        ("base64 without a colon", format!("Basic {}", STANDARD.encode("nothing")), AnyOf(&[400, 401])),
        ("base64url", format!("Basic {url_safe}"), AnyOf(&[400, 401])),
        ("no padding", format!("Basic {}", STANDARD_NO_PAD.encode(format!("{pair}a"))), AnyOf(&[400, 401])),
        ("no UTF-8 inside", format!("Basic {}", STANDARD.encode(b"\xff\xfe:\xff")), AnyOf(&[400, 401])),
        ("basic in small letters", format!("basic {}", STANDARD.encode(&pair)), Done),
        ("two in one", format!("Basic {}, Bearer x", STANDARD.encode(&pair)), AnyOf(&[400, 401])),
        ("a bearer token only", format!("Bearer {}", fixtures.admin), AnyOf(&[400, 401])),
        ("Digest", "Digest username=\"a\"".to_owned(), AnyOf(&[400, 401])),
        ("a value of 300 KB", format!("Basic {}", "QUFB".repeat(75_000)), Closed),
    ] {
        rows.push(Row { name: name.to_owned(), request: raw(&value), expected });
    }
    let right = basic_auth(&good.id, &good.secret);
    let twice = request(
        "POST /api/v1/token",
        &[("Authorization", &right), ("Authorization", &right), FORM],
        PLAIN.as_bytes(),
    );
    rows.push(Row { name: "the header twice".to_owned(), request: twice, expected: AnyOf(&[400, 401]) });
    let body = |body: &str| request("POST /api/v1/token", &[FORM], format!("{PLAIN}&{body}").as_bytes());
    let both = |body: &str| {
        let headers = [("Authorization", right.as_str()), FORM];
        request("POST /api/v1/token", &headers, format!("{PLAIN}&{body}").as_bytes())
    };
    let (id, secret) = (&good.id, &good.secret);
    for (name, request, expected) in [
        ("both in the body", body(&format!("client_id={id}&client_secret={secret}")), Done),
        ("the id alone", body(&format!("client_id={id}")), CLIENT),
        ("the secret alone", body(&format!("client_secret={secret}")), CLIENT),
        ("nothing at all", body(""), CLIENT),
        ("Basic and the same id", both(&format!("client_id={id}")), Done),
        ("Basic and another id", both(&format!("client_id={UNKNOWN_ID}")), AnyOf(&[400, 401])),
        ("Basic and a secret", both(&format!("client_secret={secret}")), INVALID),
        ("Basic and an assertion", both("client_assertion=a.b.c&client_assertion_type=x"), INVALID),
    ] {
        rows.push(Row { name: name.to_owned(), request, expected });
    }
    try_all(&fixtures, rows).await;
}

/// All refusals are the same.
/// An unknown client, a wrong, revoked or rotated secret and a decommissioned agent get the same answer.
#[tokio::test]
async fn a_refusal_says_the_same_of_all() {
    let fixtures = Fixtures::on_stores().await;
    let Clients { good, revoked, gone, rotated, .. } = clients(&fixtures).await;
    let unknown = Client { id: UNKNOWN_ID.to_owned(), ..good.clone() };
    let wrong = Client { secret: revoked.secret.clone(), ..good };
    let mut answers = Vec::new();
    for client in [unknown, wrong, revoked, gone, rotated] {
        let answer = fixtures.ask_token(&client, "").await;
        let mut body = answer.json();
        body.as_object_mut().expect("an object").remove("requestId");
        answers.push((answer.status, body, answer.header("www-authenticate").map(str::to_owned)));
    }
    assert_eq!(answers[0].0, 401);
    assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
}

/// The management API accepts no client secrets, only access tokens.
#[tokio::test]
async fn a_secret_opens_the_token_endpoint_and_nothing_else() {
    let fixtures = Fixtures::in_memory().await;
    let client = fixtures.client(&["agents:read", "tokens:read"], None).await;
    let authorization = basic_auth(&client.id, &client.secret);
    for line in ["GET /api/v1/agents", "GET /api/v1/audit", "POST /api/v1/agents", "GET /api/v1/usage"] {
        let answer =
            ask(fixtures.address(), &request(line, &[("Authorization", &authorization), JSON], b"")).await;
        assert_eq!(answer.status, 401, "{line}: {answer:?}");
    }
}
