//! Token exchange: agents that act for other agents and for people.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Answer, Client, NOON, TestServer, UNKNOWN_ID, Wiring, unique};

use crate::federation::Platform;
use crate::scenarios::scenarios;

scenarios!(every_wiring [
    an_agent_acts_for_another_that_allows_it,
    an_agent_acts_for_a_person_of_a_trusted_issuer,
    a_chain_grows_only_as_far_as_every_party_allows,
    whatever_ends_a_party_ends_what_was_exchanged_from_it_and_nothing_else,
    a_token_is_revoked_by_its_id_with_all_that_was_exchanged_from_it,
    the_tree_of_a_token_shows_every_token_and_which_are_active,
    a_persons_token_with_a_jti_is_exchanged_once_anywhere,
]);
scenarios!(stateless [
    the_request_of_rfc_8693_section_2_3_gets_its_answer,
    the_form_of_an_exchange_is_checked,
    each_check_of_a_persons_token_fails_by_its_name,
    a_token_is_narrowed_by_its_client_without_losing_its_actors,
    a_scope_is_one_that_the_whole_chain_has,
    a_token_never_outlives_the_one_that_it_was_exchanged_for,
    a_token_is_revoked_by_any_agent_of_its_chain,
    refused_exchanges_are_counted_by_client,
]);

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Requests an exchange, with these parameters in addition.
pub async fn ask(
    server: &TestServer,
    actor: &Client,
    (kind, token): (&str, &str),
    parameters: &[(&str, &str)],
) -> Answer {
    let form =
        [&[("grant_type", EXCHANGE), ("subject_token_type", kind), ("subject_token", token)], parameters]
            .concat();
    let request = server.request(Method::POST, "/api/v1/token").form(&form);
    server.send(request.basic_auth(&actor.id, Some(&actor.secret))).await
}

/// Exchanges a token of this service.
pub async fn exchange(
    server: &TestServer,
    actor: &Client,
    token: &str,
    parameters: &[(&str, &str)],
) -> String {
    token_of(&ask(server, actor, (ACCESS_TOKEN, token), parameters).await)
}

pub fn token_of(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()["access_token"].as_str().expect("a token").to_owned()
}

/// Asserts that an exchange is refused as an invalid request whose description begins with this reason.
fn assert_refused(answer: &Answer, reason: &str) {
    answer.assert_error(400, "invalid_request");
    let description = answer.json()["error_description"].as_str().expect("a description").to_owned();
    assert!(description.starts_with(&format!("{reason}: ")), "{reason}: {description}");
}

/// Lets these agents act for an agent.
pub async fn allow(
    server: &TestServer,
    admin: &str,
    subject: &Client,
    actors: &[&Client],
    redelegation: bool,
) {
    let ids: Vec<&str> = actors.iter().map(|actor| actor.id.as_str()).collect();
    let change = json!({ "mayAct": ids, "redelegation": redelegation });
    let answer = server.patch(admin, &format!("/api/v1/agents/{}", subject.id), change).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

fn payload(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

fn jti(token: &str) -> String {
    payload(token)["jti"].as_str().expect("an ID").to_owned()
}

/// Returns the nested claim `act` of these agents.
fn act(actors: &[&Client]) -> Value {
    actors.iter().rev().fold(Value::Null, |inner, actor| match inner {
        Value::Null => json!({ "sub": actor.id }),
        inner => json!({ "sub": actor.id, "act": inner }),
    })
}

/// An issuer whose people every agent may act for.
pub struct People {
    platform: Platform,
}

impl People {
    const SUBJECTS: [&str; 2] = ["files:read", "files:write"];

    fn subjects(fields: &Value) -> Value {
        let mut subjects = json!({
            "audiences": ["app"], "mayAct": ["*"], "scopes": Self::SUBJECTS, "maxAgeSeconds": 600,
            "redelegation": true,
        });
        for (name, value) in fields.as_object().expect("fields") {
            subjects[name] = value.clone();
        }
        subjects
    }

    pub async fn new(server: &TestServer, admin: &str, fields: Value) -> Self {
        let mut all = json!({ "subjects": Self::subjects(&json!({})) });
        for (name, value) in fields.as_object().expect("fields") {
            all[name] = value.clone();
        }
        Self { platform: Platform::trusted(server, admin, all).await }
    }

    /// Returns the claims of a valid token of a person.
    fn claims(&self, sub: &str) -> Value {
        json!({
            "iss": self.platform.issuer, "sub": sub, "aud": "app", "iat": NOON.as_seconds(),
            "exp": NOON.as_seconds() + 3_600, "jti": unique().to_string(),
        })
    }

    pub fn token(&self, sub: &str) -> String {
        self.platform.sign(&self.claims(sub))
    }
}

async fn an_agent_acts_for_another_that_allows_it(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let boss = server.client(&admin, None, &["files:read", "files:write", "agents:read"]).await;
    let worker = server.client(&admin, None, &["files:write", "mail:send", "files:read"]).await;
    let token = server.token(&boss, &[]).await;
    assert_refused(&ask(&server, &worker, (ACCESS_TOKEN, &token), &[]).await, "may_act");
    allow(&server, &admin, &boss, &[&worker], false).await;
    let token = server.token(&boss, &[]).await;

    let answer = ask(&server, &worker, (ACCESS_TOKEN, &token), &[]).await;
    let delegated = token_of(&answer);
    let body = answer.json();
    assert_eq!(body["issued_token_type"], ACCESS_TOKEN);
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(3_600)));
    assert_eq!(body["scope"], "files:read files:write", "what both have");
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    let claims = payload(&delegated);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(boss.id), &json!(worker.id)));
    assert_eq!(claims["act"], act(&[&worker]));
    let boss_gen = payload(&token)["gen"].clone();
    let expected = json!({ "depth": 1, "parents": [jti(&token)], "agents": { &boss.id: boss_gen } });
    assert_eq!(claims["delegation"], expected);
    assert!(claims.get("sub_id").is_none() && claims.get("issuers").is_none());

    let shown = server.introspect(&delegated).await;
    assert_eq!((&shown["sub"], &shown["client_id"]), (&json!(boss.id), &json!(worker.id)));
    assert_eq!(shown["act"], act(&[&worker]));
    assert_eq!(shown["delegation"], json!({ "depth": 1, "root": jti(&token) }));
    assert_eq!(shown["scope"], "files:read files:write");
    let plain = server.introspect(&token).await;
    assert!(plain.get("act").is_none() && plain.get("delegation").is_none());

    let events = server.events(&admin, "&action=token.exchanged").await;
    assert_eq!(events.len(), 1);
    let (event, metadata) = (&events[0], &events[0]["metadata"]);
    assert_eq!((&event["agentId"], &event["outcome"]), (&json!(worker.id), &json!("success")));
    assert_eq!(event["resource"], json!({ "type": "token", "id": jti(&delegated) }));
    for (name, value) in [
        ("subject", json!(boss.id)),
        ("parent", json!(jti(&token))),
        ("root", json!(jti(&token))),
        ("depth", json!(1)),
        ("scope", json!("files:read files:write")),
    ] {
        assert_eq!(metadata[name], value, "{name}");
    }
    let usage = server.get(&admin, &format!("/api/v1/usage?clientId={}", worker.id)).await.json();
    assert_eq!(usage["tokens"]["byClient"][0]["used"], 1, "an exchange counts like any token");
}

async fn an_agent_acts_for_a_person_of_a_trusted_issuer(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let people = People::new(&server, &admin, json!({})).await;
    let agent = server.client(&admin, None, &["files:read", "mail:send"]).await;
    for kind in [JWT, "urn:ietf:params:oauth:token-type:id_token"] {
        // The same token may be exchanged again, as it is no client assertion and has no jti to spend.
        let answer = ask(&server, &agent, (kind, &people.token("al\u{ef}ce")), &[]).await;
        let token = token_of(&answer);
        let claims = payload(&token);
        let sub = format!("user:{}:al\u{ef}ce", people.platform.id);
        assert_eq!(claims["sub"], sub);
        let sub_id = json!({ "format": "iss_sub", "iss": people.platform.issuer, "sub": "al\u{ef}ce" });
        assert_eq!(claims["sub_id"], sub_id);
        assert_eq!((&claims["client_id"], &claims["act"]), (&json!(agent.id), &act(&[&agent])));
        let expected = json!({ "depth": 1, "parents": [], "agents": {}, "subject_gen": 0 });
        assert_eq!(claims["delegation"], expected);
        assert_eq!(claims["issuers"], json!({ &people.platform.id: 0 }));
        assert_eq!(claims["scope"], "files:read", "what the people and the agent both have");
        let shown = server.introspect(&token).await;
        assert_eq!((&shown["sub"], &shown["sub_id"]), (&json!(sub), &sub_id));
        assert_eq!(shown["delegation"], json!({ "depth": 1, "root": jti(&token) }));
        let event = &server.events(&admin, "&action=token.exchanged").await[0];
        assert_eq!(event["metadata"]["subject"], sub);
        assert_eq!(event["metadata"]["root"], jti(&token));
        assert!(event["metadata"].get("parent").is_none());
    }
}

/// The form is that of the RFC, apart from the values of the tokens.
async fn the_request_of_rfc_8693_section_2_3_gets_its_answer(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let organization =
        server.organization(&admin, json!({ "resources": ["https://backend.example.com/api"] })).await;
    let user = server.client(&admin, Some(&organization), &["api:read"]).await;
    let frontend = server.client(&admin, Some(&organization), &["api:read"]).await;
    allow(&server, &admin, &user, &[&frontend], false).await;
    let token = server.token(&user, &[]).await;
    let form = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
         &resource=https%3A%2F%2Fbackend.example.com%2Fapi&subject_token={token}\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"
    );
    let request = server.request(Method::POST, "/api/v1/token").body(form);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = server.send(request.basic_auth(&frontend.id, Some(&frontend.secret))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!(body["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!((&body["token_type"], body["expires_in"].is_i64()), (&json!("Bearer"), true));
    let claims = payload(body["access_token"].as_str().expect("a token"));
    assert_eq!(claims["aud"], "https://backend.example.com/api");
    assert_eq!((&claims["sub"], &claims["act"]), (&json!(user.id), &json!({ "sub": frontend.id })));
}

async fn the_form_of_an_exchange_is_checked(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let boss = server.client(&admin, None, &["files:read"]).await;
    let worker = server.client(&admin, None, &["files:read"]).await;
    allow(&server, &admin, &boss, &[&worker], false).await;
    let (subject, own) = (server.token(&boss, &[]).await, server.token(&worker, &[]).await);
    let send = async |form: &[(&str, &str)]| {
        let form = [&[("grant_type", EXCHANGE)], form].concat();
        let request = server.request(Method::POST, "/api/v1/token").form(&form);
        server.send(request.basic_auth(&worker.id, Some(&worker.secret))).await
    };
    let long = "a".repeat(16 * 1024 + 1);
    let right = [("subject_token", subject.as_str()), ("subject_token_type", ACCESS_TOKEN)];
    for (form, says) in [
        (vec![], "subject_token is missing"),
        (vec![right[0]], "subject_token_type is missing"),
        (vec![right[1]], "subject_token is missing"),
        (
            vec![right[0], ("subject_token_type", "urn:ietf:params:oauth:token-type:saml2")],
            "subject_token_type must be",
        ),
        (vec![right[0], ("subject_token_type", "access_token")], "subject_token_type must be"),
        (vec![("subject_token", long.as_str()), right[1]], "at most 16 KB"),
        (vec![right[0], right[1], ("actor_token", own.as_str())], "go together"),
        (vec![right[0], right[1], ("actor_token_type", ACCESS_TOKEN)], "go together"),
        (
            vec![right[0], right[1], ("actor_token", own.as_str()), ("actor_token_type", JWT)],
            "actor_token_type must be",
        ),
        (
            vec![right[0], right[1], ("actor_token", subject.as_str()), ("actor_token_type", ACCESS_TOKEN)],
            "of the client",
        ),
        (vec![right[0], right[1], ("actor_token", "x"), ("actor_token_type", ACCESS_TOKEN)], "of the client"),
        (vec![right[0], right[1], ("requested_token_type", JWT)], "requested_token_type must be"),
        (vec![right[0], right[0], right[1]], "more than once"),
        (vec![("subject_token", "x"), right[1]], "subject_token: "),
        (vec![("subject_token", own.as_str()), ("subject_token_type", JWT)], "subject_token: "),
        (vec![("subject_token", "a.b.c"), ("subject_token_type", JWT)], "format: "),
    ] {
        let answer = send(&form).await;
        answer.assert_error(400, "invalid_request");
        let description = answer.json()["error_description"].as_str().expect("a text").to_owned();
        assert!(description.contains(says), "{says}: {description}");
    }
    let all = [
        right[0],
        right[1],
        ("actor_token", own.as_str()),
        ("actor_token_type", ACCESS_TOKEN),
        ("requested_token_type", ACCESS_TOKEN),
    ];
    let with_actor = payload(&token_of(&send(&all).await));
    let without = payload(&token_of(&send(&right).await));
    for claim in ["sub", "act", "scope", "client_id"] {
        assert_eq!(with_actor[claim], without[claim], "an actor token has no further effect: {claim}");
    }
}

async fn each_check_of_a_persons_token_fails_by_its_name(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let people = People::new(&server, &admin, json!({})).await;
    let agent = server.client(&admin, None, &["files:read"]).await;
    let with = |name: &str, value: Value| {
        let mut claims = people.claims("alice");
        claims[name] = value;
        people.platform.sign(&claims)
    };
    let header = |header: Value| people.platform.sign_with(&header, &people.claims("alice").to_string());
    let now = NOON.as_seconds();
    let other = People::new(&server, &admin, json!({})).await;
    let forged = other.platform.sign(&people.claims("alice"));
    for (token, reason) in [
        ("x".to_owned(), "format"),
        (with("iss", json!("https://unknown.example.com")), "issuer"),
        (header(json!({ "alg": "ES384", "kid": "1" })), "algorithm"),
        (header(json!({ "alg": "EdDSA", "kid": "2" })), "key"),
        (forged, "signature"),
        (with("aud", json!(server.issuer())), "audience"),
        (with("aud", json!(["app", "other"])), "audience"),
        (with("exp", json!(now)), "expiry"),
        (with("exp", json!(now + 100_000)), "lifetime"),
        (with("iat", json!(now - 601)), "lifetime"),
        (with("iat", Value::Null), "lifetime"),
        (with("iat", json!(now + 61)), "not_before"),
        (with("sub", json!("")), "subject"),
        (with("sub", json!("a".repeat(256))), "subject"),
        (with("sub", json!("a\nb")), "subject"),
        (with("sub", json!(7)), "subject"),
        (header(json!({ "alg": "EdDSA", "kid": "1", "typ": "at+jwt" })), "subject_token"),
        (header(json!({ "alg": "EdDSA", "kid": "1", "typ": "application/AT+JWT" })), "subject_token"),
        (header(json!({ "alg": "EdDSA", "kid": "1", "typ": "logout+jwt" })), "subject_token"),
        (header(json!({ "alg": "EdDSA", "kid": "1", "typ": "dpop+jwt" })), "subject_token"),
    ] {
        let answer = ask(&server, &agent, (JWT, &token), &[]).await;
        assert_refused(&answer, reason);
    }
    let longest = "\u{e9}".repeat(255);
    for token in [with("sub", json!(longest)), with("iat", json!(now - 600)), with("iat", json!(now + 60))] {
        token_of(&ask(&server, &agent, (JWT, &token), &[]).await);
    }
    assert_refused(&ask(&server, &agent, (ACCESS_TOKEN, &people.token("alice")), &[]).await, "subject_token");

    let path = people.platform.path();
    let set = async |change: Value| {
        let answer = server.patch(&admin, &path, change).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    };
    set(json!({ "subjects": People::subjects(&json!({ "mayAct": [UNKNOWN_ID] })) })).await;
    assert_refused(&ask(&server, &agent, (JWT, &people.token("alice")), &[]).await, "may_act");
    set(json!({ "subjects": null })).await;
    assert_refused(&ask(&server, &agent, (JWT, &people.token("alice")), &[]).await, "subjects");
    set(json!({ "subjects": People::subjects(&json!({})), "status": "suspended" })).await;
    assert_refused(&ask(&server, &agent, (JWT, &people.token("alice")), &[]).await, "issuer_status");
    let reasons = server.events(&admin, "&action=token.refused").await;
    assert!(reasons.iter().all(|event| event["agentId"] == json!(agent.id) && event["outcome"] == "failure"));
}

async fn a_chain_grows_only_as_far_as_every_party_allows(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let mut agents = Vec::new();
    for _ in 0..5 {
        agents.push(server.client(&admin, None, &["files:read"]).await);
    }
    let [a, b, c, d, e] = &agents[..] else { panic!("five agents") };
    allow(&server, &admin, a, &[b], false).await;
    allow(&server, &admin, b, &[a, c], false).await;
    allow(&server, &admin, c, &[d], false).await;
    allow(&server, &admin, d, &[e], false).await;
    let of_a = server.token(a, &[]).await;
    let of_b = exchange(&server, b, &of_a, &[]).await;
    assert_refused(&ask(&server, c, (ACCESS_TOKEN, &of_a), &[]).await, "may_act");
    assert_refused(&ask(&server, c, (ACCESS_TOKEN, &of_b), &[]).await, "redelegation");
    allow(&server, &admin, a, &[b], true).await;
    let of_c = exchange(&server, c, &of_b, &[]).await;
    assert_eq!(payload(&of_c)["act"], act(&[c, b]));
    assert_eq!(payload(&of_c)["sub"], a.id);
    assert_refused(&ask(&server, b, (ACCESS_TOKEN, &of_c), &[]).await, "may_act");
    let of_d = exchange(&server, d, &of_c, &[]).await;
    assert_eq!(payload(&of_d)["delegation"]["depth"], 3);
    assert_eq!(payload(&of_d)["delegation"]["parents"], json!([jti(&of_c), jti(&of_b), jti(&of_a)]));
    let in_chain = payload(&of_d)["delegation"]["agents"].as_object().expect("agents").len();
    assert_eq!(in_chain, 3, "every agent but the one that acts");
    assert_refused(&ask(&server, e, (ACCESS_TOKEN, &of_d), &[]).await, "depth");
    // Back and forth between two agents is a chain like any other.
    let back = exchange(&server, a, &of_b, &[]).await;
    assert_eq!((&payload(&back)["sub"], &payload(&back)["act"]), (&json!(a.id), &act(&[a, b])));
    let forth = exchange(&server, b, &back, &[]).await;
    assert_eq!(payload(&forth)["delegation"]["depth"], 3);
    assert_refused(&ask(&server, a, (ACCESS_TOKEN, &forth), &[]).await, "depth");
    for token in [&of_a, &of_b, &of_c, &of_d, &back, &forth] {
        assert!(server.is_active(token).await);
    }
}

async fn a_token_is_narrowed_by_its_client_without_losing_its_actors(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let boss = server.client(&admin, None, &["files:read", "files:write", "agents:read"]).await;
    let worker = server.client(&admin, None, &["files:read", "files:write"]).await;
    allow(&server, &admin, &boss, &[&worker], false).await;
    let own = server.token(&boss, &[("scope", "files:read files:write agents:read")]).await;
    let narrowed = exchange(&server, &boss, &own, &[("scope", "files:read")]).await;
    let claims = payload(&narrowed);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(boss.id), &json!(boss.id)));
    assert!(claims.get("act").is_none());
    assert_eq!(claims["delegation"], json!({ "depth": 0, "parents": [jti(&own)], "agents": {} }));
    assert_eq!(claims["scope"], "files:read");
    ask(&server, &boss, (ACCESS_TOKEN, &own), &[("scope", "agents:read")])
        .await
        .assert_error(400, "invalid_scope");
    let rest = exchange(&server, &boss, &own, &[]).await;
    assert_eq!(payload(&rest)["scope"], "files:read files:write", "never a management scope");

    let delegated = exchange(&server, &worker, &own, &[]).await;
    let mut token = exchange(&server, &worker, &delegated, &[("scope", "files:write")]).await;
    for _ in 0..14 {
        let claims = payload(&token);
        assert_eq!((&claims["sub"], &claims["act"]), (&json!(boss.id), &act(&[&worker])));
        assert_eq!((&claims["scope"], &claims["delegation"]["depth"]), (&json!("files:write"), &json!(1)));
        token = exchange(&server, &worker, &token, &[]).await;
    }
    assert_eq!(payload(&token)["delegation"]["parents"].as_array().map(Vec::len), Some(16));
    assert_refused(&ask(&server, &worker, (ACCESS_TOKEN, &token), &[]).await, "parents");
}

async fn a_scope_is_one_that_the_whole_chain_has(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let people = People::new(&server, &admin, json!({})).await;
    let one = server.client(&admin, None, &["files:read", "files:write", "mail:send"]).await;
    let two = server.client(&admin, None, &["files:read", "files:write", "mail:send"]).await;
    allow(&server, &admin, &one, &[&two], false).await;
    let first = token_of(&ask(&server, &one, (JWT, &people.token("alice")), &[]).await);
    let second = exchange(&server, &two, &first, &[]).await;
    for scope in ["mail:send", "files:read mail:send", "agents:read", "unknown:scope"] {
        for (actor, kind, token) in [(&one, JWT, people.token("alice")), (&two, ACCESS_TOKEN, first.clone())]
        {
            ask(&server, actor, (kind, &token), &[("scope", scope)]).await.assert_error(400, "invalid_scope");
        }
    }
    let scope = async |token: &str| server.introspect(token).await["scope"].clone();
    assert_eq!(scope(&second).await, "files:read files:write");
    let capabilities = async |client: &Client, capabilities: &[&str]| {
        let path = format!("/api/v1/agents/{}", client.id);
        server.patch(&admin, &path, json!({ "capabilities": capabilities })).await.json();
    };
    capabilities(&one, &["files:read", "mail:send"]).await;
    assert_eq!((scope(&first).await, scope(&second).await), (json!("files:read"), json!("files:read")));
    capabilities(&one, &["files:read", "files:write"]).await;
    assert_eq!(scope(&second).await, "files:read files:write");
    let subjects = People::subjects(&json!({ "scopes": ["files:write"] }));
    server.patch(&admin, &people.platform.path(), json!({ "subjects": subjects })).await.json();
    assert_eq!(scope(&second).await, "files:write");
    capabilities(&one, &["files:read"]).await;
    assert_eq!(scope(&second).await, "", "active, but good for nothing");
    ask(&server, &two, (ACCESS_TOKEN, &first), &[]).await.assert_error(400, "invalid_scope");
}

async fn a_token_never_outlives_the_one_that_it_was_exchanged_for(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let boss = server.client(&admin, None, &["files:read"]).await;
    let worker = server.client(&admin, None, &["files:read"]).await;
    allow(&server, &admin, &boss, &[&worker], false).await;
    let own = server.token(&boss, &[]).await;
    let mut token = own.clone();
    for _ in 0..3 {
        server.advance(1_000);
        let answer = ask(&server, &worker, (ACCESS_TOKEN, &token), &[]).await;
        let next = token_of(&answer);
        assert_eq!(payload(&next)["exp"], payload(&own)["exp"]);
        let left = payload(&next)["exp"].as_i64().zip(payload(&next)["iat"].as_i64());
        assert_eq!(answer.json()["expires_in"].as_i64(), left.map(|(exp, iat)| exp - iat));
        token = next;
    }
    server.advance(599);
    assert!(server.is_active(&token).await);
    server.advance(1);
    assert!(!server.is_active(&token).await);
    assert_refused(&ask(&server, &worker, (ACCESS_TOKEN, &token), &[]).await, "subject_token");
    let admin = server.unlimited_admin_token().await;
    let people = People::new(&server, &admin, json!({})).await;
    let mut claims = people.claims("alice");
    let now = NOON.as_seconds() + 3_600;
    (claims["iat"], claims["exp"]) = (json!(now), json!(now + 30));
    let answer = ask(&server, &worker, (JWT, &people.platform.sign(&claims)), &[]).await;
    assert_eq!(answer.json()["expires_in"], 30, "{}", answer.text);
}

/// A chain of five agents for a person.
struct Chain {
    people: People,
    agents: Vec<Client>,
    /// The token of each agent.
    tokens: Vec<String>,
}

impl Chain {
    async fn new(server: &TestServer, admin: &str, organization: &str) -> Self {
        let fields = json!({ "organizationId": organization });
        let people = People::new(server, admin, fields).await;
        let mut agents = Vec::new();
        for _ in 0..5 {
            agents.push(server.client(admin, Some(organization), &["files:read"]).await);
        }
        for pair in agents.windows(2) {
            allow(server, admin, &pair[0], &[&pair[1]], false).await;
        }
        let mut chain = Self { people, agents, tokens: Vec::new() };
        chain.renew(server).await;
        chain
    }

    async fn renew(&mut self, server: &TestServer) {
        let first = ask(server, &self.agents[0], (JWT, &self.people.token("alice")), &[]).await;
        self.tokens = vec![token_of(&first)];
        for agent in &self.agents[1..] {
            let last = self.tokens.last().expect("a token");
            self.tokens.push(exchange(server, agent, last, &[]).await);
        }
    }

    async fn active(&self, server: &TestServer) -> Vec<bool> {
        let mut active = Vec::new();
        for token in &self.tokens {
            active.push(server.is_active(token).await);
        }
        active
    }
}

async fn whatever_ends_a_party_ends_what_was_exchanged_from_it_and_nothing_else(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--max-delegation-depth", "5"]).await;
    let admin = server.unlimited_admin_token().await;
    let organization = server.organization(&admin, json!({})).await;
    let mut chain = Chain::new(&server, &admin, &organization).await;
    let own = server.token(&chain.agents[2], &[]).await;
    let agent = |place: usize| format!("/api/v1/agents/{}", chain.agents[place].id);
    let issuer = chain.people.platform.path();
    let (suspend, activate) = (json!({ "status": "suspended" }), json!({ "status": "active" }));
    let no_people = json!({ "subjects": null });
    let some_people = json!({ "subjects": People::subjects(&json!({})) });
    let of_organization = format!("/api/v1/organizations/{organization}");
    let alice = json!({ "subject": "alice" });
    // Each call, the one that undoes it, the number of tokens of the chain that stay active, and whether the third agent's
    // own token does.
    let kills = [
        (Method::POST, format!("{}/tokens/revoke", agent(2)), json!(null), None, 2, false),
        (Method::POST, format!("{}/tokens/revoke", agent(4)), json!(null), None, 4, true),
        (Method::PATCH, agent(0), suspend.clone(), Some((agent(0), activate.clone())), 0, true),
        (Method::PATCH, agent(3), suspend.clone(), Some((agent(3), activate.clone())), 3, true),
        (Method::POST, format!("{issuer}/subjects/revoke"), alice, None, 0, true),
        (Method::PATCH, issuer.clone(), no_people, Some((issuer.clone(), some_people)), 0, true),
        (Method::PATCH, issuer.clone(), suspend.clone(), Some((issuer.clone(), activate.clone())), 0, true),
        (Method::PATCH, of_organization.clone(), suspend, Some((of_organization, activate)), 0, false),
        (Method::DELETE, agent(4), json!(null), None, 4, true),
        (Method::DELETE, issuer, json!(null), None, 0, true),
    ];
    let mut own = own;
    for (method, path, body, undo, left, own_stays) in kills {
        server.advance(1);
        assert_eq!(chain.active(&server).await, vec![true; chain.tokens.len()]);
        let request = server.request(method.clone(), &path).bearer_auth(&admin);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = server.send(request).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
        let expected: Vec<bool> = (0..chain.tokens.len()).map(|place| place < left).collect();
        assert_eq!(chain.active(&server).await, expected, "{method} {path}");
        assert_eq!(server.is_active(&own).await, own_stays, "{method} {path}");
        if let Some((path, body)) = undo {
            let answer = server.patch(&admin, &path, body).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            assert_eq!(chain.active(&server).await, expected, "for good: {method} {path}");
        }
        if method == Method::DELETE {
            if chain.agents.len() == 5 {
                chain.agents.pop();
                chain.tokens.pop();
            }
            continue;
        }
        chain.renew(&server).await;
        own = server.token(&chain.agents[2], &[]).await;
    }
}

async fn a_token_is_revoked_by_its_id_with_all_that_was_exchanged_from_it(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--max-delegation-depth", "5"]).await;
    let admin = server.unlimited_admin_token().await;
    let organization = server.organization(&admin, json!({})).await;
    let mut chain = Chain::new(&server, &admin, &organization).await;
    let reader = server.client(&admin, Some(&organization), &["agents:read"]).await;
    let writer = server.client(&admin, Some(&organization), &["agents:write"]).await;
    let foreign = server.client(&admin, None, &["agents:write"]).await;
    let post = async |token: &str, id: &str| {
        let path = format!("/api/v1/tokens/{id}/revoke");
        server.send(server.request(Method::POST, &path).bearer_auth(token)).await
    };
    let reader = server.token(&reader, &[]).await;
    let foreign = server.token(&foreign, &[]).await;
    let writer = server.token(&writer, &[]).await;
    for place in [4, 2, 0] {
        let id = jti(&chain.tokens[place]);
        post(&reader, &id).await.assert_error(403, "FORBIDDEN");
        post(&foreign, &id).await.assert_error(404, "TOKEN_NOT_FOUND");
        assert_eq!(chain.active(&server).await, [true; 5]);
        for _ in 0..2 {
            assert_eq!(post(&writer, &id).await.status, StatusCode::NO_CONTENT);
        }
        let expected: Vec<bool> = (0..5).map(|one| one < place).collect();
        assert_eq!(chain.active(&server).await, expected);
        let query = format!("&action=token.revoked&resourceId={id}");
        assert_eq!(server.events(&admin, &query).await.len(), 1, "the second time changes nothing");
        chain.renew(&server).await;
    }
    for unknown in [UNKNOWN_ID, "x", &chain.agents[0].id] {
        post(&writer, unknown).await.assert_error(404, "TOKEN_NOT_FOUND");
    }
    // Every agent of the chain counts for the rule against escalation.
    let change = json!({ "capabilities": ["files:read", "audit:read"] });
    server.patch(&admin, &format!("/api/v1/agents/{}", chain.agents[1].id), change).await.json();
    let refused = post(&writer, &jti(&chain.tokens[3])).await;
    refused.assert_error(403, "FORBIDDEN");
    assert_eq!(refused.json()["details"]["missingScopes"], json!(["audit:read"]));
    assert_eq!(post(&writer, &jti(&chain.tokens[0])).await.status, StatusCode::NO_CONTENT);
    // A plain token is known by its ID too.
    let plain = server.token(&chain.agents[4], &[]).await;
    assert_eq!(post(&writer, &jti(&plain)).await.status, StatusCode::NO_CONTENT);
    assert!(!server.is_active(&plain).await);
    server.advance(90_000);
    let admin = server.admin_token().await;
    assert_eq!(post(&admin, &jti(&chain.tokens[4])).await.status, StatusCode::NO_CONTENT, "expired long ago");
    let query = format!("&action=token.revoked&resourceId={}", jti(&chain.tokens[4]));
    assert_eq!(server.events(&admin, &query).await.len(), 0);
}

async fn a_token_is_revoked_by_any_agent_of_its_chain(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--max-delegation-depth", "5"]).await;
    let admin = server.unlimited_admin_token().await;
    let organization = server.organization(&admin, json!({})).await;
    let mut chain = Chain::new(&server, &admin, &organization).await;
    let revoke = async |caller: &Client, token: &str| {
        let request = server.request(Method::POST, "/api/v1/token/revoke").form(&[("token", token)]);
        server.send(request.basic_auth(&caller.id, Some(&caller.secret))).await
    };
    let other = server.client(&admin, Some(&organization), &["files:read"]).await;
    for place in 0..5 {
        let refused = revoke(&other, &chain.tokens[4]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
        let answer = revoke(&chain.agents[place], &chain.tokens[4]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(chain.active(&server).await, [true, true, true, true, false]);
        chain.renew(&server).await;
    }
    let later = revoke(&chain.agents[4], &chain.tokens[1]).await;
    assert_eq!(
        later.status,
        StatusCode::FORBIDDEN,
        "the chain of the second token ends with it: {}",
        later.text
    );
}

async fn the_tree_of_a_token_shows_every_token_and_which_are_active(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let boss = server.client(&admin, None, &["files:read", "files:write"]).await;
    let left = server.client(&admin, None, &["files:read"]).await;
    let right = server.client(&admin, None, &["files:read", "files:write"]).await;
    allow(&server, &admin, &boss, &[&left, &right], true).await;
    allow(&server, &admin, &left, &[&right], false).await;
    let root = server.token(&boss, &[]).await;
    let mut tokens = vec![root.clone()];
    for (actor, parent) in [(&left, 0), (&right, 0), (&right, 1)] {
        server.advance(1);
        let token = exchange(&server, actor, &tokens[parent], &[]).await;
        tokens.push(token);
    }
    let other = server.token(&boss, &[]).await;
    exchange(&server, &left, &other, &[]).await;
    let tree = async |id: &str| server.get(&admin, &format!("/api/v1/tokens/{id}/tree")).await;
    let shown = tree(&jti(&tokens[3])).await.json();
    assert_eq!((&shown["root"], &shown["truncated"]), (&json!(jti(&root)), &json!(false)));
    let seconds = |at: &Value| at.as_str().map(|at| at[11..19].to_owned());
    let rows: Vec<Value> = shown["tokens"]
        .as_array()
        .expect("tokens")
        .iter()
        .map(|one| {
            assert!(seconds(&one["expiresAt"]) == Some("13:00:00".to_owned()), "{one}");
            json!([
                one["jti"],
                one["parent"],
                one["depth"],
                one["agentId"],
                one["subject"],
                one["scope"],
                one["active"]
            ])
        })
        .collect();
    let row = |place: usize, parent: Option<usize>, depth: u32, agent: &Client, scope: &str| {
        json!([
            jti(&tokens[place]),
            parent.map(|parent| jti(&tokens[parent])),
            depth,
            agent.id,
            boss.id,
            scope,
            true
        ])
    };
    let expected = [
        row(0, None, 0, &boss, "files:read files:write"),
        row(1, Some(0), 1, &left, "files:read"),
        row(2, Some(0), 1, &right, "files:read files:write"),
        row(3, Some(1), 2, &right, "files:read"),
    ];
    assert_eq!(rows, expected);
    for token in &tokens {
        assert_eq!(tree(&jti(token)).await.json(), shown, "the tree of any of its tokens");
    }
    let path = format!("/api/v1/agents/{}/tokens/revoke", left.id);
    server.send(server.request(Method::POST, &path).bearer_auth(&admin)).await;
    let active: Vec<Value> = tree(&jti(&root)).await.json()["tokens"]
        .as_array()
        .expect("tokens")
        .iter()
        .map(|one| one["active"].clone())
        .collect();
    assert_eq!(active, [json!(true), json!(false), json!(true), json!(false)]);
    tree(UNKNOWN_ID).await.assert_error(404, "TOKEN_NOT_FOUND");
    let organization = server.organization(&admin, json!({})).await;
    let foreign = server.client(&admin, Some(&organization), &["audit:read"]).await;
    let foreign = server.token(&foreign, &[]).await;
    let path = format!("/api/v1/tokens/{}/tree", jti(&root));
    server.get(&foreign, &path).await.assert_error(404, "TOKEN_NOT_FOUND");
    let unable = server.client(&admin, None, &["agents:read"]).await;
    server.get(&server.token(&unable, &[]).await, &path).await.assert_error(403, "FORBIDDEN");

    let people = People::new(&server, &admin, json!({})).await;
    let mut claims = people.claims("alice");
    claims["iat"] = json!(NOON.as_seconds() + 3);
    let first = token_of(&ask(&server, &left, (JWT, &people.platform.sign(&claims)), &[]).await);
    let second = exchange(&server, &right, &first, &[]).await;
    let shown = tree(&jti(&second)).await.json();
    assert_eq!(shown["root"], jti(&first));
    let sub = format!("user:{}:alice", people.platform.id);
    for (token, parent, one) in [(&first, Value::Null, 0), (&second, json!(jti(&first)), 1)] {
        let shown = &shown["tokens"][one];
        assert_eq!((&shown["jti"], &shown["parent"]), (&json!(jti(token)), &parent));
        assert_eq!((&shown["subject"], &shown["active"]), (&json!(sub), &json!(true)));
    }
    let path = format!("{}/subjects/revoke", people.platform.path());
    assert_eq!(
        server.post(&admin, &path, json!({ "subject": "alice" })).await.status,
        StatusCode::NO_CONTENT
    );
    let shown = tree(&jti(&second)).await.json();
    assert_eq!(
        (&shown["tokens"][0]["active"], &shown["tokens"][1]["active"]),
        (&json!(false), &json!(false))
    );
}

async fn a_persons_token_with_a_jti_is_exchanged_once_anywhere(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let people = People::new(&server, &admin, json!({ "requireJti": true })).await;
    let agents = [
        server.client(&admin, None, &["files:read"]).await,
        server.client(&admin, None, &["files:read"]).await,
    ];
    let token = people.token("alice");
    token_of(&ask(&server, &agents[0], (JWT, &token), &[]).await);
    for agent in &agents {
        assert_refused(&ask(&server, agent, (JWT, &token), &[]).await, "jti");
    }
    let asked = (0..8).map(|_| people.token("bob")).map(|token| {
        let (server, agents) = (&server, &agents);
        async move {
            let (one, other) = tokio::join!(
                ask(server, &agents[0], (JWT, &token), &[]),
                ask(server, &agents[1], (JWT, &token), &[]),
            );
            [one.status, other.status].iter().filter(|status| **status == StatusCode::OK).count()
        }
    });
    assert_eq!(futures_util::future::join_all(asked).await, [1; 8]);
}

async fn refused_exchanges_are_counted_by_client(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.unlimited_admin_token().await;
    let agent = server.client(&admin, None, &["files:read"]).await;
    let other = server.client(&admin, None, &["files:read"]).await;
    let token = server.token(&other, &[]).await;
    for _ in 0..9 {
        assert_refused(&ask(&server, &agent, (ACCESS_TOKEN, &token), &[]).await, "may_act");
    }
    assert_refused(&ask(&server, &other, (ACCESS_TOKEN, "unknown"), &[]).await, "subject_token");
    let events = server.events(&admin, "&action=token.refused").await;
    let of = |agent: &Client| {
        events.iter().filter(|event| event["agentId"] == json!(agent.id)).collect::<Vec<_>>()
    };
    assert_eq!(of(&other).len(), 1);
    assert_eq!(of(&other)[0]["metadata"], json!({ "reason": "subject_token" }));
    let counted: Vec<_> = of(&agent).iter().filter_map(|event| event["metadata"]["count"].as_u64()).collect();
    assert_eq!((of(&agent).len(), counted), (6, vec![4]), "five in full, and one for the others");
    assert_eq!(server.ask_token(&agent, &[]).await.status, StatusCode::OK);
}
