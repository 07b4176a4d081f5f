//! Two tenants on the same instances: one does everything that its plan allows, the other must not be
//! affected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use serde_json::json;
use testing::Client;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::cluster::Cluster;
use crate::report::{Report, Setting, share};

/// Number of clients of the noisy tenant, and how often each sends a request.
const NOISY: usize = 60;
const NOISY_PACE: Duration = Duration::from_millis(200);
/// How often the quiet tenant sends each kind of request; rotations are five times rarer.
const QUIET_PACE: Duration = Duration::from_millis(40);
/// Maximum ratio of a p99 under noise to the p99 in calm.
const MOST: f64 = 3.0;
/// A p99 below this is noise of the machine.
/// Its two cores serve instances, stores and load.
const FLOOR: Duration = Duration::from_millis(25);

/// Number of instances, the size of their connection pools, and a name.
const HOUSES: [(usize, &str, &str); 3] = [
    (1, "10", "1 instance, pool of 10"),
    (3, "10", "3 instances, pool of 10"),
    (3, "30", "3 instances, pool of 30"),
];

/// The kinds of noise that the noisy tenant makes.
const NOISES: [(&str, Noise); 6] = [
    ("changes of its own agents", Noise::Changes),
    ("registrations beyond its limit", Noise::Registrations),
    ("rotations of its own secrets", Noise::Rotations),
    ("credentials made and revoked", Noise::Credentials),
    ("introspections", Noise::Introspections),
    ("its own lock, held", Noise::Lock),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Noise {
    Changes,
    Registrations,
    Rotations,
    Credentials,
    Introspections,
    Lock,
}

/// A client of a tenant, its token and its credential.
struct Caller {
    client: Client,
    token: String,
    credential: String,
}

/// Runs each kind of noise on each set of instances.
pub async fn run(setting: &Setting) -> Report {
    let mut report = Report::default();
    let parts = HOUSES.len() * (NOISES.len() + 1);
    let each = setting.time / u32::try_from(parts).expect("few");
    for (instances, pool, house) in HOUSES {
        let settings = [("DB_POOL_MAX", pool), ("BCRYPT_COST", "10")];
        let cluster = Arc::new(Cluster::start(instances, &settings, &setting.folder).await);
        let admin = cluster.calm.admin_token().await;
        let noisy =
            tenant(&cluster, &admin, NOISY, json!({ "requestsPerMinute": null, "maxAgents": NOISY })).await;
        let quiet = tenant(&cluster, &admin, 4, json!({ "requestsPerMinute": null })).await;
        let calm = ask(&cluster, &quiet.1, each).await;
        report.figure(house, summary(&calm, None));
        for (name, noise) in NOISES {
            let is_over = Arc::new(AtomicBool::new(false));
            let made = make_noise(&cluster, &noisy, noise, &is_over).await;
            let under = ask(&cluster, &quiet.1, each).await;
            is_over.store(true, Ordering::Release);
            let sent: usize = made.join_all().await.into_iter().sum();
            report.figure(name, format!("{}; {sent} of the other's", summary(&under, Some(&calm))));
            for (kind, calm) in calm.iter().zip(&under).map(|(calm, under)| (under, calm)) {
                report.hold(kind.refused == 0, || {
                    format!("{house}: {} refused during {name}: {}", kind.refused, kind.name)
                });
                let most = calm.p99().max(FLOOR).mul_f64(MOST);
                report.hold(kind.p99() <= most, || {
                    format!(
                        "{house}: p99 {:?} of {} during {name}, {:?} in calm",
                        kind.p99(),
                        kind.name,
                        calm.p99()
                    )
                });
            }
        }
    }
    report
}

/// Creates an organization with this many clients, which may manage the agents of the organization.
async fn tenant(
    cluster: &Arc<Cluster>,
    admin: &str,
    clients: usize,
    limits: serde_json::Value,
) -> (String, Arc<Vec<Caller>>) {
    let organization = cluster.calm.organization(admin, json!({ "limits": limits })).await;
    let scopes = ["agents:read", "agents:write", "credentials:write", "tokens:read", "audit:read"];
    let mut callers = Vec::new();
    for _ in 0..clients {
        let client = cluster.calm.client(admin, Some(&organization), &scopes).await;
        let token = cluster.calm.token(&client, &[]).await;
        let credential = client.credential.clone();
        callers.push(Caller { client, token, credential });
    }
    (organization, Arc::new(callers))
}

async fn make_noise(
    cluster: &Arc<Cluster>,
    (organization, callers): &(String, Arc<Vec<Caller>>),
    noise: Noise,
    is_over: &Arc<AtomicBool>,
) -> JoinSet<usize> {
    let mut made = JoinSet::new();
    if noise == Noise::Lock {
        let lock = cluster.stores.superuser().await;
        let sql = format!("SELECT pg_advisory_lock(1, organization_gate('{organization}'))");
        lock.batch_execute(&sql).await.expect("held");
        let is_over = is_over.clone();
        made.spawn(async move {
            let mut pace = interval(QUIET_PACE);
            while !is_over.load(Ordering::Acquire) {
                pace.tick().await;
            }
            drop(lock);
            0
        });
    }
    for place in 0..callers.len() {
        let (cluster, callers, is_over) = (cluster.clone(), callers.clone(), is_over.clone());
        made.spawn(async move {
            let mut pace = interval(NOISY_PACE);
            let mut sent = 0;
            while !is_over.load(Ordering::Acquire) {
                pace.tick().await;
                let instance = (place + sent) % cluster.instances.len();
                let request = noise_request(&cluster, instance, &callers, place, sent, noise);
                // Any answer will do, because only the other tenant's requests are checked.
                let answer = request.send().await;
                if noise == Noise::Credentials
                    && let Ok(answer) = answer
                    && let Ok(body) = answer.json::<serde_json::Value>().await
                    && let Some(id) = body["credentialId"].as_str()
                {
                    let path = format!("/api/v1/agents/{}/credentials/{id}", callers[place].client.id);
                    let revoke =
                        cluster.http.delete(cluster.url(instance, &path)).bearer_auth(&callers[place].token);
                    let _ = revoke.send().await;
                }
                sent += 1;
            }
            sent
        });
    }
    made
}

fn noise_request(
    cluster: &Cluster,
    instance: usize,
    callers: &[Caller],
    place: usize,
    sent: usize,
    noise: Noise,
) -> RequestBuilder {
    let caller = &callers[place];
    let own = cluster.url(instance, &format!("/api/v1/agents/{}", caller.client.id));
    let as_caller = |request: RequestBuilder| request.bearer_auth(&caller.token);
    match noise {
        Noise::Changes => {
            as_caller(cluster.http.patch(own)).json(&json!({ "version": format!("1.0.{sent}") }))
        }
        Noise::Registrations => as_caller(cluster.http.post(cluster.url(instance, "/api/v1/agents"))).json(&json!({
            "email": format!("more-{place}-{sent}@example.com"), "agentType": "custom", "version": "1.0.0",
            "capabilities": ["files:read"], "owner": "tests", "deploymentEnv": "development",
        })),
        Noise::Rotations => {
            let path = format!("{own}/credentials/{}/rotate", caller.credential);
            as_caller(cluster.http.post(path)).json(&json!({ "graceSeconds": 600 }))
        }
        Noise::Credentials => as_caller(cluster.http.post(format!("{own}/credentials"))).json(&json!({})),
        Noise::Introspections => {
            let of = &callers[(place + sent) % callers.len()].token;
            as_caller(cluster.http.post(cluster.url(instance, "/api/v1/token/introspect"))).form(&[("token", of)])
        }
        Noise::Lock => as_caller(cluster.http.post(format!("{own}/tokens/revoke"))),
    }
}

/// The outcome of one kind of request.
struct Kind {
    name: &'static str,
    times: Vec<Duration>,
    refused: usize,
}

impl Kind {
    fn p99(&self) -> Duration {
        share(&mut self.times.clone(), 0.99)
    }
}

/// Sends the requests of the quiet tenant, each kind at its own rate.
/// The kinds are token requests, revocations, rotations and lists.
async fn ask(cluster: &Arc<Cluster>, callers: &Arc<Vec<Caller>>, time: Duration) -> Vec<Kind> {
    let turn = Arc::new(AtomicUsize::new(0));
    let mut asked = JoinSet::new();
    for (place, name) in ["token", "revocation", "rotation", "list"].into_iter().enumerate() {
        let (cluster, callers, turn) = (cluster.clone(), callers.clone(), turn.clone());
        asked.spawn(async move {
            let mut kind = Kind { name, times: Vec::new(), refused: 0 };
            let mut pace = interval(if name == "rotation" { 5 * QUIET_PACE } else { QUIET_PACE });
            let begun = Instant::now();
            while kind.times.is_empty() || begun.elapsed() < time {
                pace.tick().await;
                let instance = turn.fetch_add(1, Ordering::Relaxed) % cluster.instances.len();
                let request = quiet_request(&cluster, instance, &callers, place);
                let start = Instant::now();
                let status = cluster.status(name, instance, request).await;
                kind.times.push(start.elapsed());
                kind.refused += usize::from(!(200..300).contains(&status));
            }
            (place, kind)
        });
    }
    let mut kinds = asked.join_all().await;
    kinds.sort_by_key(|(place, _)| *place);
    kinds.into_iter().map(|(_, kind)| kind).collect()
}

/// Returns a request of the quiet tenant.
/// The first client requests tokens. The fourth revokes the tokens of the second, rotates the secret of the
/// third and lists the agents.
fn quiet_request(cluster: &Cluster, instance: usize, callers: &[Caller], place: usize) -> RequestBuilder {
    let asker = &callers[3].token;
    let about = |place: usize, rest: &str| {
        cluster.url(instance, &format!("/api/v1/agents/{}{rest}", callers[place].client.id))
    };
    match place {
        0 => cluster.ask_token(instance, &callers[0].client),
        1 => cluster.http.post(about(1, "/tokens/revoke")).bearer_auth(asker),
        2 => {
            let path = about(2, &format!("/credentials/{}/rotate", callers[2].credential));
            cluster.http.post(path).bearer_auth(asker).json(&json!({}))
        }
        _ => cluster.http.get(cluster.url(instance, "/api/v1/agents?limit=20")).bearer_auth(asker),
    }
}

fn summary(kinds: &[Kind], calm: Option<&[Kind]>) -> String {
    let one = |(place, kind): (usize, &Kind)| {
        let p99 = kind.p99().as_secs_f64() * 1e3;
        let times = calm.map_or_else(String::new, |calm| {
            format!(" ({:.1} times)", kind.p99().as_secs_f64() / calm[place].p99().as_secs_f64())
        });
        let refused = if kind.refused == 0 { String::new() } else { format!(", {} refused", kind.refused) };
        format!("{} {p99:.0} ms{times}{refused}", kind.name)
    };
    kinds.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
}
