//! What each operation may answer beside its success, and a request that works when it is pasted.
//!
//! The document is completed from this table; a test drives the service and fails on an answer that does
//! not stand here.

use poem_openapi::Tags;
use serde_json::{Value, json};

use super::error::Code;

/// What belongs together in the document
#[derive(Tags)]
pub enum Tag {
    /// Pieces of software with an identity
    Agents,
    /// How agents prove who they are
    Credentials,
    /// What agents show to others (RFC 6749, 7009, 7662, 9068)
    Tokens,
    /// What happened
    Audit,
    /// What was used of what is allowed
    Usage,
    /// Tenants
    Organizations,
    /// What clients and resource servers need to know to begin
    Discovery,
    /// For probes
    Health,
}

/// One operation of the document.
pub struct Operation {
    /// Its `operationId`.
    pub id: &'static str,
    /// Errors in this API's form, beside those that all operations have.
    pub errors: &'static [Code],
    /// Errors in OAuth's form, by status.
    pub oauth_errors: &'static [(u16, &'static str)],
    /// A body that works.
    pub example: Option<fn() -> Value>,
    /// Whether it can succeed at all.
    pub succeeds: bool,
}

/// Any operation, whatever it does.
pub const ANY: [Code; 2] = [Code::InternalServerError, Code::ServiceUnavailable];

use Code::{
    AgentAlreadyDecommissioned, AgentAlreadyExists, AgentNotActive, AgentNotFound, AuditEventNotFound,
    Conflict, CredentialAlreadyRevoked, CredentialLimitReached, CredentialNotFound, Forbidden,
    FreeTierLimitExceeded, LastAdministrator, OrganizationAlreadyExists, OrganizationNotFound,
    PayloadTooLarge, RateLimitExceeded, Unauthorized, UnsupportedMediaType, ValidationError,
};

/// What stands before the form of client authentication.
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

/// Every operation of the document.
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
