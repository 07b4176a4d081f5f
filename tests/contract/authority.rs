//! A caller that is stopped changes nothing, however long its change has been in progress.

use std::fmt::Display;
use std::sync::Arc;

use agentidp::adapters::crypto::generate_pem;
use agentidp::app::App;
use agentidp::app::agents::NewAgent;
use agentidp::app::bootstrap::Administrator;
use agentidp::app::caller::Caller;
use agentidp::app::credentials::{CredentialsError, NewCredential, NewCredentialKind, Rotation};
use agentidp::app::request_context::RequestContext;
use agentidp::domain::agent::{Agent, AgentChange};
use agentidp::domain::audit::{AuditAction, Authority, Origin};
use agentidp::domain::credential::StoredSecret;
use agentidp::domain::id::{AgentId, OrganizationId};
use agentidp::domain::issuer::IssuerChange;
use agentidp::domain::jwk::KeyType;
use agentidp::domain::organization::{OrganizationChange, OrganizationStatus};
use agentidp::domain::page::PageRequest;
use agentidp::domain::plan::{LimitOverrides, Plan};
use agentidp::domain::scope::Scopes;
use agentidp::domain::secret::ClientSecret;
use agentidp::domain::tenancy::Tenancy;
use agentidp::ports::credential_store::CredentialUpdate;
use agentidp::ports::secret_hasher::{HasherError, SecretHasher, Verification};
use agentidp::ports::token_store::Revocation;
use agentidp::ports::write::CallerRevoked;
use async_trait::async_trait;
use testing::{NOON, PlainHasher, plain_core, plain_ports, presented};
use tokio::sync::Semaphore;

use crate::fixtures::*;

contract!([memory, postgres, sqlite] [
    nothing_is_changed_for_who_was_stopped,
    what_a_kill_leaves_alone_changes_on,
    nothing_changes_after_the_answer_to_a_kill,
    no_secret_is_made_for_who_was_killed_while_it_was_hashed,
]);

/// Number of changes that [`change_everything`] attempts.
const CHANGES: usize = 9;

/// Stores an agent that may change agents, and returns it with its authority.
async fn caller(stores: &Stores) -> (Agent, Authority) {
    stores.caller(&["agents:write", "files:read"]).await
}

/// Attempts each kind of change with this authority, and returns the outcomes.
/// The changes are made to newly stored rows.
async fn change_everything(stores: &Stores, authority: &Authority) -> [Result<(), String>; CHANGES] {
    let before = stores.organization(LimitOverrides::default()).await;
    let target = stores.add(agent(before.id)).await;
    let held = stores.credential(&target).await;

    let new = organization();
    let created = event(AuditAction::OrganizationCreated, new.id);
    let made = stores.organizations.insert(&new, by(authority, &created)).await;
    let new = agent(before.id);
    let created = [event(AuditAction::AgentCreated, new.id)];
    let registered = stores.agents.insert(Tenancy::All, &new, None, by(authority, &created)).await;
    let new = credential(target.id);
    let generated = event(AuditAction::CredentialGenerated, new.id);
    let given = stores.credentials.insert(&target, &new, 10, by(authority, &generated)).await;
    let after = held.revoked(NOON).expect("live");
    let change = CredentialUpdate { before: &held, after: &after, max_live: 10, agent_after: None };
    let revoked = event(AuditAction::CredentialRevoked, held.id);
    let taken = stores.credentials.update(&target, &change, by(authority, &revoked)).await;
    let killed = target.with_tokens_revoked(NOON).expect("not decommissioned");
    let revoked = [event(AuditAction::TokenRevoked, target.id)];
    let stopped = stores.agents.update(&target, &killed, by(authority, &revoked)).await;
    let smaller =
        before.changed(OrganizationChange { plan: Some(Plan::Free), ..OrganizationChange::default() }, NOON);
    let updated = [event(AuditAction::OrganizationUpdated, before.id)];
    let downgraded = stores.organizations.update(&before, &smaller, by(authority, &updated)).await;
    let new = issuer(before.id);
    let created = event(AuditAction::IssuerCreated, new.id);
    let trusted = stores.issuers.insert(Tenancy::All, &new, by(authority, &created)).await;
    let held = stores.trust(issuer(before.id)).await;
    let change = IssuerChange { require_jti: Some(true), ..IssuerChange::default() };
    let updated = [event(AuditAction::IssuerUpdated, held.id)];
    let stricter = stores.issuers.update(&held, &held.changed(change, NOON), by(authority, &updated)).await;
    let held = stores.trust(issuer(before.id)).await;
    let deleted = [event(AuditAction::IssuerDeleted, held.id)];
    let distrusted = stores.issuers.delete(&held, by(authority, &deleted)).await;
    [
        said(made),
        said(registered),
        said(given),
        said(taken),
        said(stopped),
        said(downgraded),
        said(trusted),
        said(stricter),
        said(distrusted),
    ]
}

fn said<E: Display>(outcome: Result<(), E>) -> Result<(), String> {
    outcome.map_err(|error| error.to_string())
}

async fn change_agent(stores: &Stores, before: &Agent, change: AgentChange) {
    let after = before.changed(change, NOON).expect("not decommissioned");
    stores.agents.update(before, &after, unchecked(&[])).await.expect("changed");
}

async fn nothing_is_changed_for_who_was_stopped(stores: Stores) {
    let refused = [(); CHANGES].map(|()| Err(CallerRevoked.to_string()));

    let (agent, authority) = caller(&stores).await;
    change_agent(&stores, &agent, AgentChange { is_active: Some(false), ..AgentChange::default() }).await;
    assert_eq!(change_everything(&stores, &authority).await, refused, "suspended");

    let (agent, authority) = caller(&stores).await;
    let killed = agent.with_tokens_revoked(NOON).expect("not decommissioned");
    stores.agents.update(&agent, &killed, unchecked(&[])).await.expect("changed");
    assert_eq!(change_everything(&stores, &authority).await, refused, "its tokens revoked");

    let (agent, authority) = caller(&stores).await;
    let gone = agent.decommissioned(NOON).expect("not decommissioned");
    stores.agents.update(&agent, &gone, unchecked(&[])).await.expect("changed");
    assert_eq!(change_everything(&stores, &authority).await, refused, "decommissioned");

    let (_, authority) = caller(&stores).await;
    let within = stores.organizations.find(Tenancy::All, authority.organization).await.expect("an answer");
    let within = within.expect("stored");
    let suspension =
        OrganizationChange { status: Some(OrganizationStatus::Suspended), ..OrganizationChange::default() };
    stores
        .organizations
        .update(&within, &within.changed(suspension, NOON), unchecked(&[]))
        .await
        .expect("changed");
    assert_eq!(change_everything(&stores, &authority).await, refused, "its organization suspended");

    let (agent, authority) = caller(&stores).await;
    let fewer = Scopes::capabilities(&["files:read"]).expect("valid");
    change_agent(&stores, &agent, AgentChange { capabilities: Some(fewer), ..AgentChange::default() }).await;
    assert_eq!(change_everything(&stores, &authority).await, refused, "without the scope that it came with");

    let (_, authority) = caller(&stores).await;
    let revocation = Revocation {
        token: authority.token.expect("one"),
        organization: authority.organization,
        until: NOON.plus_seconds(3600),
    };
    let revoked = event(AuditAction::TokenRevoked, revocation.token);
    stores.tokens.revoke(&revocation, &revoked).await.expect("revoked");
    assert_eq!(change_everything(&stores, &authority).await, refused, "its token revoked");

    assert_eq!(stores.count(AuditAction::OrganizationUpdated).await, 0, "a refusal stores nothing");
}

async fn what_a_kill_leaves_alone_changes_on(stores: Stores) {
    let done = [(); CHANGES].map(|()| Ok(()));
    let (agent, authority) = caller(&stores).await;
    assert_eq!(change_everything(&stores, &authority).await, done);
    let more = Scopes::capabilities(&["agents:write", "agents:read"]).expect("valid");
    change_agent(&stores, &agent, AgentChange { capabilities: Some(more), ..AgentChange::default() }).await;
    assert_eq!(change_everything(&stores, &authority).await, done, "it has what it came with, and more");
    let as_client = Authority { token: None, ..authority };
    assert_eq!(change_everything(&stores, &as_client).await, done, "it proved itself by a secret");
}

/// Races many changes against the revocation of their caller's tokens.
/// The changes are made within one organization and from another, in turn.
async fn nothing_changes_after_the_answer_to_a_kill(stores: Stores) {
    for round in 0..2 * ROUNDS {
        let (caller, authority) = caller(&stores).await;
        let target =
            if round % 2 == 0 { stores.add(agent(caller.organization)).await } else { stores.agent().await };
        // Fewer changes than there are connections, so that the revocation gets a connection too.
        let changes = Vec::from_iter((0..6).map(|_| {
            let (credentials, target, authority) =
                (stores.credentials.clone(), target.clone(), authority.clone());
            async move {
                let new = credential(target.id);
                let generated = event(AuditAction::CredentialGenerated, new.id);
                credentials.insert(&target, &new, u32::MAX, by(&authority, &generated)).await.is_ok()
            }
        }));
        let racing = tokio::spawn(race(changes));
        let killed = caller.with_tokens_revoked(NOON).expect("not decommissioned");
        stores.agents.update(&caller, &killed, unchecked(&[])).await.expect("changed");
        let page = PageRequest { number: 1, limit: 1 };
        let at_the_kill = stores.credentials.list(target.id, None, page).await.expect("an answer").total;
        let made = racing.await.expect("no panic").into_iter().filter(|made| *made).count();
        assert_eq!(u64::try_from(made).expect("few"), at_the_kill, "round {round}");
    }
}

/// Hasher that waits for a permit before each hash.
struct PausedHasher {
    asked: Semaphore,
    let_through: Semaphore,
}

#[async_trait]
impl SecretHasher for PausedHasher {
    async fn hash(&self, secret: &ClientSecret, whose: OrganizationId) -> Result<StoredSecret, HasherError> {
        self.asked.add_permits(1);
        self.let_through.acquire().await.expect("open").forget();
        PlainHasher.hash(secret, whose).await
    }

    async fn verify(
        &self,
        secret: &ClientSecret,
        stored: &StoredSecret,
        whose: OrganizationId,
    ) -> Result<Verification, HasherError> {
        PlainHasher.verify(secret, stored, whose).await
    }
}

async fn by_secret(app: &App, client: AgentId, secret: &str) -> Caller {
    let context = RequestContext::new(String::new(), Origin::NONE);
    let presented = presented(client, &ClientSecret::parse(secret).expect("a secret"));
    app.clients.authenticate_caller(&context, &presented).await.expect("a caller")
}

async fn no_secret_is_made_for_who_was_killed_while_it_was_hashed(stores: Stores) {
    let hasher = Arc::new(PausedHasher { asked: Semaphore::new(0), let_through: Semaphore::new(2) });
    let key = generate_pem(KeyType::Ed25519).expect("a key");
    let app = Arc::new(plain_core(&plain_ports(hasher.clone(), &stores, stores.clock.clone(), &key)));
    let Administrator { client_id, client_secret, .. } =
        app.bootstrap.first_administrator().await.expect("the first");
    let admin = by_secret(&app, client_id, client_secret.expose()).await;
    let model = agent(admin_organization(&stores, client_id).await);
    let new = NewAgent {
        organization: None,
        email: model.email,
        agent_type: model.agent_type,
        version: model.version,
        capabilities: Scopes::capabilities(&["credentials:write"]).expect("valid"),
        owner: model.owner,
        default_resource: model.default_resource.clone(),
        may_act: model.may_act.clone(),
        redelegation: model.redelegation,
        dpop: model.dpop,
        deployment_env: model.deployment_env,
        managed_by: model.managed_by.clone(),
    };
    let thief = app.agents.register(&admin, new).await.expect("registered").id;
    let secret = NewCredential { kind: NewCredentialKind::Secret, expires_at: None };
    let known = app.credentials.generate(&admin, thief, secret.clone()).await.expect("made");
    let text = known.secret.expect("shown once").expose().to_owned();
    let id = known.credential.id;
    let rotation = Rotation { expires_at: None, grace_seconds: 0, revoke_tokens: false };
    hasher.asked.acquire_many(2).await.expect("open").forget();

    for rotates in [false, true] {
        let caller = by_secret(&app, thief, &text).await;
        let (theirs, secret) = (app.clone(), secret.clone());
        let pending = tokio::spawn(async move {
            match rotates {
                true => theirs.credentials.rotate(&caller, thief, id, rotation).await,
                false => theirs.credentials.generate(&caller, thief, secret).await,
            }
        });
        hasher.asked.acquire().await.expect("open").forget();
        app.agents.revoke_tokens(&admin, thief).await.expect("killed");
        hasher.let_through.add_permits(1);
        let outcome = pending.await.expect("no panic");
        assert!(matches!(outcome, Err(CredentialsError::CallerRevoked(_))), "{outcome:?}");
    }
    assert_eq!(
        stores.count(AuditAction::CredentialGenerated).await,
        2,
        "the administrator's and the known one"
    );
    assert_eq!(stores.count(AuditAction::CredentialRotated).await, 0);
}

async fn admin_organization(stores: &Stores, id: AgentId) -> agentidp::domain::id::OrganizationId {
    stores.agents.find(Tenancy::All, id).await.expect("an answer").expect("stored").organization
}
