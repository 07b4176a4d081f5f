//! The pipeline around every route: request ID, body limit, deadline, run-to-completion, error format,
//! response headers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use instruments::join_trace;
use ipnet::IpNet;
use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Endpoint as _, Request, Response};
use tokio::time::{Instant, timeout};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, debug_span};

use super::error::{ApiError, Code};
use super::extract::context::{HttpContext, RequestHead, given_id};
use super::head::{sent_once, uri_of};
use super::json::JSON;
use super::middleware::answers::{Answers, Reader};
use super::middleware::body::BodyReader;
use super::middleware::cors;
use super::middleware::detach_on_drop::{DetachOnDrop, Panicked};
use super::middleware::failure_log::FailureLog;
use super::middleware::forwarded::{FORWARD_AUTH, Question};
use super::middleware::metrics::{TokenRefusals, name_of};
use super::middleware::request_log::log_request;
use super::router::{Route, Router, Routes};
use app::App;
use app::shutdown::Shutdown;
use domain::audit::TraceId;
use domain::rate::network_of;

/// The trace of the caller (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Maximum time to handle a request once its body has arrived.
const DEADLINE: Duration = Duration::from_secs(5);

/// Refusals are delayed to a multiple of this, so that timing does not reveal whether a resource exists.
///
/// Looking up an existing client takes some microseconds longer than looking up a missing one.
const REFUSAL_QUANTUM: Duration = Duration::from_millis(5);

/// Paths of the OAuth endpoints, whose clients may know only OAuth's error format.
pub const OAUTH_PATHS: [&str; 3] = [TOKEN_PATH, "/api/v1/token/introspect", "/api/v1/token/revoke"];
/// Path of the token endpoint.
const TOKEN_PATH: &str = "/api/v1/token";

/// Settings of the HTTP API, chosen by the operator.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// Networks of the proxies that are believed what they say about a request in `X-Forwarded-*` and `X-Auth-Require-*`.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins that may send cross-origin requests.
    pub cors_origins: Vec<String>,
    /// Whether the console is served.
    pub serves_console: bool,
}

/// The HTTP API of one service: its routes, and the steps around every route.
pub struct HttpApi {
    app: Arc<App>,
    endpoint: Arc<BoxEndpoint<'static>>,
    routes: Routes,
    /// Tracks requests that continue without their caller.
    shutdown: Arc<Shutdown>,
    bodies: BodyReader,
    answers: Answers,
    failures: FailureLog,
    token_refusals: TokenRefusals,
    config: HttpConfig,
    /// Path of the issuer URL, under which the service is also reachable; empty if the URL has no path.
    issuer_path: String,
}

impl HttpApi {
    /// Creates the API of this core.
    ///
    /// Requests whose caller disconnects continue as tasks of `shutdown`.
    pub fn new(app: Arc<App>, shutdown: Arc<Shutdown>, config: HttpConfig) -> Self {
        let issuer_path = path_of(&app.issuer);
        let Router { endpoint, routes } = Router::new(&issuer_path, config.serves_console);
        Self {
            app,
            endpoint: Arc::new(endpoint),
            routes,
            shutdown,
            bodies: BodyReader::default(),
            answers: Answers::default(),
            failures: FailureLog::default(),
            token_refusals: TokenRefusals::new(),
            config,
            issuer_path,
        }
    }

    /// Answers a request from this peer.
    pub async fn respond(&self, request: Request, peer: IpAddr) -> Response {
        let began = Instant::now();
        let HttpConfig { trusted_proxies, cors_origins, .. } = &self.config;
        let (method, mut path) = (request.method().clone(), self.local_path(request.uri().path()).to_owned());
        let question = Question::of(&path, peer, trusted_proxies);
        if question.is_some() {
            FORWARD_AUTH.clone_into(&mut path);
        }
        let headers = request.headers();
        let id = given_id(headers).unwrap_or_else(|| self.app.new_request_id());
        // The request that a proxy asks about is not one to this API.
        let origin =
            cors::allowed_origin(request.headers(), &path, cors_origins).filter(|_| question.is_none());
        let is_preflight = origin.is_some() && cors::is_preflight(request.method(), request.headers());

        let route = self.routes.of_path(&path);
        // At `info`, writing the span down would cost a tenth of what the cheapest request costs.
        let span = debug_span!(
            "request",
            otel.kind = "server",
            otel.name = format_args!("{} {}", name_of(&method), route.template),
            request_id = id,
            http.request.method = %method,
            http.route = route.template,
            http.response.status_code = Empty,
            otel.status_code = Empty,
        );
        let trace = join_trace(&span, sent_once(headers, &TRACEPARENT)).map(TraceId);
        let head = RequestHead { method: &method, path: &path, headers, trace, question };
        let context = HttpContext::new(&self.app, &self.shutdown, id, head, peer, trusted_proxies);
        let context = Arc::new(context);

        let mut response = if is_preflight {
            StatusCode::NO_CONTENT.into()
        } else {
            // To instrument a future moves it, and this one is large.
            let outcome = match span.is_disabled() {
                true => self.run(request, &context, question).await,
                false => self.run(request, &context, question).instrument(span.clone()).await,
            };
            match outcome {
                Ok(response) => self.normalize_error(response, route, &context),
                Err(error) if OAUTH_PATHS.contains(&path.as_str()) => {
                    self.write_error(&error.into_oauth(), route, &context)
                }
                Err(error) => self.write_error(&error, route, &context),
            }
        };
        if matches!(method, Method::GET | Method::HEAD) {
            response = self.held(response, route, &context);
        }
        Self::add_headers(&path, &context, response.headers_mut());
        self.prefix_location(response.headers_mut());
        if !cors_origins.is_empty() {
            response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = origin {
            cors::allow(&origin, is_preflight, response.headers_mut());
        }
        let (status, took) = (response.status(), began.elapsed());
        route.metrics.answered(&method, status, took);
        span.record("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
        log_request(&context.request, &method, route, status, took);
        response
    }

    /// Reads the body and runs the request.
    ///
    /// The request continues if the caller disconnects, so that a change is made completely or not at all.
    async fn run(
        &self,
        mut request: Request,
        context: &Arc<HttpContext>,
        question: Option<Question>,
    ) -> Result<Response, ApiError> {
        let local = self.local_path(request.uri().path());
        if let Some(question) = question {
            question.normalize(&mut request)?;
        } else if local != request.uri().path() {
            *request.uri_mut() = uri_of(local, request.uri().query())?;
        }
        // The router loses a parameter that is not UTF-8 when decoded. Escaped once more, the parameter is an ID that
        // matches nothing.
        if percent_encoding::percent_decode_str(request.uri().path()).decode_utf8().is_err() {
            let path = request.uri().path().replace('%', "%25");
            *request.uri_mut() = uri_of(&path, request.uri().query())?;
        }
        let body = request.take_body();
        let mut room = None;
        if matches!(*request.method(), Method::POST | Method::PATCH | Method::PUT) {
            let (bytes, taken) = self.bodies.read(request.headers(), body).await?;
            request.set_body(bytes);
            room = taken;
        }
        let arrived = Instant::now();
        let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
        request.extensions_mut().insert(context.clone());
        let endpoint = self.endpoint.clone();
        let work = async move {
            let _room = room;
            endpoint.get_response(request).await
        };
        // The span goes with the work, in whatever task it continues.
        let work = work.instrument(Span::current());
        let work = DetachOnDrop::new(work, self.shutdown.tasks().clone());
        let response = within_deadline(work, is_change).await?;
        // 429 is padded too, because an unauthenticated caller is looked up before the rate limit refuses it.
        let tells_what_there_is =
            [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS];
        if tells_what_there_is.contains(&response.status()) {
            pad_refusal(arrived).await;
        }
        Ok(response)
    }

    /// Returns the path as the routes know it, without the issuer's path.
    ///
    /// RFC 8414 puts the issuer's path after the well-known name.
    fn local_path<'a>(&self, path: &'a str) -> &'a str {
        const OPENID: &str = "/.well-known/openid-configuration";
        const METADATA: [&str; 3] =
            ["/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource", OPENID];
        if self.issuer_path.is_empty() {
            return path;
        }
        for name in METADATA {
            match path.strip_prefix(name) {
                // Without the issuer's path, this is the metadata of another issuer. OpenID's document is located
                // below the issuer, where a proxy may have removed the path.
                Some("") if name != OPENID => return "/",
                Some(rest) if rest.trim_end_matches('/') == self.issuer_path => return &path[..name.len()],
                _ => {}
            }
        }
        match path.strip_prefix(self.issuer_path.as_str()) {
            Some(rest) if rest.starts_with('/') => rest,
            _ => path,
        }
    }

    /// Prefixes `Location` with the issuer's path, under which clients reach the service.
    fn prefix_location(&self, headers: &mut HeaderMap) {
        let place = headers.get(header::LOCATION).and_then(|place| place.to_str().ok());
        let placed = place.map(|place| format!("{}{place}", self.issuer_path));
        if let Some(Ok(placed)) = placed.map(HeaderValue::try_from) {
            headers.insert(header::LOCATION, placed);
        }
    }

    /// Converts an error to this API's format, whether a handler or the framework produced it.
    fn normalize_error(&self, response: Response, route: &Route, context: &HttpContext) -> Response {
        if let Some(error) = response.data::<ApiError>() {
            return self.write_error(error, route, context);
        }
        let has_body_of_ours =
            response.headers().get(header::CONTENT_TYPE).is_some_and(|media| media == JSON);
        match response.status() {
            status if status.as_u16() < 400 || has_body_of_ours => response,
            StatusCode::METHOD_NOT_ALLOWED => {
                let allowed = route.methods.join(", ");
                let message = format!("method not allowed; this path supports {allowed}");
                let error = ApiError::new(Code::MethodNotAllowed, message);
                let mut response = self.write_error(&error, route, context);
                if let Ok(allowed) = HeaderValue::from_str(&allowed) {
                    response.headers_mut().insert(header::ALLOW, allowed);
                }
                response
            }
            status if status.is_client_error() => {
                let message = "no such endpoint; see GET /docs";
                self.write_error(&ApiError::new(Code::NotFound, message), route, context)
            }
            status => {
                let cause = format!("the framework returned {status}");
                self.write_error(&ApiError::internal(&cause), route, context)
            }
        }
    }

    /// Counts the response to a read request until the client has read it.
    ///
    /// Responses to other requests are always sent, because their change is already made.
    fn held(&self, response: Response, route: &Route, context: &HttpContext) -> Response {
        let request = &context.request;
        let network = || request.origin.address.map_or(IpAddr::from([0; 4]), network_of);
        let reader = request.organization().map_or_else(|| Reader::Network(network()), Reader::Organization);
        self.answers.hold(response, reader).unwrap_or_else(|| {
            let message = "too many responses are still unread; read them, then retry";
            let error = ApiError::new(Code::ServiceUnavailable, message).with_retry_after(1);
            self.write_error(&error, route, context)
        })
    }

    fn write_error(&self, error: &ApiError, route: &Route, context: &HttpContext) -> Response {
        if route.template == TOKEN_PATH {
            self.token_refusals.count(error);
        }
        if let Some(cause) = &error.cause {
            self.failures.record(&context.request.id, error.status, cause);
        }
        error.to_response(&context.request.id)
    }

    fn add_headers(path: &str, context: &HttpContext, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::from_str(&context.request.id) {
            headers.insert("x-request-id", id);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if path.starts_with("/api/") {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        }
        if let Some(rate) = context.request.rate_limit() {
            headers.insert("x-ratelimit-limit", rate.limit.into());
            headers.insert("x-ratelimit-remaining", rate.remaining.into());
            headers.insert("x-ratelimit-reset", rate.reset_at.into());
            if !rate.admitted {
                headers.insert(header::RETRY_AFTER, rate.retry_after.into());
            }
        }
    }
}

/// Waits until a multiple of [`REFUSAL_QUANTUM`] has passed since the request arrived.
///
/// `arrived` is the time at which the body was complete, because the caller chooses when to send the body.
async fn pad_refusal(arrived: Instant) {
    let multiples = arrived.elapsed().as_micros() / REFUSAL_QUANTUM.as_micros() + 1;
    #[expect(clippy::disallowed_methods, reason = "time that passes is all that is wanted")]
    let evened =
        tokio::time::sleep_until(arrived + REFUSAL_QUANTUM * u32::try_from(multiples).unwrap_or(u32::MAX));
    evened.await;
}

/// Returns the response of a running request, or an error at its deadline; the request continues.
async fn within_deadline(
    work: impl Future<Output = Result<Response, Panicked>>,
    is_change: bool,
) -> Result<Response, ApiError> {
    match timeout(DEADLINE, work).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(panic)) => Err(ApiError::internal(&panic.to_string())),
        Err(_) => {
            let message = if is_change {
                "the request timed out; the change may still be made; read before you retry"
            } else {
                "the request timed out; no change was made"
            };
            Err(ApiError::new(Code::ServiceUnavailable, message)
                .with_retry_after(1)
                .caused_by("the request missed its deadline"))
        }
    }
}

/// Returns the path of an issuer URL, without a trailing slash.
fn path_of(issuer: &str) -> String {
    let path = fluent_uri::Uri::parse(issuer).map(|uri| uri.path().as_str().to_owned()).unwrap_or_default();
    path.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_answered_at_its_deadline_and_runs_on() {
        for (is_change, words) in [(true, "may still be made"), (false, "no change was made")] {
            let (finish, finished) = tokio::sync::oneshot::channel::<()>();
            let (done, is_done) = tokio::sync::oneshot::channel();
            let work = DetachOnDrop::new(
                async move {
                    finished.await.expect("the sender is kept");
                    done.send(()).expect("the receiver waits");
                    Response::default()
                },
                TaskTracker::new(),
            );
            let began = Instant::now();
            let error = within_deadline(work, is_change).await.expect_err("too late");
            assert_eq!((error.status, began.elapsed().as_secs()), (StatusCode::SERVICE_UNAVAILABLE, 5));
            assert!(error.to_json("id").to_string().contains(words));
            finish.send(()).expect("it runs on");
            is_done.await.expect("it finishes");
        }
    }

    #[tokio::test]
    async fn a_request_that_panics_is_an_error_that_says_nothing_of_the_inside() {
        let work = DetachOnDrop::new(async { panic!("hunter2") }, TaskTracker::new());
        let error = within_deadline(work, true).await.expect_err("it panicked");
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.to_json("id").to_string().contains("hunter2"));
    }

    #[test]
    fn a_path_of_an_issuer_has_no_slash_at_its_end() {
        assert_eq!(path_of("https://example.com"), "");
        assert_eq!(path_of("https://example.com/"), "");
        assert_eq!(path_of("https://example.com/idp"), "/idp");
        assert_eq!(path_of("https://example.com/idp/"), "/idp");
    }
}
