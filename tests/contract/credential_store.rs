use agentidp::domain::agent::AgentChange;
use agentidp::domain::audit::{AuditAction, AuditEvent};
use agentidp::domain::client::RegisteredClient;
use agentidp::domain::credential::{
    Credential, CredentialKind, CredentialStatus, MAX_LIVE_CREDENTIALS, MAX_REVOKED, MAX_UNREVOKED,
    StoredSecret,
};
use agentidp::domain::jwk::PublicKey;
use agentidp::domain::page::PageRequest;
use agentidp::domain::secret::{Fingerprint, SecretDigest, SecretHash};
use agentidp::domain::tenancy::Tenancy;
use agentidp::domain::time::Timestamp;
use agentidp::ports::credential_store::{
    CredentialUpdate, Freshness, InsertCredentialError, PresentedKind, UpdateCredentialError,
};
use testing::NOON;

use crate::fixtures::*;

contract!([memory, postgres, sqlite] [
    a_credential_reads_back_as_it_was_stored,
    the_limit_of_live_credentials_holds_however_many_race,
    a_credential_that_expired_makes_room_and_does_not_come_back_beyond_the_limit,
    expired_credentials_do_not_pile_up,
    of_revoked_credentials_the_newest_are_kept,
    the_last_administrators_credential_is_given_no_end,
    a_credential_of_an_agent_that_has_changed_is_refused,
    of_two_rotations_of_one_state_one_wins,
    tokens_die_with_the_old_secret_or_neither_does,
    the_last_administrators_credential_stays_however_many_race,
    a_client_is_found_with_the_credentials_its_proof_can_match,
    a_recent_answer_says_that_it_is_one_and_a_current_answer_is_that_of_now,
    a_digest_is_that_of_the_current_secret_until_its_rotation_or_revocation,
    a_use_is_noted_and_never_moves_back,
    a_rotation_does_not_forget_a_use,
    the_credentials_of_an_agent_end_with_it,
    a_list_is_newest_first_and_filtered,
    credentials_that_expire_are_listed_by_their_end,
]);

fn fingerprint(credential: &Credential) -> Fingerprint {
    match &credential.kind {
        CredentialKind::Secret { current, .. } => current.fingerprint,
        _ => panic!("it has none"),
    }
}

/// Returns the client as it is found by the secret of this credential.
async fn client_with(stores: &Stores, credential: &Credential) -> RegisteredClient {
    let kind = PresentedKind::Secret(fingerprint(credential));
    let found = stores.credentials.find_client(credential.agent, kind, Freshness::Current).await;
    found.expect("an answer").expect("known")
}

fn other_secret() -> StoredSecret {
    StoredSecret { fingerprint: Fingerprint([9; 8]), hash: SecretHash("another".into()), digest: None }
}

fn update<'a>(before: &'a Credential, after: &'a Credential) -> CredentialUpdate<'a> {
    CredentialUpdate { before, after, max_live: MAX_LIVE_CREDENTIALS, agent_after: None }
}

async fn a_credential_reads_back_as_it_was_stored(stores: Stores) {
    let agent = stores.agent().await;
    let secret = stores.credential(&agent).await;
    let key = Credential {
        kind: CredentialKind::Key(PublicKey::Ed25519 { x: "eA".into() }),
        expires_at: Some(NOON.plus_seconds(60)),
        ..credential(agent.id)
    };
    let generated = event(AuditAction::CredentialGenerated, key.id);
    stores
        .credentials
        .insert(&agent, &key, MAX_LIVE_CREDENTIALS, unchecked(&generated))
        .await
        .expect("stored");
    for stored in [secret, key] {
        let found = stores.credentials.find(agent.id, stored.id).await.expect("an answer");
        assert_eq!(found.as_deref(), Some(&stored));
        let other = stores.agent().await;
        assert_eq!(stores.credentials.find(other.id, stored.id).await.expect("an answer"), None);
    }
}

async fn the_limit_of_live_credentials_holds_however_many_race(stores: Stores) {
    for round in 1..=ROUNDS {
        let agent = stores.agent().await;
        let callers = (0..RACERS).map(|_| {
            let (credentials, agent) = (stores.credentials.clone(), agent.clone());
            async move {
                let new = credential(agent.id);
                credentials
                    .insert(&agent, &new, 10, unchecked(&event(AuditAction::CredentialGenerated, new.id)))
                    .await
            }
        });
        let outcomes = race(callers).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10, "round {round}");
        assert_eq!(stores.count(AuditAction::CredentialGenerated).await, 10 * round, "one event each");
    }
}

async fn a_credential_that_expired_makes_room_and_does_not_come_back_beyond_the_limit(stores: Stores) {
    let agent = stores.agent().await;
    let expired = Credential { expires_at: Some(NOON), ..credential(agent.id) };
    let insert = async |new: &Credential| {
        stores
            .credentials
            .insert(&agent, new, 1, unchecked(&event(AuditAction::CredentialGenerated, new.id)))
            .await
    };
    insert(&expired).await.expect("the first");
    insert(&credential(agent.id)).await.expect("an expired one takes no room");
    let outcome = insert(&credential(agent.id)).await;
    assert!(matches!(outcome, Err(InsertCredentialError::LimitReached(1))));
    let revived = expired.rotated(other_secret(), None, None).expect("not revoked");
    let change = CredentialUpdate { max_live: 1, ..update(&expired, &revived) };
    let outcome = stores
        .credentials
        .update(&agent, &change, unchecked(&event(AuditAction::CredentialRotated, expired.id)))
        .await;
    assert!(matches!(outcome, Err(UpdateCredentialError::LimitReached(1))));
}

async fn expired_credentials_do_not_pile_up(stores: Stores) {
    let agent = stores.agent().await;
    let expired = || Credential { expires_at: Some(NOON), ..credential(agent.id) };
    let key = || Credential { kind: CredentialKind::Key(PublicKey::Ed25519 { x: "eA".into() }), ..expired() };
    let insert = async |new: &Credential| {
        stores
            .credentials
            .insert(&agent, new, 10, unchecked(&event(AuditAction::CredentialGenerated, new.id)))
            .await
    };
    for _ in 0..MAX_UNREVOKED {
        insert(&expired()).await.expect("an expired one is not live");
    }
    assert!(matches!(insert(&expired()).await, Err(InsertCredentialError::TooManyUnrevoked)));
    let expired = key();
    insert(&expired).await.expect("keys are counted apart");
    for _ in 1..MAX_UNREVOKED {
        insert(&key()).await.expect("an expired one is not live");
    }
    assert!(matches!(insert(&key()).await, Err(InsertCredentialError::TooManyUnrevoked)));
    let after = expired.revoked(NOON).expect("not yet");
    let revoked = event(AuditAction::CredentialRevoked, after.id);
    stores.credentials.update(&agent, &update(&expired, &after), unchecked(&revoked)).await.expect("revoked");
    insert(&key()).await.expect("a revoked one makes room");

    let agent = stores.agent().await;
    stores.credentials.check_capacity(agent.id, 1, NOON).await.expect("none is live");
    stores.credential(&agent).await;
    let outcome = stores.credentials.check_capacity(agent.id, 1, NOON).await;
    assert!(matches!(outcome, Err(InsertCredentialError::LimitReached(1))), "one is live");
}

async fn a_credential_of_an_agent_that_has_changed_is_refused(stores: Stores) {
    let seen = stores.agent().await;
    let credential_of_it = stores.credential(&seen).await;
    let suspension = AgentChange { is_active: Some(false), ..AgentChange::default() };
    let suspended = seen.changed(suspension, NOON).expect("not decommissioned");
    stores.agents.update(&seen, &suspended, unchecked(&[])).await.expect("changed");
    let new = credential(seen.id);
    let outcome = stores
        .credentials
        .insert(&seen, &new, 10, unchecked(&event(AuditAction::CredentialGenerated, new.id)))
        .await;
    assert!(matches!(outcome, Err(InsertCredentialError::LostRace)));
    let after = credential_of_it.revoked(NOON).expect("live");
    let revoked = event(AuditAction::CredentialRevoked, after.id);
    let outcome =
        stores.credentials.update(&seen, &update(&credential_of_it, &after), unchecked(&revoked)).await;
    assert!(matches!(outcome, Err(UpdateCredentialError::LostRaceForAgent)));
    assert_eq!(stores.count(AuditAction::CredentialRevoked).await, 0);
}

async fn of_two_rotations_of_one_state_one_wins(stores: Stores) {
    for round in 1..=ROUNDS {
        let agent = stores.agent().await;
        let before = stores.credential(&agent).await;
        let callers = (0..RACERS).map(|_| {
            let (credentials, agent, before) = (stores.credentials.clone(), agent.clone(), before.clone());
            async move {
                let after = before.rotated(other_secret(), None, None).expect("live");
                let rotated = event(AuditAction::CredentialRotated, after.id);
                credentials.update(&agent, &update(&before, &after), unchecked(&rotated)).await
            }
        });
        let outcomes = race(callers).await;
        let lost = |outcome: &&Result<(), _>| matches!(outcome, Err(UpdateCredentialError::LostRace));
        assert_eq!(outcomes.iter().filter(lost).count(), RACERS - 1, "round {round}");
        assert_eq!(stores.count(AuditAction::CredentialRotated).await, round, "one event");
    }
}

async fn tokens_die_with_the_old_secret_or_neither_does(stores: Stores) {
    let agent = stores.agent().await;
    let before = stores.credential(&agent).await;
    let after = before.rotated(other_secret(), None, None).expect("live");
    let killed = agent.with_tokens_revoked(NOON).expect("not decommissioned");
    let change = CredentialUpdate { agent_after: Some(&killed), ..update(&before, &after) };
    let rotated = event(AuditAction::CredentialRotated, after.id);
    stores.credentials.update(&agent, &change, unchecked(&rotated)).await.expect("changed");
    let found =
        stores.agents.find(agentidp::domain::tenancy::Tenancy::All, agent.id).await.expect("an answer");
    assert_eq!(found.as_deref(), Some(&killed));
    let again = stores.credentials.update(&agent, &change, unchecked(&rotated)).await;
    assert!(matches!(again, Err(UpdateCredentialError::LostRaceForAgent)));
}

async fn the_last_administrators_credential_stays_however_many_race(stores: Stores) {
    let mut left: Option<agentidp::domain::agent::Agent> = None;
    for round in 1..=ROUNDS {
        let (_, agent, first) = stores.administrator().await;
        let mut credentials = vec![first];
        for _ in 0..4 {
            credentials.push(stores.credential(&agent).await);
        }
        // Otherwise the administrator of the previous round would count as another one.
        if let Some(before) = left.replace(agent.clone()) {
            let gone = before.decommissioned(NOON).expect("not decommissioned");
            stores.agents.update(&before, &gone, unchecked(&[])).await.expect("another is there");
        }
        let callers = credentials.into_iter().map(|before| {
            let (store, agent) = (stores.credentials.clone(), agent.clone());
            async move {
                let after = before.revoked(NOON).expect("live");
                let revoked = event(AuditAction::CredentialRevoked, after.id);
                store.update(&agent, &update(&before, &after), unchecked(&revoked)).await
            }
        });
        let outcomes = race(callers).await;
        let refused =
            |outcome: &&Result<(), _>| matches!(outcome, Err(UpdateCredentialError::LastAdministrator));
        assert_eq!(outcomes.iter().filter(refused).count(), 1, "round {round}");
        assert_eq!(stores.count(AuditAction::CredentialRevoked).await, 4 * round);
    }
}

async fn a_client_is_found_with_the_credentials_its_proof_can_match(stores: Stores) {
    let agent = stores.agent().await;
    let first = stores.credential(&agent).await;
    let second = stores.credential(&agent).await;
    let proof = PresentedKind::Secret(fingerprint(&second));
    let client = stores
        .credentials
        .find_client(agent.id, proof.clone(), Freshness::Current)
        .await
        .expect("an answer")
        .expect("known");
    assert_eq!(*client.agent, agent);
    assert_eq!(client.organization.id, agent.organization);
    assert_eq!(client.candidates.iter().map(|one| one.id).collect::<Vec<_>>(), [second.id]);

    let after = first.rotated(other_secret(), None, Some(NOON.plus_seconds(60))).expect("live");
    let rotated = event(AuditAction::CredentialRotated, first.id);
    stores.credentials.update(&agent, &update(&first, &after), unchecked(&rotated)).await.expect("changed");
    for print in [fingerprint(&first), Fingerprint([9; 8])] {
        let client =
            stores.credentials.find_client(agent.id, PresentedKind::Secret(print), Freshness::Current).await;
        let client = client.expect("an answer").expect("known");
        assert_eq!(
            client.candidates.iter().map(|one| one.id).collect::<Vec<_>>(),
            [first.id],
            "both secrets"
        );
    }
    let revoked = second.revoked(NOON).expect("live");
    let event = event(AuditAction::CredentialRevoked, second.id);
    stores.credentials.update(&agent, &update(&second, &revoked), unchecked(&event)).await.expect("revoked");
    let client = stores
        .credentials
        .find_client(agent.id, proof, Freshness::Current)
        .await
        .expect("an answer")
        .expect("known");
    let found: Vec<_> = client.candidates.iter().map(|one| (one.id, one.revoked_at)).collect();
    assert_eq!(found, [(second.id, Some(NOON))], "so that a refusal can be explained");
    let unknown = stores
        .credentials
        .find_client(credential(agent.id).agent, PresentedKind::Key, Freshness::Current)
        .await;
    assert!(unknown.expect("an answer").expect("known").candidates.is_empty(), "it has no key");
    let nobody = crate::fixtures::agent(agent.organization).id;
    assert!(
        stores
            .credentials
            .find_client(nobody, PresentedKind::Key, Freshness::Current)
            .await
            .expect("an answer")
            .is_none()
    );
}

async fn a_recent_answer_says_that_it_is_one_and_a_current_answer_is_that_of_now(stores: Stores) {
    let agent = stores.agent().await;
    let before = stores.credential(&agent).await;
    let kind = PresentedKind::Secret(fingerprint(&before));
    let client = async |freshness| {
        let found = stores.credentials.find_client(agent.id, kind.clone(), freshness).await;
        found.expect("an answer").expect("known")
    };
    assert!(client(Freshness::Recent).await.is_current, "nothing was asked before");
    let revoked = before.revoked(NOON).expect("live");
    let event = event(AuditAction::CredentialRevoked, before.id);
    stores.credentials.update(&agent, &update(&before, &revoked), unchecked(&event)).await.expect("revoked");
    let recent = client(Freshness::Recent).await;
    let is_revoked = |client: &RegisteredClient| client.candidates[0].revoked_at.is_some();
    assert!(is_revoked(&recent) || !recent.is_current, "what is not so any more is not called current");
    let current = client(Freshness::Current).await;
    assert!(current.is_current && is_revoked(&current));
    assert!(is_revoked(&client(Freshness::Recent).await), "never older than what was answered before");
}

async fn a_digest_is_that_of_the_current_secret_until_its_rotation_or_revocation(stores: Stores) {
    let agent = stores.agent().await;
    let (first, second) = (stores.credential(&agent).await, stores.credential(&agent).await);
    let known = async |credential: &Credential| {
        let found = stores.credentials.find(agent.id, credential.id).await.expect("an answer");
        (*found.expect("stored")).clone()
    };
    let digest_of = |credential: &Credential| match &credential.kind {
        CredentialKind::Secret { current, .. } => current.digest,
        _ => unreachable!("it is a secret"),
    };
    let set = async |credential: &Credential, fingerprint, byte| {
        let digest = SecretDigest([byte; 32]);
        stores.credentials.set_digest(agent.id, credential.id, fingerprint, digest).await.expect("an answer");
    };
    set(&first, fingerprint(&first), 1).await;
    set(&second, fingerprint(&second), 2).await;
    set(&second, fingerprint(&first), 3).await;
    let before = known(&first).await;
    assert_eq!((digest_of(&before), before.revision), (Some(SecretDigest([1; 32])), first.revision));
    assert_eq!(digest_of(&known(&second).await), Some(SecretDigest([2; 32])));

    // The change was decided before the digest was stored.
    let after = first.rotated(other_secret(), None, Some(NOON.plus_seconds(60))).expect("live");
    let rotated = event(AuditAction::CredentialRotated, first.id);
    stores.credentials.update(&agent, &update(&first, &after), unchecked(&rotated)).await.expect("changed");
    set(&first, fingerprint(&first), 4).await;
    assert_eq!(known(&first).await.kind, after.kind, "neither secret has a digest");
    let revoked = second.revoked(NOON).expect("live");
    let event = event(AuditAction::CredentialRevoked, second.id);
    stores.credentials.update(&agent, &update(&second, &revoked), unchecked(&event)).await.expect("revoked");
    set(&second, fingerprint(&second), 5).await;
    assert_eq!(digest_of(&known(&second).await), None);
}

async fn a_use_is_noted_and_never_moves_back(stores: Stores) {
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    for (minute, expected) in [(2, 2), (1, 2), (3, 3)] {
        let at = NOON.plus_seconds(60 * minute);
        stores.credentials.touch(agent.id, credential.id, at).await.expect("noted");
        let found =
            stores.credentials.find(agent.id, credential.id).await.expect("an answer").expect("stored");
        assert_eq!(found.last_used_at, Some(NOON.plus_seconds(60 * expected)));
        assert_eq!(found.revision, credential.revision, "a use is no change");
        let client = client_with(&stores, &credential).await;
        assert_eq!(
            client.candidates[0].last_used_at, found.last_used_at,
            "for who asks about the client too"
        );
    }
}

async fn a_rotation_does_not_forget_a_use(stores: Stores) {
    let agent = stores.agent().await;
    let before = stores.credential(&agent).await;
    stores.credentials.touch(agent.id, before.id, NOON).await.expect("noted");
    let after = before.rotated(other_secret(), None, None).expect("live");
    let rotated = event(AuditAction::CredentialRotated, before.id);
    stores.credentials.update(&agent, &update(&before, &after), unchecked(&rotated)).await.expect("changed");
    let found = stores.credentials.find(agent.id, before.id).await.expect("an answer").expect("stored");
    assert_eq!(found.last_used_at, Some(NOON));
}

async fn the_credentials_of_an_agent_end_with_it(stores: Stores) {
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    assert!(client_with(&stores, &credential).await.candidates[0].is_live(NOON));
    let after = agent.decommissioned(NOON).expect("not decommissioned");
    let events = [event(AuditAction::AgentDecommissioned, agent.id)];
    stores.agents.update(&agent, &after, unchecked(&events)).await.expect("changed");
    let client = client_with(&stores, &credential).await;
    assert!(client.candidates.iter().all(|credential| credential.revoked_at.is_some()));
    assert_eq!(client.candidates.len(), 1, "it is found, so that a refusal can name its reason");
}

async fn a_list_is_newest_first_and_filtered(stores: Stores) {
    let agent = stores.agent().await;
    let mut ids = Vec::new();
    for second in 0..3 {
        let new = Credential { created_at: NOON.plus_seconds(second), ..credential(agent.id) };
        let generated = event(AuditAction::CredentialGenerated, new.id);
        stores.credentials.insert(&agent, &new, 10, unchecked(&generated)).await.expect("stored");
        if second == 1 {
            let revoked = new.revoked(NOON).expect("live");
            let event = event(AuditAction::CredentialRevoked, new.id);
            stores
                .credentials
                .update(&agent, &update(&new, &revoked), unchecked(&event))
                .await
                .expect("changed");
        }
        ids.insert(0, new.id);
    }
    let list = async |status| {
        let listing = stores.credentials.list(agent.id, status, PageRequest { number: 1, limit: 10 }).await;
        listing.expect("an answer").items.iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None).await, ids);
    assert_eq!(list(Some(CredentialStatus::Revoked)).await, [ids[1]]);
    assert_eq!(list(Some(CredentialStatus::Active)).await, [ids[0], ids[2]]);
}

async fn credentials_that_expire_are_listed_by_their_end(stores: Stores) {
    let year = 365 * 24 * 60 * 60;
    let (one, other) = (stores.agent().await, stores.agent().await);
    let mut ids = Vec::new();
    for (agent, end) in [
        (&one, Some(300)),
        (&other, Some(100)),
        (&one, Some(200)),
        (&one, None),
        (&one, Some(0)),
        (&one, Some(50)),
    ] {
        let expires_at = end.map(|seconds| NOON.plus_seconds(year + seconds));
        let new = Credential { expires_at, ..credential(agent.id) };
        let generated = event(AuditAction::CredentialGenerated, new.id);
        stores.credentials.insert(agent, &new, 10, unchecked(&generated)).await.expect("stored");
        if end == Some(50) {
            let revoked = new.revoked(NOON).expect("live");
            let event = event(AuditAction::CredentialRevoked, new.id);
            let change = stores.credentials.update(agent, &update(&new, &revoked), unchecked(&event)).await;
            change.expect("changed");
        }
        ids.push(new.id);
    }
    let list = async |within, until, number, limit| {
        let (from, until) = (NOON.plus_seconds(year), NOON.plus_seconds(year + until));
        let page = PageRequest { number, limit };
        let listing = stores.credentials.expiring(within, from, until, page).await.expect("an answer");
        (listing.items.iter().map(|one| one.id).collect::<Vec<_>>(), listing.total)
    };
    let own = Tenancy::Only(one.organization);
    assert_eq!(list(Tenancy::All, 300, 1, 10).await, (vec![ids[1], ids[2], ids[0]], 3));
    assert_eq!(list(own, 300, 1, 10).await, (vec![ids[2], ids[0]], 2));
    assert_eq!(list(own, 299, 1, 10).await, (vec![ids[2]], 1), "the period has its end, and no later one");
    assert_eq!(list(Tenancy::All, 300, 2, 2).await, (vec![ids[0]], 3));
    assert_eq!(list(Tenancy::All, 300, 3, 2).await, (vec![], 3));
}

async fn of_revoked_credentials_the_newest_are_kept(stores: Stores) {
    let agent = stores.agent().await;
    let (oldest, last) = (stores.credential(&agent).await, stores.credential(&agent).await);
    stores.credentials.touch(agent.id, oldest.id, NOON).await.expect("noted");
    let revoke = async |credential: &Credential, at: Timestamp| {
        let after = credential.revoked(at).expect("not yet");
        let revoked = AuditEvent { at, ..event(AuditAction::CredentialRevoked, after.id) };
        stores
            .credentials
            .update(&agent, &update(credential, &after), unchecked(&revoked))
            .await
            .expect("revoked");
    };
    revoke(&oldest, NOON).await;
    stores.revoked_credentials(&agent, MAX_REVOKED - 1, NOON.plus_seconds(1)).await;
    let kept = async || {
        let page = PageRequest { number: 1, limit: 1 };
        let listing = stores.credentials.list(agent.id, Some(CredentialStatus::Revoked), page).await;
        let is_there = stores.credentials.find(agent.id, oldest.id).await.expect("an answer").is_some();
        (listing.expect("a page").total, is_there)
    };
    assert_eq!(kept().await, (MAX_REVOKED.into(), true));
    revoke(&last, NOON.plus_seconds(2)).await;
    assert_eq!(kept().await, (MAX_REVOKED.into(), false));
}

async fn the_last_administrators_credential_is_given_no_end(stores: Stores) {
    let (_, agent, only) = stores.administrator().await;
    let rotate = async |before: &Credential, end: Option<Timestamp>| {
        let after = before.rotated(other_secret(), end, None).expect("not revoked");
        let rotated = event(AuditAction::CredentialRotated, after.id);
        stores.credentials.update(&agent, &update(before, &after), unchecked(&rotated)).await.map(|()| after)
    };
    let soon = Some(NOON.plus_seconds(1));
    assert!(matches!(rotate(&only, soon).await, Err(UpdateCredentialError::LastAdministrator)));
    let kept = rotate(&only, None).await.expect("it keeps working");
    let other = Credential { expires_at: Some(NOON.plus_seconds(60)), ..credential(agent.id) };
    let generated = event(AuditAction::CredentialGenerated, other.id);
    stores.credentials.insert(&agent, &other, 10, unchecked(&generated)).await.expect("stored");
    let late = Some(NOON.plus_seconds(60));
    assert!(matches!(rotate(&kept, late).await, Err(UpdateCredentialError::LastAdministrator)));
    let shorter = rotate(&kept, soon).await.expect("the other works longer");
    // The credential already has an expiry, so a later expiry makes nothing worse.
    rotate(&shorter, Some(NOON.plus_seconds(30))).await.expect("it works longer than before");
}
