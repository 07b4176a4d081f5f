//! An event that cannot be stored: nothing is changed, and the next attempt succeeds.

use reqwest::Method;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::cluster::Cluster;
use crate::report::{Report, Setting};

/// The places where storing the event fails: at the insert, and at the commit.
const FAULTS: [(&str, &str); 2] = [
    ("stored", "CREATE TRIGGER refused BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse()"),
    (
        "committed",
        "CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON audit_events DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION refuse()",
    ),
];

const REFUSE: &str = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$";

/// Digest of all state that a call may change.
/// Events that the audit buffer writes when it flushes are left out.
const STATE: &str = "SELECT md5(string_agg(line, ' ' ORDER BY line)) FROM (
    SELECT a::text AS line FROM agents a UNION ALL SELECT o::text FROM organizations o
    UNION ALL SELECT c::text FROM credentials c UNION ALL SELECT t::text FROM token_revocations t
    UNION ALL SELECT m::text FROM monthly_tokens m UNION ALL SELECT u::text FROM credential_uses u
    UNION ALL SELECT e::text FROM audit_events e WHERE action NOT IN ('auth.failed', 'token.introspected')) AS state";

/// A call that changes something.
struct Call {
    name: &'static str,
    method: Method,
    path: String,
    body: Value,
}

/// Runs every call that changes something, in both ways of failing.
pub async fn run(setting: &Setting) -> Report {
    let cluster = Cluster::start(1, &[], &setting.folder).await;
    let superuser = cluster.stores.superuser().await;
    superuser.batch_execute(REFUSE).await.expect("made");
    let mut report = Report::default();
    let mut held = 0;
    let mut calls = 0;
    for (fault, trigger) in FAULTS {
        let admin = cluster.calm.admin_token().await;
        for call in every_call(&cluster, &admin).await {
            calls += 1;
            let name = format!("{} whose event cannot be {fault}", call.name);
            let violations = report.violations.len();
            try_it(&cluster, &superuser, &admin, trigger, &call, &name, &mut report).await;
            held += usize::from(report.violations.len() == violations);
        }
    }
    report.figure("calls and faults held", format!("{held} of {calls}"));
    report
}

async fn try_it(
    cluster: &Cluster,
    superuser: &Client,
    admin: &str,
    trigger: &str,
    call: &Call,
    name: &str,
    report: &mut Report,
) {
    let ask = async || {
        let request =
            cluster.http.request(call.method.clone(), cluster.url(0, &call.path)).bearer_auth(admin);
        let request = match call.path.contains("/token") && call.body["token"].is_string() {
            true => request.form(&call.body),
            false if call.path.ends_with("/token") => {
                let (id, secret) = (call.body["id"].as_str(), call.body["secret"].as_str());
                cluster
                    .http
                    .post(cluster.url(0, &call.path))
                    .basic_auth(id.expect("an id"), secret)
                    .form(&[("grant_type", "client_credentials")])
            }
            false => request.json(&call.body),
        };
        cluster.status(call.name, 0, request).await
    };
    let before = state(superuser).await;
    superuser.batch_execute(trigger).await.expect("made");
    let refused = ask().await;
    superuser.batch_execute("DROP TRIGGER refused ON audit_events").await.expect("healed");
    let after = state(superuser).await;
    let again = ask().await;
    report.hold(refused == 503, || format!("{name}: {refused}"));
    report.hold(before == after, || format!("{name}: something has changed"));
    report.hold((200..300).contains(&again), || format!("{name}: {again} when tried again"));
}

async fn state(superuser: &Client) -> String {
    superuser.query_one(STATE, &[]).await.expect("an answer").get(0)
}

/// Returns every call that changes something, in an order in which all of them succeed.
async fn every_call(cluster: &Cluster, admin: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut add = |name, method, path: &str, body| {
        calls.push(Call { name, method, path: format!("/api/v1{path}"), body });
    };
    let client = async || cluster.calm.client(admin, None, &["files:read"]).await;
    let status = |status: &str| json!({ "status": status });
    let slug = format!("atomic-{}", client().await.id);
    let email = format!("{slug}@example.com");
    let agent = json!({
        "email": email, "agentType": "custom", "version": "1.0.0", "capabilities": ["files:read"],
        "owner": "tests", "deploymentEnv": "development",
    });
    add("an agent registered", Method::POST, "/agents", agent);
    let testing::Client { id, credential, .. } = client().await;
    add("an agent changed", Method::PATCH, &format!("/agents/{id}"), json!({ "version": "2.0.0" }));
    add("an agent suspended", Method::PATCH, &format!("/agents/{id}"), status("suspended"));
    add("an agent reactivated", Method::PATCH, &format!("/agents/{id}"), status("active"));
    add("its tokens revoked", Method::POST, &format!("/agents/{id}/tokens/revoke"), json!({}));
    add("a secret made", Method::POST, &format!("/agents/{id}/credentials"), json!({}));
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let key = json!({ "type": "public_key", "publicKey": key });
    add("a key added", Method::POST, &format!("/agents/{id}/credentials"), key);
    let of_credential = format!("/agents/{id}/credentials/{credential}");
    add("a secret rotated", Method::POST, &format!("{of_credential}/rotate"), json!({}));
    let rotation = json!({ "revokeTokens": true });
    add("a secret rotated and tokens revoked", Method::POST, &format!("{of_credential}/rotate"), rotation);
    add("a credential revoked", Method::DELETE, &of_credential, json!({}));
    add("an agent decommissioned", Method::DELETE, &format!("/agents/{id}"), json!({}));
    let other = client().await;
    let token = cluster.calm.token(&other, &[]).await;
    add("a token issued", Method::POST, "/token", json!({ "id": other.id, "secret": other.secret }));
    add("a token revoked", Method::POST, "/token/revoke", json!({ "token": token }));
    let organization = json!({ "name": "Example", "slug": &slug[..40], "plan": "free" });
    add("an organization made", Method::POST, "/organizations", organization);
    let id = cluster.calm.organization(admin, json!({ "limits": {} })).await;
    let path = format!("/organizations/{id}");
    add("an organization changed", Method::PATCH, &path, json!({ "name": "Another" }));
    add("an organization suspended", Method::PATCH, &path, status("suspended"));
    add("an organization reactivated", Method::PATCH, &path, status("active"));
    calls
}
