//! Traces, received by a collector of the test's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use poem::listener::TcpListener;
use poem::web::Data;
use poem::{EndpointExt as _, Route, Server, handler, post};
use prost::Message as _;
use reqwest::{Method, StatusCode};
use testing::{Client, Database, SERVES, free_address, redis_url};

use crate::program::{Program, bootstrap};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const LONG: Duration = Duration::from_secs(120);

/// Receives traces.
pub struct Collector {
    pub url: String,
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

#[handler]
async fn receive(body: Vec<u8>, received: Data<&Arc<Mutex<Vec<ExportTraceServiceRequest>>>>) {
    let request = ExportTraceServiceRequest::decode(&body[..]).expect("OTLP");
    received.lock().expect("no panic").push(request);
}

impl Collector {
    pub fn start() -> Self {
        let (address, received) = (free_address(), Arc::<Mutex<Vec<_>>>::default());
        let routes = Route::new().at("/v1/traces", post(receive)).data(received.clone());
        tokio::spawn(Server::new(TcpListener::bind(address)).run(routes));
        Self { url: format!("http://{address}"), received }
    }

    /// Returns the spans that were received.
    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().expect("no panic");
        let scopes = received
            .iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Waits until a span with this name was received in this trace, and returns the spans of all traces.
    pub async fn until(&self, trace: &str, name: &str) -> Vec<Span> {
        let waiting = async {
            loop {
                let spans = self.spans();
                if spans.iter().any(|span| hex(&span.trace_id) == trace && span.name == name) {
                    return spans;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| {
            let names: Vec<_> =
                self.spans().iter().map(|span| (hex(&span.trace_id), span.name.clone())).collect();
            panic!("no {name} in {names:#?}")
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the spans of this trace.
pub fn trace_of(spans: &[Span], trace: &str) -> Vec<Span> {
    spans.iter().filter(|span| hex(&span.trace_id) == trace).cloned().collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    Some(format!("{:?}", found.value.as_ref()?.value.as_ref()?))
}

/// Returns the names of a span and of its ancestors, and whether the outermost one is part of the caller's trace.
pub fn path_to<'a>(spans: &'a [Span], span: &'a Span) -> Vec<&'a str> {
    let by_id: HashMap<_, _> = spans.iter().map(|span| (&span.span_id, span)).collect();
    let ancestors = std::iter::successors(Some(span), |span| by_id.get(&span.parent_span_id).copied());
    ancestors.map(|span| span.name.as_str()).collect()
}

async fn ask_token(program: &Program, client: &Client, trace: &str) {
    let server = &program.client;
    let request = server.request(Method::POST, "/api/v1/token").form(&[("grant_type", "client_credentials")]);
    let request = request.basic_auth(&client.id, Some(&client.secret));
    let answer = server.send(request.header("traceparent", format!("00-{trace}-{PARENT}-01"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_shows_a_token_request_from_its_arrival_to_its_commit() {
    let database = Database::migrated().await;
    let administrator = bootstrap(&database).await;
    let (database_url, redis) = (database.url(SERVES), redis_url());
    let folder = tempfile::tempdir().expect("a folder");
    let file = format!("sqlite:{}", folder.path().join("agentidp.db").display());
    for (stores, commit, redis_span) in [
        (
            &[("DATABASE_URL", database_url.as_str()), ("REDIS_URL", &redis)][..],
            "token_store.issue",
            Some("evalsha"),
        ),
        (&[("DATABASE_URL", file.as_str())], "commit", None),
    ] {
        let collector = Collector::start();
        let exporter = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_SERVICE_NAME", "our-agents"),
        ];
        let program = Program::start(&administrator, &[stores, &exporter].concat()).await;
        let client = program.client.administrator();
        ask_token(&program, &client, TRACE).await;
        let spans = collector.until(TRACE, "POST /api/v1/token").await;
        let ours = trace_of(&spans, TRACE);
        let named = |name: &str| ours.iter().filter(|span| span.name == name).collect::<Vec<_>>();
        let [request] = named("POST /api/v1/token")[..] else { panic!("one request") };
        assert_eq!(hex(&request.parent_span_id), PARENT, "it is part of the caller's trace");
        assert_eq!(attribute(request, "http.response.status_code").as_deref(), Some("IntValue(200)"));
        assert_eq!(path_to(&ours, named("sign")[0]), ["sign", "POST /api/v1/token"]);
        let paths: Vec<_> = ours.iter().map(|span| path_to(&ours, span)).collect();
        let is_commit =
            |path: &&Vec<&str>| path[0] == commit && path.iter().any(|name| name.starts_with("batch "));
        let path = paths.iter().find(is_commit).unwrap_or_else(|| panic!("{paths:#?}"));
        assert_eq!(path.last(), Some(&"POST /api/v1/token"), "{path:?}");
        if let Some(name) = redis_span {
            assert_eq!(path_to(&ours, named(name)[0]).last(), Some(&"POST /api/v1/token"));
        }
        let secret = &client.secret;
        assert!(spans.iter().all(|span| !format!("{span:?}").contains(secret)), "no secret is in a trace");
        let resource = collector.received.lock().expect("no panic")[0].resource_spans[0].resource.clone();
        let resource = format!("{resource:?}");
        assert!(
            resource.contains("our-agents") && resource.contains(env!("CARGO_PKG_VERSION")),
            "{resource}"
        );
    }
}

/// The one batch that stores the events of all is a span of one trace, and the others lead to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_traces_of_all_requests_of_a_batch_lead_to_it() {
    let database = Database::migrated().await;
    let administrator = bootstrap(&database).await;
    let database_url = database.url(SERVES);
    let collector = Collector::start();
    let environment = [
        ("DATABASE_URL", database_url.as_str()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/v1/traces", collector.url)),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let program = Program::start(&administrator, &environment).await;
    program.client.unlimited_admin_token().await;
    let sought = async {
        loop {
            let traces: Vec<_> =
                (0..40).map(|_| format!("{:032x}", u128::from(testing::unique()) + (1 << 100))).collect();
            let requests = traces.iter().map(|trace| ask_token(&program, &administrator, trace));
            futures_util::future::join_all(requests).await;
            for trace in &traces {
                collector.until(trace, "POST /api/v1/token").await;
            }
            let spans = collector.spans();
            let is_shared = |span: &&Span| span.name == "batch token_store.issue" && span.links.len() > 2;
            if let Some(batch) = spans.iter().find(is_shared) {
                return (spans.clone(), batch.clone());
            }
        }
    };
    let (spans, batch) = tokio::time::timeout(LONG, sought).await.expect("some requests share a batch");
    for link in &batch.links {
        let waiting = spans.iter().find(|span| span.span_id == link.span_id).expect("it was received");
        assert_eq!((waiting.name.as_str(), &waiting.trace_id), ("token_store.issue", &link.trace_id));
        let leads_back = waiting.links.iter().any(|link| link.span_id == batch.span_id);
        assert!(leads_back, "{waiting:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_unreachable_disturbs_nothing() {
    let environment =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let program = Program::in_memory(&environment).await;
    for _ in 0..50 {
        program.client.admin_token().await;
    }
    program.end().await;
}
