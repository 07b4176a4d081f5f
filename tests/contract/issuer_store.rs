use std::sync::Arc;

use agentidp::domain::agent::Agent;
use agentidp::domain::audit::{AuditAction, Authority};
use agentidp::domain::claim_rules::ClaimRules;
use agentidp::domain::credential::{Credential, CredentialKind, MAX_LIVE_CREDENTIALS, MAX_UNREVOKED};
use agentidp::domain::federation::FederatedIdentity;
use agentidp::domain::id::{IssuerId, OrganizationId, TokenId};
use agentidp::domain::issuer::{
    IssuerChange, IssuerGeneration, IssuerStatus, KeySource, KeysUrl, MAX_ISSUERS, Subjects, TrustedIssuer,
};
use agentidp::domain::issuer_key::{IssuerKey, KeyUse};
use agentidp::domain::managed_by::ManagedBy;
use agentidp::domain::may_act::MayAct;
use agentidp::domain::organization::Name;
use agentidp::domain::page::PageRequest;
use agentidp::domain::plan::LimitOverrides;
use agentidp::domain::scope::{ManagementScope, Scopes};
use agentidp::domain::signature_algorithm::SignatureAlgorithm;
use agentidp::domain::tenancy::Tenancy;
use agentidp::domain::token::Claims;
use agentidp::ports::agent_store::InsertAgentError;
use agentidp::ports::credential_store::{
    CredentialUpdate, Freshness, InsertCredentialError, PresentedKind, UpdateCredentialError,
};
use agentidp::ports::issuer_store::{ChangeIssuerError, InsertIssuerError};
use agentidp::ports::token_store::{IssueError, IssuerDependency, Signer, SpentAssertion, TokenIssue};
use serde_json::json;
use testing::NOON;

use crate::fixtures::*;

contract!([memory, postgres, sqlite] [
    an_issuer_reads_back_as_it_was_written,
    an_issuer_is_trusted_once_an_organization_however_many_race,
    an_organization_trusts_so_many_issuers_however_many_race,
    another_organizations_issuer_is_not_found,
    a_list_of_issuers_is_filtered_and_newest_first,
    of_two_changes_of_one_issuer_one_wins,
    an_issuer_in_use_is_not_deleted_and_a_revoked_credential_keeps_its_id,
    a_change_needs_the_scopes_of_every_agent_of_the_issuer,
    the_issuer_of_the_last_administrator_stays_active,
    a_credential_needs_an_issuer_of_its_organization,
    a_federated_client_is_found_with_its_issuer,
    credentials_are_found_by_subject,
]);

mod tokens {
    use super::*;

    contract!([memory, postgres, sqlite, fallback, fallback_postgres] [
        a_token_rests_on_its_issuer,
        nothing_is_issued_once_the_issuer_has_changed,
        no_token_is_issued_after_the_answer_to_a_suspension,
        no_token_is_issued_after_the_revocation_of_a_federated_credential,
        an_assertion_of_an_issuer_works_once_however_many_race,
        an_assertion_of_an_issuer_is_not_spent_by_a_refusal,
    an_assertion_of_an_issuer_is_not_spent_by_a_client_over_its_quota,
        a_caller_whose_issuer_is_suspended_changes_nothing,
    ]);
}

fn suspension() -> IssuerChange {
    IssuerChange { status: Some(IssuerStatus::Suspended), ..IssuerChange::default() }
}

async fn an_issuer_reads_back_as_it_was_written(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await.id;
    let rsa = json!({ "kty": "RSA", "n": "a".repeat(342), "e": "AQAB", "kid": "1", "alg": "PS256" });
    let p384 = json!({ "kty": "EC", "crv": "P-384", "x": "a".repeat(64), "y": "b".repeat(64) });
    let key = |jwk| IssuerKey::parse(&jwk, KeyUse::Signature).expect("a key");
    let url = || KeysUrl::parse("https://keys.example.com/jwks?a=b").expect("a URL");
    let sources = [
        KeySource::Discovery,
        KeySource::JwksUri(url()),
        KeySource::SpiffeBundle(url()),
        KeySource::Jwks([key(rsa), key(p384)].into()),
    ];
    for keys in sources {
        let subjects = Subjects {
            audiences: vec!["app".to_owned()],
            may_act: MayAct::Only(vec![agent(organization).id]),
            scopes: Scopes::capabilities(&["files:read", "files:write"]).expect("valid"),
            max_age_seconds: 600,
            redelegation: true,
        };
        let issuer = TrustedIssuer {
            keys,
            audiences: vec!["a b".to_owned(), "\u{e9}".to_owned()],
            algorithms: vec![SignatureAlgorithm::Es384, SignatureAlgorithm::EdDsa],
            max_lifetime_seconds: 90_000,
            require_jti: true,
            subject_optional: true,
            subjects: Some(subjects),
            managed_by: Some(ManagedBy::parse("terraform").expect("valid")),
            generation: 7,
            subjects_generation: 5,
            revision: 3,
            ..issuer(organization)
        };
        let stored = stores.trust(issuer).await;
        let found = stores.issuers.find(Tenancy::All, stored.id).await.expect("an answer");
        assert_eq!(found.as_deref(), Some(&stored));
        let change = IssuerChange {
            name: Some(Name::parse("Other").expect("valid")),
            subjects: Some(None),
            audiences: Some(vec!["c".to_owned()]),
            ..suspension()
        };
        let after = stored.changed(change, NOON.plus_seconds(1));
        let suspended = event(AuditAction::IssuerSuspended, stored.id);
        stores.issuers.update(&stored, &after, unchecked(&suspended)).await.expect("changed");
        let found = stores.issuers.find(Tenancy::All, stored.id).await.expect("an answer");
        assert_eq!(found.as_deref(), Some(&after));
        assert!(after.subjects_generation > 5);
    }
    assert_eq!(stores.count(AuditAction::IssuerCreated).await, 4);
}

async fn an_issuer_is_trusted_once_an_organization_however_many_race(stores: Stores) {
    for round in 1..=ROUNDS {
        let organization = stores.organization(LimitOverrides::default()).await.id;
        let url = issuer(organization).issuer;
        let callers = (0..RACERS).map(|_| {
            let (issuers, new) = (stores.issuers.clone(), issuer(organization));
            let new = TrustedIssuer { issuer: url.clone(), ..new };
            async move {
                let created = event(AuditAction::IssuerCreated, new.id);
                issuers.insert(Tenancy::Only(organization), &new, unchecked(&created)).await
            }
        });
        let outcomes = race(callers).await;
        let taken = |outcome: &&Result<(), _>| matches!(outcome, Err(InsertIssuerError::Taken));
        assert_eq!(outcomes.iter().filter(taken).count(), RACERS - 1, "round {round}");
        assert_eq!(stores.count(AuditAction::IssuerCreated).await, round, "one event");
    }
    // Another organization may trust the same issuer.
    let [one, other] = [(); 2].map(|()| stores.organization(LimitOverrides::default()));
    let (one, other) = (one.await.id, other.await.id);
    let first = stores.trust(issuer(one)).await;
    stores.trust(TrustedIssuer { issuer: first.issuer, ..issuer(other) }).await;
}

async fn an_organization_trusts_so_many_issuers_however_many_race(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await.id;
    let callers = (0..RACERS).map(|_| {
        let (issuers, new) = (stores.issuers.clone(), issuer(organization));
        async move { issuers.insert(Tenancy::All, &new, unchecked(&[])).await }
    });
    let outcomes = race(callers).await;
    let created = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(created, MAX_ISSUERS as usize);
    let refused =
        |outcome: &&Result<(), _>| matches!(outcome, Err(InsertIssuerError::LimitReached(MAX_ISSUERS)));
    assert_eq!(outcomes.iter().filter(refused).count(), RACERS - created);
}

async fn another_organizations_issuer_is_not_found(stores: Stores) {
    let ours = stores.organization(LimitOverrides::default()).await.id;
    let theirs = stores.organization(LimitOverrides::default()).await.id;
    let issuer = stores.trust(issuer(theirs)).await;
    let found = stores.issuers.find(Tenancy::Only(ours), issuer.id).await.expect("an answer");
    assert_eq!(found, None);
    let new = crate::fixtures::issuer(theirs);
    let outcome = stores.issuers.insert(Tenancy::Only(ours), &new, unchecked(&[])).await;
    assert!(matches!(outcome, Err(InsertIssuerError::NoSuchOrganization)), "{outcome:?}");
    let unknown = crate::fixtures::issuer(organization().id);
    let outcome = stores.issuers.insert(Tenancy::All, &unknown, unchecked(&[])).await;
    assert!(matches!(outcome, Err(InsertIssuerError::NoSuchOrganization)), "{outcome:?}");
}

async fn a_list_of_issuers_is_filtered_and_newest_first(stores: Stores) {
    let ours = stores.organization(LimitOverrides::default()).await.id;
    let theirs = stores.organization(LimitOverrides::default()).await.id;
    let mut own = Vec::new();
    for second in 0..3 {
        own.push(stores.trust(TrustedIssuer { created_at: NOON.plus_seconds(second), ..issuer(ours) }).await);
    }
    let foreign = stores.trust(issuer(theirs)).await;
    let suspended = own[1].changed(suspension(), NOON);
    stores.issuers.update(&own[1], &suspended, unchecked(&[])).await.expect("changed");
    let list = async |within, status, number, limit| {
        let page = stores.issuers.list(within, status, PageRequest { number, limit }).await;
        let page = page.expect("an answer");
        (page.items.iter().map(|issuer| issuer.id).collect::<Vec<_>>(), page.total)
    };
    assert_eq!(list(Tenancy::Only(ours), None, 1, 2).await, (vec![own[2].id, own[1].id], 3));
    assert_eq!(list(Tenancy::Only(ours), None, 2, 2).await, (vec![own[0].id], 3));
    assert_eq!(list(Tenancy::Only(ours), None, 3, 2).await, (vec![], 3));
    assert_eq!(list(Tenancy::Only(theirs), None, 1, 9).await, (vec![foreign.id], 1));
    assert_eq!(list(Tenancy::All, None, 1, 9).await.1, 4);
    assert_eq!(list(Tenancy::All, Some(IssuerStatus::Suspended), 1, 9).await, (vec![own[1].id], 1));
    assert_eq!(list(Tenancy::Only(theirs), Some(IssuerStatus::Suspended), 1, 9).await, (vec![], 0));
    assert_eq!(list(Tenancy::All, Some(IssuerStatus::Active), 1, 9).await.1, 3);
}

async fn of_two_changes_of_one_issuer_one_wins(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await.id;
    for round in 1..=ROUNDS {
        let before = stores.trust(issuer(organization)).await;
        let callers = (0..RACERS).map(|place| {
            let (issuers, before) = (stores.issuers.clone(), before.clone());
            async move {
                let seconds = 60 + u32::try_from(place).expect("few");
                let change = IssuerChange { max_lifetime_seconds: Some(seconds), ..IssuerChange::default() };
                let after = before.changed(change, NOON);
                let updated = event(AuditAction::IssuerUpdated, before.id);
                issuers.update(&before, &after, unchecked(&updated)).await
            }
        });
        let outcomes = race(callers).await;
        let lost = |outcome: &&Result<(), _>| matches!(outcome, Err(ChangeIssuerError::LostRace));
        assert_eq!(outcomes.iter().filter(lost).count(), RACERS - 1, "round {round}");
        assert_eq!(stores.count(AuditAction::IssuerUpdated).await, round, "one event");
    }
}

async fn an_issuer_in_use_is_not_deleted_and_a_revoked_credential_keeps_its_id(stores: Stores) {
    let agent = stores.agent().await;
    let issuer = stores.trust(issuer(agent.organization)).await;
    let credential = stores.federated(&agent, &issuer).await;
    assert!(stores.issuers.is_in_use(issuer.id, NOON).await.expect("an answer"));
    let deleted = event(AuditAction::IssuerDeleted, issuer.id);
    let outcome = stores.issuers.delete(&issuer, unchecked(&deleted)).await;
    assert!(matches!(outcome, Err(ChangeIssuerError::InUse)), "{outcome:?}");
    stores.revoke_credential(&agent, &credential).await.expect("revoked");
    let expired = Credential { expires_at: Some(NOON), ..federated(&agent, &issuer) };
    stores.credentials.insert(&agent, &expired, 10, unchecked(&[])).await.expect("stored");
    let outdated = TrustedIssuer { revision: 9, ..issuer.clone() };
    let outcome = stores.issuers.delete(&outdated, unchecked(&deleted)).await;
    assert!(matches!(outcome, Err(ChangeIssuerError::LostRace)), "{outcome:?}");
    stores.issuers.delete(&issuer, unchecked(&deleted)).await.expect("deleted");
    assert_eq!(stores.issuers.find(Tenancy::All, issuer.id).await.expect("an answer"), None);
    assert_eq!(stores.count(AuditAction::IssuerDeleted).await, 1);
    let kept = stores.credentials.find(agent.id, credential.id).await.expect("an answer").expect("kept");
    assert!(matches!(&kept.kind, CredentialKind::Federated(identity) if identity.issuer == issuer.id));
}

async fn a_change_needs_the_scopes_of_every_agent_of_the_issuer(stores: Stores) {
    let (caller, authority) = stores.caller(&["issuers:write", "agents:read"]).await;
    let issuer = stores.trust(issuer(caller.organization)).await;
    let powerful = stores.add(agent_with(caller.organization, &["tokens:read", "agents:read", "a:b"])).await;
    let credential = stores.federated(&powerful, &issuer).await;
    let change = |change: IssuerChange| issuer.changed(change, NOON);
    let renamed =
        IssuerChange { name: Some(Name::parse("Other").expect("valid")), ..IssuerChange::default() };
    let more = IssuerChange { subject_optional: Some(true), ..IssuerChange::default() };
    for refused in [more.clone(), suspension(), IssuerChange { ..more.clone() }] {
        let outcome = stores.issuers.update(&issuer, &change(refused), by(&authority, &[])).await;
        let Err(ChangeIssuerError::MissingScopes(missing)) = outcome else { panic!("{outcome:?}") };
        let names: Vec<_> = missing.iter().map(ManagementScope::as_str).collect();
        assert_eq!(names, ["tokens:read"]);
    }
    // The operator may.
    let suspended = change(suspension());
    stores.issuers.update(&issuer, &suspended, unchecked(&[])).await.expect("changed");
    let back = IssuerChange { status: Some(IssuerStatus::Active), ..IssuerChange::default() };
    let outcome =
        stores.issuers.update(&suspended, &suspended.changed(back, NOON), by(&authority, &[])).await;
    assert!(matches!(outcome, Err(ChangeIssuerError::MissingScopes(_))), "{outcome:?}");
    let named = suspended.changed(renamed, NOON);
    stores.issuers.update(&suspended, &named, by(&authority, &[])).await.expect("only the name");
    stores.revoke_credential(&powerful, &credential).await.expect("revoked");
    stores.issuers.update(&named, &named.changed(more, NOON), by(&authority, &[])).await.expect("no holder");
}

async fn the_issuer_of_the_last_administrator_stays_active(stores: Stores) {
    let (_, first, secret) = stores.administrator().await;
    let issuer = stores.trust(issuer(first.organization)).await;
    let federated = stores.federated(&first, &issuer).await;
    let suspended = issuer.changed(suspension(), NOON);
    stores.issuers.update(&issuer, &suspended, unchecked(&[])).await.expect("there is a secret");
    // A credential of a suspended issuer does not count.
    let outcome = stores.revoke_credential(&first, &secret).await;
    assert!(matches!(outcome, Err(UpdateCredentialError::LastAdministrator)), "{outcome:?}");
    let back = suspended
        .changed(IssuerChange { status: Some(IssuerStatus::Active), ..IssuerChange::default() }, NOON);
    stores.issuers.update(&suspended, &back, unchecked(&[])).await.expect("reactivated");
    stores.revoke_credential(&first, &secret).await.expect("the federated credential is left");
    let outcome = stores.issuers.update(&back, &back.changed(suspension(), NOON), unchecked(&[])).await;
    assert!(matches!(outcome, Err(ChangeIssuerError::LastAdministrator)), "{outcome:?}");
    let outcome = stores.revoke_credential(&first, &federated).await;
    assert!(matches!(outcome, Err(UpdateCredentialError::LastAdministrator)), "{outcome:?}");
}

async fn a_credential_needs_an_issuer_of_its_organization(stores: Stores) {
    let agent = stores.agent().await;
    let foreign = stores.trust(issuer(stores.agent().await.organization)).await;
    let own = stores.trust(issuer(agent.organization)).await;
    let insert = async |issuer: &TrustedIssuer, subject: Option<&str>, claims: serde_json::Value| {
        let identity = FederatedIdentity {
            issuer: issuer.id,
            subject: subject.map(str::to_owned),
            claims: ClaimRules::new(claims.as_object().expect("an object").clone()).expect("rules"),
        };
        let credential = Credential { kind: CredentialKind::Federated(identity), ..credential(agent.id) };
        let outcome = stores.credentials.insert(&agent, &credential, 1_000, unchecked(&[])).await;
        let back = stores.credentials.find(agent.id, credential.id).await.expect("an answer");
        assert_eq!(back.as_deref(), outcome.is_ok().then_some(&credential));
        outcome
    };
    let refused =
        |outcome| assert!(matches!(outcome, Err(InsertCredentialError::NoSuchIssuer)), "{outcome:?}");
    refused(insert(&foreign, Some("a"), json!({})).await);
    refused(insert(&issuer(agent.organization), Some("a"), json!({})).await);
    let incomplete =
        |outcome| assert!(matches!(outcome, Err(InsertCredentialError::SubjectMissing)), "{outcome:?}");
    incomplete(insert(&own, None, json!({ "a": 1 })).await);
    insert(&own, Some("a"), json!({ "/a/b": ["x", 1, true], "c": "d" })).await.expect("stored");
    let lax = TrustedIssuer { subject_optional: true, ..issuer(agent.organization) };
    let lax = stores.trust(lax).await;
    incomplete(insert(&lax, None, json!({})).await);
    insert(&lax, None, json!({ "a": 1.5 })).await.expect("stored");
    for _ in 0..MAX_UNREVOKED - 2 {
        insert(&own, Some("a"), json!({})).await.expect("stored");
    }
    let outcome = insert(&own, Some("a"), json!({})).await;
    assert!(matches!(outcome, Err(InsertCredentialError::TooManyUnrevoked)), "{outcome:?}");
    stores.credential(&stores.agent().await).await;
}

async fn a_federated_client_is_found_with_its_issuer(stores: Stores) {
    let agent = stores.agent().await;
    let issuer = stores.trust(issuer(agent.organization)).await;
    let other = stores.trust(crate::fixtures::issuer(agent.organization)).await;
    let [first, second] = [(); 2].map(|()| stores.federated(&agent, &issuer));
    let (first, second) = (first.await, second.await);
    stores.federated(&agent, &other).await;
    stores.credential(&agent).await;
    let revoked = stores.federated(&agent, &issuer).await;
    stores.revoke_credential(&agent, &revoked).await.expect("revoked");
    let find = async |id, url: &str| {
        let kind = PresentedKind::Federated(url.into());
        let known = stores.credentials.find_client(id, kind, Freshness::Current).await.expect("an answer")?;
        let mut ids: Vec<_> = known.candidates.iter().map(|one| one.id).collect();
        ids.sort();
        Some((known.issuer.map(|issuer| TrustedIssuer::clone(&issuer)), ids))
    };
    let url = issuer.issuer.as_str();
    assert_eq!(find(agent.id, url).await, Some((Some(issuer.clone()), vec![first.id, second.id])));
    assert_eq!(find(agent.id, "https://unknown.example.com").await, Some((None, vec![])));
    assert_eq!(find(agent.id, "").await, Some((None, vec![])));
    let without = stores.add(crate::fixtures::agent(agent.organization)).await;
    assert_eq!(find(without.id, url).await, Some((Some(issuer.clone()), vec![])));
    let foreign = stores.agent().await;
    assert_eq!(find(foreign.id, url).await, Some((None, vec![])), "of another organization");
    assert_eq!(find(crate::fixtures::agent(agent.organization).id, url).await, None);
    let after = issuer.changed(suspension(), NOON.plus_seconds(1));
    stores.issuers.update(&issuer, &after, unchecked(&[])).await.expect("changed");
    let found = find(agent.id, url).await.expect("known").0.expect("known");
    assert_eq!(found, after, "no earlier state");
}

async fn credentials_are_found_by_subject(stores: Stores) {
    let agent = stores.agent().await;
    let lax = TrustedIssuer { subject_optional: true, ..issuer(agent.organization) };
    let issuer = stores.trust(lax).await;
    let with = async |subject: Option<&str>| {
        let identity = FederatedIdentity {
            issuer: issuer.id,
            subject: subject.map(str::to_owned),
            claims: ClaimRules::new(json!({ "a": 1 }).as_object().expect("an object").clone())
                .expect("rules"),
        };
        let credential = Credential { kind: CredentialKind::Federated(identity), ..credential(agent.id) };
        stores.credentials.insert(&agent, &credential, 10, unchecked(&[])).await.expect("stored");
        credential
    };
    let (own, _, any) = (with(Some("a")).await, with(Some("b")).await, with(None).await);
    let find = async |subject| {
        let found = stores.issuers.credentials_of(&issuer, subject, NOON).await.expect("an answer");
        found.into_iter().map(Arc::unwrap_or_clone).collect::<Vec<_>>()
    };
    assert_eq!(find(Some("a")).await, [any.clone(), own.clone()]);
    for subject in [Some("c"), None] {
        assert_eq!(find(subject).await, std::slice::from_ref(&any));
    }
    stores.revoke_credential(&agent, &any).await.expect("revoked");
    assert_eq!(find(Some("a")).await, [own]);
    assert_eq!(find(None).await, []);
}

fn on(issuer: &TrustedIssuer) -> IssuerDependency {
    IssuerDependency::of(issuer)
}

async fn a_token_rests_on_its_issuer(stores: Stores) {
    let agent = stores.agent().await;
    let issuer = stores.trust(issuer(agent.organization)).await;
    let credential = stores.federated(&agent, &issuer).await;
    let request = TokenIssue { issuers: vec![on(&issuer)], ..issue(&agent, &credential) };
    stores.tokens.issue(request).await.expect("allowed");
    let used = stores.credentials.find(agent.id, credential.id).await.expect("an answer").expect("stored");
    assert_eq!(used.last_used_at, Some(NOON.to_the_minute()));
    let resting = |issuers: Vec<IssuerGeneration>| Claims { issuers, ..claims(&agent, TokenId(id())) };
    let hold = async |claims: Claims| {
        stores
            .tokens
            .status(&claims)
            .await
            .expect("an answer")
            .is_some_and(|status| status.is_active(&claims))
    };
    let generation = issuer.generation();
    assert!(hold(resting(vec![])).await && hold(resting(vec![generation])).await);
    assert!(!hold(resting(vec![IssuerGeneration { generation: 1, ..generation }])).await);
    let unknown = IssuerGeneration { issuer: IssuerId(id()), generation: 0 };
    assert!(!hold(resting(vec![unknown])).await && !hold(resting(vec![generation, unknown])).await);
    let suspended = issuer.changed(suspension(), NOON);
    stores.issuers.update(&issuer, &suspended, unchecked(&[])).await.expect("changed");
    assert!(!hold(resting(vec![generation])).await && !hold(resting(vec![suspended.generation()])).await);
    let back = IssuerChange { status: Some(IssuerStatus::Active), ..IssuerChange::default() };
    let back = suspended.changed(back, NOON);
    stores.issuers.update(&suspended, &back, unchecked(&[])).await.expect("changed");
    assert!(!hold(resting(vec![generation])).await, "for good");
    assert!(hold(resting(vec![back.generation()])).await);
    stores.revoke_credential(&agent, &credential).await.expect("revoked");
    stores.issuers.delete(&back, unchecked(&[])).await.expect("deleted");
    assert!(!hold(resting(vec![back.generation()])).await);
}

async fn nothing_is_issued_once_the_issuer_has_changed(stores: Stores) {
    let agent = stores.agent().await;
    let issuer = stores.trust(issuer(agent.organization)).await;
    let credential = stores.federated(&agent, &issuer).await;
    let refused = async |dependency: IssuerDependency, why: &str| {
        let request = TokenIssue { issuers: vec![dependency], ..issue(&agent, &credential) };
        let outcome = stores.tokens.issue(request).await;
        assert!(matches!(outcome, Err(IssueError::NoLongerAllowed)), "{why}: {outcome:?}");
    };
    refused(on(&crate::fixtures::issuer(agent.organization)), "an unknown issuer").await;
    refused(IssuerDependency { decided_by: Some((1, issuer.updated_at)), ..on(&issuer) }, "another revision")
        .await;
    let restored =
        IssuerDependency { decided_by: Some((issuer.revision, NOON.plus_seconds(1))), ..on(&issuer) };
    refused(restored, "the same revision of another change").await;
    let change = IssuerChange { require_jti: Some(true), ..IssuerChange::default() };
    let changed = issuer.changed(change, NOON);
    stores.issuers.update(&issuer, &changed, unchecked(&[])).await.expect("changed");
    refused(on(&issuer), "an issuer that has changed").await;
    let suspended = changed.changed(suspension(), NOON);
    stores.issuers.update(&changed, &suspended, unchecked(&[])).await.expect("changed");
    refused(on(&suspended), "a suspended issuer, of its own revision").await;
    assert_eq!(stores.count(AuditAction::TokenIssued).await, 0, "a refusal stores nothing");
}

/// Races tokens against the suspension of the issuer that they rest on.
async fn no_token_is_issued_after_the_answer_to_a_suspension(stores: Stores) {
    let agent = stores.agent().await;
    for round in 1..=ROUNDS {
        let issuer = stores.trust(issuer(agent.organization)).await;
        let credential = stores.federated(&agent, &issuer).await;
        let request = || TokenIssue { issuers: vec![on(&issuer)], ..issue(&agent, &credential) };
        let kill = {
            let (issuers, before, after) =
                (stores.issuers.clone(), issuer.clone(), issuer.changed(suspension(), NOON));
            tokio::spawn(async move { issuers.update(&before, &after, unchecked(&[])).await })
        };
        let callers = (0..RACERS).map(|_| {
            let (tokens, issue) = (stores.tokens.clone(), request());
            async move { tokens.issue(issue).await }
        });
        race(callers).await;
        kill.await.expect("no panic").expect("changed");
        let outcome = stores.tokens.issue(request()).await;
        assert!(matches!(outcome, Err(IssueError::NoLongerAllowed)), "round {round}: {outcome:?}");
        stores.revoke_credential(&agent, &credential).await.expect("revoked");
    }
}

/// Races tokens against the revocation of the credential by which their client authenticated.
async fn no_token_is_issued_after_the_revocation_of_a_federated_credential(stores: Stores) {
    let agent = stores.agent().await;
    let issuer = stores.trust(issuer(agent.organization)).await;
    for round in 1..=ROUNDS {
        let credential = stores.federated(&agent, &issuer).await;
        let request = || TokenIssue { issuers: vec![on(&issuer)], ..issue(&agent, &credential) };
        let kill = {
            let (credentials, agent, before) =
                (stores.credentials.clone(), agent.clone(), credential.clone());
            tokio::spawn(async move {
                let after = before.revoked(NOON).expect("live");
                let change = CredentialUpdate {
                    before: &before,
                    after: &after,
                    max_live: MAX_LIVE_CREDENTIALS,
                    agent_after: None,
                };
                credentials.update(&agent, &change, unchecked(&[])).await
            })
        };
        let callers = (0..RACERS).map(|_| {
            let (tokens, issue) = (stores.tokens.clone(), request());
            async move { tokens.issue(issue).await }
        });
        race(callers).await;
        kill.await.expect("no panic").expect("revoked");
        let outcome = stores.tokens.issue(request()).await;
        assert!(matches!(outcome, Err(IssueError::NoLongerAllowed)), "round {round}: {outcome:?}");
    }
}

/// Several agents present one assertion, since one issuer vouches for all of them.
async fn an_assertion_of_an_issuer_works_once_however_many_race(stores: Stores) {
    let agents = [stores.agent().await];
    let organization = agents[0].organization;
    let other = stores.add(agent(organization)).await;
    let issuer = stores.trust(issuer(organization)).await;
    let clients = [
        (&agents[0], stores.federated(&agents[0], &issuer).await),
        (&other, stores.federated(&other, &issuer).await),
    ];
    for round in 0..ROUNDS {
        let assertion = SpentAssertion {
            signer: Signer::Issuer(issuer.id),
            digest: [u8::try_from(round).expect("few"); 32],
            until: NOON.plus_seconds(60),
        };
        assert!(!stores.tokens.is_spent(&assertion).await.expect("an answer"));
        let callers = (0..RACERS).map(|racer| {
            let (agent, credential) = &clients[racer % 2];
            let request = TokenIssue {
                issuers: vec![on(&issuer)],
                assertions: vec![assertion.clone()],
                ..issue(agent, credential)
            };
            let tokens = stores.tokens.clone();
            async move { tokens.issue(request).await }
        });
        let outcomes = race(callers).await;
        let issued = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let spent =
            outcomes.iter().filter(|outcome| matches!(outcome, Err(IssueError::AssertionSpent))).count();
        assert_eq!((issued, spent), (1, RACERS - 1), "round {round}: {outcomes:?}");
        assert!(stores.tokens.is_spent(&assertion).await.expect("an answer"));
        assert!(!stores.tokens.spend(&assertion).await.expect("an answer"), "nor elsewhere");
        // Another issuer, and the client itself, choose their own.
        let signer = Signer::Issuer(IssuerId(id()));
        assert!(
            stores.tokens.spend(&SpentAssertion { signer, ..assertion.clone() }).await.expect("an answer")
        );
        let signer = Signer::Client(other.id);
        assert!(stores.tokens.spend(&SpentAssertion { signer, ..assertion }).await.expect("an answer"));
    }
}

async fn an_assertion_of_an_issuer_is_not_spent_by_a_client_over_its_quota(stores: Stores) {
    let overrides = LimitOverrides { max_tokens_per_month: at_most(1), ..LimitOverrides::default() };
    let organization = stores.organization(overrides).await.id;
    let issuer = stores.trust(issuer(organization)).await;
    let over = stores.add(agent(organization)).await;
    let credential = stores.federated(&over, &issuer).await;
    stores.tokens.issue(issue(&over, &credential)).await.expect("its only one");
    for round in 0..ROUNDS {
        let under = stores.add(agent(organization)).await;
        let clients = [(&over, credential.clone()), (&under, stores.federated(&under, &issuer).await)];
        let assertion = SpentAssertion {
            signer: Signer::Issuer(issuer.id),
            digest: [u8::try_from(round).expect("few"); 32],
            until: NOON.plus_seconds(60),
        };
        let callers = (0..RACERS).map(|racer| {
            let (agent, credential) = &clients[racer % 2];
            let request = TokenIssue {
                issuers: vec![on(&issuer)],
                assertions: vec![assertion.clone()],
                ..issue(agent, credential)
            };
            let (tokens, client) = (stores.tokens.clone(), agent.id);
            async move { (client, tokens.issue(request).await) }
        });
        let outcomes = race(callers).await;
        let issued: Vec<_> =
            outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(client, _)| *client).collect();
        assert_eq!(issued, [under.id], "round {round}: {outcomes:?}");
    }
}

async fn an_assertion_of_an_issuer_is_not_spent_by_a_refusal(stores: Stores) {
    let agent = stores.agent().await;
    let issuer = stores.trust(issuer(agent.organization)).await;
    let credential = stores.federated(&agent, &issuer).await;
    let assertion =
        SpentAssertion { signer: Signer::Issuer(issuer.id), digest: [1; 32], until: NOON.plus_seconds(60) };
    let request = TokenIssue {
        issuers: vec![on(&issuer)],
        assertions: vec![assertion.clone()],
        ..issue(&agent, &credential)
    };
    let outdated = TokenIssue { revision: 7, ..request.clone() };
    let outcome = stores.tokens.issue(outdated).await;
    assert!(matches!(outcome, Err(IssueError::NoLongerAllowed)), "{outcome:?}");
    assert!(!stores.tokens.is_spent(&assertion).await.expect("an answer"));
    let event = event(AuditAction::TokenIssued, TokenId(id()));
    stores.tokens.issue(TokenIssue { event, ..request }).await.expect("allowed");
}

async fn a_caller_whose_issuer_is_suspended_changes_nothing(stores: Stores) {
    let (caller, authority) = stores.caller(&["agents:write"]).await;
    let issuer = stores.trust(issuer(caller.organization)).await;
    let authority = Authority { issuers: vec![issuer.generation()], ..authority };
    let register = async || {
        let new = agent(caller.organization);
        let created = event(AuditAction::AgentCreated, new.id);
        stores.agents.insert(Tenancy::All, &new, None, by(&authority, &created)).await
    };
    let generate = async || {
        let new = credential(caller.id);
        let generated = event(AuditAction::CredentialGenerated, new.id);
        stores.credentials.insert(&caller, &new, 10, by(&authority, &generated)).await
    };
    register().await.expect("the issuer is active");
    generate().await.expect("the issuer is active");
    let suspended = issuer.changed(suspension(), NOON);
    stores.issuers.update(&issuer, &suspended, unchecked(&[])).await.expect("changed");
    let outcome = register().await;
    assert!(matches!(outcome, Err(InsertAgentError::CallerRevoked(_))), "{outcome:?}");
    let outcome = generate().await;
    assert!(matches!(outcome, Err(InsertCredentialError::CallerRevoked(_))), "{outcome:?}");
}

fn agent_with(organization: OrganizationId, capabilities: &[&str]) -> Agent {
    let capabilities = Scopes::capabilities(capabilities).expect("valid");
    Agent { capabilities, ..agent(organization) }
}
