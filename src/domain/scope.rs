//! Scopes and capabilities: what an agent may do, and what a token allows.
//!
//! A capability is an OAuth scope that an agent may request. Eight of them, the management scopes, are
//! understood by this service itself; resource servers interpret all others.

use std::fmt;
use std::sync::Arc;

/// The most capabilities of an agent.
pub const MAX_CAPABILITIES: usize = 64;
/// The most bytes of an agent's capabilities together.
pub const MAX_CAPABILITIES_BYTES: usize = 4096;
/// The longest capability, in bytes.
pub const MAX_CAPABILITY_BYTES: usize = 128;

/// Resources that only the management scopes may use.
const RESERVED_RESOURCES: [&str; 6] = ["agents", "credentials", "tokens", "audit", "admin", "issuers"];

/// A scope that this service itself understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManagementScope {
    /// `agents:read`.
    AgentsRead,
    /// `agents:write`.
    AgentsWrite,
    /// `credentials:write`.
    CredentialsWrite,
    /// `tokens:read`.
    TokensRead,
    /// `audit:read`.
    AuditRead,
    /// `admin:orgs`.
    AdminOrgs,
    /// `issuers:read`.
    IssuersRead,
    /// `issuers:write`.
    IssuersWrite,
}

impl ManagementScope {
    /// All eight, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::AgentsRead,
        Self::AgentsWrite,
        Self::CredentialsWrite,
        Self::TokensRead,
        Self::AuditRead,
        Self::AdminOrgs,
        Self::IssuersRead,
        Self::IssuersWrite,
    ];

    /// Returns the scope value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentsRead => "agents:read",
            Self::AgentsWrite => "agents:write",
            Self::CredentialsWrite => "credentials:write",
            Self::TokensRead => "tokens:read",
            Self::AuditRead => "audit:read",
            Self::AdminOrgs => "admin:orgs",
            Self::IssuersRead => "issuers:read",
            Self::IssuersWrite => "issuers:write",
        }
    }

    fn of(capability: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == capability)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for ManagementScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of management scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ManagementScopes(u8);

impl ManagementScopes {
    /// Returns whether the scope is in the set.
    pub const fn contains(self, scope: ManagementScope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Returns the scopes of this set that `other` lacks. The rule against escalation is that none are
    /// missing.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the scopes that are in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the scopes of the set, in the order of [`ManagementScope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = ManagementScope> {
        ManagementScope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<ManagementScope> for ManagementScopes {
    fn from_iter<I: IntoIterator<Item = ManagementScope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::default(), |set, scope| Self(set.0 | scope.bit()))
    }
}

/// A set of scope values, in the order in which they were given. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes {
    /// The values, separated by single spaces, as they are shown and signed.
    text: Arc<str>,
    management: ManagementScopes,
}

impl Scopes {
    fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = String::new();
        for value in values {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(value);
        }
        let management = values_in(&text).filter_map(ManagementScope::of).collect();
        Self { text: text.into(), management }
    }

    /// Returns the capabilities of an agent: 1 to 64, well formed, distinct, at most 4,096 bytes together.
    ///
    /// Returns all errors if the list is not valid, each with the position of its entry, or without a
    /// position if the error concerns the whole list.
    pub fn capabilities<T: AsRef<str>>(values: &[T]) -> Result<Self, Vec<CapabilityError>> {
        let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
        let mut faults = Vec::new();
        if values.is_empty() || values.len() > MAX_CAPABILITIES {
            faults.push(CapabilityError { at: None, what: "must have 1 to 64 entries" });
        }
        if values.iter().map(|value| value.len()).sum::<usize>() > MAX_CAPABILITIES_BYTES {
            faults.push(CapabilityError { at: None, what: "must be at most 4096 bytes together" });
        }
        let mut seen = std::collections::HashSet::new();
        for (at, value) in values.iter().enumerate() {
            if let Err(what) = check_capability(value) {
                faults.push(CapabilityError { at: Some(at), what });
            } else if !seen.insert(value) {
                faults.push(CapabilityError { at: Some(at), what: "is repeated" });
            }
        }
        if faults.is_empty() { Ok(Self::of(values)) } else { Err(faults) }
    }

    /// Returns the scopes of a space-separated text, without checks. For text that this service has signed or stored itself.
    pub fn of_token(text: &str) -> Self {
        Self::of(values_in(text))
    }

    /// Returns the requested scopes, each once even if it is requested twice.
    ///
    /// Returns [`ScopeError::NotACapability`] if one of them is not in this set.
    pub fn grant(&self, asked: &RequestedScope) -> Result<Self, ScopeError> {
        let mut granted: Vec<&str> = Vec::new();
        for value in asked.0.split(' ') {
            if !self.contains(value) {
                return Err(ScopeError::NotACapability(value.into()));
            }
            if !granted.contains(&value) {
                granted.push(value);
            }
        }
        Ok(Self::of(granted))
    }

    /// Returns the scopes of a token for which no scope is requested.
    ///
    /// These are all capabilities that are not management scopes, or all capabilities if the agent has no
    /// others.
    #[must_use]
    pub fn default_grant(&self) -> Self {
        let plain = self.without_management();
        if plain.is_empty() { self.clone() } else { plain }
    }

    /// Returns the scopes of this set that are not management scopes.
    #[must_use]
    pub fn without_management(&self) -> Self {
        if self.management.is_empty() {
            return self.clone();
        }
        Self::of(self.iter().filter(|value| ManagementScope::of(value).is_none()))
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Returns the values of this set that are also in `other`, in this set's order.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        if self.text == other.text || self.iter().all(|value| other.contains(value)) {
            return self.clone();
        }
        Self::of(self.iter().filter(|value| other.contains(value)))
    }

    /// Returns whether the value is in the set. Values are compared character by character.
    pub fn contains(&self, value: &str) -> bool {
        self.iter().any(|have| have == value)
    }

    /// Returns the management scopes in the set.
    pub const fn management(&self) -> ManagementScopes {
        self.management
    }

    /// Returns the values, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        values_in(&self.text)
    }

    /// Returns the values separated by single spaces (RFC 6749 section 3.3).
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn values_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|value| !value.is_empty())
}

/// A well-formed `scope` parameter (RFC 6749 section 3.3), before it is decided whether it is granted.
#[derive(Clone, Debug)]
pub struct RequestedScope(Box<str>);

impl RequestedScope {
    /// The longest parameter that is read, in bytes: twice the most that an agent can have.
    pub const MAX_BYTES: usize = 2 * (MAX_CAPABILITIES_BYTES + MAX_CAPABILITIES);

    /// Parses the parameter.
    ///
    /// Returns [`ScopeError::TooLong`] if it is longer than any grant could be, and [`ScopeError::Malformed`]
    /// if it does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.len() > Self::MAX_BYTES {
            return Err(ScopeError::TooLong);
        }
        let is_value = |value: &str| {
            !value.is_empty() && value.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
        };
        if text.split(' ').all(is_value) { Ok(Self(text.into())) } else { Err(ScopeError::Malformed) }
    }

    /// Returns the parameter as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An error in one capability, or in their list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilityError {
    /// Position of the capability in the list; `None` if the error concerns the whole list.
    pub at: Option<usize>,
    /// A phrase that follows the name of the field.
    pub what: &'static str,
}

/// Error of a requested scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The parameter is longer than any grant could be.
    #[error("the scope is longer than any grant to this client could be")]
    TooLong,
    /// The parameter does not follow the grammar.
    #[error("the scope is not a list of scope values with one space between them")]
    Malformed,
    /// This requested scope is not among the client's capabilities.
    #[error("the scope names {0}, which is not among the client's capabilities")]
    NotACapability(Box<str>),
}

/// Checks the form of a capability: `^[a-z0-9][a-z0-9._-]*:[a-z0-9*][a-z0-9._*-]*$`, at most 128 bytes.
///
/// Only the eight management scopes may use a reserved resource.
fn check_capability(value: &str) -> Result<(), &'static str> {
    const SHAPE: &str = "must be resource:action in lower case, such as \"invoices:read\"";
    if value.len() > MAX_CAPABILITY_BYTES {
        return Err("must be at most 128 bytes");
    }
    let (resource, action) = value.split_once(':').ok_or(SHAPE)?;
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let punctuation = |b: u8| matches!(b, b'.' | b'_' | b'-');
    let resource_fits = resource.bytes().next().is_some_and(alphanumeric)
        && resource.bytes().all(|b| alphanumeric(b) || punctuation(b));
    let action_fits = action.bytes().next().is_some_and(|b| alphanumeric(b) || b == b'*')
        && action.bytes().all(|b| alphanumeric(b) || punctuation(b) || b == b'*');
    if !resource_fits || !action_fits {
        return Err(SHAPE);
    }
    if RESERVED_RESOURCES.contains(&resource) && ManagementScope::of(value).is_none() {
        return Err("uses a resource that is reserved for this service's own scopes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn capabilities(values: &[&str]) -> Result<Scopes, Vec<CapabilityError>> {
        Scopes::capabilities(values)
    }

    fn request(capabilities: &Scopes, text: &str) -> Result<Scopes, ScopeError> {
        capabilities.grant(&RequestedScope::parse(text)?)
    }

    #[test]
    fn a_scope_is_values_with_one_space_between() {
        for text in ["", " ", "a:b  c:d", " a:b", "a:b ", "a:b\tc:d", "a\"b", "a\\b", "\u{e9}:b"] {
            assert_eq!(RequestedScope::parse(text).err(), Some(ScopeError::Malformed), "{text:?}");
        }
        assert_eq!(RequestedScope::parse(&"a".repeat(100_000)).err(), Some(ScopeError::TooLong));
    }

    #[test]
    fn reserved_resources_take_only_the_six_management_scopes() {
        for scope in ManagementScope::ALL {
            assert!(capabilities(&[scope.as_str()]).is_ok(), "{scope}");
        }
        for value in ["admin:*", "agents:*", "audit:readx", "admin:orgs.", "tokens:write"] {
            assert!(capabilities(&[value]).is_err(), "{value}");
        }
    }

    #[test]
    fn every_fault_of_a_list_is_named_with_its_place() {
        let faults = capabilities(&["a:b", "A:b", "a:b", "agents:*"]).expect_err("three are wrong");
        assert_eq!(faults.iter().map(|fault| fault.at).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn management_scopes_are_given_only_by_name() {
        let both = capabilities(&["agents:read", "files:read"]).expect("valid");
        assert_eq!(both.default_grant().as_str(), "files:read");
        assert_eq!(request(&both, "agents:read").expect("a capability").as_str(), "agents:read");
        let management = capabilities(&["agents:read", "admin:orgs"]).expect("valid");
        assert_eq!(management.default_grant(), management);
    }

    #[test]
    fn a_star_in_a_capability_matches_only_itself() {
        let star = capabilities(&["files:*"]).expect("valid");
        assert_eq!(request(&star, "files:read"), Err(ScopeError::NotACapability("files:read".into())));
        assert!(request(&star, "files:*").is_ok());
    }

    #[test]
    fn the_longest_lists_and_requests_pass_and_longer_ones_do_not() {
        let value = |place: usize, bytes: usize| format!("{}:{place:02}", "a".repeat(bytes - 3));
        let list = |count, bytes| Vec::from_iter((0..count).map(|place| value(place, bytes)));
        for right in [list(64, 64), list(32, 128), list(1, 4)] {
            assert!(Scopes::capabilities(&right).is_ok());
        }
        for (wrong, what) in [
            (list(65, 10), "must have 1 to 64 entries"),
            (list(0, 10), "must have 1 to 64 entries"),
            (list(33, 128), "must be at most 4096 bytes together"),
            (list(1, 129), "must be at most 128 bytes"),
        ] {
            assert_eq!(Scopes::capabilities(&wrong).expect_err("refused")[0].what, what);
        }
        assert!(RequestedScope::parse(&"a".repeat(2 * (4096 + 64))).is_ok());
        assert!(RequestedScope::parse(&"a".repeat(2 * (4096 + 64) + 1)).is_err());
    }

    #[test]
    fn a_capability_is_a_resource_and_an_action_of_few_letters() {
        for right in ["a:b", "0:9", "a.b_c-d:e.f_g-h", "a:*", "a:*x*"] {
            assert!(capabilities(&[right]).is_ok(), "{right}");
        }
        for wrong in
            ["", "a", ":b", "a:", ".a:b", "a:.b", "*:a", "a*:b", "a:b:c", "A:b", "a:B", "a/b:c", "a:b/c"]
        {
            assert!(capabilities(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_set_of_management_scopes_has_its_members_and_no_others() {
        for one in ManagementScope::ALL {
            let set = ManagementScopes::from_iter([one, one]);
            assert!(set.iter().eq([one]) && !set.is_empty(), "{one}");
            assert_eq!(one.to_string(), one.as_str());
        }
        let all = ManagementScopes::from_iter(ManagementScope::ALL);
        assert!(all.iter().eq(ManagementScope::ALL) && ManagementScopes::default().is_empty());
    }

    #[test]
    fn an_intersection_is_what_both_have_in_the_order_of_the_first() {
        let (one, two) = (Scopes::of_token("a:a b:b c:c"), Scopes::of_token("c:c a:a d:d"));
        assert_eq!(one.intersection(&two).as_str(), "a:a c:c");
        assert_eq!(two.intersection(&one).as_str(), "c:c a:a");
        assert_eq!(one.intersection(&one), one);
        assert_eq!(Scopes::of_token("a:a").intersection(&one).as_str(), "a:a");
    }

    proptest! {
        #[test]
        fn a_grant_never_exceeds_the_capabilities(
            have in prop::collection::hash_set("[a-c]{1,2}:[a-c*]{1,2}", 1..8),
            asked in prop::collection::vec("[a-c]{1,2}:[a-c*]{1,2}", 1..8),
        ) {
            let capabilities = Scopes::capabilities(&have.iter().collect::<Vec<_>>()).expect("valid");
            let all_there = asked.iter().all(|value| have.contains(value));
            match request(&capabilities, &asked.join(" ")) {
                Ok(granted) => {
                    prop_assert!(all_there);
                    prop_assert!(granted.iter().all(|value| have.contains(value)));
                    prop_assert!(asked.iter().all(|value| granted.contains(value)));
                }
                Err(refusal) => {
                    prop_assert!(!all_there);
                    prop_assert!(matches!(refusal, ScopeError::NotACapability(_)));
                }
            }
        }

        #[test]
        fn no_text_makes_a_request_panic_or_pass_with_more_than_it_names(text in ".{0,64}") {
            let capabilities = capabilities(&["a:b", "c:d"]).expect("valid");
            if let Ok(granted) = request(&capabilities, &text) {
                prop_assert!(granted.iter().all(|value| text.contains(value)));
            }
        }

        #[test]
        fn what_missing_from_finds_is_exactly_what_the_union_adds(a in 0u8..64, b in 0u8..64) {
            let (a, b) = (ManagementScopes(a), ManagementScopes(b));
            prop_assert_eq!(b.union(a.difference(b)), a.union(b));
            prop_assert_eq!(a.difference(b).is_empty(), a.union(b) == b);
        }
    }
}
