//! `GET /api/v1/usage`.

use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use super::organizations::limit_value;
use crate::error::{ApiError, Code};
use crate::extract::context::Ctx;
use crate::extract::wire::{EnumName, PathId};
use crate::extract::{Input, Query, input};
use crate::json::Json;
use crate::oauth::authorization::{Bearer, Scope};
use crate::operation::{BEARER, Operation, Tag, operation};
use app::usage::{UsageError, UsageReport};
use domain::id::{AgentId, OrganizationId};
use domain::plan::Plan;

/// The usage report.
pub struct UsageApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Usage")]
impl UsageApi {
    /// Get usage and limits of an organization
    ///
    /// Number of agents, and of tokens issued this month in total and by client (the 100 busiest), with the limits.
    #[oai(path = "/usage", method = "get", operation_id = "getUsage")]
    async fn read(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_READ")] caller: Bearer,
        query: Query<UsageQuery>,
    ) -> Result<Json<UsageBody>, ApiError> {
        let (organization, client) = query.0;
        let report = ctx.app.usage.report(&caller.0, organization, client).await?;
        Ok(Json((&report).into()))
    }
}

input! {
    /// Filter of the usage report
    UsageQuery {
        /// Organization of the report; requires `admin:orgs` for any but the caller's own
        optional "organizationId" organization: OrganizationId,
        /// Lists only this client, and reports on its organization
        optional "clientId" client: PathId<AgentId>,
    }
}

impl Input for UsageQuery {
    type Value = (Option<OrganizationId>, Option<AgentId>);

    fn accept(self) -> Self::Value {
        (self.organization, self.client.map(|client| client.0))
    }
}

/// Usage and limits of an organization
#[derive(Object)]
#[oai(rename = "Usage", rename_all = "camelCase")]
struct UsageBody {
    organization_id: Uuid,
    plan: EnumName<Plan>,
    /// `YYYY-MM`, in UTC
    month: String,
    agents: AgentUsage,
    tokens: TokenUsage,
}

/// Number of agents that are not decommissioned
#[derive(Object)]
struct AgentUsage {
    used: u64,
    /// Null if unlimited
    limit: Option<u32>,
}

/// Tokens issued in the month
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct TokenUsage {
    used: u64,
    by_client: Vec<ClientUsage>,
}

/// Tokens issued to one client in the month
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct ClientUsage {
    client_id: Uuid,
    used: u32,
    /// Null if unlimited
    limit: Option<u32>,
}

impl From<&UsageReport> for UsageBody {
    fn from(report: &UsageReport) -> Self {
        let limits = report.organization.limits();
        let line = |(agent, used): &(AgentId, u32)| ClientUsage {
            client_id: agent.0,
            used: *used,
            limit: limit_value(limits.max_tokens_per_month),
        };
        Self {
            organization_id: report.organization.id.0,
            plan: EnumName(report.organization.plan),
            month: report.month.to_string(),
            agents: AgentUsage { used: report.usage.agents, limit: limit_value(limits.max_agents) },
            tokens: TokenUsage {
                used: report.usage.tokens,
                by_client: report.usage.by_client.iter().map(line).collect(),
            },
        }
    }
}

impl From<UsageError> for ApiError {
    fn from(error: UsageError) -> Self {
        use UsageError as E;
        let message = error.to_string();
        match error {
            E::Forbidden(refusal) => refusal.into(),
            E::NoSuchAgent => Self::new(Code::AgentNotFound, message),
            E::NoSuchOrganization => Self::new(Code::OrganizationNotFound, message),
            E::Store(failure) => failure.into(),
        }
    }
}

/// The operations on the wire.
pub const OPERATIONS: &[Operation] = &[operation(
    "getUsage",
    &[BEARER, &[Code::ValidationError, Code::AgentNotFound, Code::OrganizationNotFound]],
)];
