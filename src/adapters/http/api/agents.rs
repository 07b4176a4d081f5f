//! `/api/v1/agents`.

use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, OpenApi};
use serde_json::json;

use super::actors::{Actors, NO_ACTORS};
use super::agent_body::{AgentBody, AgentPage};
use super::pagination::{DEFAULT_LIMIT, FIRST_PAGE, PageLimit, PageNumber, page_of};
use crate::error::{ApiError, Code, FieldError};
use crate::extract::context::Ctx;
use crate::extract::wire::{NoContent, PathId, WireEnum};
use crate::extract::{Input, JsonBody, Query, input};
use crate::json::Json;
use crate::oauth::authorization::{Bearer, Scope};
use crate::operation::{BEARER, BODY, Operation, Tag, operation};
use app::agents::AgentsError;
use domain::agent::{AgentChange, AgentFilter, AgentStatus, AgentType, DeploymentEnv, Email, Owner, Version};
use domain::id::{AgentId, OrganizationId};
use domain::managed_by::ManagedBy;
use domain::page::PageRequest;
use domain::proof::ProofRequirement;
use domain::resource_indicator::ResourceIndicator;
use domain::scope::Scopes;

/// The operations on agents.
pub struct AgentsApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Agents")]
impl AgentsApi {
    /// Register an agent
    ///
    /// The returned `agentId` is permanent and is the agent's OAuth `client_id`. Create a credential for it next.
    /// Management scopes among its capabilities must also be scopes of the calling token.
    #[oai(path = "/agents", method = "post", operation_id = "registerAgent")]
    async fn register(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_WRITE")] caller: Bearer,
        body: JsonBody<CreateAgentRequest>,
    ) -> Result<RegisterResponse, ApiError> {
        let agent = ctx.app.agents.register(&caller.0, body.0).await?;
        let location = format!("/api/v1/agents/{}", agent.id);
        Ok(RegisterResponse::Created(Json((&agent).into()), location))
    }

    /// List agents
    ///
    /// Newest first. With `admin:orgs`, the list covers all organizations, or only `organizationId` if that is given.
    #[oai(path = "/agents", method = "get", operation_id = "listAgents")]
    async fn list(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_READ")] caller: Bearer,
        query: Query<AgentsQuery>,
    ) -> Result<Json<AgentPage>, ApiError> {
        let AgentsRequest { organization, filter, page } = query.0;
        let listing = ctx.app.agents.list(&caller.0, organization, &filter, page).await?;
        Ok(Json(AgentPage::of(&listing, page)))
    }

    /// Get an agent
    ///
    /// Decommissioned agents are returned too.
    #[oai(path = "/agents/:agentId", method = "get", operation_id = "getAgent")]
    async fn read(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_READ")] caller: Bearer,
        #[oai(name = "agentId")] agent_id: Path<PathId<AgentId>>,
    ) -> Result<Json<AgentBody>, ApiError> {
        let agent = ctx.app.agents.find(&caller.0, agent_id.0.0).await?;
        Ok(Json((&*agent).into()))
    }

    /// Update an agent
    ///
    /// Each field in the request is replaced as a whole. Suspending (`"status": "suspended"`) permanently revokes
    /// the agent's existing tokens, on every instance.
    #[oai(path = "/agents/:agentId", method = "patch", operation_id = "updateAgent")]
    async fn change(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_WRITE")] caller: Bearer,
        #[oai(name = "agentId")] agent_id: Path<PathId<AgentId>>,
        body: JsonBody<UpdateAgentRequest>,
    ) -> Result<Json<AgentBody>, ApiError> {
        let agent = ctx.app.agents.change(&caller.0, agent_id.0.0, body.0).await?;
        Ok(Json((&agent).into()))
    }

    /// Decommission an agent
    ///
    /// Final. All tokens and credentials of the agent are revoked. Its record is kept, and its email address stays
    /// reserved.
    #[oai(path = "/agents/:agentId", method = "delete", operation_id = "decommissionAgent")]
    async fn decommission(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_WRITE")] caller: Bearer,
        #[oai(name = "agentId")] agent_id: Path<PathId<AgentId>>,
    ) -> Result<NoContent, ApiError> {
        ctx.app.agents.decommission(&caller.0, agent_id.0.0).await?;
        Ok(NoContent::NoContent)
    }

    /// Revoke all tokens of an agent
    ///
    /// The kill switch: permanently revokes every existing token of the agent, on every instance. The status of the
    /// agent does not change, and tokens that it gets afterwards are valid.
    #[oai(path = "/agents/:agentId/tokens/revoke", method = "post", operation_id = "revokeAgentTokens")]
    async fn revoke_tokens(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_WRITE")] caller: Bearer,
        #[oai(name = "agentId")] agent_id: Path<PathId<AgentId>>,
    ) -> Result<NoContent, ApiError> {
        ctx.app.agents.revoke_tokens(&caller.0, agent_id.0.0).await?;
        Ok(NoContent::NoContent)
    }
}

#[derive(ApiResponse)]
enum RegisterResponse {
    /// Agent registered
    #[oai(status = 201)]
    Created(
        Json<AgentBody>,
        /// Path of the agent
        #[oai(header = "Location")]
        String,
    ),
}

input! {
    /// An agent to register
    CreateAgentRequest {
        /// Organization of the agent, by default the caller's; requires `admin:orgs`
        optional "organizationId" organization: OrganizationId,
        /// Unique within the organization, permanently; stored trimmed, NFC-normalized and lower-cased
        required "email" email: Email,
        required "agentType" agent_type: AgentType,
        /// Version in SemVer 2.0.0 format
        required "version" version: Version,
        /// Scopes that the agent may request, each as `resource:action`
        required "capabilities" capabilities: Scopes,
        /// Team or person responsible for the agent
        required "owner" owner: Owner,
        /// Audience of the agent's tokens if its client requests none: one of the organization's resources
        optional "defaultResource" default_resource: ResourceIndicator,
        /// Agents that may act for this one by token exchange: `["*"]` for every agent of the organization, or agent IDs
        defaulted "mayAct" may_act: Actors<0> = NO_ACTORS,
        /// Whether an actor may pass on the authority that it holds for this agent
        defaulted "redelegation" redelegation: bool = false,
        /// Whether its tokens must be bound to a key by proofs of possession (DPoP, RFC 9449); by default `optional`
        optional "dpop" dpop: ProofRequirement,
        required "deploymentEnv" deployment_env: DeploymentEnv,
        /// Tool or team that manages the agent, such as the name given to `agentidp apply`; never changes
        optional "managedBy" managed_by: ManagedBy,
    }
}

impl Input for CreateAgentRequest {
    type Value = app::agents::NewAgent;

    fn accept(self) -> Self::Value {
        Self::Value {
            organization: self.organization,
            email: self.email,
            agent_type: self.agent_type,
            version: self.version,
            capabilities: self.capabilities,
            owner: self.owner,
            default_resource: self.default_resource,
            may_act: self.may_act.0,
            redelegation: self.redelegation,
            dpop: self.dpop.unwrap_or(ProofRequirement::Optional),
            deployment_env: self.deployment_env,
            managed_by: self.managed_by,
        }
    }
}

input! {
    /// Fields of an agent to replace
    UpdateAgentRequest {
        optional "agentType" agent_type: AgentType,
        optional "version" version: Version,
        optional "capabilities" capabilities: Scopes,
        optional "owner" owner: Owner,
        /// One of the organization's resources; null removes it
        optional "defaultResource" default_resource: Option<ResourceIndicator>,
        /// `["*"]` for every agent of the organization, or agent IDs
        optional "mayAct" may_act: Actors<0>,
        optional "redelegation" redelegation: bool,
        optional "dpop" dpop: ProofRequirement,
        optional "deploymentEnv" deployment_env: DeploymentEnv,
        /// `active` or `suspended`
        optional "status" status: SettableStatus,
    }
}

impl Input for UpdateAgentRequest {
    type Value = AgentChange;

    fn accept(self) -> AgentChange {
        AgentChange {
            agent_type: self.agent_type,
            version: self.version,
            capabilities: self.capabilities,
            owner: self.owner,
            default_resource: self.default_resource,
            may_act: self.may_act.map(|actors| actors.0),
            redelegation: self.redelegation,
            dpop: self.dpop,
            deployment_env: self.deployment_env,
            is_active: self.status.map(|status| status == SettableStatus::Active),
        }
    }
}

impl WireEnum for ProofRequirement {
    const TYPE: &'static str = "ProofRequirement";
    const NAMES: &'static [(&'static str, Self)] = &Self::ALL;
}

/// Status that an update can set. Decommissioning is an operation of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SettableStatus {
    Active,
    Suspended,
}

impl WireEnum for SettableStatus {
    const TYPE: &'static str = "SettableAgentStatus";
    const NAMES: &'static [(&'static str, Self)] =
        &[("active", Self::Active), ("suspended", Self::Suspended)];
}

input! {
    /// Filters of the list of agents
    AgentsQuery {
        /// Page number, from 1
        defaulted "page" page: PageNumber = FIRST_PAGE,
        /// Page size
        defaulted "limit" limit: PageLimit = DEFAULT_LIMIT,
        /// In any spelling of the same address
        optional "email" email: Email,
        optional "owner" owner: Owner,
        optional "agentType" agent_type: AgentType,
        optional "status" status: AgentStatus,
        optional "organizationId" organization: OrganizationId,
    }
}

struct AgentsRequest {
    organization: Option<OrganizationId>,
    filter: AgentFilter,
    page: PageRequest,
}

impl Input for AgentsQuery {
    type Value = AgentsRequest;

    fn accept(self) -> AgentsRequest {
        let Self { page, limit, email, owner, agent_type, status, organization } = self;
        let filter = AgentFilter { email, owner, agent_type, status };
        AgentsRequest { organization, filter, page: page_of(page, limit) }
    }
}

impl From<AgentsError> for ApiError {
    fn from(error: AgentsError) -> Self {
        use AgentsError as E;
        let message = error.to_string();
        match error {
            E::Forbidden(refusal) => refusal.into(),
            E::NoSuchAgent => Self::new(Code::AgentNotFound, message),
            E::NoSuchOrganization => Self::new(Code::OrganizationNotFound, message),
            E::Invalid(faults) => {
                let errors: Vec<_> =
                    faults.iter().map(|(field, what)| FieldError::new(field, *what)).collect();
                Self::validation(&errors)
            }
            E::EmailTaken(existing) => {
                Self::new(Code::AgentAlreadyExists, message).naming("agentId", existing)
            }
            E::LimitReached(limit) => Self::limit_reached(message, limit),
            E::Decommissioned(_) => Self::new(Code::AgentAlreadyDecommissioned, message),
            E::Conflict => Self::new(Code::Conflict, message),
            E::LastAdministrator => Self::new(Code::LastAdministrator, message),
            E::CallerRevoked(revoked) => revoked.into(),
            E::Store(failure) => failure.into(),
        }
    }
}

/// The operations on the wire.
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
            &[
                BEARER,
                BODY,
                &[Code::OrganizationNotFound, Code::AgentAlreadyExists, Code::FreeTierLimitExceeded],
            ],
        )
    },
    operation("listAgents", &[BEARER, &[Code::ValidationError]]),
    operation("getAgent", &[BEARER, &[Code::AgentNotFound]]),
    Operation {
        example: Some(|| json!({ "version": "1.1.0", "owner": "platform-team" })),
        ..operation(
            "updateAgent",
            &[
                BEARER,
                BODY,
                &[
                    Code::AgentNotFound,
                    Code::AgentAlreadyDecommissioned,
                    Code::Conflict,
                    Code::LastAdministrator,
                ],
            ],
        )
    },
    operation(
        "decommissionAgent",
        &[
            BEARER,
            &[Code::AgentNotFound, Code::AgentAlreadyDecommissioned, Code::Conflict, Code::LastAdministrator],
        ],
    ),
    operation(
        "revokeAgentTokens",
        &[
            BEARER,
            &[Code::AgentNotFound, Code::AgentAlreadyDecommissioned, Code::Conflict, Code::PayloadTooLarge],
        ],
    ),
];
