//! Plans: how much an organization may use.

use super::time::Timestamp;

/// An upper limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// No limit.
    Unlimited,
    /// At most this many.
    AtMost(u32),
}

/// A named set of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plan {
    /// The smallest plan.
    Free,
    /// The medium plan.
    Pro,
    /// The largest plan.
    Enterprise,
}

impl Plan {
    /// Every plan with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("free", Self::Free), ("pro", Self::Pro), ("enterprise", Self::Enterprise)];

    /// Returns the least number of days for which an audit event is kept.
    ///
    /// The event may be shown for fewer days. The floor exists so that an administrator who shortens the
    /// retention cannot remove last month's events.
    pub const fn audit_floor_days(self) -> u32 {
        match self {
            Self::Free => 30,
            Self::Pro => 90,
            Self::Enterprise => 365,
        }
    }

    /// Returns the limits of the plan.
    pub const fn limits(self) -> Limits {
        use Limit::{AtMost, Unlimited};
        let (agents, tokens, requests, days) = match self {
            Self::Free => (AtMost(100), AtMost(10_000), AtMost(100), AtMost(90)),
            Self::Pro => (AtMost(1_000), AtMost(100_000), AtMost(1_000), AtMost(365)),
            Self::Enterprise => (Unlimited, Unlimited, AtMost(10_000), AtMost(7 * 365 + 2)),
        };
        Limits {
            max_agents: agents,
            max_tokens_per_month: tokens,
            requests_per_minute: requests,
            audit_retention_days: days,
        }
    }
}

impl Limit {
    /// Returns the one that allows more.
    #[must_use]
    pub const fn or_more(self, other: Self) -> Self {
        match (self, other) {
            (Self::AtMost(one), Self::AtMost(two)) => Self::AtMost(if one > two { one } else { two }),
            _ => Self::Unlimited,
        }
    }
}

/// The limits of an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Limit of agents that are not decommissioned.
    pub max_agents: Limit,
    /// Limit of tokens per client and calendar month (UTC).
    pub max_tokens_per_month: Limit,
    /// Limit of requests per client and 60 s window.
    pub requests_per_minute: Limit,
    /// Number of days for which an audit event is shown.
    pub audit_retention_days: Limit,
}

impl Limits {
    /// Returns the instant before which events are no longer shown; `None` if all are shown.
    pub const fn audit_horizon(self, now: Timestamp) -> Option<Timestamp> {
        match self.audit_retention_days {
            Limit::Unlimited => None,
            Limit::AtMost(days) => Some(now.minus_days(days)),
        }
    }
}

/// Limits of an organization that differ from its plan. `None` leaves the plan's limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitOverrides {
    /// Limit of agents that are not decommissioned.
    pub max_agents: Option<Limit>,
    /// Limit of tokens per client and calendar month (UTC).
    pub max_tokens_per_month: Option<Limit>,
    /// Limit of requests per client and 60 s window.
    pub requests_per_minute: Option<Limit>,
    /// Number of days for which an audit event is shown.
    pub audit_retention_days: Option<Limit>,
}

impl LimitOverrides {
    /// Returns the plan's limits, with these in their place.
    pub fn applied_to(self, plan: Plan) -> Limits {
        let of_plan = plan.limits();
        Limits {
            max_agents: self.max_agents.unwrap_or(of_plan.max_agents),
            max_tokens_per_month: self.max_tokens_per_month.unwrap_or(of_plan.max_tokens_per_month),
            requests_per_minute: self.requests_per_minute.unwrap_or(of_plan.requests_per_minute),
            audit_retention_days: self.audit_retention_days.unwrap_or(of_plan.audit_retention_days),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organization_departs_from_its_plan_in_what_it_names() {
        let seven_years = Limit::AtMost(2557);
        assert_eq!(Plan::Enterprise.limits().audit_retention_days, seven_years);
        let overrides = LimitOverrides { max_agents: Some(Limit::AtMost(7)), ..LimitOverrides::default() };
        let limits = overrides.applied_to(Plan::Free);
        assert_eq!(limits, Limits { max_agents: Limit::AtMost(7), ..Plan::Free.limits() });
    }
}
