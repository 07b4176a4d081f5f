//! Tenancy: which organizations a call may see and change.

use super::id::OrganizationId;

/// The organizations that a call may see and change. Anything else is reported as not found.
///
/// Ports take a tenancy wherever they read or change an organization's data. For a request, only
/// `Caller::tenancy` in the app layer creates one. The operator, at the machine itself, reaches all
/// organizations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tenancy {
    /// One organization. For every caller without `admin:orgs`.
    Only(OrganizationId),
    /// All organizations. For callers with `admin:orgs`.
    All,
}

impl Tenancy {
    /// Returns whether data of this organization may be seen.
    pub fn contains(self, organization: OrganizationId) -> bool {
        match self {
            Self::Only(own) => own == organization,
            Self::All => true,
        }
    }

    /// Returns the one organization; `None` for all.
    pub const fn organization(self) -> Option<OrganizationId> {
        match self {
            Self::Only(own) => Some(own),
            Self::All => None,
        }
    }

    /// Returns the same tenancy, or only the named organization if it lies within.
    ///
    /// `None` if the named organization lies outside; the response is then that for an empty organization.
    pub fn narrowed_to(self, organization: Option<OrganizationId>) -> Option<Self> {
        match organization {
            None => Some(self),
            Some(named) => self.contains(named).then_some(Self::Only(named)),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_reach_never_grows_by_being_narrowed() {
        let (own, other) = (OrganizationId(Uuid::from_u128(1)), OrganizationId(Uuid::from_u128(2)));
        let only = Tenancy::Only(own);
        assert!(only.contains(own) && !only.contains(other) && Tenancy::All.contains(other));
        assert_eq!((only.organization(), Tenancy::All.organization()), (Some(own), None));
        assert_eq!((only.narrowed_to(None), only.narrowed_to(Some(own))), (Some(only), Some(only)));
        assert_eq!(only.narrowed_to(Some(other)), None);
        assert_eq!(Tenancy::All.narrowed_to(None), Some(Tenancy::All));
        assert_eq!(Tenancy::All.narrowed_to(Some(other)), Some(Tenancy::Only(other)));
    }
}
