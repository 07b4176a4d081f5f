//! Errors on the wire, in this API's format and in OAuth's.
//!
//! A use case says *what* it refuses; this module maps the refusal to a code, a status and headers. The
//! [`pipeline`](super::pipeline) writes the body, because it knows the request ID.

use std::borrow::Cow;

use poem::http::{HeaderValue, StatusCode, header};
use poem_openapi::{ApiResponse, registry::MetaResponses, registry::Registry};
use serde_json::{Value, json};

use crate::json::JSON;
use app::{HasherError, StoreError, error_chain};

macro_rules! codes {
    ($($name:ident $text:literal $status:ident),+ $(,)?) => {
        /// Error code of this API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($name),+ }

        impl Code {
            /// Returns the code on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// Returns the HTTP status of the code.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),+ }
            }
        }
    };
}

codes! {
    ValidationError "VALIDATION_ERROR" BAD_REQUEST,
    Unauthorized "UNAUTHORIZED" UNAUTHORIZED,
    Forbidden "FORBIDDEN" FORBIDDEN,
    FreeTierLimitExceeded "FREE_TIER_LIMIT_EXCEEDED" FORBIDDEN,
    AgentNotFound "AGENT_NOT_FOUND" NOT_FOUND,
    CredentialNotFound "CREDENTIAL_NOT_FOUND" NOT_FOUND,
    AuditEventNotFound "AUDIT_EVENT_NOT_FOUND" NOT_FOUND,
    OrganizationNotFound "ORGANIZATION_NOT_FOUND" NOT_FOUND,
    IssuerNotFound "ISSUER_NOT_FOUND" NOT_FOUND,
    TokenNotFound "TOKEN_NOT_FOUND" NOT_FOUND,
    NotFound "NOT_FOUND" NOT_FOUND,
    MethodNotAllowed "METHOD_NOT_ALLOWED" METHOD_NOT_ALLOWED,
    AgentAlreadyExists "AGENT_ALREADY_EXISTS" CONFLICT,
    AgentAlreadyDecommissioned "AGENT_ALREADY_DECOMMISSIONED" CONFLICT,
    AgentNotActive "AGENT_NOT_ACTIVE" CONFLICT,
    CredentialAlreadyRevoked "CREDENTIAL_ALREADY_REVOKED" CONFLICT,
    CredentialLimitReached "CREDENTIAL_LIMIT_REACHED" CONFLICT,
    OrganizationAlreadyExists "ORGANIZATION_ALREADY_EXISTS" CONFLICT,
    IssuerAlreadyExists "ISSUER_ALREADY_EXISTS" CONFLICT,
    IssuerLimitReached "ISSUER_LIMIT_REACHED" CONFLICT,
    IssuerInUse "ISSUER_IN_USE" CONFLICT,
    LastAdministrator "LAST_ADMINISTRATOR" CONFLICT,
    Conflict "CONFLICT" CONFLICT,
    PayloadTooLarge "PAYLOAD_TOO_LARGE" PAYLOAD_TOO_LARGE,
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" UNSUPPORTED_MEDIA_TYPE,
    RateLimitExceeded "RATE_LIMIT_EXCEEDED" TOO_MANY_REQUESTS,
    InternalServerError "INTERNAL_SERVER_ERROR" INTERNAL_SERVER_ERROR,
    ServiceUnavailable "SERVICE_UNAVAILABLE" SERVICE_UNAVAILABLE,
}

/// An error in a field of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field: `limits.maxAgents`, `capabilities[3]`.
    pub field: String,
    /// Text that follows the field's name.
    pub message: String,
}

impl FieldError {
    /// Creates an error in this field.
    ///
    /// The name is cut to 200 bytes, because the caller may have chosen it and the response repeats it.
    pub fn new(field: &str, message: impl Into<String>) -> Self {
        const LONGEST: usize = 200;
        let kept = field.floor_char_boundary(LONGEST);
        Self { field: field[..kept].to_owned(), message: message.into() }
    }
}

/// An error response.
#[derive(Clone, Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub body: ErrorBody,
    challenge: Option<Cow<'static, str>>,
    retry_after_seconds: Option<i64>,
    /// The underlying cause, logged with the request ID and never sent to the caller.
    pub cause: Option<Box<str>>,
}

/// Body of an error, in one of two formats.
#[derive(Clone, Debug)]
pub enum ErrorBody {
    /// `{code, message, details?, requestId}`, with OAuth's `error` added where both kinds of client call.
    Api { code: Code, message: String, details: Option<Box<Value>>, oauth: Option<&'static str> },
    /// `{error, error_description}` (RFC 6749 section 5.2).
    OAuth { error: &'static str, description: String },
}

impl ApiError {
    /// Creates an error in this API's format.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let body = ErrorBody::Api { code, message: message.into(), details: None, oauth: None };
        Self { status: code.status(), body, challenge: None, retry_after_seconds: None, cause: None }
    }

    /// Creates an error in OAuth's format.
    pub fn oauth(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        let body = ErrorBody::OAuth { error, description: description.into() };
        Self { status, body, challenge: None, retry_after_seconds: None, cause: None }
    }

    /// Creates an `invalid_request` error, for a malformed request to an OAuth endpoint.
    pub fn invalid_request(description: impl Into<String>) -> Self {
        Self::oauth(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// Creates a `VALIDATION_ERROR` that lists every field error.
    pub fn validation(field_errors: &[FieldError]) -> Self {
        let errors: Vec<Value> = field_errors
            .iter()
            .map(|field_error| json!({ "field": field_error.field, "message": field_error.message }))
            .collect();
        let message = match field_errors {
            [one] => format!("{} {}", one.field, one.message),
            _ => format!("{} fields are invalid", field_errors.len()),
        };
        Self::new(Code::ValidationError, message).with_details(json!({ "errors": errors }))
    }

    pub fn with_details(mut self, value: Value) -> Self {
        if let ErrorBody::Api { details, .. } = &mut self.body {
            *details = Some(Box::new(value));
        }
        self
    }

    /// Adds the ID of what exists already as a detail of this name, if it is known.
    pub fn naming(self, name: &str, id: Option<impl std::fmt::Display>) -> Self {
        match id {
            Some(id) => self.with_details(json!({ name: id.to_string() })),
            None => self,
        }
    }

    pub fn with_challenge(mut self, challenge: impl Into<Cow<'static, str>>) -> Self {
        self.challenge = Some(challenge.into());
        self
    }

    pub fn with_retry_after(mut self, seconds: i64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Adds OAuth's `error`, because a client of the OAuth endpoints may know only OAuth's format.
    pub fn with_oauth_error(mut self, error: &'static str) -> Self {
        if let ErrorBody::Api { oauth, .. } = &mut self.body {
            *oauth = Some(error);
        }
        self
    }

    /// Adds the Basic challenge to `invalid_client`, for a client that used Basic.
    pub fn with_basic_challenge(self) -> Self {
        match &self.body {
            ErrorBody::OAuth { error: "invalid_client", .. } => {
                self.with_challenge(r#"Basic realm="agentidp", charset="UTF-8""#)
            }
            _ => self,
        }
    }

    /// Creates an error for a limit of the plan that is reached.
    pub fn limit_reached(message: String, limit: u32) -> Self {
        Self::new(Code::FreeTierLimitExceeded, message).with_details(json!({ "limit": limit }))
    }

    /// Creates an error for a fault of this service. The cause is not sent to the caller.
    pub fn internal(cause: &str) -> Self {
        let message = "internal error; the server log has the details under this request ID";
        Self::new(Code::InternalServerError, message).caused_by(cause)
    }

    pub fn caused_by(mut self, cause: &str) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Returns the response to the request with this ID.
    pub fn to_response(&self, request_id: &str) -> poem::Response {
        let body = self.to_json(request_id).to_string();
        let mut response = poem::Response::builder().status(self.status).content_type(JSON).body(body);
        self.headers(response.headers_mut());
        response
    }

    /// Returns the body of the response to the request with this ID.
    pub fn to_json(&self, request_id: &str) -> Value {
        match &self.body {
            ErrorBody::Api { code, message, details, oauth } => {
                let mut body = json!({ "code": code.as_str(), "message": message, "requestId": request_id });
                if let Some(details) = details {
                    body["details"] = Value::clone(details);
                }
                if let Some(error) = oauth {
                    body["error"] = json!(error);
                    body["error_description"] = json!(message);
                }
                body
            }
            ErrorBody::OAuth { error, description } => {
                json!({ "error": error, "error_description": description })
            }
        }
    }

    /// Returns OAuth's name of the error; without one, this API's code in lower case.
    pub fn name(&self) -> String {
        match &self.body {
            ErrorBody::OAuth { error, .. } | ErrorBody::Api { oauth: Some(error), .. } => (*error).to_owned(),
            ErrorBody::Api { code, oauth: None, .. } => code.as_str().to_lowercase(),
        }
    }

    pub fn headers(&self, into: &mut poem::http::HeaderMap) {
        if let Some(challenge) = &self.challenge
            && let Ok(challenge) = HeaderValue::from_str(challenge)
        {
            into.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after_seconds {
            into.insert(header::RETRY_AFTER, seconds.into());
        }
    }
}

impl From<ApiError> for poem::Error {
    fn from(error: ApiError) -> Self {
        let mut carrier = Self::from_status(error.status);
        carrier.set_data(error);
        carrier
    }
}

impl ApiResponse for ApiError {
    /// Returns no responses, because [`operation`](crate::operation) lists the errors of each operation.
    fn meta() -> MetaResponses {
        MetaResponses { responses: Vec::new() }
    }

    fn register(_: &mut Registry) {}
}

/// Returns one to three seconds at random, so that callers refused together do not retry together.
fn some_seconds() -> i64 {
    use std::hash::BuildHasher as _;
    1 + i64::try_from(std::hash::RandomState::new().hash_one(()) % 3).unwrap_or(0)
}

impl From<StoreError> for ApiError {
    fn from(failure: StoreError) -> Self {
        let cause = error_chain(&failure);
        match failure {
            StoreError::Unavailable { .. } => {
                Self::new(Code::ServiceUnavailable, "a required store is unavailable; no change was made")
                    .with_retry_after(1)
                    .caused_by(&cause)
            }
            StoreError::InDoubt { .. } => Self::new(
                Code::ServiceUnavailable,
                "a store did not confirm the change, which may have been made; read before you retry",
            )
            .with_retry_after(1)
            .caused_by(&cause),
            StoreError::Inconsistent { .. } => Self::internal(&cause),
        }
    }
}

impl From<HasherError> for ApiError {
    fn from(failure: HasherError) -> Self {
        match failure {
            HasherError::Overloaded => Self::new(
                Code::ServiceUnavailable,
                "the server is overloaded; no change was made; retry later",
            )
            .with_retry_after(some_seconds()),
            HasherError::Broken(_) => Self::internal(&error_chain(&failure)),
        }
    }
}

/// Creates the error for an exceeded rate limit. The headers say when to retry.
pub fn rate_limited() -> ApiError {
    ApiError::new(Code::RateLimitExceeded, "too many requests; retry after the seconds in Retry-After")
}

/// OAuth's error code for a temporary failure.
pub const TEMPORARILY_UNAVAILABLE: &str = "temporarily_unavailable";

impl ApiError {
    /// Converts the error for a client that authenticated itself: with OAuth's `error`, and without a challenge for
    /// tokens.
    pub fn for_client(self) -> Self {
        let error = match &self.body {
            ErrorBody::Api { code: Code::Forbidden, .. } => "insufficient_scope",
            ErrorBody::Api { code: Code::RateLimitExceeded, .. } => TEMPORARILY_UNAVAILABLE,
            _ => "server_error",
        };
        Self { challenge: None, ..self.into_oauth().with_oauth_error(error) }
    }

    /// Converts temporary failures and form errors to OAuth's format; returns other errors unchanged.
    pub fn into_oauth(self) -> Self {
        let oauth = |error, description| ErrorBody::OAuth { error, description };
        let body = match self.body {
            ErrorBody::Api { code: Code::ServiceUnavailable, message, .. } => {
                oauth(TEMPORARILY_UNAVAILABLE, message)
            }
            ErrorBody::Api { code: Code::ValidationError, message, .. } => oauth("invalid_request", message),
            body => body,
        };
        Self { body, ..self }
    }
}
