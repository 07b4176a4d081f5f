//! Exact counts under concurrency and faults.
//! An assertion is used once, a quota is not exceeded, and a rate is limited.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use testing::Client;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::pace::Rng;
use crate::report::{Report, Setting};

/// Key of RFC 8037 appendix A, as PKCS#8 and as the `x` of its JWK.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// Number of callers that send the same assertion at once.
const RACERS: usize = 50;

/// Sends the same assertion many times at once to two instances.
/// All are sent again after Redis was emptied and the instances were restarted.
pub async fn assertions(setting: &Setting) -> Report {
    let cluster = Arc::new(Cluster::start(2, &[], &setting.folder).await);
    let admin = cluster.calm.admin_token().await;
    let client = cluster.calm.client(&admin, None, &["files:read"]).await;
    let key = json!({ "type": "public_key", "publicKey": { "kty": "OKP", "crv": "Ed25519", "x": PUBLIC } });
    let path = format!("/api/v1/agents/{}/credentials", client.id);
    assert_eq!(cluster.calm.post(&admin, &path, key).await.status, 201);
    let mut report = Report::default();
    let mut rng = Rng::new(setting.seed);
    let rounds = (setting.time.as_secs() * 2).clamp(5, 200);
    let mut most = 0;
    let mut assertions = Vec::new();
    for round in 0..rounds {
        let assertion = assertion(&client, &format!("{}-{round}", rng.next()));
        let is_frozen = round == rounds / 2;
        if is_frozen {
            cluster.stores.freeze_redis();
        }
        let accepted = race(&cluster, &assertion).await;
        if is_frozen {
            cluster.stores.thaw_redis();
        }
        most = most.max(accepted);
        report.hold(accepted == 1, || format!("an assertion was accepted {accepted} times in round {round}"));
        assertions.push(assertion);
    }
    cluster.stores.redis("FLUSHALL");
    for number in 0..cluster.instances.len() {
        cluster.instances[number].kill().await;
        cluster.instances[number].start();
        cluster.until_whole(number).await;
    }
    for assertion in &assertions {
        let again = race(&cluster, assertion).await;
        report.hold(again == 0, || {
            "an assertion was accepted again after the stores and instances forgot".into()
        });
    }
    report.figure("assertions, each sent at once", format!("{rounds} x {RACERS}"));
    report.figure("accepted at most", most);
    report
}

/// Sends the assertion many times at once, and returns how many callers get a token.
async fn race(cluster: &Arc<Cluster>, assertion: &str) -> usize {
    let racers = (0..RACERS).map(|racer| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ];
        let instance = racer % cluster.instances.len();
        let request = cluster.http.post(cluster.url(instance, "/api/v1/token")).form(&form);
        let cluster = cluster.clone();
        async move { cluster.status("token", instance, request).await }
    });
    let statuses = racers.collect::<JoinSet<_>>().join_all().await;
    statuses.into_iter().filter(|status| *status == 200).count()
}

fn assertion(client: &Client, id: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "the service runs by the machine's clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = json!({
        "iss": client.id, "sub": client.id, "aud": "http://agentidp.test", "jti": id, "iat": now, "exp": now + 3000,
    });
    let key = EncodingKey::from_ed_pem(KEY.as_bytes()).expect("a key");
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).expect("signed")
}

/// Spends a quota of 100 by 300 requests to two instances.
/// Meanwhile Redis is emptied and PostgreSQL is killed.
pub async fn quota(setting: &Setting) -> Report {
    const QUOTA: usize = 100;
    let cluster = Arc::new(Cluster::start(2, &[], &setting.folder).await);
    let admin = cluster.calm.admin_token().await;
    let limits = json!({ "maxTokensPerMonth": QUOTA, "requestsPerMinute": null });
    let organization = cluster.calm.organization(&admin, json!({ "limits": limits })).await;
    let client = cluster.calm.client(&admin, Some(&organization), &["files:read"]).await;
    let mut report = Report::default();
    let mut tokens = 0;
    let mut unknown = 0;
    for part in 0..6 {
        let racers: JoinSet<_> = (0..QUOTA / 2)
            .map(|racer| {
                let (cluster, client) = (cluster.clone(), client.clone());
                async move { cluster.status("token", racer % 2, cluster.ask_token(racer % 2, &client)).await }
            })
            .collect();
        match part {
            0 => cluster.stores.redis("FLUSHALL"),
            1 => {
                cluster.stores.kill_postgres();
                cluster.stores.start_postgres();
                cluster.until_whole(0).await;
                cluster.until_whole(1).await;
            }
            _ => {}
        }
        for status in racers.join_all().await {
            tokens += usize::from(status == 200);
            unknown += usize::from(status == 503 || status == 0);
            report.hold(matches!(status, 200 | 403 | 503 | 0), || {
                format!("a token request was answered {status}")
            });
        }
    }
    let counts = "SELECT (SELECT sum(tokens)::bigint FROM monthly_tokens WHERE agent_id = $1::text::uuid),
        (SELECT count(*) FROM audit_events WHERE agent_id = $1::text::uuid AND action IN ('token.issued', 'token.exchanged'))";
    let row = cluster.stores.superuser().await.query_one(counts, &[&client.id]).await.expect("an answer");
    let (counted, events): (i64, i64) = (row.get(0), row.get(1));
    let quota = i64::try_from(QUOTA).expect("few");
    report.hold(counted == quota && events == quota, || format!("{counted} counted, {events} events"));
    // A token whose answer was lost with PostgreSQL counts against the quota, but is not issued twice.
    report.hold(tokens <= QUOTA && tokens + unknown >= QUOTA, || format!("{tokens} of {QUOTA} handed out"));
    report.figure(
        "quota / counted / events / handed out",
        format!("{QUOTA} / {counted} / {events} / {tokens}"),
    );
    report
}

/// Exceeds a rate of 100 a minute on two instances.
/// Meanwhile Redis is lost and returns.
pub async fn rate(setting: &Setting) -> Report {
    const LIMIT: usize = 100;
    let cluster = Arc::new(Cluster::start(2, &[], &setting.folder).await);
    let admin = cluster.calm.admin_token().await;
    let organization =
        cluster.calm.organization(&admin, json!({ "limits": { "requestsPerMinute": LIMIT } })).await;
    let client = cluster.calm.client(&admin, Some(&organization), &["files:read"]).await;
    let mut report = Report::default();
    let mut passed = Vec::new();
    for part in ["with Redis", "without it", "with it again"] {
        match part {
            "without it" => cluster.stores.kill_redis(),
            "with it again" => {
                cluster.stores.start_redis();
                cluster.until_whole(0).await;
                cluster.until_whole(1).await;
            }
            _ => {}
        }
        let racers: JoinSet<_> = (0..3 * LIMIT)
            .map(|racer| {
                let (cluster, client) = (cluster.clone(), client.clone());
                async move { cluster.status("token", racer % 2, cluster.ask_token(racer % 2, &client)).await }
            })
            .collect();
        let answers = racers.join_all().await;
        let strange = answers.iter().filter(|status| !matches!(status, 200 | 429)).count();
        report.hold(strange == 0, || format!("{strange} answers were neither 200 nor 429 {part}"));
        passed.push(answers.iter().filter(|status| **status == 200).count());
    }
    // Without Redis each instance counts by itself, and a Redis that returns empty starts counting from zero.
    // If a window ends meanwhile, a sixtieth of the limit is allowed in addition with each second.
    let most = |instances: usize| instances * (LIMIT + LIMIT / 10);
    report.hold(passed[0] <= most(1), || format!("{} passed with Redis", passed[0]));
    report.hold(passed[1] <= most(2), || format!("{} passed without it", passed[1]));
    report.hold(passed[2] <= most(1), || format!("{} passed with it again", passed[2]));
    report.figure("limit / passed with Redis, without, with it again", format!("{LIMIT} / {passed:?}"));
    report
}
