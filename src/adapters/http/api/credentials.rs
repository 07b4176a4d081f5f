//! `/api/v1/agents/{agentId}/credentials`.

use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::json;
use uuid::Uuid;

use super::pagination::{DEFAULT_LIMIT, FIRST_PAGE, PageLimit, PageNumber, page_of};
use crate::error::{ApiError, Code, FieldError};
use crate::extract::context::Ctx;
use crate::extract::values::{Future, Number};
use crate::extract::wire::{EnumName, Instant, NoContent, PathId, WireEnum};
use crate::extract::{Input, JsonBody, Query, input};
use crate::json::Json;
use crate::oauth::authorization::{Bearer, Scope};
use crate::oauth::jwk::Jwk;
use crate::operation::{BEARER, BODY, Operation, Tag, operation};
use app::credentials::{CredentialsError, MadeCredential, NewCredential, NewCredentialKind, Rotation};
use domain::credential::{Credential, CredentialKind, CredentialStatus, MAX_GRACE_SECONDS};
use domain::id::{AgentId, CredentialId};
use domain::jwk::PublicKey;
use domain::page::PageRequest;

/// The operations on credentials.
pub struct CredentialsApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Credentials")]
impl CredentialsApi {
    /// Create a credential for an agent
    ///
    /// The credential is a client secret, which is returned only in this response, or the agent's own public key. An
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
        Ok(Json(CredentialPage {
            data: listing.items.iter().map(|credential| CredentialBody::of(credential, None)).collect(),
            total: listing.total,
            page: page.number,
            limit: page.limit,
        }))
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

/// Kind of a credential on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CredentialType {
    ClientSecret,
    PublicKey,
}

impl WireEnum for CredentialType {
    const TYPE: &'static str = "CredentialType";
    const NAMES: &'static [(&'static str, Self)] =
        &[("client_secret", Self::ClientSecret), ("public_key", Self::PublicKey)];
}

input! {
    /// A credential to create
    CreateCredentialRequest {
        /// Defaults to `client_secret`
        optional "type" kind: CredentialType,
        /// Public key of the agent, for `"type": "public_key"`
        optional "publicKey" public_key: PublicKey,
        /// When the credential expires; no expiry if omitted
        optional "expiresAt" expires_at: Future,
    }
    check fields {
        if let (Some(kind), Some(key)) = (kind, &public_key) {
            match (kind.unwrap_or(CredentialType::ClientSecret), key) {
                (CredentialType::ClientSecret, Some(_)) => {
                    fields.field_error("publicKey", "goes with \"type\": \"public_key\" only");
                }
                (CredentialType::PublicKey, None) => fields.field_error("publicKey", "is missing"),
                _ => {}
            }
        }
    }
}

impl Input for CreateCredentialRequest {
    type Value = NewCredential;

    fn accept(self) -> NewCredential {
        let kind = match self.kind {
            // The key is there, because its type is asked for.
            Some(CredentialType::PublicKey) => {
                self.public_key.map_or(NewCredentialKind::Secret, NewCredentialKind::Key)
            }
            Some(CredentialType::ClientSecret) | None => NewCredentialKind::Secret,
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

/// A credential
#[derive(Object)]
#[oai(rename = "Credential", rename_all = "camelCase", skip_serializing_if_is_none)]
struct CredentialBody {
    credential_id: Uuid,
    /// ID of the agent
    client_id: Uuid,
    #[oai(rename = "type")]
    kind: EnumName<CredentialType>,
    status: EnumName<CredentialStatus>,
    created_at: Instant,
    expires_at: Option<Instant>,
    revoked_at: Option<Instant>,
    /// Time of the last use, to the minute
    last_used_at: Option<Instant>,
    public_key: Option<Jwk>,
    /// Only in the response that created it
    client_secret: Option<String>,
}

impl CredentialBody {
    fn of(credential: &Credential, client_secret: Option<String>) -> Self {
        let (kind, public_key) = match &credential.kind {
            CredentialKind::Secret { .. } => (CredentialType::ClientSecret, None),
            CredentialKind::Key(key) => (CredentialType::PublicKey, Some(Jwk::of(key, None))),
        };
        Self {
            credential_id: credential.id.0,
            client_id: credential.agent.0,
            kind: EnumName(kind),
            status: EnumName(credential.status()),
            created_at: Instant(credential.created_at),
            expires_at: credential.expires_at.map(Instant),
            revoked_at: credential.revoked_at.map(Instant),
            last_used_at: credential.last_used_at.map(Instant),
            public_key,
            client_secret,
        }
    }
}

impl From<MadeCredential> for CredentialBody {
    fn from(made: MadeCredential) -> Self {
        Self::of(&made.credential, made.secret.map(|secret| secret.expose().to_owned()))
    }
}

/// A page of credentials
#[derive(Object)]
struct CredentialPage {
    data: Vec<CredentialBody>,
    /// Number of credentials on all pages
    total: u64,
    page: u32,
    limit: u32,
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
