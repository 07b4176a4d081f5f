//! Tokens as the audit log describes them.
//!
//! There is no row for a token. The event of its issue has all that its status depends on, so that a token can be revoked,
//! and its tree be shown, by its ID.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::audit::{AuditAction, AuditEvent, Metadata, ResourceType};
use super::delegation::{Delegation, Subject};
use super::id::{AgentId, CredentialId, IssuerId, OrganizationId, TokenId};
use super::issuer::IssuerGeneration;
use super::proof::Thumbprint;
use super::scope::Scopes;
use super::time::Timestamp;
use super::token::{Audience, Claims, TTL_SECONDS};

/// A token that was issued, as its event describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// `jti` of the token.
    pub id: TokenId,
    /// The client.
    pub agent: AgentId,
    /// The client's organization.
    pub organization: OrganizationId,
    /// `sub` of the token.
    pub subject: String,
    /// The token that it was exchanged for; `None` for the first of a tree.
    pub parent: Option<TokenId>,
    /// The first token of the tree.
    pub root: TokenId,
    /// Number of exchanges that added an actor.
    pub depth: u32,
    /// The granted scopes, separated by spaces; `None` if the event had no room for them.
    pub scope: Option<String>,
    /// The resource server that it is for; `None` for this service.
    pub resource: Option<String>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    generation: u64,
    agents: BTreeMap<AgentId, u64>,
    issuers: BTreeMap<IssuerId, u64>,
    subject_generation: Option<u64>,
    key: Option<Thumbprint>,
}

/// Returns the metadata of the event of a token with these claims, whose client authenticated by this credential.
pub fn metadata_of(claims: &Claims, credential: CredentialId, issuer: Option<IssuerId>) -> Metadata {
    let mut metadata = Metadata::default().with("credentialId", credential.to_string());
    if let Some(delegation) = claims.delegation.as_deref() {
        let root = delegation.root().unwrap_or(claims.id);
        metadata = metadata.with("subject", delegation.subject.to_string());
        if let Some(parent) = delegation.parents.first() {
            metadata = metadata.with("parent", parent.to_string());
        }
        metadata = metadata.with("root", root.to_string()).with("depth", delegation.depth());
        if !delegation.agents.is_empty() {
            metadata = metadata.with("agents", numbers(&delegation.agents));
        }
    }
    if let Some(person) = claims.person() {
        metadata = metadata.with("subjectGen", person.generation);
    }
    metadata = metadata.with("gen", claims.generation).with("exp", claims.expires_at);
    if let Some(key) = &claims.key {
        metadata = metadata.with("jkt", &*key.0);
    }
    if let Some(issuer) = issuer {
        metadata = metadata.with("issuerId", issuer.to_string());
    }
    if !claims.issuers.is_empty() {
        let issuers = claims.issuers.iter().map(|one| (one.issuer, one.generation)).collect();
        metadata = metadata.with("issuers", numbers(&issuers));
    }
    if let Audience::Resource(uri) = &claims.audience {
        metadata = metadata.with("resource", &**uri);
    }
    // The longest, which is left out if there is no room.
    metadata.with("scope", claims.scopes.as_str())
}

fn numbers<K: ToString>(numbers: &BTreeMap<K, u64>) -> Value {
    Value::Object(numbers.iter().map(|(id, number)| (id.to_string(), Value::from(*number))).collect())
}

impl TokenRecord {
    /// Reads the event of a token that was issued; `None` for any other event.
    ///
    /// An event that an earlier version of this service has recorded lacks some of the metadata. Its token counts as one of
    /// the longest lifetime and of generation 0.
    pub fn of_event(event: &AuditEvent) -> Option<Self> {
        let resource = event.resource.filter(|resource| resource.kind == ResourceType::Token)?;
        if !matches!(event.action, AuditAction::TokenIssued | AuditAction::TokenExchanged) {
            return None;
        }
        let (id, agent, metadata) = (TokenId(resource.id), event.actor?, event.metadata.as_map());
        let text = |name: &str| metadata.get(name).and_then(Value::as_str);
        let number = |name: &str| metadata.get(name).and_then(Value::as_u64);
        let token = |name: &str| text(name).and_then(TokenId::parse);
        let end = metadata.get("exp").and_then(Value::as_i64);
        Some(Self {
            id,
            agent,
            organization: event.organization?,
            subject: text("subject").map_or_else(|| agent.to_string(), str::to_owned),
            parent: token("parent"),
            root: token("root").unwrap_or(id),
            depth: number("depth").and_then(|depth| u32::try_from(depth).ok()).unwrap_or_default(),
            scope: text("scope").map(str::to_owned),
            resource: text("resource").map(str::to_owned),
            issued_at: event.at,
            expires_at: match end {
                Some(end) => Timestamp::from_millis(0).plus_seconds(end),
                None => event.at.plus_seconds(i64::from(*TTL_SECONDS.end())),
            },
            generation: number("gen").unwrap_or_default(),
            agents: ids(metadata, "agents", AgentId::parse),
            issuers: ids(metadata, "issuers", IssuerId::parse),
            subject_generation: number("subjectGen"),
            key: text("jkt").map(|key| Thumbprint(key.into())),
        })
    }

    /// Returns the claims by which the status of the token is judged, given its ancestors, the nearest first. The actors and
    /// the `iss` of a person are not known.
    pub fn claims(&self, parents: Vec<TokenId>) -> Claims {
        let person = self.subject_generation.map(|generation| ("", self.foreign_sub(), generation));
        let subject = Subject::parse(&self.subject, person).unwrap_or(Subject::Agent(self.agent));
        let delegation = Delegation { subject, actors: Vec::new(), parents, agents: self.agents.clone() };
        let is_plain = self.parent.is_none() && self.subject_generation.is_none();
        let issuers = self.issuers.iter();
        Claims {
            agent: self.agent,
            organization: self.organization,
            audience: self
                .resource
                .as_ref()
                .map_or(Audience::Issuer, |uri| Audience::Resource(uri.as_str().into())),
            scopes: Scopes::of_token(self.scope.as_deref().unwrap_or_default()),
            id: self.id,
            issued_at: self.issued_at.as_seconds(),
            expires_at: self.expires_at.as_seconds(),
            generation: self.generation,
            issuers: issuers
                .map(|(issuer, generation)| IssuerGeneration { issuer: *issuer, generation: *generation })
                .collect(),
            key: self.key.clone(),
            delegation: (!is_plain).then(|| Box::new(delegation)),
        }
    }

    /// Returns the `sub` of the person at its issuer, which follows the second colon.
    fn foreign_sub(&self) -> &str {
        self.subject.splitn(3, ':').nth(2).unwrap_or_default()
    }
}

fn ids<K: Ord>(metadata: &Map<String, Value>, name: &str, parse: fn(&str) -> Option<K>) -> BTreeMap<K, u64> {
    let entries = metadata.get(name).and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(id, number)| Some((parse(id)?, number.as_u64()?))).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::agent::tests::agent;
    use super::super::audit::{Origin, Outcome};
    use super::super::delegation::{MAX_PARENTS, MAX_SUBJECT_CHARS, Person};
    use super::super::id::EventId;
    use super::super::resource_indicator::MAX_RESOURCE_BYTES;
    use super::*;

    fn claims() -> Claims {
        let agent = agent();
        Claims {
            agent: agent.id,
            organization: agent.organization,
            audience: Audience::Resource("https://api.example.com".into()),
            scopes: agent.capabilities,
            id: TokenId(Uuid::from_u128(9)),
            issued_at: 100,
            expires_at: 160,
            generation: 7,
            issuers: vec![IssuerGeneration { issuer: IssuerId(Uuid::from_u128(4)), generation: 3 }],
            key: Some(Thumbprint("k".into())),
            delegation: None,
        }
    }

    fn event(claims: &Claims) -> AuditEvent {
        AuditEvent {
            id: EventId(Uuid::from_u128(1)),
            organization: Some(claims.organization),
            actor: Some(claims.agent),
            action: if claims.delegation.is_some() {
                AuditAction::TokenExchanged
            } else {
                AuditAction::TokenIssued
            },
            outcome: Outcome::Success,
            resource: Some(claims.id.into()),
            origin: Origin::NONE,
            metadata: metadata_of(claims, CredentialId(Uuid::from_u128(2)), None),
            at: Timestamp::from_millis(100_000),
        }
    }

    #[test]
    fn the_event_of_a_token_has_all_that_its_status_depends_on() {
        let [first, second] = [8, 7].map(|id| TokenId(Uuid::from_u128(id)));
        let other = AgentId(Uuid::from_u128(5));
        let issuer = IssuerId(Uuid::from_u128(4));
        let person = Person { issuer, iss: "".into(), sub: "a:b".into(), generation: 6 };
        let delegation = |subject| Delegation {
            subject,
            actors: Vec::new(),
            parents: vec![first, second],
            agents: BTreeMap::from([(other, 3)]),
        };
        let of_person = Delegation::of_person(person.clone(), other);
        let of_person = Delegation { actors: Vec::new(), ..of_person };
        for delegation in [
            None,
            Some(delegation(Subject::Agent(other))),
            Some(delegation(Subject::Person(person))),
            Some(of_person),
        ] {
            let parents = delegation.as_ref().map(|one| one.parents.clone()).unwrap_or_default();
            let claims = Claims { delegation: delegation.map(Box::new), ..claims() };
            let record = TokenRecord::of_event(&event(&claims)).expect("the event of a token");
            assert_eq!(record.claims(parents.clone()), claims);
            assert_eq!(record.subject, claims.subject().to_string());
            assert_eq!(record.parent, parents.first().copied());
            assert_eq!(record.root, parents.last().copied().unwrap_or(claims.id));
            assert_eq!(record.scope.as_deref(), Some(claims.scopes.as_str()));
        }
    }

    #[test]
    fn the_event_of_the_largest_token_has_all_that_its_status_depends_on() {
        let id = |number: usize| Uuid::from_u128((u128::MAX << 8) + number as u128);
        let generation = 2 * 1_800_000_000_000;
        let issuers = (0..6).map(|number| IssuerGeneration { issuer: IssuerId(id(number)), generation });
        let sub = "\u{1f916}".repeat(MAX_SUBJECT_CHARS);
        let person = Person { issuer: IssuerId(id(0)), iss: "".into(), sub: sub.into(), generation };
        let parents: Vec<_> = (0..MAX_PARENTS).map(|number| TokenId(id(number))).collect();
        let delegation = Delegation {
            subject: Subject::Person(person),
            actors: Vec::new(),
            parents: parents.clone(),
            agents: (0..5).map(|number| (AgentId(id(number)), generation)).collect(),
        };
        let uri = "https://api.example.com/".to_owned();
        let uri = uri.clone() + &"a".repeat(MAX_RESOURCE_BYTES - uri.len());
        let claims = Claims {
            issuers: issuers.collect(),
            generation,
            expires_at: 100 + i64::from(*TTL_SECONDS.end()),
            audience: Audience::Resource(uri.into()),
            delegation: Some(Box::new(delegation)),
            ..claims()
        };
        let record = TokenRecord::of_event(&event(&claims)).expect("the event of a token");
        // Scopes and resource are left out if there is no room for them.
        let read = Claims {
            scopes: claims.scopes.clone(),
            audience: claims.audience.clone(),
            ..record.claims(parents)
        };
        assert_eq!(read, claims);
    }

    #[test]
    fn the_event_of_an_earlier_version_is_that_of_a_token_too() {
        let metadata = Metadata::default().with("scope", "a:b");
        let record = TokenRecord::of_event(&AuditEvent { metadata, ..event(&claims()) }).expect("of a token");
        assert_eq!(record.expires_at, record.issued_at.plus_seconds(86_400));
        assert_eq!(record.agent, claims().agent);
        let other = AuditEvent { action: AuditAction::TokenRevoked, ..event(&claims()) };
        assert_eq!(TokenRecord::of_event(&other), None);
    }
}
