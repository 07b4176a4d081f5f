//! Information that an unauthenticated caller could gain from the duration of a refusal.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use testing::{Client, UNKNOWN_ID, trusted_issuer};

use crate::cluster::Cluster;
use crate::pace::Rng;
use crate::report::{Report, Setting};
use crate::wire::{Wire, bearer, form, get, token_request};

/// Times differ if Welch's t exceeds this bound, the one that dudect uses.
const BOUND: f64 = 4.5;
/// Times above this quantile are attributed to the machine and left out.
const CROP: f64 = 0.9;

/// Compares pairs of requests that must take the same time.
pub async fn run(setting: &Setting) -> Report {
    let cluster = Arc::new(Cluster::start(1, &[], &setting.folder).await);
    let mut report = Report::default();
    let mut rng = Rng::new(setting.seed);
    let pairs = pairs(&cluster).await;
    let each = setting.time / u32::try_from(pairs.len()).expect("few");
    for (name, first, second) in pairs {
        let (t, summary) = compare(&cluster, &first, &second, each, &mut rng).await;
        report.hold(t.abs() < BOUND, || format!("{name}: t = {t:.2}"));
        report.figure(name, summary);
    }
    report
}

/// Sends two requests in random order, many times; both must get the same status.
/// Returns Welch's t and a summary.
async fn compare(
    cluster: &Cluster,
    first: &[u8],
    second: &[u8],
    time: Duration,
    rng: &mut Rng,
) -> (f64, String) {
    let mut wire = Wire::to(cluster, 0).await.expect("a connection");
    let requests = [first, second];
    let mut times: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let begun = std::time::Instant::now();
    let mut statuses = [0; 2];
    while begun.elapsed() < time || times[0].len() < 100 {
        let which = rng.below(2);
        let start = cluster.history.now();
        let (status, took) = wire.ask(requests[which]).await.expect("an answer");
        cluster.history.other(["first", "second"][which], 0, start, status);
        statuses[which] = status;
        times[which].push(took.as_secs_f64() * 1e6);
    }
    assert_eq!(statuses[0], statuses[1], "both are refused alike");
    let mut all: Vec<f64> = times.concat();
    all.sort_by(f64::total_cmp);
    let most = all[(all.len() as f64 * CROP) as usize];
    let [first, second] =
        times.map(|times| Sample::of(&times.into_iter().filter(|time| *time < most).collect::<Vec<_>>()));
    let error = (first.variance / first.number + second.variance / second.number).sqrt();
    let difference = first.mean - second.mean;
    let t = difference / error;
    let number = first.number + second.number;
    (
        t,
        format!(
            "t = {t:.2}, {difference:.2} ± {:.2} µs of {:.0} µs, {number:.0} requests",
            1.96 * error,
            first.mean
        ),
    )
}

struct Sample {
    number: f64,
    mean: f64,
    variance: f64,
}

impl Sample {
    fn of(values: &[f64]) -> Self {
        let number = values.len() as f64;
        let mean = values.iter().sum::<f64>() / number;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (number - 1.0);
        Self { number, mean, variance }
    }
}

/// Returns the pairs that unauthenticated callers and other tenants must not be able to distinguish.
async fn pairs(cluster: &Arc<Cluster>) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let admin = cluster.calm.admin_token().await;
    let client = async || cluster.calm.client(&admin, None, &["files:read"]).await;
    let known = client().await;
    let secret = client().await.secret;
    let wrong = Client { secret: secret.clone(), ..known.clone() };
    let unknown = Client { id: UNKNOWN_ID.into(), secret, ..known.clone() };
    let revoked = client().await;
    let path = format!("/api/v1/agents/{}/credentials/{}", revoked.id, revoked.credential);
    assert_eq!(cluster.calm.delete(&admin, &path).await.status, 204);
    let gone = client().await;
    assert_eq!(cluster.calm.delete(&admin, &format!("/api/v1/agents/{}", gone.id)).await.status, 204);

    let expired = client().await;
    let past = "UPDATE credentials SET expires_at = now() WHERE agent_id = $1::text::uuid";
    cluster.stores.superuser().await.execute(past, &[&expired.id]).await.expect("expired");
    let malformed = Client { secret: "hunter2".to_owned(), ..known.clone() };

    let organization =
        cluster.calm.organization(&admin, json!({ "limits": { "requestsPerMinute": null } })).await;
    let reader = cluster.calm.client(&admin, Some(&organization), &["agents:read", "tokens:read"]).await;
    let token = async |client: &Client| cluster.calm.token(client, &[]).await;
    let (reading, foreign) = (bearer(&token(&reader).await), token(&known).await);
    let agent = |id: &str| get(&format!("/api/v1/agents/{id}"), &reading);
    let about = |path: &str, token: &str| form(path, &reading, &format!("token={token}"));
    let killed = client().await;
    let dead = token(&killed).await;
    let path = format!("/api/v1/agents/{}/tokens/revoke", killed.id);
    assert_eq!(cluster.calm.post(&admin, &path, json!({})).await.status, 204);
    let plain = client().await.id;
    let federated = client().await.id;
    let trusted = cluster.calm.post(&admin, "/api/v1/issuers", trusted_issuer()).await.json();
    let identity = json!({ "type": "federated", "issuerId": trusted["issuerId"], "subject": "job" });
    let path = format!("/api/v1/agents/{federated}/credentials");
    assert_eq!(cluster.calm.post(&admin, &path, identity).await.status, 201);
    // Of the issuer by its claims, but not by its signature.
    let forged = |client: &str, key_id: Option<&str>| {
        let claims = json!({ "iss": trusted["issuer"], "sub": "job", "exp": 4_000_000_000_u64 });
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = part(&json!({ "alg": "EdDSA", "kid": key_id.unwrap_or("1") }));
        let assertion = format!("{header}.{}.{}", part(&claims), URL_SAFE_NO_PAD.encode([1; 64]));
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let body = format!(
            "grant_type=client_credentials&client_id={client}&client_assertion_type={kind}&client_assertion={assertion}"
        );
        form("/api/v1/token", "", &body)
    };
    let unregistered = forged(UNKNOWN_ID, None);
    let (introspect, revoke) = ("/api/v1/token/introspect", "/api/v1/token/revoke");
    let unknown = (token_request(&unknown), agent(&unknown.id));
    vec![
        ("the same twice, to compare with", unknown.0.clone(), unknown.0.clone()),
        ("unknown client / wrong secret", unknown.0.clone(), token_request(&wrong)),
        ("unknown client / revoked credential", unknown.0.clone(), token_request(&revoked)),
        ("unknown client / expired credential", unknown.0.clone(), token_request(&expired)),
        ("unknown client / malformed secret", unknown.0.clone(), token_request(&malformed)),
        ("unknown client / decommissioned agent", unknown.0, token_request(&gone)),
        (
            "an issuer's assertion: unknown client / no such credential",
            unregistered.clone(),
            forged(&plain, None),
        ),
        (
            "an issuer's assertion: unknown client / not its signature",
            unregistered.clone(),
            forged(&federated, None),
        ),
        ("an issuer's assertion: unknown client / not its kid", unregistered, forged(&federated, Some("2"))),
        ("no such agent / another organization's", unknown.1, agent(&known.id)),
        (
            "another's token, active / revoked: introspected",
            about(introspect, &foreign),
            about(introspect, &dead),
        ),
        ("another's token, active / revoked: revoked", about(revoke, &foreign), about(revoke, &dead)),
    ]
}
