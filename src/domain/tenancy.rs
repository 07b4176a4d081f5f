//! How far a caller reaches.

use super::id::OrganizationId;

/// The organizations that a call may see and touch. Whatever lies outside answers as if it did not exist.
///
/// Ports take it wherever they read or change something of an organization. For a request only
/// [`Caller::tenancy`](crate::app::caller::Caller::tenancy) makes one; the operator, at the machine, reaches all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tenancy {
    /// One organization: every caller without `admin:orgs`.
    Only(OrganizationId),
    /// All of them: `admin:orgs`.
    All,
}

impl Tenancy {
    /// Whether something of that organization may be seen.
    pub fn contains(self, organization: OrganizationId) -> bool {
        match self {
            Self::Only(own) => own == organization,
            Self::All => true,
        }
    }

    /// The one organization, where it is one.
    pub const fn organization(self) -> Option<OrganizationId> {
        match self {
            Self::Only(own) => Some(own),
            Self::All => None,
        }
    }

    /// The same reach, or only the named organization where it lies within.
    ///
    /// `None` where the named one lies outside: the answer is then that of an empty organization.
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
