//! `/api/v1/agents/{agentId}/credentials`, and those of all agents that expire.

use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, OpenApi};
use serde_json::json;

use super::credential_body::{CredentialBody, CredentialPage, CredentialType};
use super::issuer_fields::Subject;
use super::pagination::{DEFAULT_LIMIT, FIRST_PAGE, PageLimit, PageNumber, page_of};
use crate::error::{ApiError, Code, FieldError};
use crate::extract::context::Ctx;
use crate::extract::values::{Future, Number};
use crate::extract::wire::{NoContent, PathId, WireEnum};
use crate::extract::{Input, JsonBody, Query, input};
use crate::json::Json;
use crate::oauth::authorization::{Bearer, Scope};
use crate::operation::{BEARER, BODY, Operation, Tag, operation};
use app::credentials::{CredentialsError, NewCredential, NewCredentialKind, Rotation};
use domain::claim_rules::ClaimRules;
use domain::credential::{CredentialStatus, MAX_GRACE_SECONDS};
use domain::federation::FederatedIdentity;
use domain::id::{AgentId, CredentialId, IssuerId, OrganizationId};
use domain::jwk::PublicKey;
use domain::page::PageRequest;
use domain::time::Timestamp;

/// The operations on credentials.
pub struct CredentialsApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Credentials")]
impl CredentialsApi {
    /// Create a credential for an agent
    ///
    /// The credential is a client secret, which is returned only in this response, the agent's own public key, or an
    /// identity at a trusted issuer, whose JWTs then authenticate the agent. An
    /// agent can have ten credentials that are active and not expired. `credentials:write` is sufficient for the
    /// caller's own credentials.
    #[oai(path = "/agents/:agentId/credentials", method = "post", operation_id = "createCredential")]
    async fn generate(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_WRITE")] caller: Bearer,
        #[oai(name = "agentId")] agent_id: Path<PathId<AgentId>>,
        body: JsonBody<CreateCredentialRequest>,
    ) -> Result<GenerateResponse, ApiError> {
        let made = ctx.app.credentials.generate(&caller.0, agent_id.0.0, body.0).await?;
        Ok(GenerateResponse::Created(Json(made.into())))
    }

    /// List an agent's credentials
    ///
    /// Newest first. Secrets and hashes are never returned.
    #[oai(path = "/agents/:agentId/credentials", method = "get", operation_id = "listCredentials")]
    async fn list(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_READ")] caller: Bearer,
        #[oai(name = "agentId")] agent_id: Path<PathId<AgentId>>,
        query: Query<CredentialsQuery>,
    ) -> Result<Json<CredentialPage>, ApiError> {
        let (status, page) = query.0;
        let listing = ctx.app.credentials.list(&caller.0, agent_id.0.0, status, page).await?;
        Ok(Json(CredentialPage::of(&listing, page)))
    }

    /// List credentials that expire
    ///
    /// Of all agents, those that expire first before the others. Expired and revoked ones are not among them. With
    /// `admin:orgs`, the list covers all organizations, or only `organizationId` if that is given.
    #[oai(path = "/credentials", method = "get", operation_id = "listExpiringCredentials")]
    async fn expiring(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_READ")] caller: Bearer,
        query: Query<ExpiringQuery>,
    ) -> Result<Json<CredentialPage>, ApiError> {
        let (organization, until, page) = query.0;
        let listing = ctx.app.credentials.expiring(&caller.0, organization, until, page).await?;
        Ok(Json(CredentialPage::of(&listing, page)))
    }

    /// Rotate a client secret
    ///
    /// Replaces the secret under the same credential ID. The old secret stops working at once, or after
    /// `graceSeconds`. Of two concurrent rotations, only one succeeds.
    #[oai(
        path = "/agents/:agentId/credentials/:credentialId/rotate",
        method = "post",
        operation_id = "rotateCredential"
    )]
    async fn rotate(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_WRITE")] caller: Bearer,
        #[oai(name = "agentId")] agent_id: Path<PathId<AgentId>>,
        #[oai(name = "credentialId")] credential_id: Path<PathId<CredentialId>>,
        body: JsonBody<RotateCredentialRequest>,
    ) -> Result<Json<CredentialBody>, ApiError> {
        let agent = agent_id.0.0;
        let credential = credential_id.0.0;
        let made = ctx.app.credentials.rotate(&caller.0, agent, credential, body.0).await?;
        Ok(Json(made.into()))
    }

    /// Revoke a credential
    ///
    /// The credential can no longer authenticate. Tokens already issued stay valid; revoke the agent's tokens to end
    /// them.
    #[oai(
        path = "/agents/:agentId/credentials/:credentialId",
        method = "delete",
        operation_id = "revokeCredential"
    )]
    async fn revoke(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_WRITE")] caller: Bearer,
        #[oai(name = "agentId")] agent_id: Path<PathId<AgentId>>,
        #[oai(name = "credentialId")] credential_id: Path<PathId<CredentialId>>,
    ) -> Result<NoContent, ApiError> {
        let agent = agent_id.0.0;
        let credential = credential_id.0.0;
        ctx.app.credentials.revoke(&caller.0, agent, credential).await?;
        Ok(NoContent::NoContent)
    }
}

#[derive(ApiResponse)]
enum GenerateResponse {
    /// Credential created; a client secret is returned only in this response
    #[oai(status = 201)]
    Created(Json<CredentialBody>),
}

input! {
    /// A credential to create
    CreateCredentialRequest {
        /// Defaults to `client_secret`
        optional "type" kind: CredentialType,
        /// Public key of the agent, for `"type": "public_key"`
        optional "publicKey" public_key: PublicKey,
        /// Trusted issuer of the agent's organization, for `"type": "federated"`
        optional "issuerId" issuer: IssuerId,
        /// The exact `sub` of the issuer's JWTs, for `"type": "federated"`; required unless the issuer has
        /// `subjectOptional` and `claims` is given
        optional "subject" subject: Subject,
        /// Claims that the issuer's JWTs must have, for `"type": "federated"`: names, or JSON Pointers (RFC 6901), each
        /// with a value or a list of which one must match
        optional "claims" claims: ClaimRules,
        /// When the credential expires; no expiry if omitted
        optional "expiresAt" expires_at: Future,
    }
    check fields {
        if let Some(kind) = kind {
            let kind = kind.unwrap_or(CredentialType::ClientSecret);
            let sent = [
                ("publicKey", CredentialType::PublicKey, matches!(public_key, Some(Some(_)))),
                ("issuerId", CredentialType::Federated, matches!(issuer, Some(Some(_)))),
                ("subject", CredentialType::Federated, matches!(subject, Some(Some(_)))),
                ("claims", CredentialType::Federated, matches!(claims, Some(Some(_)))),
            ];
            for (name, only, _) in sent.iter().filter(|(_, only, is_there)| *is_there && *only != kind) {
                fields.field_error(name, format!("goes with \"type\": \"{}\" only", only.name()));
            }
            if kind == CredentialType::PublicKey && matches!(public_key, Some(None)) {
                fields.field_error("publicKey", "is missing");
            }
            if kind == CredentialType::Federated && matches!(issuer, Some(None)) {
                fields.field_error("issuerId", "is missing");
            }
            if kind == CredentialType::Federated && matches!((&subject, &claims), (Some(None), Some(None))) {
                fields.field_error("subject", "is missing");
            }
        }
    }
}

impl Input for CreateCredentialRequest {
    type Value = NewCredential;

    fn accept(self) -> NewCredential {
        // Key and issuer are there, because their types ask for them.
        let kind = match (self.kind, self.public_key, self.issuer) {
            (Some(CredentialType::PublicKey), Some(key), _) => NewCredentialKind::Key(key),
            (Some(CredentialType::Federated), _, Some(issuer)) => {
                NewCredentialKind::Federated(FederatedIdentity {
                    issuer,
                    subject: self.subject.map(|subject| subject.0),
                    claims: self.claims.unwrap_or_default(),
                })
            }
            _ => NewCredentialKind::Secret,
        };
        NewCredential { kind, expires_at: self.expires_at.map(|at| at.0) }
    }
}

input! {
    /// How to rotate a client secret
    RotateCredentialRequest {
        /// When the new secret expires; if omitted, the expiry of the credential does not change
        optional "expiresAt" expires_at: Future,
        /// Seconds for which the old secret keeps working
        defaulted "graceSeconds" grace_seconds: Number<0, MAX_GRACE_SECONDS> = 0,
        /// Whether to revoke all tokens of the agent too
        defaulted "revokeTokens" revoke_tokens: bool = false,
    }
}

impl Input for RotateCredentialRequest {
    type Value = Rotation;

    fn accept(self) -> Rotation {
        Rotation {
            expires_at: self.expires_at.map(|at| at.0),
            grace_seconds: self.grace_seconds.0,
            revoke_tokens: self.revoke_tokens,
        }
    }
}

input! {
    /// Filters of the list of credentials
    CredentialsQuery {
        /// Page number, from 1
        defaulted "page" page: PageNumber = FIRST_PAGE,
        /// Page size
        defaulted "limit" limit: PageLimit = DEFAULT_LIMIT,
        optional "status" status: CredentialStatus,
    }
}

impl Input for CredentialsQuery {
    type Value = (Option<CredentialStatus>, PageRequest);

    fn accept(self) -> Self::Value {
        (self.status, page_of(self.page, self.limit))
    }
}

input! {
    /// Filters of the list of credentials that expire
    ExpiringQuery {
        /// Page number, from 1
        defaulted "page" page: PageNumber = FIRST_PAGE,
        /// Page size
        defaulted "limit" limit: PageLimit = DEFAULT_LIMIT,
        optional "organizationId" organization: OrganizationId,
        /// End of the period, which is part of it, by default in 30 days and at most in 366
        optional "expiresBefore" until: Timestamp,
    }
}

impl Input for ExpiringQuery {
    type Value = (Option<OrganizationId>, Option<Timestamp>, PageRequest);

    fn accept(self) -> Self::Value {
        (self.organization, self.until, page_of(self.page, self.limit))
    }
}

impl From<CredentialsError> for ApiError {
    fn from(error: CredentialsError) -> Self {
        use CredentialsError as E;
        let message = error.to_string();
        match error {
            E::Forbidden(refusal) => refusal.into(),
            E::NoSuchAgent => Self::new(Code::AgentNotFound, message),
            E::NoSuchCredential => Self::new(Code::CredentialNotFound, message),
            E::Decommissioned(_) => Self::new(Code::AgentAlreadyDecommissioned, message),
            E::NotActive => Self::new(Code::AgentNotActive, message),
            E::LimitReached(_) | E::TooManyUnrevoked => Self::new(Code::CredentialLimitReached, message),
            E::NoSuchIssuer => Self::validation(&[FieldError::new(
                "issuerId",
                "must be a trusted issuer of the agent's organization",
            )]),
            E::SubjectMissing => Self::validation(&[FieldError::new(
                "subject",
                "is missing; only an issuer with subjectOptional does without, and then needs claims",
            )]),
            E::PeriodTooLong => {
                Self::validation(&[FieldError::new("expiresBefore", "must be at most 366 days ahead")])
            }
            E::UnfitKey(what) => Self::validation(&[FieldError::new("publicKey", what)]),
            E::Expired => Self::validation(&[FieldError::new(
                "expiresAt",
                "is required because the credential has expired",
            )]),
            E::NotASecret(_) | E::AgentChanged | E::Conflict => Self::new(Code::Conflict, message),
            E::AlreadyRevoked(_) => Self::new(Code::CredentialAlreadyRevoked, message),
            E::LastAdministrator => Self::new(Code::LastAdministrator, message),
            E::Hasher(failure) => failure.into(),
            E::CallerRevoked(revoked) => revoked.into(),
            E::Store(failure) => failure.into(),
        }
    }
}

/// The operations on the wire.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        example: Some(|| json!({})),
        ..operation(
            "createCredential",
            &[
                BEARER,
                BODY,
                &[
                    Code::AgentNotFound,
                    Code::AgentNotActive,
                    Code::AgentAlreadyDecommissioned,
                    Code::CredentialLimitReached,
                    Code::Conflict,
                ],
            ],
        )
    },
    operation("listExpiringCredentials", &[BEARER, &[Code::ValidationError]]),
    operation("listCredentials", &[BEARER, &[Code::ValidationError, Code::AgentNotFound]]),
    Operation {
        example: Some(|| json!({ "graceSeconds": 3600 })),
        ..operation(
            "rotateCredential",
            &[
                BEARER,
                BODY,
                &[
                    Code::AgentNotFound,
                    Code::CredentialNotFound,
                    Code::AgentAlreadyDecommissioned,
                    Code::CredentialAlreadyRevoked,
                    Code::CredentialLimitReached,
                    Code::Conflict,
                ],
            ],
        )
    },
    operation(
        "revokeCredential",
        &[
            BEARER,
            &[
                Code::AgentNotFound,
                Code::CredentialNotFound,
                Code::AgentAlreadyDecommissioned,
                Code::CredentialAlreadyRevoked,
                Code::Conflict,
                Code::LastAdministrator,
            ],
        ],
    ),
];
