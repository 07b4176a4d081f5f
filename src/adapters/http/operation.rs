//! Errors that an operation may return, and an example request that works.
//!
//! Each file of an entity ends with the table of its operations, from which the OpenAPI document is completed. A test
//! calls the service and fails on a response that is not listed.

use poem_openapi::Tags;
use serde_json::Value;

use super::error::Code;

/// Groups of operations in the OpenAPI document
#[derive(Tags)]
pub enum Tag {
    /// OAuth clients
    Agents,
    /// Client secrets and public keys that agents authenticate with
    Credentials,
    /// Issuance, introspection and revocation of access tokens (RFC 6749, 7009, 7662, 9068)
    Tokens,
    /// Audit log
    Audit,
    /// Usage and limits
    Usage,
    /// Tenants
    Organizations,
    /// Third parties whose JWTs authenticate agents that have no secret
    Issuers,
    /// Discovery metadata for clients and resource servers
    Discovery,
    /// Liveness and readiness
    Health,
}

/// An operation of the OpenAPI document.
pub struct Operation {
    /// The `operationId`.
    pub id: &'static str,
    /// Errors in this API's format, in addition to [`ANY`].
    pub errors: &'static [&'static [Code]],
    /// Errors in OAuth's format, by status.
    pub oauth_errors: &'static [(u16, &'static str)],
    /// Example body that works.
    pub example: Option<fn() -> Value>,
    /// Whether the operation can succeed.
    pub succeeds: bool,
}

/// Errors that every operation may return.
pub const ANY: [Code; 2] = [Code::InternalServerError, Code::ServiceUnavailable];

/// Errors of client authentication and of the form, in OAuth's format.
pub const CLIENT_ERRORS: [(u16, &str); 3] = [
    (400, "invalid_request, unauthorized_client"),
    (401, "invalid_client"),
    (503, "temporarily_unavailable"),
];

/// Errors of bearer token authentication.
pub const BEARER: &[Code] = &[Code::Unauthorized, Code::Forbidden, Code::RateLimitExceeded];

/// Errors of a JSON body.
pub const BODY: &[Code] = &[Code::ValidationError, Code::PayloadTooLarge, Code::UnsupportedMediaType];

/// Returns an operation that can succeed, with these errors.
pub const fn operation(id: &'static str, errors: &'static [&'static [Code]]) -> Operation {
    Operation { id, errors, oauth_errors: &[], example: None, succeeds: true }
}
