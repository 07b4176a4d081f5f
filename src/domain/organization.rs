//! Organizations: the tenants that own agents, their credentials and their audit events.

use fluent_uri::Uri;

use super::id::OrganizationId;
use super::plan::{LimitOverrides, Limits, Plan};
use super::time::Timestamp;

/// The slug of the organization that exists from the first start.
pub const DEFAULT_SLUG: &str = "default";
/// The most resources an organization may name.
pub const MAX_RESOURCES: usize = 50;
/// The longest resource URI, in bytes.
pub const MAX_RESOURCE_BYTES: usize = 2048;

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: Name,
    pub slug: Slug,
    pub plan: Plan,
    pub status: OrganizationStatus,
    /// The audiences that its agents may ask for (RFC 8707).
    pub resources: Vec<ResourceUri>,
    pub overrides: LimitOverrides,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Raised by each suspension; never lowered. It kills the tokens of all its agents.
    pub generation: u64,
    /// Raised by every change, so that a store can refuse a change of what is no longer so.
    pub revision: u64,
}

impl Organization {
    /// The organization with these fields replaced; itself, unchanged, where nothing differs.
    #[must_use]
    pub fn changed(&self, change: OrganizationChange, at: Timestamp) -> Self {
        let mut after = self.clone();
        after.name = change.name.unwrap_or(after.name);
        after.plan = change.plan.unwrap_or(after.plan);
        after.status = change.status.unwrap_or(after.status);
        after.resources = change.resources.unwrap_or(after.resources);
        after.overrides = change.overrides.unwrap_or(after.overrides);
        if after == *self {
            return after;
        }
        if self.is_active() && !after.is_active() {
            after.generation += 1;
        }
        after.revision += 1;
        after.updated_at = at;
        after
    }

    /// What it may use: its plan's limits, with its own in their place.
    pub fn limits(&self) -> Limits {
        self.overrides.applied_to(self.plan)
    }

    /// Events from before this instant are no longer shown; `None` if all are.
    pub fn audit_horizon(&self, now: Timestamp) -> Option<Timestamp> {
        self.limits().audit_horizon(now)
    }

    /// Whether its agents may get and use tokens.
    pub fn is_active(&self) -> bool {
        self.status == OrganizationStatus::Active
    }

    /// Whether a token may be for that audience.
    pub fn has_resource(&self, uri: &str) -> bool {
        self.resources.iter().any(|resource| resource.as_str() == uri)
    }
}

/// The fields of an organization that a change names; each is replaced whole.
#[derive(Clone, Debug, Default)]
pub struct OrganizationChange {
    pub name: Option<Name>,
    pub plan: Option<Plan>,
    pub status: Option<OrganizationStatus>,
    pub resources: Option<Vec<ResourceUri>>,
    pub overrides: Option<LimitOverrides>,
}

/// Whether an organization's agents may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrganizationStatus {
    Active,
    Suspended,
}

impl OrganizationStatus {
    /// Each status with its name.
    pub const ALL: [(&'static str, Self); 2] = [("active", Self::Active), ("suspended", Self::Suspended)];
}

/// What an organization is called: 2 to 100 characters, no controls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name; what is wrong with it otherwise.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters");
        }
        if !(2..=100).contains(&text.chars().count()) {
            return Err("must be 2 to 100 characters");
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A short name for use in addresses and commands: `^[a-z0-9-]{2,50}$`, unique.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slug(String);

impl Slug {
    /// The slug; what is wrong with it otherwise.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let fits = (2..=50).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(Self(text.to_owned())) } else { Err("must be 2 to 50 of a-z, 0-9 and -") }
    }

    /// The slug.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An absolute URI without a fragment (RFC 3986): the name of a resource server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceUri(String);

impl ResourceUri {
    /// The URI; what is wrong with it otherwise. It is kept as written and compared letter by letter.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_RESOURCE_BYTES {
            return Err("must be at most 2048 bytes");
        }
        match Uri::parse(text) {
            Ok(uri) if uri.has_fragment() => Err("must not have a fragment"),
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err("must be an absolute URI, such as \"https://api.example.com\""),
        }
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_an_absolute_uri_without_fragment() {
        for uri in ["https://api.example.com", "https://api.example.com/v1?x=y", "urn:example:api"] {
            assert!(ResourceUri::parse(uri).is_ok(), "{uri}");
        }
        for text in ["", "/relative", "api.example.com", "https://a b", "https://x/#f", "https://x/%zz"] {
            assert!(ResourceUri::parse(text).is_err(), "{text}");
        }
    }
}
