//! The migration that lets administrators manage trusted issuers.

use agentidp::domain::agent::Agent;
use agentidp::domain::audit::{AuditAction, AuditFilter};
use agentidp::domain::plan::LimitOverrides;
use agentidp::domain::scope::Scopes;
use agentidp::domain::tenancy::Tenancy;
use agentidp::ports::audit_log::AuditQuery;
use serde_json::json;
use testing::OWNER;

use crate::fixtures::*;

const MIGRATION: &str = include_str!("../../migrations/0020_issuer_scopes.sql");

/// Agents as an earlier version has left them: their capabilities were not checked by the rules of today.
#[tokio::test]
async fn administrators_get_the_scopes_of_issuers_with_an_event_each_whatever_limit_that_exceeds() {
    let stores = postgres().await;
    let organization = stores.organization(LimitOverrides::default()).await.id;
    let with = |scopes: &str| Agent { capabilities: Scopes::of_token(scopes), ..agent(organization) };
    let full: Vec<String> = (0..63).map(|place| format!("files:{place}")).collect();
    let full = format!("admin:orgs {}", full.join(" "));
    let rows = [
        ("admin:orgs", "admin:orgs issuers:read issuers:write"),
        (&*full, &*format!("{full} issuers:read issuers:write")),
        ("issuers:write admin:orgs", "issuers:write admin:orgs issuers:read"),
        ("agents:write files:read", "agents:write files:read"),
        ("issuers:read", "issuers:read"),
        ("issuers:list", "issuers:list"),
    ];
    let mut before = Vec::new();
    for (capabilities, _) in rows {
        before.push(stores.add(with(capabilities)).await);
    }
    let owner = stores.database().client(OWNER).await;
    for run in 0..2 {
        owner.batch_execute(MIGRATION).await.expect("applied");
        for (before, (had, expected)) in before.iter().zip(rows) {
            let after = stores.agents.find(Tenancy::All, before.id).await.expect("an answer").expect("kept");
            assert_eq!(after.capabilities.as_str(), expected, "run {run}");
            let changes = u64::from(had != expected);
            assert_eq!(after.revision, before.revision + changes, "run {run}: {had}");
            assert_eq!(after.updated_at == before.updated_at, changes == 0);
        }
        let query = AuditQuery {
            within: Tenancy::Only(organization),
            filter: AuditFilter { action: Some(AuditAction::AgentUpdated), ..AuditFilter::default() },
            after: None,
            limit: 10,
            now: testing::NOON,
        };
        let events = stores.audit.list(&query).await.expect("an answer");
        let changed: std::collections::BTreeSet<_> = before[..3].iter().map(|agent| agent.id.0).collect();
        let named = events.iter().filter_map(|event| event.resource).map(|resource| resource.id).collect();
        assert_eq!((events.len(), changed), (3, named), "one event each, run {run}");
        for event in events {
            assert_eq!((event.id.0.get_version_num(), event.actor), (7, None));
            assert_eq!(event.metadata.as_map()["fields"], json!(["capabilities"]));
        }
    }
}
