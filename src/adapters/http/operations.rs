//! Table of operations: the errors that each may return, and an example request that works.
//!
//! The OpenAPI document is completed from this table. A test calls the service and fails on a response that
//! is not listed here.

use poem_openapi::Tags;
use serde_json::{Value, json};

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
    pub errors: &'static [Code],
    /// Errors in OAuth's format, by status.
    pub oauth_errors: &'static [(u16, &'static str)],
    /// Example body that works.
    pub example: Option<fn() -> Value>,
    /// Whether the operation can succeed.
    pub succeeds: bool,
}

/// Errors that every operation may return.
pub const ANY: [Code; 2] = [Code::InternalServerError, Code::ServiceUnavailable];

use Code::{
    AgentAlreadyDecommissioned, AgentAlreadyExists, AgentNotActive, AgentNotFound, AuditEventNotFound,
    Conflict, CredentialAlreadyRevoked, CredentialLimitReached, CredentialNotFound, Forbidden,
    FreeTierLimitExceeded, LastAdministrator, OrganizationAlreadyExists, OrganizationNotFound,
    PayloadTooLarge, RateLimitExceeded, Unauthorized, UnsupportedMediaType, ValidationError,
};

/// Errors of client authentication and of the form, in OAuth's format.
const CLIENT_ERRORS: [(u16, &str); 3] = [
    (400, "invalid_request, unauthorized_client"),
    (401, "invalid_client"),
    (503, "temporarily_unavailable"),
];

macro_rules! bearer {
    ($($code:ident),* $(,)?) => {
        &[Unauthorized, Forbidden, RateLimitExceeded, $($code),*]
    };
}

macro_rules! bearer_with_body {
    ($($code:ident),* $(,)?) => {
        &[Unauthorized, Forbidden, RateLimitExceeded, ValidationError, PayloadTooLarge, UnsupportedMediaType, $($code),*]
    };
}

const fn operation(id: &'static str, errors: &'static [Code]) -> Operation {
    Operation { id, errors, oauth_errors: &[], example: None, succeeds: true }
}

/// All operations of the OpenAPI document.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        example: Some(|| {
            json!({
                "email": "summarizer-1@agents.example.com",
                "agentType": "summarizer",
                "version": "1.0.0",
                "capabilities": ["documents:read", "summaries:write"],
                "owner": "platform-team",
                "deploymentEnv": "development",
            })
        }),
        ..operation(
            "registerAgent",
            bearer_with_body![OrganizationNotFound, AgentAlreadyExists, FreeTierLimitExceeded],
        )
    },
    operation("listAgents", bearer![ValidationError]),
    operation("getAgent", bearer![AgentNotFound]),
    Operation {
        example: Some(|| json!({ "version": "1.1.0", "owner": "platform-team" })),
        ..operation(
            "updateAgent",
            bearer_with_body![AgentNotFound, AgentAlreadyDecommissioned, Conflict, LastAdministrator],
        )
    },
    operation(
        "decommissionAgent",
        bearer![AgentNotFound, AgentAlreadyDecommissioned, Conflict, LastAdministrator],
    ),
    operation(
        "revokeAgentTokens",
        bearer![AgentNotFound, AgentAlreadyDecommissioned, Conflict, PayloadTooLarge],
    ),
    Operation {
        example: Some(|| json!({})),
        ..operation(
            "createCredential",
            bearer_with_body![
                AgentNotFound,
                AgentNotActive,
                AgentAlreadyDecommissioned,
                CredentialLimitReached,
                Conflict
            ],
        )
    },
    operation("listCredentials", bearer![ValidationError, AgentNotFound]),
    Operation {
        example: Some(|| json!({ "graceSeconds": 3600 })),
        ..operation(
            "rotateCredential",
            bearer_with_body![
                AgentNotFound,
                CredentialNotFound,
                AgentAlreadyDecommissioned,
                CredentialAlreadyRevoked,
                CredentialLimitReached,
                Conflict
            ],
        )
    },
    operation(
        "revokeCredential",
        bearer![
            AgentNotFound,
            CredentialNotFound,
            AgentAlreadyDecommissioned,
            CredentialAlreadyRevoked,
            Conflict,
            LastAdministrator
        ],
    ),
    Operation {
        oauth_errors: &[
            (
                400,
                "invalid_request, unauthorized_client, unsupported_grant_type, invalid_scope, invalid_target",
            ),
            (401, "invalid_client"),
            (503, "temporarily_unavailable"),
        ],
        example: Some(|| json!({ "grant_type": "client_credentials" })),
        ..operation(
            "issueToken",
            &[FreeTierLimitExceeded, RateLimitExceeded, PayloadTooLarge, ValidationError],
        )
    },
    Operation {
        oauth_errors: &[(400, "unsupported_response_type")],
        succeeds: false,
        ..operation("authorize", &[])
    },
    Operation {
        oauth_errors: &CLIENT_ERRORS,
        example: Some(|| json!({ "token": "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl" })),
        ..operation("introspectToken", bearer![PayloadTooLarge, ValidationError])
    },
    Operation {
        oauth_errors: &CLIENT_ERRORS,
        example: Some(|| json!({ "token": "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl" })),
        ..operation("revokeToken", bearer![PayloadTooLarge, ValidationError])
    },
    operation("listAuditEvents", bearer![ValidationError]),
    operation("getAuditEvent", bearer![AuditEventNotFound]),
    operation("getUsage", bearer![ValidationError, AgentNotFound]),
    Operation {
        example: Some(|| json!({ "name": "Example", "slug": "example", "plan": "pro" })),
        ..operation("createOrganization", bearer_with_body![OrganizationAlreadyExists])
    },
    operation("listOrganizations", bearer![ValidationError]),
    operation("getOrganization", bearer![OrganizationNotFound]),
    Operation {
        example: Some(|| json!({ "plan": "enterprise", "limits": { "requestsPerMinute": null } })),
        ..operation(
            "updateOrganization",
            bearer_with_body![OrganizationNotFound, Conflict, LastAdministrator],
        )
    },
    operation("getJwks", &[]),
    operation("getServerMetadata", &[]),
    operation("getOpenidConfiguration", &[]),
    operation("getResourceMetadata", &[]),
    operation("getHealth", &[]),
    operation("getReadiness", &[]),
];
