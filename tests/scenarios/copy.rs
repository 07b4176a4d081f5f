//! All data of a file moves to PostgreSQL, or none of it.

use std::ops::ControlFlow;
use std::path::Path;

use agentidp::adapters::postgres::{Import, ImportError, migrate};
use agentidp::adapters::sqlite::Export;
use agentidp::wiring::{self, CopyError, StartError};
use reqwest::StatusCode;
use serde_json::{Value, json};
use stored_json::tables::{Kind, TABLES, Table};
use testing::{Database, OWNER, TestServer, basic_auth, public_jwk, settings, trusted_issuer};

use crate::data_file::{Data, ISSUER};

/// A file that a service has filled and closed.
struct Left {
    data: Data,
    /// A token that is active, and one that was revoked.
    active: String,
    revoked: String,
    suspended: String,
}

/// Returns a file with rows in every table.
async fn file_in_use() -> Left {
    let data = Data::new();
    let server = TestServer::start_on(settings(&["--data", &data.path, "--issuer-url", ISSUER])).await;
    let admin = server.unlimited_admin_token().await;
    let own = server
        .organization(&admin, json!({ "resources": ["https://one.example"], "limits": { "maxAgents": 7 } }));
    let own = own.await;
    let client = server.client(&admin, Some(&own), &["agents:read", "files:read"]).await;
    let active = server.token(&client, &[("scope", "agents:read")]).await;
    let revoked = server.token(&client, &[("scope", "agents:read")]).await;
    let authorization = basic_auth(&client.id, &client.secret);
    let revocation = server.request(reqwest::Method::POST, "/api/v1/token/revoke");
    let revocation = revocation.header("Authorization", authorization).form(&[("token", &revoked)]);
    assert_eq!(server.send(revocation).await.status, StatusCode::OK);
    let suspended = server.client(&admin, Some(&own), &["files:read"]).await;
    let of_suspended = server.token(&suspended, &[]).await;
    server.patch(&admin, &format!("/api/v1/agents/{}", suspended.id), json!({ "status": "suspended" })).await;
    // The only one of its type becomes one of another.
    let change = json!({ "agentType": "router" });
    assert_eq!(
        server.patch(&admin, &format!("/api/v1/agents/{}", client.id), change).await.status,
        StatusCode::OK
    );

    let mut trusted = trusted_issuer();
    trusted["organizationId"] = json!(own);
    trusted["managedBy"] = json!("tool \u{1F980}");
    trusted["subjects"] =
        json!({ "audiences": ["app"], "mayAct": ["*"], "scopes": ["files:read"], "maxAgeSeconds": 60 });
    let issuer = server.post(&admin, "/api/v1/issuers", trusted).await.json();
    let path = format!("/api/v1/issuers/{}", issuer["issuerId"].as_str().expect("an ID"));
    server.post(&admin, &format!("{path}/subjects/revoke"), json!({ "subject": "alice" })).await;
    let credentials = format!("/api/v1/agents/{}/credentials", client.id);
    for body in [
        json!({ "type": "federated", "issuerId": issuer["issuerId"], "subject": "job \u{1F980}", "claims": { "ref": "main" } }),
        json!({ "type": "public_key", "publicKey": public_jwk(&testing::RSA_PEM), "expiresAt": "2030-01-01T00:00:00Z" }),
    ] {
        let answer = server.post(&admin, &credentials, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }
    let second = server.post(&admin, &credentials, json!({})).await.json();
    let rotation = format!("{credentials}/{}/rotate", second["credentialId"].as_str().expect("an ID"));
    let rotated = server.post(&admin, &rotation, json!({ "graceSeconds": 60 })).await;
    assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.text);
    server.service.end().await;

    // These take a whole flow each, and the copy does not know where a row comes from.
    let (agent, issuer) =
        (client.id.replace('-', ""), issuer["issuerId"].as_str().expect("an ID").replace('-', ""));
    let digest = "2a".repeat(32);
    let statements = [
        format!("INSERT INTO assertion_replay VALUES ('client', x'{agent}', x'{digest}', 1768480000000)"),
        format!("INSERT INTO assertion_replay VALUES ('issuer', x'{issuer}', x'{digest}', 1768480000001)"),
        format!("INSERT INTO assertion_replay VALUES ('key', x'{}', x'{digest}', -1)", "0".repeat(32)),
        // Older than any event that an instance stores.
        "INSERT INTO audit_events SELECT randomblob(16), organization_id, agent_id, action, outcome, resource_type, \
         resource_id, ip_address, user_agent, metadata, 1, randomblob(16) FROM audit_events LIMIT 1"
            .to_owned(),
        "INSERT INTO audit_retention_falls SELECT organization_id, NULL, 1768480000002 FROM organizations"
            .to_owned(),
        format!(
            "INSERT INTO audit_tallies SELECT 'é ' || hex(event_id), 1768478400000, randomblob(16), organization_id, agent_id, \
             action, outcome, resource_type, resource_id, '2001:db8::1', user_agent, '{}', occurred_at, 3, 2 \
             FROM audit_events LIMIT 2",
            json!({ "name": "a \"quoted\" \u{1F980} \\ text", "n": 1.5 })
        ),
    ];
    assert_eq!(data.sqlite3(&statements.join(";")), "");
    let left = Left { data, active, revoked, suspended: of_suspended };
    let export = Export::open(Path::new(&left.data.path)).expect("a file");
    for table in &TABLES {
        assert!(!rows(&export, table).is_empty(), "{} has rows", table.name);
    }
    left
}

fn rows(export: &Export, table: &Table) -> Vec<Value> {
    let mut all = Vec::new();
    let read = export.read(table, 3, |part| {
        assert!(part.len() <= 3);
        all.extend(part);
        ControlFlow::Continue(())
    });
    read.expect("readable");
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_stay_active_and_revoked_ones_revoked_after_a_copy() {
    let left = file_in_use().await;
    let database = Database::empty().await;
    let url = database.url(OWNER);
    let from = format!("sqlite:{}", left.data.path);
    let copied = wiring::copy(&from, &url.clone().into()).await.expect("copied");
    assert!(copied > 50, "{copied}");
    let mut config = settings(&["--issuer-url", ISSUER]);
    config.stores.database = Some(url.clone().into());
    let server = TestServer::start_on(config).await;
    for (token, status) in [(&left.active, 200), (&left.revoked, 401), (&left.suspended, 401)] {
        assert_eq!(server.get(token, "/api/v1/agents").await.status, status);
    }
    let admin = server.unlimited_admin_token().await;
    let agents = server.get(&admin, "/api/v1/agents?status=suspended").await.json();
    assert_eq!(agents["total"], 1);
    let (a, b) =
        (server.agent(&admin, None, &["a:b"]).await, server.events(&admin, "&action=agent.created").await);
    assert!(b.len() > 3 && b.iter().any(|event| event["resource"]["id"] == json!(a)), "it goes on");

    let version = "SELECT max(version)::bigint FROM refinery_schema_history";
    let delete = format!("DELETE FROM refinery_schema_history WHERE version = ({version})");
    let owner = database.client(OWNER).await;
    owner.batch_execute(&delete).await.expect("it looks older");
    let before: i64 = owner.query_one(version, &[]).await.expect("a version").get(0);
    let refused = wiring::copy(&from, &url.into()).await;
    let after: i64 = owner.query_one(version, &[]).await.expect("a version").get(0);
    assert_eq!(before, after, "tables with data are not migrated");
    assert!(
        matches!(&refused, Err(StartError::Copy(CopyError::Target(ImportError::NotEmpty(_))))),
        "{refused:?}"
    );
}

/// Returns another value of this type.
fn changed(value: &Value, kind: Kind) -> Value {
    match (kind, value) {
        (Kind::Id, _) => json!("00000000-0000-7000-8000-000000000000"),
        (Kind::Number | Kind::Instant, _) => json!(value.as_i64().unwrap_or_default() + 1),
        (Kind::Flag, _) => json!(!value.as_bool().unwrap_or_default()),
        (Kind::Json, _) => json!({ "changed": true }),
        (Kind::Texts | Kind::Words, _) => json!(["changed"]),
        (Kind::Bytes, _) => json!("00".repeat(32)),
        (Kind::Address, _) => json!("192.0.2.7"),
        (Kind::Date, _) => json!("2001-01-01"),
        (Kind::Text, _) => json!(format!("{}.", value.as_str().unwrap_or_default())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_in_any_column_is_found() {
    let left = file_in_use().await;
    let export = Export::open(Path::new(&left.data.path)).expect("a file");
    let database = Database::empty().await;
    migrate(&database.settings(OWNER), None).await.expect("migrated");
    let mut import = Import::begin(&database.settings(OWNER)).await.expect("empty");
    for table in TABLES.iter().filter(|table| !table.is_derived()) {
        import.insert(table, &rows(&export, table)).await.expect("they fit");
    }
    for table in &TABLES {
        let all = rows(&export, table);
        let count = all.len() as u64;
        assert_eq!(import.count(table).await.expect("a count"), count, "{}", table.name);
        assert_eq!(import.count_equal(table, &all).await.expect("a count"), count, "{}", table.name);
        for (name, kind) in table.columns {
            for row in &all {
                let mut other = row.clone();
                other[name] = changed(&row[name], *kind);
                let equal = import.count_equal(table, &[other]).await.expect("a count");
                assert_eq!(equal, 0, "{}.{name} of {row}", table.name);
            }
        }
    }
    drop(import);
    let again = Import::begin(&database.settings(OWNER)).await;
    assert!(again.is_ok(), "without a commit the database stays empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_fails_leaves_an_empty_database_and_the_file_as_it_was() {
    let left = file_in_use().await;
    let database = Database::empty().await;
    let url = || database.url(OWNER).into();
    let from = format!("sqlite:{}", left.data.path);
    // An event of an action that PostgreSQL refuses.
    let odd = "INSERT INTO audit_events SELECT randomblob(16), organization_id, agent_id, 'X', outcome, resource_type, \
        resource_id, ip_address, user_agent, metadata, occurred_at, trace_id FROM audit_events LIMIT 1";
    assert_eq!(left.data.sqlite3(odd), "");
    let before = std::fs::read(&left.data.path).expect("a file");
    assert!(matches!(wiring::copy(&from, &url()).await, Err(StartError::Copy(CopyError::Store(_)))));
    assert!(before == std::fs::read(&left.data.path).expect("a file"));
    assert!(Import::begin(&database.settings(OWNER)).await.is_ok(), "it is empty");
    for (from, to, words) in [
        ("agentidp.db", "postgres://h/d", "--from must be sqlite:"),
        ("sqlite:", "postgres://h/d", "--from must be sqlite:"),
        (&*from, "mysql://h/d", "--to must be a URL"),
        ("sqlite:/nowhere/agentidp.db", "postgres://h/d", "there is no such file"),
    ] {
        let refused = wiring::copy(from, &to.into()).await.expect_err("refused").to_string();
        assert!(refused.contains(words), "{from} {to}: {refused}");
    }
    left.data.put_key();
    let running = left.data.serve().await;
    let refused = wiring::copy(&from, &url()).await.expect_err("it is served").to_string();
    assert!(refused.contains("another instance has it open"), "{refused}");
    running.kill().await;
}

/// Tables and columns of PostgreSQL that are not moved: constants, counters of the table's own, and notes about the last
/// statement.
const OWN: [(&str, &str); 6] = [
    ("plans", "*"),
    ("audit_floors", "*"),
    ("refinery_schema_history", "*"),
    ("outbox", "notice_id"),
    ("monthly_tokens", "quota"),
    // Kept by triggers, and only compared.
    ("agent_counts", "*"),
];

#[tokio::test]
async fn no_table_and_no_column_is_forgotten() {
    let database = Database::migrated().await;
    let sql = "SELECT c.relname, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition \
            AND a.attnum > 0 AND NOT a.attisdropped";
    let of_postgres = database.client(OWNER).await.query(sql, &[]).await.expect("columns");
    let of_postgres = of_postgres.iter().map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)));
    let data = Data::new();
    data.serve().await.kill().await;
    let of_sqlite = data.sqlite3(
        "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' \
            AND t.name NOT LIKE 'sqlite_%' AND (t.name, c.name) NOT IN (VALUES ('credentials', 'last_used_at'), \
            ('assertion_replay', 'signer_kind'), ('assertion_replay', 'signer'))",
    );
    let of_sqlite = of_sqlite.lines().map(|line| line.split_once('|').expect("two columns"));
    let of_sqlite = of_sqlite.map(|(table, column)| (table.to_owned(), column.to_owned()));
    let mut seen = 0;
    for (table, column) in of_postgres.chain(of_sqlite) {
        let is_moved = TABLES
            .iter()
            .any(|known| known.name == table && known.columns.iter().any(|(name, _)| *name == column));
        let is_own = OWN.iter().any(|(own, of)| *own == table && (*of == "*" || *of == column));
        assert!(is_moved || is_own, "{table}.{column} is not moved");
        seen += 1;
    }
    assert!(seen > 150, "{seen} columns were found");
}
