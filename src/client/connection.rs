//! A connection to the service: requests with a token of the least scopes, and their answers.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::assertion;
use crate::failure::{Exit, Failure};
use crate::identity::Identity;
use crate::jwt;
use crate::output::safe;
use crate::system::wait;

/// Time limit for connecting.
const CONNECT: Duration = Duration::from_secs(10);
/// Time limit for a request.
const REQUEST: Duration = Duration::from_secs(60);

/// A service, and the caller's identity there.
pub struct Connection {
    client: Client,
    base: String,
    identity: Option<Identity>,
    scopes: Mutex<BTreeSet<String>>,
    token: Mutex<Option<SecretString>>,
    /// Whether a request that exceeds the rate limit waits and is repeated.
    is_patient: bool,
}

/// An answer of the service.
#[derive(Debug)]
pub struct Answer {
    /// Status of HTTP.
    pub status: StatusCode,
    /// The body; null if it is empty.
    pub body: Value,
    retry_after: Option<u64>,
    request_id: Option<String>,
}

/// A request of the API. It cannot be printed, because a form may contain secrets.
#[derive(Clone, Default)]
pub struct Request {
    /// Method; GET if `None`.
    pub method: Option<Method>,
    /// Path below the URL of the service, percent-encoded.
    pub path: String,
    /// Parameters of the query.
    pub query: Vec<(String, String)>,
    /// Body as JSON.
    pub body: Option<Value>,
    /// Body as a form.
    pub form: Option<Vec<(&'static str, String)>>,
}

impl Request {
    /// Returns a request to read what is at this path.
    pub fn get(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// Returns a request to post to this path.
    pub fn post(path: impl Into<String>) -> Self {
        Self { method: Some(Method::POST), ..Self::get(path) }
    }
}

impl Connection {
    /// Returns a connection to the service at this URL.
    pub fn new(url: &str, identity: Option<Identity>) -> Result<Self, Failure> {
        let parsed = reqwest::Url::parse(url).ok().filter(|parsed| {
            let has_more = parsed.query().is_some() || parsed.fragment().is_some();
            let has_user = !parsed.username().is_empty() || parsed.password().is_some();
            matches!(parsed.scheme(), "http" | "https") && parsed.has_host() && !has_user && !has_more
        });
        if parsed.is_none() {
            // The URL itself is not shown, because it may contain a password.
            return Err(Failure::misused(
                "--url must be a URL such as https://id.example.com, without user, password, query and fragment",
            ));
        }
        if url.trim_end_matches('/').ends_with("/api/v1") {
            return Err(Failure::misused("--url is the URL of the service; leave out /api/v1"));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::unreachable(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .user_agent(concat!("agentidp/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::unreachable(error.to_string()))?;
        Ok(Self {
            client,
            base: url.trim_end_matches('/').to_owned(),
            identity,
            scopes: Mutex::default(),
            token: Mutex::default(),
            is_patient: false,
        })
    }

    /// Waits whenever a request exceeds the rate limit.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { is_patient: true, ..self }
    }

    /// Adds scopes to those that the token is requested with.
    pub fn require<'a>(&self, scopes: impl IntoIterator<Item = &'a str>) {
        let mut known = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        known.extend(scopes.into_iter().map(str::to_owned));
        if known.len() > before {
            self.forget_token();
        }
    }

    /// Adds scopes if the caller gets a token with them. Returns whether it does.
    pub async fn require_if_possible<'a>(&self, scopes: impl IntoIterator<Item = &'a str>) -> bool {
        let before = self.known_scopes();
        self.require(scopes);
        let is_possible = self.token().await.is_ok();
        if !is_possible {
            *self.scopes.lock().unwrap_or_else(PoisonError::into_inner) = before;
            self.forget_token();
        }
        is_possible
    }

    /// Returns whether this is the ID of the client that authenticates.
    pub fn is_caller(&self, id: &str) -> bool {
        match &self.identity {
            Some(Identity::Secret { client_id, .. } | Identity::Key { client_id, .. }) => client_id == id,
            Some(Identity::Token(_)) | None => false,
        }
    }

    /// Returns whether the caller has given a token, and this scope is in it.
    pub fn has_given_token_with(&self, scope: &str) -> bool {
        let Some(Identity::Token(token)) = &self.identity else { return false };
        claims(token)["scope"].as_str().unwrap_or_default().split(' ').any(|one| one == scope)
    }

    /// Returns the ID of the caller's client, once the service has accepted its identity.
    pub async fn client(&self) -> Result<Value, Failure> {
        let token = self.token().await?;
        if let Some(Identity::Token(_)) = self.identity {
            let answer = self.send(&Request::get("/api/v1/usage"), Some(&token)).await?;
            // A token without the scope of this request is accepted all the same.
            if answer.status == StatusCode::UNAUTHORIZED {
                return Err(answer.refusal());
            }
        }
        Ok(claims(&token)["client_id"].clone())
    }

    fn known_scopes(&self) -> BTreeSet<String> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget_token(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sends a request with a token. Returns [`Failure`] if the answer is not a success.
    ///
    /// A change that needs more scopes than its operation, because of the agent that it is about, is tried once more with
    /// those too. So is a request whose token has expired.
    pub async fn call(&self, request: &Request) -> Result<Answer, Failure> {
        let mut is_repeated = false;
        loop {
            let token = self.token().await?;
            let answer = self.send(request, Some(&token)).await?;
            let can_get_another = !matches!(self.identity, Some(Identity::Token(_)));
            if self.waits_for(&answer).await {
                continue;
            }
            if answer.status.is_success() || is_repeated || !can_get_another {
                return answer.accepted();
            }
            let missing = answer.body["details"]["missingScopes"].as_array();
            let missing: Vec<&str> = missing.into_iter().flatten().filter_map(Value::as_str).collect();
            match answer.status {
                StatusCode::FORBIDDEN if !missing.is_empty() => {
                    if !self.require_if_possible(missing).await {
                        // The first refusal says more than that of the token endpoint.
                        return answer.accepted();
                    }
                }
                StatusCode::UNAUTHORIZED => self.forget_token(),
                _ => return answer.accepted(),
            }
            is_repeated = true;
        }
    }

    /// Waits if the request has exceeded the rate limit and is to be repeated. Returns whether it is.
    async fn waits_for(&self, answer: &Answer) -> bool {
        let is_repeated = self.is_patient && answer.status == StatusCode::TOO_MANY_REQUESTS;
        if is_repeated {
            wait(Duration::from_secs(answer.retry_after.unwrap_or(1).clamp(1, 60))).await;
        }
        is_repeated
    }

    /// Sends a request, with a token if one is given, and returns whatever is answered.
    pub async fn send(&self, request: &Request, token: Option<&SecretString>) -> Result<Answer, Failure> {
        let method = request.method.clone().unwrap_or(Method::GET);
        let mut sent = self.client.request(method, format!("{}{}", self.base, request.path));
        sent = sent.query(&request.query);
        if let Some(token) = token {
            sent = sent.bearer_auth(token.expose_secret());
        }
        if let Some(body) = &request.body {
            sent = sent.json(body);
        }
        if let Some(form) = &request.form {
            sent = sent.form(form);
        }
        self.answer(sent).await
    }

    async fn answer(&self, sent: reqwest::RequestBuilder) -> Result<Answer, Failure> {
        let answer = sent.send().await.map_err(|error| Failure::of_request(&self.base, &error))?;
        let status = answer.status();
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok());
        let request_id = header("x-request-id").map(str::to_owned);
        let text = answer.text().await.map_err(|error| Failure::of_request(&self.base, &error))?;
        let body = match text.is_empty() {
            true => Value::Null,
            false => serde_json::from_str(&text).map_err(|_| {
                Failure::unreachable(format!(
                    "{} answered with status {} and something other than JSON; is this the URL of AgentIdP?",
                    self.base,
                    status.as_u16()
                ))
            })?,
        };
        Ok(Answer { status, body, retry_after, request_id })
    }

    /// Returns a token with the scopes that are required.
    pub async fn token(&self) -> Result<SecretString, Failure> {
        if let Some(token) = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(token);
        }
        let scope = self.known_scopes().into_iter().collect::<Vec<_>>().join(" ");
        let token = match &self.identity {
            Some(Identity::Token(token)) => token.clone(),
            _ => {
                let issued = self.issue("client_credentials", vec![("scope", scope.clone())]).await;
                let body = issued.map_err(|mut failure| {
                    if failure.message.starts_with("invalid_scope") {
                        failure.message += &format!("\n  requested scopes: {scope}");
                    }
                    failure
                })?;
                body["access_token"].as_str().unwrap_or_default().into()
            }
        };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Ok(token)
    }

    /// Sends a request to the token endpoint, and returns the answer.
    pub async fn issue(
        &self,
        grant: &str,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<Value, Failure> {
        loop {
            let mut form = vec![("grant_type", grant.to_owned())];
            form.extend(parameters.iter().filter(|(_, value)| !value.is_empty()).cloned());
            form.extend(self.authentication().await?);
            let request = Request { form: Some(form), ..Request::post("/api/v1/token") };
            let answer = self.send(&request, None).await?;
            // A new assertion is made for the next attempt, because this one may expire while it waits.
            if self.waits_for(&answer).await {
                continue;
            }
            return answer.accepted().map(|answer| answer.body);
        }
    }

    /// Returns the issuer that the metadata of the service name (RFC 8414).
    ///
    /// It must be the URL of the service (section 3.3), else any server that the caller can be led to could ask for an
    /// assertion that another service accepts. A service on this machine may have a public name that differs.
    async fn issuer(&self) -> Result<String, Failure> {
        let metadata = Request::get("/.well-known/oauth-authorization-server");
        let metadata = self.send(&metadata, None).await?.accepted()?.body;
        let issuer = metadata["issuer"]
            .as_str()
            .ok_or_else(|| Failure::unreachable(format!("the metadata of {} names no issuer", self.base)))?;
        let parsed = reqwest::Url::parse(&self.base).ok();
        let host = parsed.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        match is_local || issuer.trim_end_matches('/') == self.base {
            true => Ok(issuer.to_owned()),
            false => Err(Failure::misused(format!(
                "{} says that its issuer is {}. A private key signs only for the URL that you name: if that is your service, use its issuer as --url",
                self.base,
                safe(issuer)
            ))),
        }
    }

    /// Returns the parameters by which the client authenticates.
    pub async fn authentication(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        match &self.identity {
            Some(Identity::Secret { client_id, secret }) => Ok(vec![
                ("client_id", client_id.clone()),
                ("client_secret", secret.expose_secret().to_owned()),
            ]),
            Some(Identity::Key { client_id, file }) => {
                let issuer = self.issuer().await?;
                const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                Ok(vec![
                    ("client_assertion_type", KIND.to_owned()),
                    ("client_assertion", assertion::sign(file, client_id, &issuer)?),
                ])
            }
            Some(Identity::Token(_)) => Err(Failure::misused(
                "this needs a client that authenticates: set AGENTIDP_CLIENT_ID and its secret, not only AGENTIDP_TOKEN",
            )),
            None => Err(Failure::misused(
                "no identity: set AGENTIDP_CLIENT_ID and AGENTIDP_CLIENT_SECRET, add --client-id and --client-secret-file, or run: agentidp login",
            )),
        }
    }
}

/// Returns the claims of a token; null if it is no JWT.
fn claims(token: &SecretString) -> Value {
    token.expose_secret().split('.').nth(1).and_then(jwt::object).unwrap_or_default()
}

impl Answer {
    /// Returns the answer if it is a success, and the refusal otherwise.
    pub fn accepted(self) -> Result<Self, Failure> {
        if self.status.is_success() { Ok(self) } else { Err(self.refusal()) }
    }

    fn refusal(&self) -> Failure {
        let text = |name: &str| self.body[name].as_str();
        let code = text("code").or(text("error")).unwrap_or("UNEXPECTED_ANSWER");
        let message = text("message").or(text("error_description")).unwrap_or("no reason was given");
        let mut lines = vec![format!("{}: {}", safe(code), safe(message))];
        for fault in self.body["details"]["errors"].as_array().into_iter().flatten() {
            let part = |name: &str| safe(fault[name].as_str().unwrap_or_default());
            lines.push(format!("  {}: {}", part("field"), part("message")));
        }
        let missing = self.body["details"]["missingScopes"].as_array();
        let missing: Vec<&str> = missing.into_iter().flatten().filter_map(Value::as_str).collect();
        if !missing.is_empty() {
            lines.push(format!("  missing scopes: {}", safe(&missing.join(" "))));
        }
        if code == "invalid_client" {
            lines.push(
                "  check the client ID and its secret or key; the log of the service has the reason".into(),
            );
        }
        if let Some(seconds) = self.retry_after {
            lines.push(format!("  try again in {seconds} s"));
        }
        if self.status.is_server_error()
            && let Some(id) = &self.request_id
        {
            lines.push(format!("  request ID: {}", safe(id)));
        }
        // A proxy whose service is restarting answers with 502 or 504, the service itself with 503.
        let is_temporary = matches!(self.status.as_u16(), 502..=504);
        Failure { exit: Exit::Refused, message: lines.join("\n"), is_temporary }
    }
}
