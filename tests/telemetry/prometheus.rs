//! Prometheus from Debian, with the alerts and the queries of the dashboard, in front of the program.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use regex::Regex;
use reqwest::Method;
use serde_json::{Value, json};
use testing::{Database, SERVES, SupervisedServer, TestClient, free_address, redis_url};

use crate::picture::{self, Series};
use crate::program::{Program, bootstrap};

const LONG: Duration = Duration::from_secs(120);
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/images/dashboard.svg");
const DASHBOARD: &str = include_str!("../../deploy/grafana/agentidp.json");

/// Prometheus with the alerts of `deploy/`, scraping one program.
struct Prometheus {
    url: String,
    _process: SupervisedServer,
}

impl Prometheus {
    fn start(program: &Program) -> Self {
        let address = free_address();
        let rules = include_str!("../../deploy/prometheus/agentidp.rules.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [agentidp.rules.yml]\n\
             scrape_configs:\n- job_name: agentidp\n  static_configs:\n  - targets: ['{}']\n",
            program.metrics
        );
        let file = |name: &str, text: &str| format!("cat >{name} <<'END_OF_FILE'\n{text}\nEND_OF_FILE\n");
        let start = format!(
            "{}{}prometheus --config.file=prometheus.yml --storage.tsdb.path=data --web.listen-address={address} \
             & echo $! >pid\nwait_until curl -sfo /dev/null http://{address}/-/ready",
            file("agentidp.rules.yml", rules),
            file("prometheus.yml", &config)
        );
        let process = SupervisedServer::start(&start, "kill $(cat pid); wait_until is_gone $(cat pid)");
        Self { url: format!("http://{address}/api/v1"), _process: process }
    }

    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url)).form(query);
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(answer["status"], "success", "{query:?} {answer}");
        answer["data"].clone()
    }

    /// Returns the series of a panel over the last seconds.
    async fn history(&self, panel: &Value, seconds: u64) -> Vec<Series> {
        let now = UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        let (start, end) = ((now - seconds).to_string(), now.to_string());
        let step = picture::STEP.to_string();
        let mut all = Vec::new();
        for (query, legend) in targets(panel) {
            let query = sent(&query, "15s");
            let parameters = [("query", query.as_str()), ("start", &start), ("end", &end), ("step", &step)];
            let found = self.ask("/query_range", &parameters).await;
            for series in found["result"].as_array().expect("a list") {
                let value = |pair: &Value| {
                    let value = pair[1].as_str().and_then(|text| text.parse().ok()).expect("a number");
                    (pair[0].as_f64().expect("a time"), value)
                };
                let values = series["values"].as_array().expect("a list").iter().map(value).collect();
                all.push((picture::name_of(&legend, &series["metric"]), values));
            }
        }
        all
    }

    /// Draws the dashboard over the last seconds.
    async fn picture(&self, seconds: u64) -> String {
        let mut drawn = Vec::new();
        for panel in panels() {
            let series = self.history(&panel, seconds).await;
            drawn.push((panel, series));
        }
        picture::draw(
            &drawn,
            "Drawn by `UPDATE_SCREENSHOT=1 cargo test --test telemetry dashboard` from the queries of deploy/grafana/agentidp.json, \
             over three minutes of a debug build. Grafana draws the same panels in its own way.",
        )
    }

    /// Returns the number of series of a query.
    async fn series(&self, query: &str) -> usize {
        self.ask("/query", &[("query", query)]).await["result"].as_array().map_or(0, Vec::len)
    }
}

/// Returns the panels of the dashboard.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    dashboard["panels"].as_array().expect("a list").clone()
}

/// Returns the targets of a panel: each a query, and the legend of its series.
fn targets(panel: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let targets = panel["targets"].as_array().into_iter().flatten();
    targets.map(|target| (text(&target["expr"]), text(&target["legendFormat"]))).collect()
}

/// Returns a query as Grafana would send it.
fn sent(query: &str, interval: &str) -> String {
    query.replace("$__rate_interval", interval).replace("$instance", ".*")
}

/// Returns the queries of the dashboard, as Grafana would send them.
fn queries() -> Vec<String> {
    panels().iter().flat_map(targets).map(|(query, _)| sent(&query, "1m")).collect()
}

/// Returns the names of this program's metrics in an expression.
fn names_in(expression: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(agentidp|process)_[a-z_]+\b").expect("an expression");
    name.find_iter(expression).map(|found| found.as_str().to_owned()).collect()
}

/// Sends a request for a token, one about a token, and one that is refused.
async fn call(server: &TestClient, admin: &str) {
    server.admin_token().await;
    server.introspect(admin).await;
    server.post(admin, "/api/v1/agents", json!({})).await;
}

/// Sends requests of many kinds for this long, more and fewer in turn, so that a picture shows something.
async fn work(program: &Program, seconds: u64) {
    let server = &program.client;
    let admin = server.unlimited_admin_token().await;
    let mut ticks = tokio::time::interval(Duration::from_millis(250));
    for tick in 0..seconds * 4 {
        ticks.tick().await;
        let wave = (tick as f64 / 60.0).sin().mul_add(6.0, 10.0) as usize;
        let tokens = (0..wave).map(|_| server.admin_token());
        let tokens = futures_util::future::join_all(tokens).await;
        futures_util::future::join_all(tokens.iter().map(|token| server.introspect(token))).await;
        if tick % 3 == 0 {
            server.client(&admin, None, &["files:read"]).await;
            let request = server.request(Method::POST, "/api/v1/token/revoke").bearer_auth(&tokens[0]);
            server.send(request.form(&[("token", &tokens[0])])).await;
        }
        if tick % 5 == 0 {
            let impostor = testing::Client { secret: "wrong".to_owned(), ..server.administrator() };
            server.ask_token(&impostor, &[]).await;
            server.get(&admin, "/api/v1/agents?limit=20").await;
        }
    }
}

#[test]
fn the_alerts_are_valid_and_fire_when_they_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    for arguments in [["check", "rules", "agentidp.rules.yml"], ["test", "rules", "agentidp.test.yml"]] {
        let output =
            Command::new("promtool").args(arguments).current_dir(&folder).output().expect("promtool runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let rules = std::fs::read_to_string(folder.join("agentidp.rules.yml")).expect("readable");
    assert_eq!(rules.matches("- alert:").count(), rules.matches("runbook:").count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_and_the_alerts_name_metrics_that_are_there() {
    let database = Database::migrated().await;
    let administrator = bootstrap(&database).await;
    let (database_url, redis) = (database.url(SERVES), redis_url());
    let environment = [("DATABASE_URL", database_url.as_str()), ("REDIS_URL", &redis)];
    let program = Program::start(&administrator, &environment).await;
    let prometheus = Prometheus::start(&program);
    let server = &program.client;
    let admin = server.unlimited_admin_token().await;
    // Each refused by the store: it has room for no more connections.
    let superuser = database.client("postgres").await;
    let limit = async |connections: &str| {
        let sql = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT {connections}', current_database()); END $$"
        );
        superuser.batch_execute(&sql).await.expect("changed");
    };
    limit("1").await;
    let lists = (0..20).map(|number| format!("/api/v1/agents?owner=owner-{number}"));
    let lists = lists.map(|path| server.request(Method::GET, &path).bearer_auth(&admin).send());
    futures_util::future::join_all(lists).await;
    limit("-1").await;

    let activity = async {
        let mut missing = queries();
        while !missing.is_empty() {
            call(server, &admin).await;
            let mut still = Vec::new();
            for query in missing {
                if prometheus.series(&query).await == 0 {
                    still.push(query);
                }
            }
            missing = still;
        }
    };
    if tokio::time::timeout(LONG, activity).await.is_err() {
        let mut empty = Vec::new();
        for query in queries() {
            if prometheus.series(&query).await == 0 {
                empty.push(query);
            }
        }
        panic!("queries of the dashboard that find nothing: {empty:#?}");
    }

    let is_updated = std::env::var_os("UPDATE_SCREENSHOT").is_some();
    let seconds = if is_updated { 180 } else { 10 };
    if is_updated {
        work(&program, seconds).await;
    }
    let mut picture = prometheus.picture(seconds).await;
    // Where the machine is slow, Prometheus may not have read a metric twice yet.
    let drawing = async {
        while picture.contains("no data") || picture.matches("<path").count() <= 100 {
            call(server, &admin).await;
            picture = prometheus.picture(seconds).await;
        }
    };
    assert!(tokio::time::timeout(LONG, drawing).await.is_ok(), "{picture}");
    if is_updated {
        std::fs::write(PICTURE, picture).expect("written");
    }

    let names = prometheus.ask("/query", &[("query", "count by (__name__) ({job=\"agentidp\"})")]).await;
    let names = names["result"].as_array().expect("a list").iter();
    let names: BTreeSet<_> =
        names.map(|series| series["metric"]["__name__"].as_str().expect("a name").to_owned()).collect();
    let rules = reqwest::get(format!("{}/rules", prometheus.url)).await.expect("an answer");
    let groups = rules.json::<Value>().await.expect("JSON")["data"].clone();
    let rules = groups["groups"][0]["rules"].as_array().expect("a list").clone();
    assert_eq!(
        rules.len(),
        include_str!("../../deploy/prometheus/agentidp.rules.yml").matches("- alert:").count()
    );
    for rule in &rules {
        let expression = rule["query"].as_str().expect("a query");
        let unknown: Vec<_> = names_in(expression).difference(&names).cloned().collect();
        assert!(unknown.is_empty(), "{} names {unknown:?}", rule["name"]);
        assert_ne!(rule["health"], "err", "{rule}");
    }
    let shown: BTreeSet<String> = queries().iter().flat_map(|query| names_in(query)).collect();
    let base = |name: &String| {
        name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count").to_owned()
    };
    let shown: BTreeSet<String> = shown.iter().map(base).collect();
    let ours = program.scrape().await.names();
    let hidden: Vec<_> =
        ours.iter().filter(|name| name.starts_with("agentidp_") && !shown.contains(*name)).collect();
    assert!(hidden.is_empty(), "metrics that no panel shows: {hidden:?}");
}
