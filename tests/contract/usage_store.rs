use agentidp::domain::plan::LimitOverrides;
use agentidp::domain::usage::{MonthlyUsage, Usage};
use agentidp::ports::usage_store::UsageQuery;
use testing::NOON;

use crate::fixtures::*;

contract!([memory, postgres, sqlite] [
    usage_counts_the_organizations_own_agents_and_tokens_busiest_first,
    monthly_usage_is_that_of_each_client_and_month,
]);

async fn usage_counts_the_organizations_own_agents_and_tokens_busiest_first(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await;
    let mut clients = Vec::new();
    for tokens in [1, 3, 2] {
        let agent = stores.add(agent(organization.id)).await;
        let credential = stores.credential(&agent).await;
        for _ in 0..tokens {
            stores.tokens.issue(issue(&agent, &credential)).await.expect("allowed");
        }
        clients.push((agent.id, tokens));
    }
    stores.agent().await;
    let gone = stores.add(agent(organization.id)).await;
    let after = gone.decommissioned(NOON).expect("not decommissioned");
    stores.agents.update(&gone, &after, unchecked(&[])).await.expect("changed");

    let query = UsageQuery { organization: organization.id, month: NOON.month(), client: None, clients: 2 };
    let usage = stores.usage.usage(&query).await.expect("an answer");
    assert_eq!(usage, Usage { agents: 3, tokens: 6, by_client: vec![clients[1], clients[2]] });

    let one = UsageQuery { client: Some(clients[0].0), ..query };
    assert_eq!(stores.usage.usage(&one).await.expect("an answer").by_client, [clients[0]]);
    let none_yet = UsageQuery { client: Some(gone.id), ..query };
    assert_eq!(stores.usage.usage(&none_yet).await.expect("an answer").by_client, [(gone.id, 0)]);
    let next_month = UsageQuery { month: NOON.plus_seconds(20 * 86_400).month(), ..query };
    assert_eq!(stores.usage.usage(&next_month).await.expect("an answer").tokens, 0);
}

async fn monthly_usage_is_that_of_each_client_and_month(stores: Stores) {
    let (busy, idle) = (stores.agent().await, stores.agent().await);
    let credential = stores.credential(&busy).await;
    for _ in 0..3 {
        stores.tokens.issue(issue(&busy, &credential)).await.expect("allowed");
    }
    let (month, next) = (NOON.month(), NOON.plus_seconds(20 * 86_400).month());
    let clients = [(idle.id, month), (busy.id, next), (busy.id, month)];
    let usage = stores.usage.monthly(&clients).await.expect("an answer");
    assert_eq!(usage, [MonthlyUsage { client: busy.id, month, tokens: 3 }]);
    assert_eq!(stores.usage.monthly(&[]).await.expect("an answer"), []);
}
