//! Counters of the use cases.
//!
//! Each is registered when the service starts, so that it is reported, as 0, before anything is counted.

use metrics::{Counter, counter};

use ports::rate_limiter::RateKey;

/// Registers the counters that no use case keeps.
pub fn register() {
    for counter in [rejections(CLIENT), rejections(ADDRESS), dropped_events()] {
        counter.increment(0);
    }
}

/// Tokens issued, by grant type and method of client authentication.
#[derive(Clone)]
pub struct IssuedTokens(Vec<(&'static str, &'static str, Counter)>);

impl IssuedTokens {
    /// Registers the counters. Methods are named as in audit events.
    pub fn new(grant_types: impl Iterator<Item = &'static str>, client_auths: &[&'static str]) -> Self {
        let pairs = grant_types.flat_map(|grant| client_auths.iter().map(move |method| (grant, *method)));
        let counter = |(grant, method)| {
            let counter = counter!("agentidp_tokens_issued_total", "grant" => grant, "client_auth" => method);
            (grant, method, counter)
        };
        Self(pairs.map(counter).collect())
    }

    /// Counts a token.
    pub fn count(&self, grant_type: &str, client_auth: &str) {
        let of = |(grant, method, _): &&(&str, &str, Counter)| *grant == grant_type && *method == client_auth;
        if let Some((.., counter)) = self.0.iter().find(of) {
            counter.increment(1);
        }
    }
}

/// Introspections, by their result.
#[derive(Clone)]
pub struct Introspections {
    active: Counter,
    inactive: Counter,
}

impl Introspections {
    /// Registers the counters.
    pub fn new() -> Self {
        let of = |active| counter!("agentidp_introspections_total", "active" => active);
        Self { active: of("true"), inactive: of("false") }
    }

    /// Counts an introspection.
    pub fn count(&self, is_active: bool) {
        if is_active { &self.active } else { &self.inactive }.increment(1);
    }
}

/// Everything that can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationKind {
    /// One token, with those that were exchanged from it.
    Token,
    /// All tokens of an agent.
    Agent,
    /// A credential.
    Credential,
    /// All tokens of an organization.
    Organization,
    /// All tokens that rest on a trusted issuer.
    Issuer,
    /// All tokens that act for a person of a trusted issuer.
    Subject,
}

/// Revocations that were stored, by kind.
#[derive(Clone)]
pub struct RevocationCounts([(RevocationKind, Counter); 6]);

impl RevocationCounts {
    /// Registers the counters.
    pub fn new() -> Self {
        use RevocationKind as K;
        let kinds = [
            (K::Token, "token"),
            (K::Agent, "agent"),
            (K::Credential, "credential"),
            (K::Organization, "organization"),
            (K::Issuer, "issuer"),
            (K::Subject, "subject"),
        ];
        Self(kinds.map(|(kind, name)| (kind, counter!("agentidp_revocations_total", "kind" => name))))
    }

    /// Counts a revocation.
    pub fn count(&self, kind: RevocationKind) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == kind) {
            counter.increment(1);
        }
    }

    /// Counts a revocation if a change has raised the generation, which revokes all tokens.
    pub fn count_if_raised(&self, kind: RevocationKind, before: u64, after: u64) {
        if after > before {
            self.count(kind);
        }
    }
}

const CLIENT: &str = "client";
const ADDRESS: &str = "address";

/// Requests refused by a rate limit, by the key that they are counted under.
pub fn rate_limit_rejections(key: &RateKey) -> Counter {
    rejections(match key {
        RateKey::Client(_) => CLIENT,
        RateKey::Address(_) => ADDRESS,
    })
}

fn rejections(key: &'static str) -> Counter {
    counter!("agentidp_rate_limit_rejections_total", "key" => key)
}

/// Token requests refused by the monthly quota.
pub fn quota_rejections() -> Counter {
    counter!("agentidp_quota_rejections_total")
}

/// Audit events that were not stored.
pub fn dropped_events() -> Counter {
    counter!("agentidp_audit_dropped_total")
}
