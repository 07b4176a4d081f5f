//! Organizations: the tenants that own agents, their credentials and their audit events.

use super::generation::generation_after;
use super::id::OrganizationId;
use super::plan::{Limit, LimitOverrides, Limits, Plan};
use super::resource_indicator::{ResourceIndicator, normal_form};
use super::time::Timestamp;

/// The slug of the organization that exists from the first start on.
pub const DEFAULT_SLUG: &str = "default";
/// The most resources of an organization.
pub const MAX_RESOURCES: usize = 50;

/// A tenant, which owns agents and has a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// ID of the organization.
    pub id: OrganizationId,
    /// Display name.
    pub name: Name,
    /// Short name, unique among all organizations.
    pub slug: Slug,
    /// Plan that determines the limits.
    pub plan: Plan,
    /// Whether its agents may act.
    pub status: OrganizationStatus,
    /// The audiences that its agents may request (RFC 8707).
    pub resources: Vec<ResourceIndicator>,
    /// Limits that differ from those of the plan.
    pub overrides: LimitOverrides,
    /// Instant of creation.
    pub created_at: Timestamp,
    /// Instant of the last change.
    pub updated_at: Timestamp,
    /// Raised by each suspension, which revokes the tokens of all its agents; never lowered.
    pub generation: u64,
    /// Raised by every change, so that a store can refuse a change of an outdated organization.
    pub revision: u64,
}

impl Organization {
    /// Returns the organization with these fields replaced, or an unchanged copy if nothing differs.
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
            after.generation = generation_after(after.generation, at);
        }
        after.revision += 1;
        after.updated_at = at;
        after
    }

    /// Returns the limits of the organization: those of its plan, replaced by its own.
    pub fn limits(&self) -> Limits {
        self.overrides.applied_to(self.plan)
    }

    /// Returns the instant before which events are no longer shown; `None` if all are shown.
    pub fn audit_horizon(&self, now: Timestamp) -> Option<Timestamp> {
        self.limits().audit_horizon(now)
    }

    /// Returns for how many days its audit events are kept, before the grace period that follows.
    pub fn audit_keeping(&self) -> Limit {
        self.limits().audit_retention_days.or_more(Limit::AtMost(self.plan.audit_floor_days()))
    }

    /// Returns whether its agents may get and use tokens.
    pub fn is_active(&self) -> bool {
        self.status == OrganizationStatus::Active
    }

    /// Returns the listed resource that this URI or name stands for; `None` if it is not listed.
    ///
    /// URIs are compared in the normal form of RFC 3986.
    pub fn resource(&self, asked: &str) -> Option<&ResourceIndicator> {
        let listed =
            |matches: &dyn Fn(&ResourceIndicator) -> bool| self.resources.iter().find(|one| matches(one));
        listed(&|one| one.as_str() == asked).or_else(|| {
            let asked = normal_form(asked);
            listed(&|one| one.normal_form() == asked)
        })
    }

    /// Returns whether a token may be for this audience, byte for byte.
    pub fn has_resource(&self, uri: &str) -> bool {
        self.resources.iter().any(|resource| resource.as_str() == uri)
    }
}

/// The fields of an organization to be changed. A field that is `None` stays; any other is replaced as a
/// whole.
#[derive(Clone, Debug, Default)]
pub struct OrganizationChange {
    /// New name.
    pub name: Option<Name>,
    /// New plan.
    pub plan: Option<Plan>,
    /// New status.
    pub status: Option<OrganizationStatus>,
    /// New resources.
    pub resources: Option<Vec<ResourceIndicator>>,
    /// New overrides of the plan's limits.
    pub overrides: Option<LimitOverrides>,
}

/// Status of an organization, which determines whether its agents may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrganizationStatus {
    /// Its agents may get and use tokens.
    Active,
    /// None of its agents may get or use tokens.
    Suspended,
}

impl OrganizationStatus {
    /// Every status with its name.
    pub const ALL: [(&'static str, Self); 2] = [("active", Self::Active), ("suspended", Self::Suspended)];
}

/// Display name of an organization: 2 to 100 characters, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Parses a name.
    ///
    /// Returns what is wrong with the text if it is not a name.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters");
        }
        if !(2..=100).contains(&text.chars().count()) {
            return Err("must be 2 to 100 characters");
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A short name for use in URLs and commands: `^[a-z0-9-]{2,50}$`, unique.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slug(String);

impl Slug {
    /// Parses a slug.
    ///
    /// Returns what is wrong with the text if it is not a slug.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let fits = (2..=50).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(Self(text.to_owned())) } else { Err("must be 2 to 50 of a-z, 0-9 and -") }
    }

    /// Returns the slug as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::super::plan::Limit;
    use super::*;

    pub fn organization() -> Organization {
        let at = Timestamp::from_millis(0);
        Organization {
            id: OrganizationId(Uuid::from_u128(2)),
            name: Name::parse("Example").expect("a name"),
            slug: Slug::parse("example").expect("a slug"),
            plan: Plan::Free,
            status: OrganizationStatus::Active,
            resources: vec![ResourceIndicator::parse("https://api.example.com").expect("a URI")],
            overrides: LimitOverrides::default(),
            created_at: at,
            updated_at: at,
            generation: 0,
            revision: 0,
        }
    }

    #[test]
    fn a_suspension_raises_the_generation_and_no_other_change_does() {
        let at = Timestamp::from_millis(1);
        let to = |status| OrganizationChange { status: Some(status), ..OrganizationChange::default() };
        let before = organization();
        assert_eq!(before.changed(OrganizationChange::default(), at), before);
        assert_eq!(before.changed(to(OrganizationStatus::Active), at), before);
        let suspended = before.changed(to(OrganizationStatus::Suspended), at);
        assert!(before.is_active() && !suspended.is_active());
        assert_eq!(
            (suspended.generation, suspended.revision, suspended.updated_at),
            (generation_after(0, at), 1, at)
        );
        let plan = OrganizationChange { plan: Some(Plan::Pro), ..OrganizationChange::default() };
        let larger = suspended.changed(plan, at);
        assert_eq!((larger.generation, larger.revision, larger.plan), (suspended.generation, 2, Plan::Pro));
        let back = larger.changed(to(OrganizationStatus::Active), at);
        assert_eq!((back.generation, back.revision, back.is_active()), (suspended.generation, 3, true));
    }

    #[test]
    fn events_are_kept_for_no_less_than_the_floor_of_the_plan() {
        for (plan, floor) in [(Plan::Free, 30), (Plan::Pro, 90), (Plan::Enterprise, 365)] {
            let mut kept = Organization { plan, ..organization() };
            assert_eq!(kept.audit_keeping(), plan.limits().audit_retention_days);
            kept.overrides.audit_retention_days = Some(Limit::AtMost(1));
            assert_eq!(kept.audit_keeping(), Limit::AtMost(floor));
            kept.overrides.audit_retention_days = Some(Limit::Unlimited);
            assert_eq!(kept.audit_keeping(), Limit::Unlimited);
        }
    }

    #[test]
    fn events_are_shown_for_as_many_days_as_the_plan_or_the_organization_says() {
        let now = Timestamp::from_millis(100 * 86_400_000);
        let mut shown = organization();
        assert_eq!(shown.audit_horizon(now), Some(Timestamp::from_millis(10 * 86_400_000)));
        shown.overrides.audit_retention_days = Some(Limit::AtMost(1));
        assert_eq!(shown.audit_horizon(now), Some(Timestamp::from_millis(99 * 86_400_000)));
        shown.overrides.audit_retention_days = Some(Limit::Unlimited);
        assert_eq!(shown.audit_horizon(now), None);
    }

    #[test]
    fn a_resource_is_known_letter_by_letter() {
        let known = organization();
        assert!(known.has_resource("https://api.example.com"));
        assert!(!known.has_resource("https://api.example.com/") && !known.has_resource(""));
    }

    #[test]
    fn names_and_slugs_are_held_to_their_lengths_and_letters() {
        let name = |text: &str| Name::parse(text).map(|name| name.as_str().to_owned());
        for right in ["ab", &"\u{e9}".repeat(100)] {
            assert_eq!(name(right), Ok(right.to_owned()));
        }
        for wrong in ["", "a", &"a".repeat(101), "a\nb"] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        let slug = |text: &str| Slug::parse(text).map(|slug| slug.as_str().to_owned());
        for right in ["ab", "a-1", "--", &"z".repeat(50)] {
            assert_eq!(slug(right), Ok(right.to_owned()));
        }
        for wrong in ["", "a", "A1", "a_b", "\u{e9}\u{e9}", &"a".repeat(51)] {
            assert!(slug(wrong).is_err(), "{wrong}");
        }
    }
}
