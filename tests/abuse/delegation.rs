//! Token exchange, as an attacker would use it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use Expected::{AnyOf, Done, Refused};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::Header;
use serde_json::{Value, json};
use testing::{Client, ISSUER, MANAGEMENT_SCOPES, NOON, UNKNOWN_ID, basic_auth, unique};

use crate::assertions::Signer;
use crate::federation::{Federation, TYPE, jwk, sent};
use crate::fixtures::{Fixtures, claims_of, header_of, part, part_of, signed};
use crate::wire::{Answer, Expected, FORM, Row, ask, request, try_all};

const REQUEST: Expected = Refused(400, "invalid_request");
const SCOPE: Expected = Refused(400, "invalid_scope");
const ACCESS_TOKEN: &str = "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token";
const JWT: &str = "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt";
const ID_TOKEN: &str = "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token";
const TYPES: [&str; 3] = [ACCESS_TOKEN, JWT, ID_TOKEN];

/// Returns a request to exchange a subject token, with `more` appended to the form.
fn exchange(actor: &Client, kind: &str, token: &str, more: &str) -> Vec<u8> {
    let body = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token_type={kind}\
         &subject_token={token}{more}"
    );
    let basic = basic_auth(&actor.id, &actor.secret);
    request("POST /api/v1/token", &[("Authorization", basic.as_str()), FORM], body.as_bytes())
}

fn row(name: &str, request: Vec<u8>, expected: Expected) -> Row {
    Row { name: name.to_owned(), request, expected }
}

async fn answer(fixtures: &Fixtures, actor: &Client, kind: &str, token: &str, more: &str) -> Answer {
    ask(fixtures.address(), &exchange(actor, kind, token, more)).await
}

/// Exchanges a token of this service.
async fn exchanged(fixtures: &Fixtures, actor: &Client, token: &str, more: &str) -> String {
    token_of(&answer(fixtures, actor, ACCESS_TOKEN, token, more).await)
}

fn token_of(answer: &Answer) -> String {
    answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Changes an agent or an issuer.
async fn change(fixtures: &Fixtures, path: &str, change: &Value) {
    let answer = fixtures.call("PATCH", path, &change.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Lets these agents act for an agent.
async fn allow(fixtures: &Fixtures, subject: &Client, actors: &[&Client], redelegation: bool) {
    let ids: Vec<&str> = actors.iter().map(|actor| actor.id.as_str()).collect();
    let fields = json!({ "mayAct": ids, "redelegation": redelegation });
    change(fixtures, &format!("/agents/{}", subject.id), &fields).await;
}

async fn revoke(fixtures: &Fixtures, caller: &Client, token: &str) -> u16 {
    let basic = basic_auth(&caller.id, &caller.secret);
    let headers = [("Authorization", basic.as_str()), FORM];
    let body = format!("token={token}");
    ask(fixtures.address(), &request("POST /api/v1/token/revoke", &headers, body.as_bytes())).await.status
}

async fn are_active(fixtures: &Fixtures, tokens: &[String]) -> Vec<bool> {
    let mut active = Vec::new();
    for token in tokens {
        active.push(fixtures.server.is_active(token).await);
    }
    active
}

/// Trusts an issuer whose persons every agent may act for.
async fn people(fixtures: &Fixtures, fields: Value) -> Federation {
    let mut all = json!({ "subjects": {
        "audiences": ["app"], "mayAct": ["*"], "scopes": ["files:read", "files:write"], "maxAgeSeconds": 600,
        "redelegation": true,
    } });
    all.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    Federation::trusting(fixtures, format!("https://people{}.example.com", unique()), all).await
}

/// Returns the token of a person, changed by `but`.
fn person(issuer: &Federation, but: &Value) -> String {
    let mut all = json!({ "sub": "alice", "aud": "app" });
    all.as_object_mut().expect("an object").extend(but.as_object().expect("an object").clone());
    issuer.assertion(&all)
}

/// Keycloak 50690: the outcome depended on which parameters were sent, and not on the policy of the subject.
#[tokio::test]
async fn the_outcome_of_an_exchange_follows_from_the_subject_token_and_from_no_parameter() {
    let fixtures = Fixtures::in_memory().await;
    let boss = fixtures.client(&["files:read"], None).await;
    let [listed, rogue] =
        [fixtures.client(&["files:read"], None).await, fixtures.client(&["files:read"], None).await];
    allow(&fixtures, &boss, &[&listed], false).await;
    let subject = fixtures.token_of(&boss, "files:read").await;
    let of_listed = fixtures.token_of(&listed, "files:read").await;
    let of_rogue = fixtures.token_of(&rogue, "files:read").await;
    let acting = |token: &str| format!("&actor_token={token}&actor_token_type={ACCESS_TOKEN}");
    let row = |name: &str, actor: &Client, token: &str, more: &str, expected: Expected| {
        row(&format!("50690: {name}"), exchange(actor, ACCESS_TOKEN, token, more), expected)
    };
    let subject_as_actor = acting(&subject);
    let rows = vec![
        row("the listed agent", &listed, &subject, "", Done),
        row("the listed agent, with its own token", &listed, &subject, &acting(&of_listed), Done),
        row("an agent that is not listed", &rogue, &subject, "", REQUEST),
        row("not listed, with its own token", &rogue, &subject, &acting(&of_rogue), REQUEST),
        row("not listed, with the token of the listed", &rogue, &subject, &acting(&of_listed), REQUEST),
        row("not listed, with the subject token as actor", &rogue, &subject, &subject_as_actor, REQUEST),
        row("listed, with a token of another actor", &listed, &subject, &acting(&of_rogue), REQUEST),
        row("listed, with the subject token as actor", &listed, &subject, &subject_as_actor, REQUEST),
        row("a subject that lists no agent", &listed, &of_rogue, "", REQUEST),
        row("a subject that lists no agent, with an actor", &listed, &of_rogue, &acting(&of_listed), REQUEST),
        row("the other way round", &boss, &of_listed, "", REQUEST),
        row(
            "in the name of another client",
            &rogue,
            &subject,
            &format!("&client_id={}", listed.id),
            AnyOf(&[400, 401]),
        ),
        row(
            "the actor as a parameter",
            &rogue,
            &subject,
            &format!("&actor={0}&act={0}&sub={0}", listed.id),
            REQUEST,
        ),
        row("a permission as a parameter", &rogue, &subject, &format!("&may_act={}", rogue.id), REQUEST),
        row("another type of answer", &listed, &subject, &format!("&requested_token_type={JWT}"), REQUEST),
        row(
            "the type of answer by name",
            &listed,
            &subject,
            &format!("&requested_token_type={ACCESS_TOKEN}"),
            Done,
        ),
        row(
            "an actor token without a type",
            &listed,
            &subject,
            &format!("&actor_token={of_listed}"),
            REQUEST,
        ),
        row("an actor token that is no token", &listed, &subject, &acting("x"), REQUEST),
        row("a repeated subject token", &listed, &subject, &format!("&subject_token={of_listed}"), REQUEST),
        row("a repeated type", &listed, &subject, &format!("&subject_token_type={JWT}"), REQUEST),
    ];
    try_all(&fixtures, rows).await;

    // The token says the same whichever parameters were sent: there is no exchange without an `act`.
    let mut seen = Vec::new();
    for more in [
        String::new(),
        acting(&of_listed),
        format!("&requested_token_type={ACCESS_TOKEN}"),
        format!("&sub={}&act=x&may_act=x", rogue.id),
    ] {
        let claims = claims_of(&exchanged(&fixtures, &listed, &subject, &more).await);
        seen.push(json!([claims["sub"], claims["client_id"], claims["act"], claims["delegation"]]));
    }
    let delegation = seen[0][3].clone();
    let expected = json!([boss.id, listed.id, { "sub": listed.id }, delegation]);
    assert_eq!(seen, vec![expected; 4]);

    // An actor is named by what never changes.
    for name in ["agent@example.com", "listed", &listed.id.to_uppercase(), &format!("user:{}", listed.id)] {
        let fields = json!({ "mayAct": [name] });
        let answer = fixtures.call("PATCH", &format!("/agents/{}", boss.id), &fields.to_string()).await;
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
    }
}

/// Keycloak 52691: a token that was obtained by delegation lost its actor, and its end, by an ordinary exchange.
#[tokio::test]
async fn a_delegated_token_keeps_its_actor_and_its_end_however_it_is_exchanged() {
    let fixtures = Fixtures::in_memory().await;
    let issuer = people(&fixtures, json!({})).await;
    for ending in
        ["suspend the actor", "end the actor", "suspend the subject", "end the subject", "kill the subject"]
    {
        let boss = fixtures.client(&["files:read"], None).await;
        let worker = fixtures.client(&["files:read"], None).await;
        allow(&fixtures, &boss, &[&worker], true).await;
        let subject = fixtures.token_of(&boss, "files:read").await;
        let own = fixtures.token_of(&worker, "files:read").await;
        let mut tokens = vec![exchanged(&fixtures, &worker, &subject, "").await];
        let actor = format!("&actor_token={own}&actor_token_type={ACCESS_TOKEN}");
        for more in ["", &actor, "&scope=files:read", "&resource=", ""] {
            let last = tokens.last().expect("a token");
            tokens.push(exchanged(&fixtures, &worker, last, more).await);
        }
        for token in &tokens {
            let claims = claims_of(token);
            assert_eq!(claims["sub"], boss.id, "52691: {claims}");
            assert_eq!(claims["act"], json!({ "sub": worker.id }), "52691: {claims}");
            assert_eq!(claims["exp"], claims_of(&subject)["exp"], "52691: {claims}");
        }
        // Its subject gets no clean token of it either.
        let taken_back = exchange(&boss, ACCESS_TOKEN, &tokens[0], "");
        try_all(&fixtures, vec![row("52691: by its subject", taken_back, REQUEST)]).await;
        allow(&fixtures, &worker, &[&boss], false).await;
        let back = exchanged(&fixtures, &boss, &tokens[0], "").await;
        let nested = json!({ "sub": boss.id, "act": { "sub": worker.id } });
        assert_eq!((&claims_of(&back)["sub"], &claims_of(&back)["act"]), (&json!(boss.id), &nested));
        tokens.push(back);
        let first = token_of(&answer(&fixtures, &worker, JWT, &person(&issuer, &json!({})), "").await);
        let of_person = exchanged(&fixtures, &worker, &first, "").await;
        let sub = format!("user:{}:alice", issuer.id);
        let claims = claims_of(&of_person);
        assert_eq!((&claims["sub"], &claims["act"]), (&json!(sub), &json!({ "sub": worker.id })));

        let ended = if ending.ends_with("actor") { &worker } else { &boss };
        let path = format!("/agents/{}", ended.id);
        let suspended = json!({ "status": "suspended" }).to_string();
        let done = match ending.split(' ').next() {
            Some("suspend") => fixtures.call("PATCH", &path, &suspended).await,
            Some("end") => fixtures.call("DELETE", &path, "").await,
            _ => fixtures.call("POST", &format!("{path}/tokens/revoke"), "").await,
        };
        assert!((200..300).contains(&done.status), "{ending}: {done:?}");
        assert_eq!(are_active(&fixtures, &tokens).await, vec![false; tokens.len()], "52691: {ending}");
        let is_left = ended.id != worker.id;
        assert_eq!(are_active(&fixtures, &[of_person]).await, [is_left], "52691: {ending}");
        if ending.starts_with("suspend") {
            change(&fixtures, &path, &json!({ "status": "active" })).await;
            assert_eq!(are_active(&fixtures, &tokens).await, vec![false; tokens.len()], "52691: {ending}");
        }
        let rows = tokens.iter().flat_map(|token| {
            let by = |actor| {
                row(&format!("52691: {ending}"), exchange(actor, ACCESS_TOKEN, token, ""), AnyOf(&[400, 401]))
            };
            [by(&worker), by(&boss)]
        });
        try_all(&fixtures, rows.collect()).await;
    }

    // A permission that is removed allows nothing more, and what was allowed ends as it would have.
    let boss = fixtures.client(&["files:read"], None).await;
    let worker = fixtures.client(&["files:read"], None).await;
    allow(&fixtures, &boss, &[&worker], true).await;
    let subject = fixtures.token_of(&boss, "files:read").await;
    let held = exchanged(&fixtures, &worker, &subject, "").await;
    allow(&fixtures, &boss, &[], false).await;
    let narrowed = exchanged(&fixtures, &worker, &held, "").await;
    assert_eq!(claims_of(&narrowed)["exp"], claims_of(&held)["exp"]);
    let rows = vec![
        row("52691: no permission any more", exchange(&worker, ACCESS_TOKEN, &subject, ""), REQUEST),
        row("52691: no permission any more, by itself", exchange(&boss, ACCESS_TOKEN, &subject, ""), Done),
    ];
    try_all(&fixtures, rows).await;
}

#[tokio::test]
async fn only_an_active_access_token_of_the_organization_is_exchanged() {
    let fixtures = Fixtures::in_memory().await;
    let worker = fixtures.client(&["files:read"], None).await;
    let everyone = async |client: &Client| {
        change(&fixtures, &format!("/agents/{}", client.id), &json!({ "mayAct": ["*"] })).await;
    };
    let boss = fixtures.client(&["files:read"], None).await;
    everyone(&boss).await;
    let valid = fixtures.token_of(&boss, "files:read").await;
    let organization = fixtures.organization(json!({})).await;
    let foreigner = fixtures.client(&["files:read"], Some(&organization)).await;
    everyone(&foreigner).await;
    let foreign = fixtures.token_of(&foreigner, "files:read").await;
    let mut ended = Vec::new();
    for end in ["suspended", "decommissioned", "killed"] {
        let client = fixtures.client(&["files:read"], None).await;
        everyone(&client).await;
        let token = fixtures.token_of(&client, "files:read").await;
        let path = format!("/agents/{}", client.id);
        let done = match end {
            "suspended" => fixtures.call("PATCH", &path, r#"{"status":"suspended"}"#).await,
            "decommissioned" => fixtures.call("DELETE", &path, "").await,
            _ => fixtures.call("POST", &format!("{path}/tokens/revoke"), "").await,
        };
        assert!((200..300).contains(&done.status), "{end}: {done:?}");
        ended.push((end, token));
    }
    let revoked = fixtures.token_of(&boss, "files:read").await;
    let below_revoked = exchanged(&fixtures, &worker, &revoked, "").await;
    assert_eq!(revoke(&fixtures, &boss, &revoked).await, 200);
    let signer = Signer::of(&fixtures).await;
    change(&fixtures, &format!("/agents/{}", signer.agent), &json!({ "mayAct": ["*"] })).await;
    let assertion = signer.assertion(&json!({}));
    let own_assertion = signer.assertion(&json!({ "sub": worker.id }));
    let (header, claims) = (header_of(&valid), claims_of(&valid));
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        signed(&header, &claims)
    };
    let parts: Vec<&str> = valid.split('.').collect();
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none", "typ": "at+jwt" })), parts[1]);
    let evil = Ed25519KeyPair::generate().expect("a key");
    let forged =
        format!("{}.{}", part(&json!({ "alg": "EdDSA", "typ": "at+jwt", "jwk": jwk(&evil, "1") })), parts[1]);
    let forged = format!("{forged}.{}", part_of(evil.sign(forged.as_bytes()).as_ref()));
    let now = NOON.as_seconds();
    let mut rows = vec![
        row("a token that may be exchanged", exchange(&worker, ACCESS_TOKEN, &valid, ""), Done),
        row("again", exchange(&worker, ACCESS_TOKEN, &valid, ""), Done),
    ];
    let more = [
        ("of another organization", foreign.clone()),
        ("revoked", revoked.clone()),
        ("exchanged from one that is revoked", below_revoked),
        ("without a signature", unsigned),
        ("of another key", forged),
        ("cut off", valid[..valid.len() - 2].to_owned()),
        ("two parts", parts[..2].join(".")),
        ("nothing", "x".to_owned()),
        ("a secret", worker.secret.clone()),
        ("expired for a second", with("exp", json!(now - 1))),
        ("expired now", with("exp", json!(now))),
        ("issued in the future", with("iat", json!(now + 3_600))),
        ("of another issuer", with("iss", json!("https://other.example.com"))),
        ("of an unknown agent", with("client_id", json!(UNKNOWN_ID))),
        ("in the name of another agent", with("sub", json!(worker.id))),
        ("of another generation", with("gen", json!(7))),
        (
            "of a typ that is no access token's",
            signed(&Header { typ: Some("JWT".to_owned()), ..header.clone() }, &claims),
        ),
        ("the assertion of a client", assertion.clone()),
        ("an assertion with the actor as sub", own_assertion),
    ];
    let more = more.into_iter().chain(ended);
    for (name, token) in more {
        for kind in TYPES {
            rows.push(row(&format!("{name}, as {kind}"), exchange(&worker, kind, &token, ""), REQUEST));
        }
    }
    for kind in [JWT, ID_TOKEN] {
        rows.push(row("our access token as a person's", exchange(&worker, kind, &valid, ""), REQUEST));
        rows.push(row("its own token as a person's", exchange(&boss, kind, &valid, ""), REQUEST));
    }
    for (name, kind) in [
        ("no type", ""),
        ("the type without its prefix", "access_token"),
        ("the type in capitals", "URN%3AIETF%3APARAMS%3AOAUTH%3ATOKEN-TYPE%3AACCESS_TOKEN"),
        ("a refresh token", "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Arefresh_token"),
        ("SAML", "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Asaml2"),
    ] {
        rows.push(row(name, exchange(&worker, kind, &valid, ""), REQUEST));
    }
    rows.push(row("by the other organization", exchange(&foreigner, ACCESS_TOKEN, &valid, ""), REQUEST));
    rows.push(row("the assertion is not spent by that", sent(None, TYPE, &assertion), Done));
    try_all(&fixtures, rows).await;

    // Foreign and unknown tokens are answered alike.
    let said = async |token: &str| {
        let mut body = answer(&fixtures, &worker, ACCESS_TOKEN, token, "").await.json();
        body.as_object_mut().expect("an object").remove("requestId");
        body
    };
    let unknown = said("x").await;
    for token in [&foreign, &revoked, &assertion] {
        assert_eq!(said(token).await, unknown);
    }

    fixtures.server.advance(3_599);
    try_all(&fixtures, vec![row("its last second", exchange(&worker, ACCESS_TOKEN, &valid, ""), Done)]).await;
    fixtures.server.advance(1);
    let expired = exchange(&worker, ACCESS_TOKEN, &valid, "");
    try_all(&fixtures, vec![row("expired", expired.clone(), REQUEST)]).await;
    fixtures.server.advance(1);
    try_all(&fixtures, vec![row("expired for a second", expired, REQUEST)]).await;
}

#[tokio::test]
async fn the_token_of_a_person_is_believed_only_if_all_of_it_is_right() {
    let fixtures = Fixtures::in_memory().await;
    let actor = fixtures.client(&["files:read"], None).await;
    let issuer = people(&fixtures, json!({})).await;
    let other = people(&fixtures, json!({})).await;
    let without =
        Federation::trusting(&fixtures, format!("https://people{}.example.com", unique()), json!({})).await;
    let organization = fixtures.organization(json!({})).await;
    let foreign = people(&fixtures, json!({ "organizationId": organization })).await;
    let now = NOON.as_seconds();
    let header = json!({ "alg": "EdDSA", "kid": "1" });
    let claims = |but: Value| {
        let mut all = json!({ "sub": "alice", "aud": "app" });
        all.as_object_mut().expect("an object").extend(but.as_object().expect("an object").clone());
        issuer.claims(&all)
    };
    let valid = claims(json!({})).to_string();
    let headed = |header: Value| issuer.sign(&header, &valid);
    let spliced = |more: &str| issuer.sign(&header, &format!("{{{more},{}", &valid[1..]));
    let raw_sub = |sub: &str| issuer.sign(&header, &valid.replace(r#""alice""#, sub));
    let evil = Ed25519KeyPair::generate().expect("a key");
    let forged = |header: Value| {
        let message = format!("{}.{}", part(&header), part_of(valid.as_bytes()));
        format!("{message}.{}", part_of(evil.sign(message.as_bytes()).as_ref()))
    };
    let message = format!("{}.{}", part(&json!({ "alg": "HS256", "kid": "1" })), part_of(valid.as_bytes()));
    let tag =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, issuer.key.public_key().as_ref()), message.as_bytes());
    let by_hmac = format!("{message}.{}", part_of(tag.as_ref()));
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none" })), part_of(valid.as_bytes()));
    let right = person(&issuer, &json!({}));
    let parts: Vec<&str> = right.split('.').collect();
    let deep = format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000));
    let mut cases = vec![
        ("all right", right.clone(), Done),
        ("an audience in a list", person(&issuer, &json!({ "aud": ["app"] })), Done),
        ("a sub of the greatest length", person(&issuer, &json!({ "sub": "\u{e9}".repeat(255) })), Done),
        ("no kid", headed(json!({ "alg": "EdDSA" })), Done),
        ("alg none", unsigned, REQUEST),
        ("alg none with a signature", headed(json!({ "alg": "none", "kid": "1" })), REQUEST),
        ("alg None", headed(json!({ "alg": "None", "kid": "1" })), REQUEST),
        ("no alg", headed(json!({ "kid": "1" })), REQUEST),
        ("HS256 by the public key", by_hmac, REQUEST),
        ("crit", headed(json!({ "alg": "EdDSA", "kid": "1", "crit": ["exp"] })), REQUEST),
        ("an empty crit", headed(json!({ "alg": "EdDSA", "kid": "1", "crit": [] })), REQUEST),
        ("an unencoded payload", headed(json!({ "alg": "EdDSA", "kid": "1", "b64": false })), REQUEST),
        ("a key in the header", forged(json!({ "alg": "EdDSA", "jwk": jwk(&evil, "1") })), REQUEST),
        ("another key", forged(header.clone()), REQUEST),
        ("another kid", headed(json!({ "alg": "EdDSA", "kid": "2" })), REQUEST),
        (
            "the typ of an access token",
            headed(json!({ "alg": "EdDSA", "kid": "1", "typ": "at+jwt" })),
            REQUEST,
        ),
        (
            "the typ in other letters",
            headed(json!({ "alg": "EdDSA", "kid": "1", "typ": "Application/AT+JWT" })),
            REQUEST,
        ),
        ("a logout token", headed(json!({ "alg": "EdDSA", "kid": "1", "typ": "logout+jwt" })), REQUEST),
        ("a proof", headed(json!({ "alg": "EdDSA", "kid": "1", "typ": "dpop+jwt" })), REQUEST),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), REQUEST),
        ("two parts", format!("{}.{}", parts[0], parts[1]), REQUEST),
        ("five parts, as a JWE", format!("{right}.a.b"), REQUEST),
        ("a repeated sub", spliced(r#""sub":"bob""#), REQUEST),
        ("a repeated sub, escaped", spliced(r#""\u0073ub":"alice""#), REQUEST),
        ("a repeated aud", spliced(r#""aud":"app""#), REQUEST),
        ("a repeated member below", spliced(r#""a":{"b":1,"b":1}"#), REQUEST),
        ("a NUL elsewhere", spliced(r#""a":"\u0000""#), REQUEST),
        ("a lone surrogate", spliced(r#""a":"\ud800""#), REQUEST),
        ("deep claims", spliced(&format!(r#""a":{deep}"#)), REQUEST),
        ("a sub with a NUL", raw_sub(r#""alice\u0000""#), REQUEST),
        ("a sub with a NUL as it is", raw_sub("\"alice\u{0}\""), REQUEST),
        ("a sub that is a NUL", raw_sub(r#""\u0000""#), REQUEST),
        ("a sub with a line", raw_sub(r#""alice\nbob""#), REQUEST),
        ("a sub with a C1 control", raw_sub(r#""alice\u0085""#), REQUEST),
        ("a sub with a lone surrogate", raw_sub(r#""alice\udc00""#), REQUEST),
        ("a sub that is too long", person(&issuer, &json!({ "sub": "a".repeat(256) })), REQUEST),
        ("a huge sub", person(&issuer, &json!({ "sub": "a".repeat(9_000) })), REQUEST),
        ("a sub beyond all tokens", person(&issuer, &json!({ "sub": "a".repeat(100_000) })), REQUEST),
        ("the key of another issuer", other.sign(&header, &valid), REQUEST),
        ("an issuer of another organization", person(&foreign, &json!({})), REQUEST),
        ("the name of another organization's issuer", foreign.sign(&header, &valid), REQUEST),
        ("an issuer without subjects", person(&without, &json!({})), REQUEST),
        ("an issuer without subjects, for a workload", without.assertion(&json!({})), REQUEST),
        ("the token of a workload", issuer.assertion(&json!({})), REQUEST),
        ("the token of a workload with a person", issuer.assertion(&json!({ "sub": "alice" })), REQUEST),
    ];
    for (name, but) in [
        ("both audiences", json!({ "aud": ["app", ISSUER] })),
        ("both audiences, the other way round", json!({ "aud": [ISSUER, "app"] })),
        ("aud as a part", json!({ "aud": "apps" })),
        ("aud as a list in a list", json!({ "aud": [["app"]] })),
        ("aud as an object", json!({ "aud": { "app": 1 } })),
        ("no aud", json!({ "aud": null })),
        ("sub as a number", json!({ "sub": 7 })),
        ("sub as a list", json!({ "sub": ["alice"] })),
        ("sub as an object", json!({ "sub": { "format": "iss_sub" } })),
        ("an empty sub", json!({ "sub": "" })),
        ("no sub", json!({ "sub": null })),
        ("no iss", json!({ "iss": null })),
        ("iss with a slash", json!({ "iss": format!("{}/", issuer.issuer) })),
        ("iss of this service", json!({ "iss": ISSUER })),
        ("iss of another", json!({ "iss": other.issuer })),
        ("no exp", json!({ "exp": null })),
        ("exp now", json!({ "exp": now })),
        ("exp as text", json!({ "exp": (now + 60).to_string() })),
        ("exp in ten years", json!({ "exp": now + 315_360_000 })),
        ("exp beyond all years", json!({ "exp": 1e300 })),
        ("no iat", json!({ "iat": null })),
        ("iat as text", json!({ "iat": now.to_string() })),
        ("iat too long ago", json!({ "iat": now - 601 })),
        ("iat in the future", json!({ "iat": now + 61 })),
        ("nbf in the future", json!({ "nbf": now + 3_600 })),
    ] {
        cases.push((name, person(&issuer, &but), REQUEST));
    }
    let mut rows = Vec::new();
    for (name, token, expected) in &cases {
        for kind in [JWT, ID_TOKEN] {
            rows.push(row(&format!("{name}, as {kind}"), exchange(&actor, kind, token, ""), *expected));
        }
        rows.push(row(&format!("{name}, as our own"), exchange(&actor, ACCESS_TOKEN, token, ""), REQUEST));
    }
    // The reverse: none of these authenticates the workload.
    let client = Refused(401, "invalid_client");
    let workload = issuer.assertion(&json!({}));
    rows.push(row("the workload itself", sent(Some(&issuer.agent), TYPE, &workload), Done));
    for (name, token) in [
        ("a person as a workload", right),
        ("a person with the sub of the workload", person(&issuer, &json!({ "sub": "job" }))),
        ("both audiences as a workload", person(&issuer, &json!({ "sub": "job", "aud": ["app", ISSUER] }))),
    ] {
        rows.push(row(name, sent(Some(&issuer.agent), TYPE, &token), client));
    }
    try_all(&fixtures, rows).await;
    // The two audiences are kept apart.
    for audience in [ISSUER, "app"] {
        let fields = json!({ "audiences": [audience], "subjects": {
            "audiences": [audience], "mayAct": ["*"], "scopes": ["files:read"], "maxAgeSeconds": 600,
        } });
        let path = format!("/issuers/{}", issuer.id);
        let answer = fixtures.call("PATCH", &path, &fields.to_string()).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
}

/// The `sub` of a person is chosen by the issuer, or by the person.
#[tokio::test]
async fn a_person_is_never_taken_for_an_agent_or_for_another_person() {
    let fixtures = Fixtures::in_memory().await;
    let actor = fixtures.client(&["files:read"], None).await;
    let victim = fixtures.client(&["files:read"], None).await;
    change(&fixtures, &format!("/agents/{}", victim.id), &json!({ "mayAct": ["*"] })).await;
    let issuer = people(&fixtures, json!({})).await;
    let other = people(&fixtures, json!({})).await;
    let subs = [
        victim.id.clone(),
        actor.id.clone(),
        issuer.id.clone(),
        format!("user:{}:alice", issuer.id),
        format!("user:{}:alice", other.id),
        ":alice".to_owned(),
        "alice:".to_owned(),
        "alice".to_owned(),
        "Alice".to_owned(),
        "alice ".to_owned(),
        "a\u{308}lice".to_owned(),
        "\u{e4}lice".to_owned(),
    ];
    let mut tokens = Vec::new();
    for (from, sub) in [&issuer, &other].into_iter().flat_map(|from| subs.iter().map(move |sub| (from, sub)))
    {
        let token =
            token_of(&answer(&fixtures, &actor, JWT, &person(from, &json!({ "sub": sub })), "").await);
        let expected = format!("user:{}:{sub}", from.id);
        let shown = fixtures.server.introspect(&token).await;
        for said in [&claims_of(&token), &shown] {
            assert_eq!(said["sub"], expected);
            assert_eq!(said["sub_id"], json!({ "format": "iss_sub", "iss": from.issuer, "sub": sub }));
            assert_eq!((&said["client_id"], &said["act"]), (&json!(actor.id), &json!({ "sub": actor.id })));
        }
        // The agent whose ID is the `sub` is no party of the token.
        assert_eq!(revoke(&fixtures, &victim, &token).await, 403);
        tokens.push(token);
    }
    let subjects: BTreeSet<_> = tokens.iter().map(|token| claims_of(token)["sub"].to_string()).collect();
    assert_eq!(subjects.len(), tokens.len());
    // Each is revoked for itself only, and the tokens of the agent stay active.
    let own = fixtures.token_of(&victim, "files:read").await;
    for (revoked, sub) in subs.iter().enumerate() {
        let path = format!("/issuers/{}/subjects/revoke", issuer.id);
        let done = fixtures.call("POST", &path, &json!({ "subject": sub }).to_string()).await;
        assert_eq!(done.status, 204, "{done:?}");
        let expected: Vec<bool> = (0..tokens.len()).map(|place| place > revoked).collect();
        assert_eq!(are_active(&fixtures, &tokens).await, expected, "{sub}");
    }
    assert!(fixtures.server.is_active(&own).await);
}

#[tokio::test]
async fn no_scope_is_added_and_no_management_scope_is_ever_exchanged() {
    let fixtures = Fixtures::in_memory().await;
    let both = ["files:read", "files:write", "agents:read", "agents:write"];
    let boss = fixtures.client(&both, None).await;
    let worker = fixtures
        .client(&["files:read", "files:write", "mail:send", "agents:read", "tokens:read"], None)
        .await;
    let manager = fixtures.client(&MANAGEMENT_SCOPES, None).await;
    for client in [&boss, &worker, &manager] {
        change(
            &fixtures,
            &format!("/agents/{}", client.id),
            &json!({ "mayAct": ["*"], "redelegation": true }),
        )
        .await;
    }
    let issuer = people(&fixtures, json!({})).await;
    let alice = person(&issuer, &json!({}));
    let strong = fixtures.token_of(&boss, "files:read files:write agents:read agents:write").await;
    let weak = fixtures.token_of(&boss, "files:read").await;
    let managing = fixtures.token_of(&manager, &MANAGEMENT_SCOPES.join(" ")).await;
    let delegated = exchanged(&fixtures, &worker, &strong, "").await;
    let own = exchanged(&fixtures, &boss, &strong, "").await;
    let subjects: [(&str, &Client, &str, &str); 7] = [
        ("a token with management scopes", &worker, ACCESS_TOKEN, &strong),
        ("its own with management scopes", &boss, ACCESS_TOKEN, &strong),
        ("a delegated one", &worker, ACCESS_TOKEN, &delegated),
        ("its own, exchanged", &boss, ACCESS_TOKEN, &own),
        ("one that was passed on", &boss, ACCESS_TOKEN, &delegated),
        ("a person's", &worker, JWT, &alice),
        ("a person's, by a manager", &manager, JWT, &alice),
    ];
    let mut rows = Vec::new();
    for (name, actor, kind, token) in subjects {
        for management in MANAGEMENT_SCOPES {
            for scope in [
                management.to_owned(),
                format!("files:read+{management}"),
                format!("{management}+files:read"),
            ] {
                let more = format!("&scope={scope}");
                rows.push(row(&format!("{name}: {scope}"), exchange(actor, kind, token, &more), SCOPE));
            }
        }
    }
    for (name, actor, kind, token, scope) in [
        ("the actor's own", &worker, ACCESS_TOKEN, &strong, "mail:send"),
        ("the actor's own, with another", &worker, ACCESS_TOKEN, &strong, "files:read+mail:send"),
        ("the actor's own, for a person", &worker, JWT, &alice, "mail:send"),
        ("the subject's, that its token lacks", &worker, ACCESS_TOKEN, &weak, "files:write"),
        ("its own, that its token lacks", &boss, ACCESS_TOKEN, &weak, "files:write"),
        ("unknown", &worker, ACCESS_TOKEN, &strong, "unknown:scope"),
        ("in other letters", &worker, ACCESS_TOKEN, &strong, "Files:read"),
        ("a part", &worker, ACCESS_TOKEN, &strong, "files"),
        ("with a wildcard", &worker, ACCESS_TOKEN, &strong, "files:*"),
        ("with a tab", &worker, ACCESS_TOKEN, &strong, "files:read%09mail:send"),
        ("only management scopes to give", &manager, ACCESS_TOKEN, &managing, "agents:read"),
    ] {
        rows.push(row(name, exchange(actor, kind, token, &format!("&scope={scope}")), SCOPE));
    }
    rows.push(row("nothing is left", exchange(&manager, ACCESS_TOKEN, &managing, ""), SCOPE));
    rows.push(row("nothing in common", exchange(&manager, ACCESS_TOKEN, &weak, ""), SCOPE));
    rows.push(row("nothing in common with a person", exchange(&manager, JWT, &alice, ""), SCOPE));
    rows.push(row(
        "one that both have",
        exchange(&worker, ACCESS_TOKEN, &strong, "&scope=files:write"),
        Done,
    ));
    rows.push(row(
        "one that was left out before",
        exchange(&worker, ACCESS_TOKEN, &delegated, "&scope=files:write"),
        Done,
    ));
    try_all(&fixtures, rows).await;

    // Without a scope, and for whatever the token is: it opens nothing here.
    for (name, actor, kind, token) in subjects {
        if actor.id == manager.id {
            continue;
        }
        let token = token_of(&answer(&fixtures, actor, kind, token, "").await);
        assert_eq!(claims_of(&token)["scope"], "files:read files:write", "{name}");
        for (method, path, body) in [
            ("GET", "/agents".to_owned(), ""),
            ("PATCH", format!("/agents/{}", boss.id), r#"{"mayAct":["*"]}"#),
            ("POST", format!("/agents/{}/credentials", actor.id), "{}"),
            ("GET", "/audit".to_owned(), ""),
        ] {
            let answer = fixtures.call_as(&token, method, &path, body).await;
            assert_eq!(answer.status, 403, "{name}: {method} {path}: {answer:?}");
        }
    }
    // A person has no management scope to pass on.
    for management in MANAGEMENT_SCOPES {
        let fields = json!({ "subjects": {
            "audiences": ["app"], "mayAct": ["*"], "scopes": ["files:read", management], "maxAgeSeconds": 600,
        } });
        let answer = fixtures.call("PATCH", &format!("/issuers/{}", issuer.id), &fields.to_string()).await;
        assert_eq!(answer.status, 400, "{management}: {answer:?}");
    }
    // A capability that an agent gets later is not in tokens from before, and one that it loses is in none.
    let grown = [&both[..], &["mail:send"]].concat();
    let grown = json!({ "capabilities": grown });
    change(&fixtures, &format!("/agents/{}", boss.id), &grown).await;
    let later = exchange(&worker, ACCESS_TOKEN, &strong, "&scope=mail:send");
    try_all(&fixtures, vec![row("a capability from later", later, SCOPE)]).await;
    change(&fixtures, &format!("/agents/{}", boss.id), &json!({ "capabilities": ["mail:send"] })).await;
    let rows = vec![
        row("all of it is lost", exchange(&worker, ACCESS_TOKEN, &strong, ""), SCOPE),
        row("all of it is lost below", exchange(&worker, ACCESS_TOKEN, &delegated, ""), SCOPE),
        row(
            "all of it is lost, by name",
            exchange(&worker, ACCESS_TOKEN, &delegated, "&scope=files:read"),
            SCOPE,
        ),
    ];
    try_all(&fixtures, rows).await;
}

#[tokio::test]
async fn a_chain_is_not_made_longer_by_going_back_and_forth_or_by_narrowing() {
    let fixtures = Fixtures::in_memory().await;
    let agents = [fixtures.client(&["files:read"], None).await, fixtures.client(&["files:read"], None).await];
    for agent in &agents {
        change(
            &fixtures,
            &format!("/agents/{}", agent.id),
            &json!({ "mayAct": ["*"], "redelegation": true }),
        )
        .await;
    }
    let root = fixtures.token_of(&agents[0], "files:read").await;
    let mut tokens = vec![root.clone()];
    for step in 1..=3 {
        let last = tokens.last().expect("a token");
        tokens.push(exchanged(&fixtures, &agents[step % 2], last, "").await);
    }
    assert_eq!(claims_of(&tokens[3])["delegation"]["depth"], 3);
    let mut rows = vec![row("once more", exchange(&agents[0], ACCESS_TOKEN, &tokens[3], ""), REQUEST)];
    // Narrowing adds no depth, and takes none away.
    let mut narrowed = tokens[3].clone();
    for _ in 0..5 {
        narrowed = exchanged(&fixtures, &agents[1], &narrowed, "").await;
    }
    rows.push(row("once more, narrowed", exchange(&agents[0], ACCESS_TOKEN, &narrowed, ""), REQUEST));
    try_all(&fixtures, rows).await;

    // A hundred times, of the last one each time that there is one.
    let (mut last, mut accepted) = (root.clone(), 0);
    for attempt in 0..100 {
        fixtures.server.advance(7);
        let answer = answer(&fixtures, &agents[0], ACCESS_TOKEN, &last, "").await;
        if answer.status == 200 {
            accepted += 1;
            last = token_of(&answer);
            assert_eq!(claims_of(&last)["exp"], claims_of(&root)["exp"], "attempt {attempt}");
            tokens.push(last.clone());
        } else {
            assert_eq!(
                (answer.status, &answer.json()["error"]),
                (400, &json!("invalid_request")),
                "{answer:?}"
            );
        }
    }
    assert_eq!(accepted, 16);
    let by_other = exchange(&agents[1], ACCESS_TOKEN, &last, "");
    try_all(&fixtures, vec![row("a seventeenth ancestor by another", by_other, REQUEST)]).await;
    assert_eq!(are_active(&fixtures, &tokens).await, vec![true; tokens.len()]);
    assert_eq!(revoke(&fixtures, &agents[0], &root).await, 200);
    assert_eq!(are_active(&fixtures, &tokens).await, vec![false; tokens.len()]);
}

#[tokio::test]
async fn no_exchange_makes_a_token_last_longer() {
    let fixtures = Fixtures::in_memory().await;
    let boss = fixtures.client(&["files:read"], None).await;
    let worker = fixtures.client(&["files:read"], None).await;
    allow(&fixtures, &boss, &[&worker], true).await;
    allow(&fixtures, &worker, &[&boss], true).await;
    let issuer = people(&fixtures, json!({})).await;
    let root = fixtures.token_of(&boss, "files:read").await;
    let of_person = person(&issuer, &json!({ "exp": NOON.as_seconds() + 3_601 }));
    let first = token_of(&answer(&fixtures, &worker, JWT, &of_person, "").await);
    let mut held = [(root.clone(), 3_600), (first, 3_600)];
    for turn in 0..11 {
        fixtures.server.advance(300);
        let actor = if turn % 2 == 0 { &worker } else { &boss };
        for (token, exp) in &mut held {
            let mut answered = answer(&fixtures, actor, ACCESS_TOKEN, token, "").await;
            if answered.status != 200 {
                // The chain is as long as it may be: its client can only narrow it.
                let client = claims_of(token)["client_id"].clone();
                let client = if client == json!(boss.id) { &boss } else { &worker };
                answered = answer(&fixtures, client, ACCESS_TOKEN, token, "").await;
            }
            *token = token_of(&answered);
            assert_eq!(claims_of(token)["exp"], NOON.as_seconds() + *exp);
            assert_eq!(answered.json()["expires_in"], *exp - 300 * (turn + 1));
        }
    }
    fixtures.server.advance(299);
    for (token, _) in &held {
        assert!(fixtures.server.is_active(token).await);
    }
    fixtures.server.advance(1);
    for (token, _) in &held {
        assert!(!fixtures.server.is_active(token).await);
    }
    let mut rows = vec![row("the first of them", exchange(&worker, ACCESS_TOKEN, &root, ""), REQUEST)];
    for actor in [&boss, &worker] {
        rows.extend(
            held.iter().map(|(token, _)| row("expired", exchange(actor, ACCESS_TOKEN, token, ""), REQUEST)),
        );
    }
    // The token of the person is too old by now, although it has not expired.
    rows.push(row("the token of a person again", exchange(&worker, JWT, &of_person, ""), REQUEST));
    try_all(&fixtures, rows).await;
}

#[tokio::test]
async fn the_end_of_the_third_of_five_ends_the_fourth_and_the_fifth() {
    let fixtures = Fixtures::in_memory_with(&["--max-delegation-depth", "5"]).await;
    let issuer = people(&fixtures, json!({})).await;
    for ending in ["kill", "suspend", "decommission", "revoke", "revoke by its ID"] {
        let mut agents = Vec::new();
        for _ in 0..5 {
            agents.push(fixtures.client(&["files:read"], None).await);
        }
        for pair in agents.windows(2) {
            allow(&fixtures, &pair[0], &[&pair[1]], true).await;
        }
        let first = token_of(&answer(&fixtures, &agents[0], JWT, &person(&issuer, &json!({})), "").await);
        let mut tokens = vec![first];
        for agent in &agents[1..] {
            let last = tokens.last().expect("a token");
            tokens.push(exchanged(&fixtures, agent, last, "").await);
        }
        // The fifth keeps another of its own, of the same chain.
        tokens.push(exchanged(&fixtures, &agents[4], &tokens[4], "").await);
        assert_eq!(are_active(&fixtures, &tokens).await, [true; 6]);
        let path = format!("/agents/{}", agents[2].id);
        let id = claims_of(&tokens[2])["jti"].as_str().expect("an ID").to_owned();
        let status = match ending {
            "kill" => fixtures.call("POST", &format!("{path}/tokens/revoke"), "").await.status,
            "suspend" => fixtures.call("PATCH", &path, r#"{"status":"suspended"}"#).await.status,
            "decommission" => fixtures.call("DELETE", &path, "").await.status,
            "revoke" => revoke(&fixtures, &agents[2], &tokens[2]).await,
            _ => fixtures.call("POST", &format!("/tokens/{id}/revoke"), "").await.status,
        };
        assert!((200..300).contains(&status), "{ending}: {status}");
        let expected = [true, true, false, false, false, false];
        assert_eq!(are_active(&fixtures, &tokens).await, expected, "{ending}");
        let mut rows = Vec::new();
        for (place, token) in tokens.iter().enumerate().skip(2) {
            for (number, agent) in agents.iter().enumerate().filter(|(number, _)| *number != 2) {
                let name = format!("{ending}: token {place} by agent {number}");
                rows.push(row(&name, exchange(agent, ACCESS_TOKEN, token, ""), REQUEST));
            }
        }
        // The fourth and the fifth do not get around the third.
        for agent in &agents[3..] {
            rows.push(row(ending, exchange(agent, ACCESS_TOKEN, &tokens[1], ""), REQUEST));
        }
        rows.push(row(ending, exchange(&agents[1], ACCESS_TOKEN, &tokens[1], ""), Done));
        try_all(&fixtures, rows).await;
        assert_eq!(are_active(&fixtures, &tokens).await, expected, "{ending}");
    }
}

/// An exchange that begins after the answer to the removal of a permission is refused, on whichever instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_exchange_that_begins_after_the_removal_of_a_permission_is_accepted() {
    const ROUNDS: usize = 30;
    let fixtures = Arc::new(Fixtures::on_stores().await);
    let boss = fixtures.client(&["files:read"], None).await;
    let holder = fixtures.client(&["files:read"], None).await;
    let worker = fixtures.client(&["files:read"], None).await;
    allow(&fixtures, &boss, &[&holder], true).await;
    allow(&fixtures, &holder, &[&worker], false).await;
    let own = fixtures.token_of(&boss, "files:read").await;
    let held = exchanged(&fixtures, &holder, &own, "").await;
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let (path, without, with) = if round % 2 == 0 {
            (format!("/agents/{}", holder.id), json!({ "mayAct": [] }), json!({ "mayAct": [worker.id] }))
        } else {
            (
                format!("/agents/{}", boss.id),
                json!({ "redelegation": false }),
                json!({ "redelegation": true }),
            )
        };
        let is_answered = Arc::new(AtomicBool::new(false));
        let callers: tokio::task::JoinSet<(usize, usize)> = (0..4)
            .map(|_| {
                let (fixtures, is_answered) = (fixtures.clone(), is_answered.clone());
                let (worker, held) = (worker.clone(), held.clone());
                async move {
                    let (mut accepted, mut refused) = (0, 0);
                    while refused < 2 {
                        let is_late = is_answered.load(Ordering::SeqCst);
                        let answer = answer(&fixtures, &worker, ACCESS_TOKEN, &held, "").await;
                        assert!(matches!(answer.status, 200 | 400), "round {round}: {answer:?}");
                        assert!(answer.status != 200 || !is_late, "round {round}: after the removal");
                        if answer.status == 200 { accepted += 1 } else { refused += 1 }
                    }
                    (accepted, refused)
                }
            })
            .collect();
        change(&fixtures, &path, &without).await;
        is_answered.store(true, Ordering::SeqCst);
        for (one, other) in callers.join_all().await {
            accepted += one;
            refused += other;
        }
        change(&fixtures, &path, &with).await;
    }
    assert!(accepted > 0 && refused > 0, "both were seen: {accepted} and {refused}");
}
