//! `PgBouncer` between the service and PostgreSQL.

use std::time::{Duration, Instant};

use agentidp::config::Config;
use agentidp::ports::error_chain::error_chain;
use agentidp::wiring::Service;
use serde_json::json;
use testing::{Database, OWNER, SERVES, SupervisedServer, TestServer, settings};

/// Port in the name of the pooler's socket.
const PORT: u16 = 6432;

/// A pooler in front of the database of one test.
struct Pooler {
    server: SupervisedServer,
    database: Database,
}

impl Pooler {
    async fn start(mode: &str) -> Self {
        let database = Database::empty().await;
        let url = database.url(SERVES);
        let (_, place) = url.split_once('@').expect("a role");
        let (folder, _) = place.split_once('/').expect("a name");
        let folder = folder.replace("%2F", "/");
        let script = format!(
            "printf '\"{SERVES}\" \"\"\\n\"{OWNER}\" \"\"\\n' >users && \
             printf '[databases]\\n* = host={folder}\\n[pgbouncer]\\nlisten_addr =\\nlisten_port = {PORT}\\n\
             auth_type = trust\\nauth_file = users\\npool_mode = {mode}\\ndefault_pool_size = 60\\n' >ini && \
             printf 'unix_socket_dir = %s\\npidfile = %s/pid\\nlogfile = %s/log\\n' $folder $folder $folder >>ini && \
             pgbouncer -d ini && wait_until test -S .s.PGSQL.{PORT}"
        );
        let server = SupervisedServer::start(&script, "kill $(cat pid); wait_until is_gone $(cat pid)");
        Self { server, database }
    }

    /// Returns the settings of a service that reaches its tables through the pooler, with these options in its URLs.
    fn config(&self, options: &str) -> Config {
        let url = |role: &str| {
            let url = self.database.url(role);
            let (_, name) = url.rsplit_once('/').expect("a name");
            let folder = self.server.folder.to_str().expect("text").replace('/', "%2F");
            format!("postgres://{role}@{folder}:{PORT}/{name}{options}").into()
        };
        let mut config = settings(&[]);
        config.stores.database = Some(url(SERVES));
        config.stores.migration_database = Some(url(OWNER));
        config
    }
}

#[tokio::test]
async fn a_pooler_in_session_mode_is_like_the_server_itself_and_statements_keep_their_time_limit() {
    let pooler = Pooler::start("session").await;
    let server = TestServer::start_on(pooler.config("")).await;
    let note = "CREATE TABLE noted (statement_timeout text NOT NULL);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
            INSERT INTO noted VALUES (current_setting('statement_timeout'));
            RETURN NULL;
        END $$;
        CREATE TRIGGER noted AFTER INSERT ON agents FOR EACH ROW EXECUTE FUNCTION note();
        CREATE TRIGGER noted AFTER INSERT ON monthly_tokens FOR EACH ROW EXECUTE FUNCTION note()";
    let owner = pooler.database.client(OWNER).await;
    owner.batch_execute(note).await.expect("noted");

    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({})).await;
    let client = server.client(&admin, Some(&organization), &["files:read"]).await;
    let token = server.token(&client, &[]).await;
    assert!(server.is_active(&token).await);
    let path = format!("/api/v1/agents/{}/tokens/revoke", client.id);
    assert_eq!(server.post(&admin, &path, json!({})).await.status, 204);
    assert!(!server.is_active(&token).await);

    let noted = owner.query("SELECT DISTINCT statement_timeout FROM noted", &[]).await.expect("an answer");
    assert_eq!(noted.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), ["2s"]);
}

#[tokio::test]
async fn a_pooler_that_would_lose_what_a_session_has_is_refused_at_once_by_name() {
    for (mode, options, named) in [
        ("transaction", "", "pool_mode = session"),
        ("statement", "", "pool_mode = session"),
        ("session", "?options=endpoint%3Dx", "ignore_startup_parameters"),
    ] {
        let pooler = Pooler::start(mode).await;
        let mut config = pooler.config(options);
        config.stores.wait = Duration::from_secs(600);
        let began = Instant::now();
        let error = Service::start(&config).await.err().expect("refused");
        let text = error_chain(&error);
        assert!(text.contains(named), "{mode}: {text}");
        assert!(began.elapsed() < Duration::from_secs(60), "{mode}: it is not waited for");
    }
}
