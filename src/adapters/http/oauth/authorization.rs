//! The `Authorization` header: bearer tokens and client authentication.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poem::http::{HeaderMap, StatusCode, header};
use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaOAuthFlow, MetaOAuthFlows, MetaOAuthScope, MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, OAuthScopes};
use secrecy::SecretString;
use serde_json::json;

use super::form::{Form, FormFields};
use crate::error::{ApiError, Code, TEMPORARILY_UNAVAILABLE, rate_limited};
use crate::extract::context::HttpContext;
use app::CallerRevoked;
use app::bearer::{BearerError, PresentedToken, TokenScheme};
use app::caller::{Caller, Forbidden};
use app::client_auth::{ClientAuthError, PresentedCredentials, PresentedHeader};
use domain::id::AgentId;
use domain::scope::ManagementScope;

/// Security scheme for bearer tokens in the OpenAPI document.
pub const OAUTH2: &str = "OAuth2";
/// Security scheme for client authentication in the OpenAPI document.
pub const CLIENT: &str = "ClientSecretBasic";
/// URL of the token endpoint in the OpenAPI document.
pub const TOKEN_URL: &str = "/api/v1/token";
/// Scope that an operation requires, in the OpenAPI document. The use case enforces it.
pub struct Scope(ManagementScope);

impl Scope {
    pub const AGENTS_READ: Self = Self(ManagementScope::AgentsRead);
    pub const AGENTS_WRITE: Self = Self(ManagementScope::AgentsWrite);
    pub const TOKENS_READ: Self = Self(ManagementScope::TokensRead);
    pub const AUDIT_READ: Self = Self(ManagementScope::AuditRead);
    pub const ADMIN_ORGS: Self = Self(ManagementScope::AdminOrgs);
    pub const ISSUERS_READ: Self = Self(ManagementScope::IssuersRead);
    pub const ISSUERS_WRITE: Self = Self(ManagementScope::IssuersWrite);
}

impl OAuthScopes for Scope {
    fn meta() -> Vec<MetaOAuthScope> {
        let described = ManagementScope::ALL.iter().map(|scope| {
            let description = match scope {
                ManagementScope::AgentsRead => "Read agents and the usage of their organization",
                ManagementScope::AgentsWrite => {
                    "Register, update, suspend and decommission agents; manage their credentials"
                }
                ManagementScope::CredentialsWrite => "Manage the caller's own credentials",
                ManagementScope::TokensRead => "Introspect tokens",
                ManagementScope::AuditRead => "Read the audit log",
                ManagementScope::AdminOrgs => "Manage organizations; access all of them",
                ManagementScope::IssuersRead => "Read trusted issuers; explain assertions",
                ManagementScope::IssuersWrite => {
                    "Create, update, suspend and delete trusted issuers; revoke tokens for their people"
                }
            };
            MetaOAuthScope { name: scope.as_str(), description: Some(description) }
        });
        described.collect()
    }

    fn name(&self) -> &'static str {
        self.0.as_str()
    }
}

/// A caller with an active bearer token.
pub struct Bearer(pub Caller);

impl<'a> ApiExtractor<'a> for Bearer {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(OAUTH2, oauth2_scheme());
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![OAUTH2]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let context = HttpContext::of(request)?;
        let authorization = TokenAuthorization(Authorization::of(request.headers()));
        let caller = context.app.bearer.authenticate(&context.request, authorization.token()).await;
        Ok(Self(caller.map_err(ApiError::from)?))
    }
}

/// Makes a type around [`Authorization`] an extractor, for operations that take any of these security schemes.
macro_rules! extractor {
    ($type:ident, $($name:ident: $scheme:ident),+) => {
        impl<'a> ApiExtractor<'a> for $type {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                $(registry.create_security_scheme($name, $scheme());)+
            }

            fn security_schemes() -> Vec<&'static str> {
                vec![$($name),+]
            }

            async fn from_request(
                request: &'a Request,
                _: &mut RequestBody,
                _: ExtractParamOptions<()>,
            ) -> Result<Self> {
                Ok(Self(Authorization::of(request.headers())))
            }
        }
    };
}

/// An access token, before it is decided what it is good for.
pub struct TokenAuthorization(Authorization);

extractor!(TokenAuthorization, OAUTH2: oauth2_scheme);

impl TokenAuthorization {
    /// Returns the access token; `None` if the request has none. Two headers are treated as one invalid token.
    pub fn token(&self) -> Option<PresentedToken<'_>> {
        match &self.0 {
            Authorization::Several => Some(PresentedToken::bearer("")),
            authorization => authorization.token(),
        }
    }
}

/// Client authentication, as the token endpoint accepts it.
pub struct ClientAuthorization(Authorization);

extractor!(ClientAuthorization, CLIENT: client_scheme);

impl ClientAuthorization {
    /// Returns whether the client used Basic, because a refusal must then name it.
    pub fn is_basic(&self) -> bool {
        matches!(self.0, Authorization::Basic(_))
    }

    /// Returns the credentials in header and form.
    pub fn presented<T: FormFields>(&self, form: &Form<T>) -> PresentedCredentials {
        presented(&self.0, form)
    }
}

/// A bearer token or client authentication, as introspection and revocation accept them.
pub struct EitherAuthorization(Authorization);

extractor!(EitherAuthorization, OAUTH2: oauth2_scheme, CLIENT: client_scheme);

impl EitherAuthorization {
    /// Authenticates the caller by its bearer token or as a client, but not by both.
    pub async fn authenticate<T: FormFields>(
        &self,
        context: &HttpContext,
        form: &Form<T>,
    ) -> Result<Caller, ApiError> {
        let (caller, ()) = self.authenticate_with(context, form, std::future::ready(())).await?;
        Ok(caller)
    }

    /// Same as [`authenticate`](Self::authenticate), and asks `lookup` too.
    ///
    /// With a bearer token, both questions to the store share a round trip. Nothing is asked for a caller without a
    /// token that this service has signed.
    pub async fn authenticate_with<T: FormFields, B>(
        &self,
        context: &HttpContext,
        form: &Form<T>,
        lookup: impl Future<Output = B>,
    ) -> Result<(Caller, B), ApiError> {
        let (app, request) = (&context.app, &context.request);
        let presented = presented(&self.0, form);
        let has_credentials = presented.has_parameters();
        match &self.0 {
            authorization @ Authorization::Token(..) if !has_credentials => {
                let token = authorization.token();
                let (caller, found) = app.bearer.authenticate_with(request, token, lookup).await?;
                match presented.parameter("client_id").map(AgentId::parse) {
                    Some(named) if named != Some(caller.agent()) => {
                        Err(ApiError::invalid_request("client_id is not the client of this token"))
                    }
                    _ => Ok((caller, found)),
                }
            }
            Authorization::None | Authorization::Other if !has_credentials => {
                app.auth_failures.count(request).await.map_err(ClientAuthError::from)?;
                let description =
                    "authenticate as a client, as at the token endpoint, or send a bearer token";
                Err(ApiError::oauth(StatusCode::UNAUTHORIZED, "invalid_client", description)
                    .with_basic_challenge())
            }
            authorization => {
                let caller = app.clients.authenticate_caller(request, &presented).await;
                let caller = caller.map_err(|error| {
                    let error = ApiError::from(error);
                    match authorization {
                        Authorization::Basic(_) => error.with_basic_challenge(),
                        _ => error,
                    }
                })?;
                Ok((caller, lookup.await))
            }
        }
    }
}

impl EitherAuthorization {
    /// Returns the error as the caller understands it: for one that sent no token, in OAuth's format and without a
    /// challenge for tokens.
    pub fn explain(&self, error: impl Into<ApiError>) -> ApiError {
        let error = error.into();
        match &self.0 {
            Authorization::Token(..) => error,
            _ => error.for_client(),
        }
    }
}

/// Content of the `Authorization` header.
enum Authorization {
    None,
    Token(TokenScheme, String),
    /// The client and its secret; `None` if they cannot be decoded.
    Basic(Option<(String, SecretString)>),
    /// An unsupported scheme.
    Other,
    Several,
}

impl Authorization {
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::None };
        if values.next().is_some() {
            return Self::Several;
        }
        let Ok(value) = value.to_str() else { return Self::Other };
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            Self::Token(TokenScheme::Bearer, rest.trim_matches(' ').to_owned())
        } else if scheme.eq_ignore_ascii_case("dpop") {
            Self::Token(TokenScheme::Dpop, rest.trim_matches(' ').to_owned())
        } else if scheme.eq_ignore_ascii_case("basic") {
            Self::Basic(basic(rest.trim_matches(' ')))
        } else {
            Self::Other
        }
    }

    /// Returns the access token; `None` if the header has none.
    fn token(&self) -> Option<PresentedToken<'_>> {
        match self {
            Self::Token(scheme, text) => Some(PresentedToken { scheme: *scheme, text }),
            _ => None,
        }
    }
}

/// Decodes client and secret of Basic, both of which are form-encoded first (RFC 6749 section 2.3.1).
fn basic(encoded: &str) -> Option<(String, SecretString)> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (client, secret) = text.split_once(':')?;
    Some((crate::extract::decode(client)?.into_owned(), crate::extract::decode(secret)?.into_owned().into()))
}

/// Collects the credentials in header and form.
fn presented<T: FormFields>(authorization: &Authorization, form: &Form<T>) -> PresentedCredentials {
    let header = match authorization {
        Authorization::None => PresentedHeader::Absent,
        Authorization::Basic(pair) => PresentedHeader::Basic(pair.clone()),
        Authorization::Token(..) | Authorization::Other => PresentedHeader::Other,
        Authorization::Several => PresentedHeader::Several,
    };
    PresentedCredentials { header, parameters: form.credentials() }
}

fn oauth2_scheme() -> MetaSecurityScheme {
    let flow = MetaOAuthFlow {
        authorization_url: None,
        token_url: Some(TOKEN_URL),
        refresh_url: None,
        scopes: Scope::meta(),
    };
    let flows = MetaOAuthFlows {
        client_credentials: Some(flow),
        implicit: None,
        password: None,
        authorization_code: None,
    };
    MetaSecurityScheme {
        description: Some("An access token from this server (client credentials grant)"),
        flows: Some(flows),
        ..scheme("oauth2")
    }
}

fn client_scheme() -> MetaSecurityScheme {
    MetaSecurityScheme {
        description: Some("client_id and client_secret (RFC 6749 section 2.3.1)"),
        scheme: Some("basic"),
        ..scheme("http")
    }
}

const fn scheme(ty: &'static str) -> MetaSecurityScheme {
    MetaSecurityScheme {
        ty,
        description: None,
        name: None,
        key_in: None,
        scheme: None,
        bearer_format: None,
        flows: None,
        openid_connect_url: None,
    }
}

impl From<Forbidden> for ApiError {
    fn from(refusal: Forbidden) -> Self {
        let missing: Vec<&str> = refusal.missing.iter().map(ManagementScope::as_str).collect();
        Self::new(Code::Forbidden, refusal.to_string())
            .with_details(json!({ "missingScopes": missing }))
            .with_challenge(r#"Bearer error="insufficient_scope""#)
    }
}

impl From<ClientAuthError> for ApiError {
    fn from(error: ClientAuthError) -> Self {
        use ClientAuthError as E;
        let message = error.to_string();
        match error {
            E::InvalidClient | E::Forbidden(_) => {
                Self::oauth(StatusCode::UNAUTHORIZED, "invalid_client", message)
            }
            E::Malformed(description) => Self::invalid_request(description),
            E::Suspended => Self::oauth(StatusCode::BAD_REQUEST, "unauthorized_client", message),
            E::RateLimited => rate_limited().with_oauth_error(TEMPORARILY_UNAVAILABLE),
            E::KeysUnavailable { retry_after } => {
                Self::oauth(StatusCode::SERVICE_UNAVAILABLE, TEMPORARILY_UNAVAILABLE, message)
                    .with_retry_after(retry_after.max(1).into())
            }
            E::Hasher(failure) => Self::from(failure).into_oauth(),
            E::Store(failure) => Self::from(failure).into_oauth(),
        }
    }
}

impl From<CallerRevoked> for ApiError {
    fn from(_: CallerRevoked) -> Self {
        BearerError::Invalid.into()
    }
}
