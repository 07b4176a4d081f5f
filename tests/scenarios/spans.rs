//! Spans of a request, for logs and traces.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use reqwest::Method;
use testing::{TestServer, Wiring};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::set_default;
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, registry};

/// The spans that a layer has seen.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Spans>>);

#[derive(Default)]
struct Spans {
    /// Name and fields of each span.
    created: HashMap<u64, (&'static str, HashMap<String, String>)>,
    /// Which span follows from which.
    follows: Vec<(u64, u64)>,
}

struct Fields<'a>(&'a mut HashMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").replace('"', ""));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut fields = HashMap::new();
        attributes.record(&mut Fields(&mut fields));
        let name = attributes.metadata().name();
        self.0.lock().expect("no panic").created.insert(id.into_u64(), (name, fields));
    }

    fn on_follows_from(&self, span: &Id, follows: &Id, _: Context<'_, S>) {
        self.0.lock().expect("no panic").follows.push((span.into_u64(), follows.into_u64()));
    }
}

#[tokio::test]
async fn a_request_has_one_span_and_batches_follow_from_it() {
    let seen = Seen::default();
    // While there is only one subscriber, a span that another test's thread uses first is turned off for all threads.
    let _another = Dispatch::new(registry());
    let _default = set_default(registry().with(seen.clone()));
    let server = TestServer::start(Wiring::Postgres).await;
    let admin = server.admin_token().await;
    *seen.0.lock().expect("no panic") = Spans::default();
    let agent = uuid::Uuid::from_u128(7);
    let request = server.request(Method::GET, &format!("/api/v1/agents/{agent}"));
    let request = request.bearer_auth(&admin).header("x-request-id", "the-one");
    assert_eq!(server.send(request).await.status, 404);

    let spans = seen.0.lock().expect("no panic");
    let of_name = |wanted: &str| {
        let named = spans.created.iter().filter(|(_, (name, _))| *name == wanted);
        named.map(|(id, (_, fields))| (*id, fields)).collect::<Vec<_>>()
    };
    let [(request, fields)] = of_name("request")[..] else {
        panic!("one request has one span: {:?}", spans.created)
    };
    let field = |name: &str| fields.get(name).map(String::as_str);
    assert_eq!(field("request_id"), Some("the-one"));
    assert_eq!(field("path"), Some("/api/v1/agents/{agentId}"), "the template, never an ID");
    assert_eq!(field("method"), Some("GET"));
    let batches = of_name("batch").into_iter().filter(|(batch, fields)| {
        fields["statement"].starts_with("token_store.status") && spans.follows.contains(&(*batch, request))
    });
    assert_eq!(batches.count(), 2, "the status of the token, and the agent: {:?}", spans.created);
}
