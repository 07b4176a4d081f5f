//! Tokens that act for other agents and for persons, and the revocations that end them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentidp::domain::agent::{Agent, AgentChange};
use agentidp::domain::audit::{AuditAction, AuditEvent, Metadata};
use agentidp::domain::credential::Credential;
use agentidp::domain::delegation::{Delegation, Person, Subject, digest_of};
use agentidp::domain::id::{AgentId, OrganizationId, PersonId, TokenId};
use agentidp::domain::issuer::{IssuerChange, IssuerStatus, Subjects, TrustedIssuer};
use agentidp::domain::may_act::MayAct;
use agentidp::domain::plan::LimitOverrides;
use agentidp::domain::scope::Scopes;
use agentidp::domain::time::Timestamp;
use agentidp::domain::token::{Claims, RevocationNotice, TokenStatus};
use agentidp::domain::token_record::{TokenRecord, metadata_of};
use agentidp::ports::issuer_store::ChangeIssuerError;
use agentidp::ports::outbox::{Message, Pending, Topic};
use agentidp::ports::token_store::{
    Dependency, IssueError, IssuerDependency, PersonDependency, Revocation, TokenIssue,
};
use agentidp::ports::write::Write;
use testing::NOON;
use tokio::sync::Notify;

use crate::fixtures::*;

contract!([memory, postgres, sqlite, fallback, fallback_postgres] [
    the_status_of_a_token_has_every_agent_of_its_chain,
    the_status_of_a_token_has_its_revoked_ancestors,
    the_status_of_a_token_has_its_person,
    statuses_asked_for_together_are_not_mixed_up,
    nothing_is_exchanged_once_an_ancestor_is_revoked,
    nothing_is_exchanged_once_the_generation_of_the_person_has_risen,
    nothing_is_exchanged_once_an_agent_of_the_chain_has_changed,
    an_issuer_that_an_ancestor_rests_on_counts_by_its_generation_only,
    no_exchanged_token_is_active_after_the_revocation_of_an_ancestor,
    no_exchanged_token_is_active_after_the_revocation_of_the_person,
    no_exchanged_token_is_active_after_the_kill_of_an_agent_of_its_chain,
    nothing_is_exchanged_after_the_answer_to_a_change_of_may_act,
]);

mod issuers_and_events {
    use super::*;

    contract!([memory, postgres, sqlite] [
        a_revocation_raises_the_generation_of_one_person_only,
        the_person_of_an_unknown_issuer_is_not_revoked,
        revocations_of_a_person_at_once_lose_none,
        the_end_of_subjects_is_announced_and_final,
        the_deletion_of_an_issuer_removes_the_generations_of_its_persons,
        an_issuer_is_found_with_the_generation_of_a_person,
        the_tokens_of_a_tree_are_listed_oldest_first,
    ]);
}

/// Returns what a token has from a chain of these agents, which acts for this subject.
fn chain(subject: Subject, agents: &[&Agent], parents: &[TokenId]) -> Delegation {
    let agents = agents.iter().map(|agent| (agent.id, agent.generation)).collect();
    Delegation { subject, actors: Vec::new(), parents: parents.to_vec(), agents }
}

/// Returns the delegation of a token that was exchanged for those of this agent.
fn for_agent(agent: &Agent, parents: &[TokenId]) -> Delegation {
    chain(Subject::Agent(agent.id), &[agent], parents)
}

fn person(issuer: &TrustedIssuer, sub: &str, generation: u64) -> Person {
    Person { issuer: issuer.id, iss: issuer.issuer.as_str().into(), sub: sub.into(), generation }
}

fn exchanged(agent: &Agent, delegation: Delegation) -> Claims {
    Claims { delegation: Some(Box::new(delegation)), ..claims(agent, TokenId(id())) }
}

/// Returns a request to exchange a token, so that it depends on its ancestors only.
fn exchange(agent: &Agent, credential: &Credential, delegation: Delegation) -> TokenIssue {
    let ancestors = delegation.parents.clone();
    let claims = exchanged(agent, delegation);
    let metadata = metadata_of(&claims, credential.id, None);
    let event = event(AuditAction::TokenExchanged, claims.id);
    let event = AuditEvent { actor: Some(agent.id), metadata, ..event };
    TokenIssue { ancestors, event, ..issue(agent, credential) }
}

fn on(agent: &Agent) -> Dependency {
    Dependency { agent: agent.id, revision: agent.revision, changed_at: agent.updated_at }
}

fn on_person(issuer: &TrustedIssuer, sub: &str, generation: u64) -> PersonDependency {
    PersonDependency { issuer: issuer.id, digest: digest_of(sub), generation }
}

fn subjects() -> Subjects {
    Subjects {
        audiences: vec!["app".to_owned()],
        may_act: MayAct::All,
        scopes: Scopes::capabilities(&["files:read"]).expect("valid"),
        max_age_seconds: 600,
        redelegation: true,
    }
}

fn set_subjects(subjects: Option<Subjects>) -> IssuerChange {
    IssuerChange { subjects: Some(subjects), ..IssuerChange::default() }
}

fn suspension() -> IssuerChange {
    IssuerChange { status: Some(IssuerStatus::Suspended), ..IssuerChange::default() }
}

impl Stores {
    /// Stores agents in one new organization.
    async fn agents<const N: usize>(&self) -> [Agent; N] {
        let organization = self.organization(LimitOverrides::default()).await.id;
        let agents = std::array::from_fn(|_| agent(organization));
        for agent in &agents {
            self.add(agent.clone()).await;
        }
        agents
    }

    /// Stores a trusted issuer whose persons can be acted for.
    async fn issuer_of_people(&self, organization: OrganizationId) -> TrustedIssuer {
        self.trust(TrustedIssuer { subjects: Some(subjects()), ..issuer(organization) }).await
    }

    async fn change_issuer(&self, before: &TrustedIssuer, change: IssuerChange) -> TrustedIssuer {
        let after = before.changed(change, NOON);
        self.issuers.update(before, &after, unchecked(&[])).await.expect("changed");
        after
    }

    async fn revoke_person(&self, issuer: &TrustedIssuer, sub: &str, at: Timestamp) {
        let revoked = AuditEvent { at, ..event(AuditAction::SubjectRevoked, issuer.id) };
        self.issuers.revoke_person(issuer, sub, unchecked(&revoked)).await.expect("revoked");
    }

    async fn revoke_token(&self, token: TokenId, organization: OrganizationId) {
        let revocation = Revocation { token, organization, until: NOON.plus_seconds(60) };
        let revoked = event(AuditAction::TokenRevoked, token);
        self.tokens.revoke(&revocation, &revoked).await.expect("revoked");
    }

    async fn status(&self, claims: &Claims) -> TokenStatus {
        self.tokens.status(claims).await.expect("an answer").expect("a known client")
    }

    async fn is_active(&self, claims: &Claims) -> bool {
        self.status(claims).await.is_active(claims)
    }

    async fn generation_of(&self, issuer: &TrustedIssuer, sub: &str) -> Option<u64> {
        let asked = (issuer.organization, issuer.issuer.as_str(), digest_of(sub));
        let known = self.issuers.find_for_person(asked.0, asked.1, &asked.2).await.expect("an answer");
        known.map(|known| known.generation)
    }

    async fn notices(&self) -> Vec<RevocationNotice> {
        let pending = self.outbox.pending(Topic::Revocations, 1_000).await.expect("an answer");
        pending.into_iter().map(|Pending { message: Message::Revocation(notice), .. }| notice).collect()
    }

    /// Asserts that this is not exchanged, and that nothing is stored.
    async fn assert_refused(&self, issue: TokenIssue, why: &str) {
        let before = self.count(AuditAction::TokenExchanged).await;
        let outcome = self.tokens.issue(issue).await;
        assert!(matches!(outcome, Err(IssueError::NoLongerAllowed)), "{why}: {outcome:?}");
        assert_eq!(self.count(AuditAction::TokenExchanged).await, before, "{why}");
    }

    /// Races exchanges against a change that begins once the first of them is accepted. None may begin after the answer to
    /// the change and be accepted.
    ///
    /// Returns how many were accepted, at least one.
    async fn race_exchanges(
        &self,
        request: impl Fn() -> TokenIssue,
        change: impl Future<Output = ()> + Send + 'static,
    ) -> usize {
        const EACH: usize = 3;
        let is_answered = Arc::new(AtomicBool::new(false));
        let is_accepted = Arc::new(Notify::new());
        let change = {
            let (is_answered, is_accepted) = (is_answered.clone(), is_accepted.clone());
            tokio::spawn(async move {
                is_accepted.notified().await;
                change.await;
                is_answered.store(true, Ordering::SeqCst);
            })
        };
        let callers = (0..RACERS).map(|_| {
            let tokens = self.tokens.clone();
            let (is_answered, is_accepted) = (is_answered.clone(), is_accepted.clone());
            let issues: [TokenIssue; EACH] = std::array::from_fn(|_| request());
            async move {
                let mut accepted = 0;
                for issue in issues {
                    let is_late = is_answered.load(Ordering::SeqCst);
                    match tokens.issue(issue).await {
                        Ok(()) if is_late => panic!("accepted after the answer to the change"),
                        Ok(()) => {
                            accepted += 1;
                            is_accepted.notify_one();
                        }
                        Err(IssueError::NoLongerAllowed) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
                accepted
            }
        });
        let accepted = race(callers).await.into_iter().sum();
        change.await.expect("no panic");
        self.assert_refused(request(), "after the change").await;
        accepted
    }

    /// Returns how many tokens that were exchanged from this one are active, by their events.
    async fn count_active(&self, organization: OrganizationId, parents: &[TokenId]) -> (usize, usize) {
        let root = *parents.last().expect("an ancestor");
        let events = self.audit.exchanged_from(organization, root, NOON, 10_000).await.expect("an answer");
        let mut active = 0;
        for event in &events {
            let record = TokenRecord::of_event(event).expect("the event of a token");
            active += usize::from(self.is_active(&record.claims(parents.to_vec())).await);
        }
        (events.len(), active)
    }
}

async fn the_status_of_a_token_has_every_agent_of_its_chain(stores: Stores) {
    let [subject, middle, client] = stores.agents().await;
    let of =
        |agents: &[&Agent]| exchanged(&client, chain(Subject::Agent(subject.id), agents, &[TokenId(id())]));
    let ids = |status: &TokenStatus| -> BTreeSet<AgentId> {
        assert_eq!(status.agent.id, client.id);
        status.other_agents.iter().map(|agent| agent.id).collect()
    };
    let narrowed = of(&[]);
    let status = stores.status(&narrowed).await;
    assert!(ids(&status).is_empty() && status.person.is_none() && status.is_active(&narrowed));
    let long = of(&[&subject, &middle]);
    let status = stores.status(&long).await;
    assert_eq!(ids(&status), BTreeSet::from([subject.id, middle.id]));
    assert!(status.is_active(&long));
    let twice = of(&[&subject, &client]);
    let status = stores.status(&twice).await;
    assert_eq!(ids(&status), BTreeSet::from([subject.id]), "the client is not another agent");
    assert!(status.is_active(&twice));

    let unknown = of(&[&subject, &agent(client.organization)]);
    assert_eq!(ids(&stores.status(&unknown).await), BTreeSet::from([subject.id]));
    assert!(!stores.is_active(&unknown).await);
    let [foreign] = stores.agents().await;
    assert!(!stores.is_active(&of(&[&foreign])).await, "of another organization");

    let killed = middle.with_tokens_revoked(NOON).expect("not decommissioned");
    stores.agents.update(&middle, &killed, unchecked(&[])).await.expect("changed");
    let status = stores.status(&long).await;
    let seen = status.other_agents.iter().find(|agent| agent.id == middle.id).expect("in the chain");
    assert_eq!(**seen, killed, "as it is now");
    assert!(!status.is_active(&long));
    assert!(stores.is_active(&of(&[&subject, &killed])).await);
}

async fn the_status_of_a_token_has_its_revoked_ancestors(stores: Stores) {
    let [holder, client] = stores.agents().await;
    let parents: [TokenId; 16] = std::array::from_fn(|_| TokenId(id()));
    let other = exchanged(&client, for_agent(&holder, &[TokenId(id())]));
    for (place, revoked) in parents.iter().enumerate() {
        let token = exchanged(&client, for_agent(&holder, &parents[place..]));
        assert!(!stores.status(&token).await.is_revoked);
        let later = exchanged(&client, for_agent(&holder, &parents[place + 1..]));
        stores.revoke_token(*revoked, client.organization).await;
        let all = exchanged(&client, for_agent(&holder, &parents));
        for token in [&token, &all] {
            assert!(stores.status(token).await.is_revoked, "place {place}");
            assert!(!stores.is_active(token).await, "place {place}");
        }
        assert!(!stores.status(&later).await.is_revoked, "an earlier token than {place}");
    }
    assert!(stores.is_active(&other).await);
    stores.revoke_token(other.id, client.organization).await;
    assert!(stores.status(&other).await.is_revoked);
}

async fn the_status_of_a_token_has_its_person(stores: Stores) {
    let [client] = stores.agents().await;
    let issuer = stores.issuer_of_people(client.organization).await;
    let token = |sub: &str, generation: u64| {
        exchanged(&client, chain(Subject::Person(person(&issuer, sub, generation)), &[], &[]))
    };
    let status = stores.status(&token("alice", 0)).await;
    let known = status.person.expect("known");
    assert_eq!((&*known.issuer, known.generation), (&issuer, 0));
    stores.revoke_person(&issuer, "alice", NOON).await;
    let now = NOON.as_millis().unsigned_abs();
    let known = stores.status(&token("alice", 0)).await.person.expect("known");
    assert_eq!((&*known.issuer, known.generation), (&issuer, now));
    for (sub, generation, is_active) in [
        ("alice", 0, false),
        ("alice", now - 1, false),
        ("alice", now, true),
        ("alice", now + 1, false),
        ("bob", 0, true),
        ("bob", now, false),
    ] {
        assert_eq!(stores.is_active(&token(sub, generation)).await, is_active, "{sub} {generation}");
    }
    let changed = stores.change_issuer(&issuer, suspension()).await;
    let known = stores.status(&token("bob", 0)).await.person.expect("known");
    assert_eq!(*known.issuer, changed, "as it is now");
    stores.issuers.delete(&changed, unchecked(&[])).await.expect("deleted");
    for (sub, generation) in [("alice", now), ("bob", 0)] {
        assert!(stores.status(&token(sub, generation)).await.person.is_none(), "{sub}");
        assert!(!stores.is_active(&token(sub, generation)).await, "{sub}");
    }
}

/// Asks about tokens of all kinds at once, each with parties of its own.
async fn statuses_asked_for_together_are_not_mixed_up(stores: Stores) {
    let now = NOON.as_millis().unsigned_abs();
    let mut asked = Vec::new();
    for place in 0..RACERS as u64 {
        let [subject, middle, client] = stores.agents().await;
        let issuer = stores.issuer_of_people(client.organization).await;
        for _ in 0..place % 3 {
            stores.revoke_person(&issuer, "alice", NOON).await;
        }
        let ancestor = TokenId(id());
        if place % 2 == 0 {
            stores.revoke_token(ancestor, client.organization).await;
        }
        let alice = Subject::Person(person(&issuer, "alice", 0));
        let delegations = [
            None,
            Some(chain(alice, &[&middle], &[ancestor])),
            Some(chain(Subject::Agent(subject.id), &[&subject, &middle], &[ancestor])),
            Some(chain(Subject::Agent(subject.id), &[], &[TokenId(id())])),
        ];
        for delegation in delegations {
            let delegation = delegation.map(Box::new);
            asked.push((place, Claims { delegation, ..claims(&client, TokenId(id())) }));
        }
    }
    let callers = asked.into_iter().map(|(place, claims)| {
        let tokens = stores.tokens.clone();
        async move { (place, tokens.status(&claims).await.expect("an answer").expect("known"), claims) }
    });
    for (place, status, claims) in race(callers).await {
        assert_eq!((status.agent.id, status.organization.id), (claims.agent, claims.organization));
        let others: BTreeSet<_> = status.other_agents.iter().map(|agent| agent.id).collect();
        assert_eq!(others, claims.other_agents().collect());
        let rests_on_ancestor = claims.parties().count() > 1;
        assert_eq!(status.is_revoked, rests_on_ancestor && place % 2 == 0);
        let generation = [0, now, now + 1][place as usize % 3];
        let known = status.person.map(|known| (known.issuer.id, known.generation));
        assert_eq!(known, claims.person().map(|person| (person.issuer, generation)));
    }
}

async fn nothing_is_exchanged_once_an_ancestor_is_revoked(stores: Stores) {
    let [holder, client] = stores.agents().await;
    let credential = stores.credential(&client).await;
    let parents: [TokenId; 3] = std::array::from_fn(|_| TokenId(id()));
    let request = |parents: &[TokenId]| exchange(&client, &credential, for_agent(&holder, parents));
    stores.tokens.issue(request(&parents)).await.expect("allowed");
    stores.revoke_token(parents[1], client.organization).await;
    stores.assert_refused(request(&parents), "the second is revoked").await;
    stores.assert_refused(request(&parents[..2]), "the last is revoked").await;
    stores.assert_refused(request(&parents[1..]), "the first is revoked").await;
    stores.tokens.issue(request(&parents[2..])).await.expect("the others are not revoked");
    stores.tokens.issue(request(&parents[..1])).await.expect("the others are not revoked");
    // A token without ancestors, in the same batch or not.
    stores.tokens.issue(issue(&client, &credential)).await.expect("allowed");
}

async fn nothing_is_exchanged_once_the_generation_of_the_person_has_risen(stores: Stores) {
    let [client] = stores.agents().await;
    let credential = stores.credential(&client).await;
    let issuer = stores.issuer_of_people(client.organization).await;
    let request = |sub: &str, generation: u64| {
        let subject = Subject::Person(person(&issuer, sub, generation));
        TokenIssue {
            issuers: vec![IssuerDependency::of(&issuer)],
            person: Some(on_person(&issuer, sub, generation)),
            ..exchange(&client, &credential, chain(subject, &[], &[]))
        }
    };
    stores.tokens.issue(request("alice", 0)).await.expect("allowed");
    stores.assert_refused(request("alice", 1), "a generation that was not reached").await;
    let mut before = 0;
    for second in 0..3 {
        stores.revoke_person(&issuer, "alice", NOON.plus_seconds(second)).await;
        stores.assert_refused(request("alice", before), "revoked").await;
        before = stores.generation_of(&issuer, "alice").await.expect("known");
        stores.tokens.issue(request("alice", before)).await.expect("the present generation");
        stores.tokens.issue(request("bob", 0)).await.expect("another person");
    }
}

async fn nothing_is_exchanged_once_an_agent_of_the_chain_has_changed(stores: Stores) {
    let [subject, holder, client] = stores.agents().await;
    let credential = stores.credential(&client).await;
    let request = |dependencies: [&Agent; 2]| TokenIssue {
        depends_on: dependencies.map(on).to_vec(),
        ..exchange(&client, &credential, for_agent(&subject, &[TokenId(id())]))
    };
    let fields: [AgentChange; 4] = [
        AgentChange { may_act: Some(MayAct::All), ..AgentChange::default() },
        AgentChange { redelegation: Some(true), ..AgentChange::default() },
        AgentChange {
            capabilities: Some(Scopes::capabilities(&["files:list"]).expect("valid")),
            ..AgentChange::default()
        },
        AgentChange { is_active: Some(false), ..AgentChange::default() },
    ];
    let mut now = [subject.clone(), holder.clone()];
    for change in fields {
        for place in 0..2 {
            let before = now.clone();
            stores.tokens.issue(request([&before[0], &before[1]])).await.expect("nothing has changed");
            let after = before[place].changed(change.clone(), NOON).expect("not decommissioned");
            stores.agents.update(&before[place], &after, unchecked(&[])).await.expect("changed");
            let outdated = request([&before[0], &before[1]]);
            stores.assert_refused(outdated, &format!("{place}: {change:?}")).await;
            now[place] = after;
            if !now[place].is_active() {
                stores.assert_refused(request([&now[0], &now[1]]), "of its own revision").await;
                let active = AgentChange { is_active: Some(true), ..AgentChange::default() };
                let back = now[place].changed(active, NOON).expect("not decommissioned");
                stores.agents.update(&now[place], &back, unchecked(&[])).await.expect("changed");
                now[place] = back;
            }
        }
    }
}

async fn an_issuer_that_an_ancestor_rests_on_counts_by_its_generation_only(stores: Stores) {
    let [holder, client] = stores.agents().await;
    let credential = stores.credential(&client).await;
    let first = stores.issuer_of_people(client.organization).await;
    let by_generation = |generation: u64| IssuerDependency { issuer: first.id, generation, decided_by: None };
    let request = |dependency: IssuerDependency| TokenIssue {
        issuers: vec![dependency],
        ..exchange(&client, &credential, for_agent(&holder, &[TokenId(id())]))
    };
    stores.assert_refused(request(by_generation(1)), "a generation that was not reached").await;
    let changed = stores.change_issuer(&first, set_subjects(None)).await;
    let change = IssuerChange { require_jti: Some(true), ..IssuerChange::default() };
    let changed = stores.change_issuer(&changed, change).await;
    stores.tokens.issue(request(by_generation(0))).await.expect("of the same generation");
    stores.assert_refused(request(IssuerDependency::of(&first)), "decided by more").await;
    let suspended = stores.change_issuer(&changed, suspension()).await;
    for generation in [0, suspended.generation] {
        stores.assert_refused(request(by_generation(generation)), "suspended").await;
    }
    let back = IssuerChange { status: Some(IssuerStatus::Active), ..IssuerChange::default() };
    let back = stores.change_issuer(&suspended, back).await;
    stores.assert_refused(request(by_generation(0)), "another generation").await;
    stores.tokens.issue(request(by_generation(back.generation))).await.expect("its generation");
    stores.issuers.delete(&back, unchecked(&[])).await.expect("deleted");
    stores.assert_refused(request(by_generation(back.generation)), "deleted").await;
}

async fn no_exchanged_token_is_active_after_the_revocation_of_an_ancestor(stores: Stores) {
    let [holder, client] = stores.agents().await;
    let credential = stores.credential(&client).await;
    for round in 0..ROUNDS {
        let parents: [TokenId; 3] = std::array::from_fn(|_| TokenId(id()));
        let revoked = parents[round % parents.len()];
        let revoke = {
            let (stores, organization) = (stores.clone(), client.organization);
            async move { stores.revoke_token(revoked, organization).await }
        };
        let request = || exchange(&client, &credential, for_agent(&holder, &parents));
        let accepted = stores.race_exchanges(request, revoke).await;
        let counted = stores.count_active(client.organization, &parents).await;
        assert_eq!(counted, (accepted, 0), "round {round}");
    }
}

async fn no_exchanged_token_is_active_after_the_revocation_of_the_person(stores: Stores) {
    let [client] = stores.agents().await;
    let credential = stores.credential(&client).await;
    let issuer = stores.issuer_of_people(client.organization).await;
    for round in 0..ROUNDS {
        let root = TokenId(id());
        let generation = stores.generation_of(&issuer, "alice").await.expect("known");
        let revoke = {
            let (stores, issuer) = (stores.clone(), issuer.clone());
            async move { stores.revoke_person(&issuer, "alice", NOON).await }
        };
        let request = || {
            let subject = Subject::Person(person(&issuer, "alice", generation));
            TokenIssue {
                issuers: vec![IssuerDependency::of(&issuer)],
                person: Some(on_person(&issuer, "alice", generation)),
                ..exchange(&client, &credential, chain(subject, &[], &[root]))
            }
        };
        let accepted = stores.race_exchanges(request, revoke).await;
        let counted = stores.count_active(client.organization, &[root]).await;
        assert_eq!(counted, (accepted, 0), "round {round}");
    }
}

async fn no_exchanged_token_is_active_after_the_kill_of_an_agent_of_its_chain(stores: Stores) {
    let [client] = stores.agents().await;
    let credential = stores.credential(&client).await;
    for round in 0..ROUNDS {
        let holder = stores.add(agent(client.organization)).await;
        let root = TokenId(id());
        let suspension = AgentChange { is_active: Some(false), ..AgentChange::default() };
        let after = match round % 3 {
            0 => holder.with_tokens_revoked(NOON),
            1 => holder.changed(suspension, NOON),
            _ => holder.decommissioned(NOON),
        };
        let (agents, before, after) =
            (stores.agents.clone(), holder.clone(), after.expect("not decommissioned"));
        let kill = async move {
            agents.update(&before, &after, unchecked(&[])).await.expect("changed");
        };
        let request = || TokenIssue {
            depends_on: vec![on(&holder)],
            ..exchange(&client, &credential, for_agent(&holder, &[root]))
        };
        let accepted = stores.race_exchanges(request, kill).await;
        let counted = stores.count_active(client.organization, &[root]).await;
        assert_eq!(counted, (accepted, 0), "round {round}");
    }
}

/// A token from before the change stays active: it was allowed.
async fn nothing_is_exchanged_after_the_answer_to_a_change_of_may_act(stores: Stores) {
    let [client] = stores.agents().await;
    let credential = stores.credential(&client).await;
    for round in 0..ROUNDS {
        let holder = Agent { may_act: MayAct::Only(vec![client.id]), ..agent(client.organization) };
        let holder = stores.add(holder).await;
        let root = TokenId(id());
        let change = AgentChange { may_act: Some(MayAct::NONE), ..AgentChange::default() };
        let after = holder.changed(change, NOON).expect("not decommissioned");
        let (agents, before) = (stores.agents.clone(), holder.clone());
        let forbid = async move {
            agents.update(&before, &after, unchecked(&[])).await.expect("changed");
        };
        let request = || TokenIssue {
            depends_on: vec![on(&holder)],
            ..exchange(&client, &credential, for_agent(&holder, &[root]))
        };
        let accepted = stores.race_exchanges(request, forbid).await;
        let counted = stores.count_active(client.organization, &[root]).await;
        assert_eq!(counted, (accepted, accepted), "round {round}");
    }
}

async fn a_revocation_raises_the_generation_of_one_person_only(stores: Stores) {
    let [client] = stores.agents().await;
    let issuer = stores.issuer_of_people(client.organization).await;
    let other = stores.issuer_of_people(client.organization).await;
    let now = NOON.as_millis().unsigned_abs();
    let mut expected = Vec::new();
    for (at, generation) in
        [(NOON, now), (NOON, now + 1), (NOON.plus_seconds(-60), now + 2), (NOON.plus_seconds(1), now + 1_000)]
    {
        stores.revoke_person(&issuer, "alice", at).await;
        assert_eq!(stores.generation_of(&issuer, "alice").await, Some(generation));
        expected.push(RevocationNotice::of_person(PersonId::of(issuer.id, "alice"), generation, at));
        assert_eq!(stores.notices().await, expected, "one notice each");
        assert_eq!(stores.count(AuditAction::SubjectRevoked).await, expected.len(), "one event each");
    }
    assert_eq!(stores.generation_of(&issuer, "bob").await, Some(0));
    assert_eq!(stores.generation_of(&other, "alice").await, Some(0));
    let early = Write { at: Timestamp::from_millis(-1), ..unchecked(&[]) };
    stores.issuers.revoke_person(&issuer, "bob", early).await.expect("revoked");
    assert_eq!(stores.generation_of(&issuer, "bob").await, Some(1), "a generation rises in any case");
}

async fn the_person_of_an_unknown_issuer_is_not_revoked(stores: Stores) {
    let [client] = stores.agents().await;
    let unknown = issuer(client.organization);
    let revoked = event(AuditAction::SubjectRevoked, unknown.id);
    let outcome = stores.issuers.revoke_person(&unknown, "alice", unchecked(&revoked)).await;
    assert!(matches!(outcome, Err(ChangeIssuerError::LostRace)), "{outcome:?}");
    assert_eq!(stores.count(AuditAction::SubjectRevoked).await, 0);
    assert_eq!(stores.notices().await, []);
}

async fn revocations_of_a_person_at_once_lose_none(stores: Stores) {
    let [client] = stores.agents().await;
    let issuer = stores.issuer_of_people(client.organization).await;
    let now = NOON.as_millis().unsigned_abs();
    for round in 1..=ROUNDS as u64 {
        let sub = format!("person {round}");
        let callers = (0..RACERS).map(|_| {
            let (stores, issuer, sub) = (stores.clone(), issuer.clone(), sub.clone());
            async move { stores.revoke_person(&issuer, &sub, NOON).await }
        });
        race(callers).await;
        let last = now + RACERS as u64 - 1;
        assert_eq!(stores.generation_of(&issuer, &sub).await, Some(last), "round {round}");
        let person = PersonId::of(issuer.id, &sub);
        let expected: Vec<_> =
            (now..=last).map(|generation| RevocationNotice::of_person(person, generation, NOON)).collect();
        let notices = stores.notices().await.split_off((round as usize - 1) * RACERS);
        for notice in &expected {
            assert!(notices.contains(notice), "round {round}: {notice:?}");
        }
        assert_eq!(notices.len(), RACERS, "round {round}");
    }
    assert_eq!(stores.count(AuditAction::SubjectRevoked).await, ROUNDS * RACERS);
}

async fn the_end_of_subjects_is_announced_and_final(stores: Stores) {
    let [client] = stores.agents().await;
    let first = stores.issuer_of_people(client.organization).await;
    let token = |generation: u64| {
        exchanged(&client, chain(Subject::Person(person(&first, "alice", generation)), &[], &[]))
    };
    let other = Some(Subjects { redelegation: false, ..subjects() });
    let changed = stores.change_issuer(&first, set_subjects(other)).await;
    assert_eq!(stores.notices().await, [], "the persons are the same");
    assert!(stores.is_active(&token(0)).await);
    let ended = stores.change_issuer(&changed, set_subjects(None)).await;
    let expected = [RevocationNotice::of_everyone(&ended, NOON)];
    assert_eq!(stores.notices().await, expected);
    for generation in [0, ended.subjects_generation] {
        assert!(!stores.is_active(&token(generation)).await, "{generation}");
    }
    let again = stores.change_issuer(&ended, set_subjects(Some(subjects()))).await;
    assert_eq!(stores.notices().await, expected);
    assert!(!stores.is_active(&token(0)).await, "for good");
    assert!(stores.is_active(&token(again.subjects_generation)).await);
    // Both generations are parts of one sum.
    stores.revoke_person(&again, "alice", NOON).await;
    let own = stores.generation_of(&again, "alice").await.expect("known");
    for (generation, is_active) in
        [(again.subjects_generation, false), (own, false), (own + again.subjects_generation, true)]
    {
        assert_eq!(stores.is_active(&token(generation)).await, is_active, "{generation}");
    }
    let both = IssuerChange { subjects: Some(None), ..suspension() };
    let after = stores.change_issuer(&again, both).await;
    let both = [RevocationNotice::of_issuer(&after, NOON), RevocationNotice::of_everyone(&after, NOON)];
    assert_eq!(stores.notices().await[2..], both);
}

async fn the_deletion_of_an_issuer_removes_the_generations_of_its_persons(stores: Stores) {
    let [client] = stores.agents().await;
    let issuer = stores.issuer_of_people(client.organization).await;
    let other = stores.issuer_of_people(client.organization).await;
    for sub in ["alice", "bob"] {
        stores.revoke_person(&issuer, sub, NOON).await;
        stores.revoke_person(&other, sub, NOON).await;
    }
    let deleted = event(AuditAction::IssuerDeleted, issuer.id);
    stores.issuers.delete(&issuer, unchecked(&deleted)).await.expect("deleted");
    assert_eq!(stores.generation_of(&issuer, "alice").await, None, "the issuer is not trusted any more");
    assert_eq!(stores.count(AuditAction::IssuerDeleted).await, 1);
    stores.retention.purge(NOON).await.expect("purged");
    let again = TrustedIssuer { issuer: issuer.issuer.clone(), ..issuer };
    stores.trust(again.clone()).await;
    assert_eq!(stores.generation_of(&again, "alice").await, Some(0));
    let now = NOON.as_millis().unsigned_abs();
    assert_eq!(stores.generation_of(&other, "alice").await, Some(now), "of another issuer");
}

async fn an_issuer_is_found_with_the_generation_of_a_person(stores: Stores) {
    let [ours, theirs] = [stores.agents::<1>().await, stores.agents::<1>().await].map(|[agent]| agent);
    let own = stores.issuer_of_people(ours.organization).await;
    let same = TrustedIssuer { issuer: own.issuer.clone(), ..issuer(theirs.organization) };
    let same = stores.trust(same).await;
    stores.revoke_person(&own, "alice", NOON).await;
    let find = async |organization: OrganizationId, iss: &str, sub: &str| {
        let found = stores.issuers.find_for_person(organization, iss, &digest_of(sub)).await;
        found.expect("an answer").map(|known| (TrustedIssuer::clone(&known.issuer), known.generation))
    };
    let iss = own.issuer.as_str();
    let now = NOON.as_millis().unsigned_abs();
    assert_eq!(find(ours.organization, iss, "alice").await, Some((own.clone(), now)));
    assert_eq!(find(ours.organization, iss, "bob").await, Some((own.clone(), 0)), "never revoked");
    assert_eq!(find(theirs.organization, iss, "alice").await, Some((same, 0)), "another organization");
    for unknown in ["", "https://unknown.example.com", &format!("{iss}/"), &iss.to_uppercase()] {
        assert_eq!(find(ours.organization, unknown, "alice").await, None, "{unknown}");
    }
    assert_eq!(find(organization().id, iss, "alice").await, None);
    let suspended = stores.change_issuer(&own, suspension()).await;
    assert_eq!(find(ours.organization, iss, "alice").await, Some((suspended, now)), "as it is now");
}

async fn the_tokens_of_a_tree_are_listed_oldest_first(stores: Stores) {
    let days = |days: i64| NOON.plus_seconds(days * 86_400);
    let limits = LimitOverrides { audit_retention_days: at_most(10), ..LimitOverrides::default() };
    let ours = stores.organization(limits).await.id;
    let theirs = stores.organization(LimitOverrides::default()).await.id;
    let [root, other] = [(); 2].map(|()| TokenId(id()));
    let of = |organization: OrganizationId, root: TokenId, action: AuditAction, at: Timestamp| AuditEvent {
        organization: Some(organization),
        at,
        metadata: Metadata::default().with("root", root.to_string()),
        ..event(action, TokenId(id()))
    };
    let exchanged = AuditAction::TokenExchanged;
    let wanted: Vec<AuditEvent> =
        [-9, -1, 0, 0].into_iter().map(|day| of(ours, root, exchanged, days(day))).collect();
    let mut stored = wanted.clone();
    stored.reverse();
    stored.extend([
        of(ours, other, exchanged, NOON),
        of(theirs, root, exchanged, NOON),
        of(ours, root, AuditAction::TokenIssued, NOON),
        of(ours, root, exchanged, days(-11)),
        AuditEvent { metadata: Metadata::default(), ..of(ours, root, exchanged, NOON) },
    ]);
    stores.append(&stored).await;
    let list = async |organization: OrganizationId, root: TokenId, limit: u32| {
        let found = stores.audit.exchanged_from(organization, root, NOON, limit).await;
        found.expect("an answer").into_iter().map(Arc::unwrap_or_clone).collect::<Vec<_>>()
    };
    for limit in [0, 1, 3, 4, 5, 1_000] {
        let first = &wanted[..wanted.len().min(limit as usize)];
        assert_eq!(list(ours, root, limit).await, first, "{limit}");
    }
    assert_eq!(list(ours, other, 9).await.len(), 1);
    assert_eq!(list(theirs, root, 9).await.len(), 1);
    assert_eq!(list(theirs, other, 9).await, []);
}
