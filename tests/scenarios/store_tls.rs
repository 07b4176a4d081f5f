//! Stores that are reached by TLS, with certificates of a private authority.

use std::time::Duration;

use agentidp::config::Config;
use agentidp::ports::error_chain::error_chain;
use agentidp::wiring::Service;
use serde_json::json;
use testing::{SupervisedServer, TestServer, free_address, settings};

/// PostgreSQL, which demands a client certificate, and Redis, both on TCP with TLS only.
struct TlsStores {
    server: SupervisedServer,
    postgres: u16,
    redis: u16,
}

impl TlsStores {
    fn start() -> Self {
        let (postgres, redis) = (free_address().port(), free_address().port());
        let script = format!(
            "authority() {{ openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$1 -keyout $1.key -out $1.pem; }} && \
             certificate() {{ \
                 openssl req -newkey rsa:2048 -nodes -subj /CN=$1 -keyout $1.key -out $1.csr && \
                 printf 'subjectAltName = DNS:localhost' >$1.ext && \
                 openssl x509 -req -in $1.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile $1.ext -out $1.pem; \
             }} && \
             authority ours && authority another && certificate localhost && certificate postgres && \
             chmod 600 localhost.key && chmod 644 postgres.key && \
             initdb --no-sync -A trust -U postgres -E UTF8 --locale=C -D data && \
             printf \"ssl = on\\nssl_ca_file = '$folder/ours.pem'\\nssl_cert_file = '$folder/localhost.pem'\\n\
                 ssl_key_file = '$folder/localhost.key'\\nport = {postgres}\\nlisten_addresses = 'localhost'\\n\
                 unix_socket_directories = '$folder'\\nfsync = off\\n\" >>data/postgresql.conf && \
             printf 'hostssl all all all cert\\nlocal all all trust\\n' >data/pg_hba.conf && \
             pg_ctl -w -D data -o '-c log_line_prefix=' start && \
             redis-server --port 0 --tls-port {redis} --bind 127.0.0.1 ::1 --tls-cert-file localhost.pem \
                 --tls-key-file localhost.key --tls-ca-cert-file ours.pem --tls-auth-clients no --save '' \
                 --appendonly no --daemonize yes --pidfile \"$folder/redis.pid\" && \
             wait_until redis-cli -h localhost -p {redis} --tls --cacert ours.pem ping"
        );
        let stop =
            "pg_ctl -D data -m immediate stop; kill $(cat redis.pid); wait_until is_gone $(cat redis.pid)";
        Self { server: SupervisedServer::start(&script, stop), postgres, redis }
    }

    /// Returns the settings of a service, with these parameters in its URLs; `folder` stands for that of the files.
    fn config(&self, database: &str, redis: &str) -> Config {
        let folder = self.server.folder.to_str().expect("text");
        let mut config = settings(&[]);
        config.stores.wait = Duration::ZERO;
        let database = format!("postgres://postgres@localhost:{}/postgres?{database}", self.postgres);
        config.stores.database = Some(database.replace("folder", folder).into());
        let redis = format!("rediss://localhost:{}?{redis}", self.redis);
        config.stores.redis = Some(redis.replace("folder", folder).into());
        config
    }
}

const DATABASE: &str =
    "sslmode=verify-full&sslrootcert=folder/ours.pem&sslcert=folder/postgres.pem&sslkey=folder/postgres.key";
const REDIS: &str = "sslrootcert=folder/ours.pem";

#[tokio::test]
async fn both_stores_are_reached_with_certificates_of_a_private_authority_and_with_no_others() {
    let stores = TlsStores::start();
    for (database, redis, named) in [
        (DATABASE.replace("ours", "another"), REDIS.to_owned(), "PostgreSQL"),
        (DATABASE.replace("postgres.pem", "another.pem"), REDIS.to_owned(), "sslcert and sslkey"),
        ("sslmode=verify-full&sslrootcert=folder/ours.pem".to_owned(), REDIS.to_owned(), "certificate"),
        (DATABASE.replace("postgres", "localhost"), REDIS.to_owned(), "authentication failed"),
    ] {
        let refused = Service::start(&stores.config(&database, &redis)).await.err();
        let text = error_chain(&refused.expect("refused"));
        assert!(text.contains(named), "{database}: {text}");
    }

    let server = TestServer::start_on(stores.config(DATABASE, REDIS)).await;
    let health =
        reqwest::get(server.url("/health/ready")).await.expect("an answer").text().await.expect("text");
    assert!(health.contains(r#""status":"ok""#), "both answer: {health}");
    let admin = server.admin_token().await;
    let organization = server.organization(&admin, json!({})).await;
    let client = server.client(&admin, Some(&organization), &["files:read"]).await;
    assert!(server.is_active(&server.token(&client, &[]).await).await);

    let server = TestServer::start_on(stores.config(DATABASE, "sslrootcert=folder/another.pem")).await;
    let health =
        reqwest::get(server.url("/health/ready")).await.expect("an answer").text().await.expect("text");
    assert!(health.contains(r#""redis":"unavailable""#), "its certificate is another's: {health}");
}
