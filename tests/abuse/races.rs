//! Calls that race on two instances, and what must hold afterwards.

use std::sync::Arc;

use serde_json::json;
use testing::{Client, new_agent};
use tokio::task::JoinSet;

use crate::fixtures::{Fixtures, Shared};
use crate::wire::{Answer, ask, request};

/// How often each race is repeated.
const ROUNDS: usize = 60;

/// Sends the same call this many times at once, and returns the answers.
async fn at_once(
    fixtures: &Shared,
    times: usize,
    method: &'static str,
    path: &str,
    bodies: Vec<String>,
) -> Vec<Answer> {
    let calls: JoinSet<Answer> = (0..times)
        .map(|time| {
            let (fixtures, path) = (fixtures.clone(), path.to_owned());
            let body = bodies[time % bodies.len()].clone();
            async move { fixtures.call(method, &path, &body).await }
        })
        .collect();
    calls.join_all().await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

async fn is_active(fixtures: &Fixtures, token: &str) -> bool {
    let bearer = format!("Bearer {}", fixtures.admin);
    let headers = [("Authorization", bearer.as_str()), crate::wire::FORM];
    let about = format!("token={token}");
    let answer =
        ask(fixtures.address(), &request("POST /api/v1/token/introspect", &headers, about.as_bytes())).await;
    answer.json()["active"].as_bool().unwrap_or_else(|| panic!("{answer:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_place_is_taken_once() {
    let fixtures = Arc::new(Fixtures::on_stores().await);
    for round in 0..6 {
        let organization = fixtures.organization(json!({ "maxAgents": 3 })).await;
        for _ in 0..2 {
            fixtures.client(&["files:read"], Some(&organization)).await;
        }
        let bodies = (0..20)
            .map(|_| {
                let mut body = new_agent(&["files:read"]);
                body["organizationId"] = json!(organization);
                body.to_string()
            })
            .collect();
        let answers = at_once(&fixtures, 20, "POST", "/agents", bodies).await;
        assert_eq!((count(&answers, 201), count(&answers, 403)), (1, 19), "agents, round {round}");
        let mut body = new_agent(&["files:read"]);
        body["email"] = json!(format!("KELVIN-{round}@example.com"));
        let mut other = body.clone();
        other["email"] = json!(format!("\u{212a}elvin-{round}@example.com"));
        let answers =
            at_once(&fixtures, 20, "POST", "/agents", vec![body.to_string(), other.to_string()]).await;
        assert_eq!(
            (count(&answers, 201), count(&answers, 409)),
            (1, 19),
            "addresses, round {round}: {answers:?}"
        );
        let client = fixtures.client(&["files:read"], None).await;
        let path = format!("/agents/{}/credentials", client.id);
        let answers = at_once(&fixtures, 20, "POST", &path, vec!["{}".to_owned()]).await;
        assert_eq!(count(&answers, 201), 9, "credentials, round {round}");
        let rotate = format!("{path}/{}/rotate", client.credential);
        let answers = at_once(&fixtures, 8, "POST", &rotate, vec!["{}".to_owned()]).await;
        assert!(count(&answers, 200) >= 1 && count(&answers, 200) + count(&answers, 409) == 8, "{answers:?}");
    }
}

/// A token requested during its agent's suspension is refused, or inactive once that is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_that_races_a_kill_is_refused_or_dead() {
    let fixtures = Arc::new(Fixtures::on_stores().await);
    let client = fixtures.client(&["files:read"], None).await;
    let path = format!("/agents/{}", client.id);
    let (mut issued, mut refused) = (0, 0);
    let mut round = 0;
    while round < ROUNDS || (round < 5 * ROUNDS && (issued == 0 || refused == 0)) {
        round += 1;
        let kill = {
            let (fixtures, path) = (fixtures.clone(), path.clone());
            tokio::spawn(async move { fixtures.call("PATCH", &path, r#"{"status":"suspended"}"#).await })
        };
        let answers = tokens(&fixtures, &client, 4).await;
        assert_eq!(kill.await.expect("no panic").status, 200);
        for answer in answers {
            match answer.json()["access_token"].as_str() {
                Some(token) => {
                    issued += 1;
                    assert!(!is_active(&fixtures, token).await, "round {round}");
                }
                None => refused += 1,
            }
        }
        let answers = at_once(&fixtures, 1, "PATCH", &path, vec![r#"{"status":"active"}"#.to_owned()]).await;
        assert_eq!(count(&answers, 200), 1);
    }
    assert!(issued > 0 && refused > 0, "both were seen: {issued} and {refused}");
}

async fn tokens(fixtures: &Shared, client: &Client, times: usize) -> Vec<Answer> {
    let asked: JoinSet<Answer> = (0..times)
        .map(|_| {
            let (fixtures, client) = (fixtures.clone(), client.clone());
            async move { fixtures.ask_token(&client, "").await }
        })
        .collect();
    asked.join_all().await
}

/// After a decommissioning no credential or token works, whatever raced it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_left_of_what_is_decommissioned() {
    let fixtures = Arc::new(Fixtures::on_stores().await);
    for round in 0..ROUNDS / 2 {
        let client = fixtures.client(&["files:read"], None).await;
        let path = format!("/agents/{}", client.id);
        let end = {
            let (fixtures, path) = (fixtures.clone(), path.clone());
            tokio::spawn(async move { fixtures.call("DELETE", &path, "").await })
        };
        let made = at_once(&fixtures, 4, "POST", &format!("{path}/credentials"), vec!["{}".to_owned()]).await;
        let issued = tokens(&fixtures, &client, 2).await;
        assert_eq!(end.await.expect("no panic").status, 204);
        for answer in made.iter().filter(|answer| answer.status == 201) {
            let secret = answer.json()["clientSecret"].as_str().expect("a secret").to_owned();
            let late = Client { secret, ..client.clone() };
            assert_eq!(fixtures.ask_token(&late, "").await.status, 401, "round {round}");
        }
        for answer in issued {
            if let Some(token) = answer.json()["access_token"].as_str() {
                assert!(!is_active(&fixtures, token).await, "round {round}");
            }
        }
        let left = fixtures.call("GET", &format!("{path}/credentials?status=active"), "").await.json();
        assert_eq!(left["total"], 0, "round {round}");
    }
}

/// Revocations, a suspension and a reactivation at once: no revocation is masked by another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_kill_masks_another() {
    let fixtures = Arc::new(Fixtures::on_stores().await);
    let client = fixtures.client(&["files:read"], None).await;
    let path = format!("/agents/{}", client.id);
    for round in 0..ROUNDS / 2 {
        let before = fixtures.ask_token(&client, "").await.json()["access_token"]
            .as_str()
            .expect("a token")
            .to_owned();
        let actions: JoinSet<Answer> = [
            ("POST", format!("{path}/tokens/revoke"), ""),
            ("POST", format!("{path}/tokens/revoke"), ""),
            ("PATCH", path.clone(), r#"{"status":"suspended"}"#),
            ("PATCH", path.clone(), r#"{"status":"active"}"#),
        ]
        .into_iter()
        .map(|(method, path, body)| {
            let fixtures = fixtures.clone();
            async move { fixtures.call(method, &path, body).await }
        })
        .collect();
        let answers = actions.join_all().await;
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 204 | 409)), "{answers:?}");
        assert_eq!(count(&answers, 204), 2, "a kill does not lose");
        assert!(count(&answers, 409) <= 1, "nor does a suspension");
        assert!(!is_active(&fixtures, &before).await, "round {round}");
        fixtures.call("PATCH", &path, r#"{"status":"active"}"#).await;
        let after = fixtures.ask_token(&client, "").await.json()["access_token"]
            .as_str()
            .expect("a token")
            .to_owned();
        assert!(is_active(&fixtures, &after).await, "round {round}");
    }
}

/// A suspension succeeds, however often the agent or organization is changed meanwhile.
/// A caller that is to be stopped may change itself as often as its rate limit allows.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_does_not_lose_against_other_changes() {
    const OTHERS: usize = 12;
    let fixtures = Arc::new(Fixtures::on_stores().await);
    let organization = fixtures.organization(json!({})).await;
    let client = fixtures.client(&["files:read"], Some(&organization)).await;
    let targets = [
        (format!("/agents/{}", client.id), "version", "1.0."),
        (format!("/organizations/{organization}"), "name", "Example "),
    ];
    for round in 0..ROUNDS / 3 {
        for (path, field, value) in &targets {
            let mut others = JoinSet::new();
            for place in 0..OTHERS {
                let (fixtures, path) = (fixtures.clone(), path.clone());
                let body = json!({ *field: format!("{value}{}", round * OTHERS + place + 1) }).to_string();
                others.spawn(async move { fixtures.call("PATCH", &path, &body).await.status });
            }
            let answer = fixtures.call("PATCH", path, r#"{"status":"suspended"}"#).await;
            assert_eq!(answer.status, 200, "round {round}: {answer:?}");
            let statuses = others.join_all().await;
            assert!(statuses.iter().all(|status| matches!(status, 200 | 409 | 503)), "{statuses:?}");
            let after = fixtures.call("GET", path, "").await.json();
            assert_eq!(after["status"], "suspended", "round {round}");
            assert_eq!(fixtures.call("PATCH", path, r#"{"status":"active"}"#).await.status, 200);
        }
    }
}
