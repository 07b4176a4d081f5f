use agentidp::domain::agent::{Agent, AgentStatus};
use agentidp::domain::audit::AuditAction;
use agentidp::domain::credential::Credential;
use agentidp::domain::inventory::Inventory;
use agentidp::domain::plan::LimitOverrides;
use testing::NOON;

use crate::fixtures::*;

contract!([memory, postgres, sqlite] [
    an_inventory_counts_across_all_organizations,
    a_credential_expires_after_the_beginning_of_the_period_and_not_after_its_end,
]);

async fn inventory(stores: &Stores, from: i64, to: i64) -> Inventory {
    let (after, until) = (NOON.plus_seconds(from), NOON.plus_seconds(to));
    stores.inventory.inventory(after, until).await.expect("an answer")
}

impl Stores {
    /// Stores a credential that expires in this many seconds.
    async fn insert_expiring(&self, agent: &Agent, seconds: Option<i64>) -> Credential {
        let expires_at = seconds.map(|seconds| NOON.plus_seconds(seconds));
        let credential = Credential { expires_at, ..credential(agent.id) };
        let generated = event(AuditAction::CredentialGenerated, credential.id);
        self.credentials.insert(agent, &credential, 10, unchecked(&generated)).await.expect("stored");
        credential
    }
}

async fn an_inventory_counts_across_all_organizations(stores: Stores) {
    for _ in 0..2 {
        let organization = stores.organization(LimitOverrides::default()).await;
        for _ in 0..3 {
            stores.add(agent(organization.id)).await;
        }
        let gone = stores.add(agent(organization.id)).await;
        let after = gone.decommissioned(NOON).expect("not decommissioned");
        stores.agents.update(&gone, &after, unchecked(&[])).await.expect("changed");
    }
    let found = inventory(&stores, 0, 60).await;
    let of =
        |status| found.agents.iter().filter(|(one, _)| *one == status).map(|(_, agents)| agents).sum::<u64>();
    assert_eq!((of(AgentStatus::Active), of(AgentStatus::Decommissioned)), (6, 2));
    assert_eq!((of(AgentStatus::Suspended), found.expiring_credentials), (0, 0));
    assert_eq!(found.pending_messages, 2, "the tokens of both that are decommissioned are revoked");
}

async fn a_credential_expires_after_the_beginning_of_the_period_and_not_after_its_end(stores: Stores) {
    let agent = stores.agent().await;
    for ends in [None, Some(100), Some(200), Some(300)] {
        stores.insert_expiring(&agent, ends).await;
    }
    let revoked = stores.insert_expiring(&agent, Some(200)).await;
    stores.revoke_credential(&agent, &revoked).await.expect("stored");
    for (from, to, count) in [(0, 99, 0), (0, 100, 1), (100, 200, 1), (99, 300, 3), (300, 1_000, 0)] {
        assert_eq!(inventory(&stores, from, to).await.expiring_credentials, count, "{from} {to}");
    }
}
