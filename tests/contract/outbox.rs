use agentidp::domain::agent::AgentChange;
use agentidp::domain::audit::AuditAction;
use agentidp::domain::id::TokenId;
use agentidp::domain::organization::{OrganizationChange, OrganizationStatus};
use agentidp::domain::plan::LimitOverrides;
use agentidp::domain::time::CLOCK_SLACK_SECONDS;
use agentidp::domain::token::{RevocationNotice, RevocationTarget};
use agentidp::ports::outbox::{Message, Pending, Topic};
use agentidp::ports::token_store::Revocation;
use testing::NOON;

use crate::fixtures::*;

contract!([memory, postgres, sqlite] [
    every_kill_puts_a_notice_in,
    what_kills_nothing_puts_none_in,
    a_notice_stays_until_it_is_taken_out_or_past,
]);

async fn notices(stores: &Stores) -> Vec<RevocationNotice> {
    let pending = stores.outbox.pending(Topic::Revocations, 100).await.expect("an answer");
    assert!(pending.is_sorted_by_key(|pending| pending.sequence.0), "in order");
    pending.into_iter().map(|Pending { message: Message::Revocation(notice), .. }| notice).collect()
}

async fn every_kill_puts_a_notice_in(stores: Stores) {
    let agent = stores.agent().await;
    let killed = agent.with_tokens_revoked(NOON).expect("not decommissioned");
    stores.agents.update(&agent, &killed, unchecked(&[])).await.expect("changed");
    let suspension = AgentChange { is_active: Some(false), ..AgentChange::default() };
    let suspended = killed.changed(suspension, NOON).expect("not decommissioned");
    stores.agents.update(&killed, &suspended, unchecked(&[])).await.expect("changed");
    let before = stores.organization(LimitOverrides::default()).await;
    let status = Some(OrganizationStatus::Suspended);
    let after = before.changed(OrganizationChange { status, ..OrganizationChange::default() }, NOON);
    stores.organizations.update(&before, &after, unchecked(&[])).await.expect("changed");
    let token = TokenId(id());
    let revocation = Revocation { token, organization: before.id, until: NOON.plus_seconds(60) };
    for _ in 0..2 {
        stores.tokens.revoke(&revocation, &event(AuditAction::TokenRevoked, token)).await.expect("revoked");
    }
    let expected = [
        RevocationNotice::of_agent(&killed, NOON),
        RevocationNotice::of_agent(&suspended, NOON),
        RevocationNotice::of_organization(&after, NOON),
        RevocationNotice { target: RevocationTarget::Token(token), until: NOON.plus_seconds(60) },
    ];
    assert_eq!(notices(&stores).await, expected, "in the order in which they were made");
}

async fn what_kills_nothing_puts_none_in(stores: Stores) {
    let agent = stores.agent().await;
    let killed = agent.with_tokens_revoked(NOON).expect("not decommissioned");
    stores.agents.update(&agent, &killed, unchecked(&[])).await.expect("changed");
    let taken_out = stores.outbox.pending(Topic::Revocations, 100).await.expect("an answer")[0].sequence;
    stores.outbox.remove(&[taken_out]).await.expect("removed");
    stores.agents.update(&agent, &killed, unchecked(&[])).await.expect_err("a lost race");
    let change = AgentChange { version: Some(agent.version.clone()), ..AgentChange::default() };
    let same = killed.changed(change, NOON).expect("not decommissioned");
    stores.agents.update(&killed, &same, unchecked(&[])).await.expect("changed");
    assert_eq!(notices(&stores).await, []);
}

async fn a_notice_stays_until_it_is_taken_out_or_past(stores: Stores) {
    let agent = stores.agent().await;
    let killed = agent.with_tokens_revoked(NOON).expect("not decommissioned");
    stores.agents.update(&agent, &killed, unchecked(&[])).await.expect("changed");
    let notice = RevocationNotice::of_agent(&killed, NOON);
    assert_eq!((notices(&stores).await, notices(&stores).await), (vec![notice], vec![notice]));
    assert!(
        stores.outbox.pending(Topic::Revocations, 0).await.expect("an answer").is_empty(),
        "no more than was asked for"
    );
    let late = notice.until.plus_seconds(CLOCK_SLACK_SECONDS);
    stores.retention.purge(late.plus_seconds(-1)).await.expect("purged");
    assert_eq!(notices(&stores).await, [notice], "another instance's clock may be late");
    stores.retention.purge(late).await.expect("purged");
    assert_eq!(notices(&stores).await, []);
}
