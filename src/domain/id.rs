//! IDs, one type per entity.
//!
//! An agent's ID cannot be passed where a credential's is expected.

use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The nil UUID, which names nothing: no ID that is generated is nil.
            pub const NIL: Self = Self(Uuid::nil());

            /// Parses the one accepted spelling, which is lower-case and hyphenated; `None` for any other
            /// text.
            ///
            /// Other spellings of the same UUID are refused, because two spellings of one client would have
            /// two rate windows and two lines in the audit log.
            pub fn parse(text: &str) -> Option<Self> {
                let uuid = Uuid::try_parse(text).ok()?;
                let mut buffer = Uuid::encode_buffer();
                (uuid.hyphenated().encode_lower(&mut buffer) == text).then_some(Self(uuid))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

id!(
    /// The ID of an [`Organization`](super::organization::Organization).
    OrganizationId
);
id!(
    /// The ID of an [`Agent`](super::agent::Agent). It is the agent's `client_id` and the `sub` of its
    /// tokens.
    AgentId
);
id!(
    /// The ID of a [`Credential`](super::credential::Credential).
    CredentialId
);
id!(
    /// The ID of a person of a trusted issuer, or of all persons of one (see [`delegation`](super::delegation)).
    PersonId
);
id!(
    /// The ID of a [`TrustedIssuer`](super::issuer::TrustedIssuer).
    IssuerId
);
id!(
    /// The ID of an [`AuditEvent`](super::audit::AuditEvent).
    EventId
);
id!(
    /// The ID of a token: its `jti` (RFC 7519 section 4.1.7).
    TokenId
);

impl AgentId {
    /// Returns whether a text has the form of an agent's ID: a lower-case, hyphenated UUID of version 7.
    ///
    /// An agent with that ID need not exist.
    pub fn is_form_of(text: &str) -> bool {
        Self::parse(text).is_some_and(|id| id.0.get_version_num() == 7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        let text = "01920000-0000-7000-8000-00000000abcd";
        assert_eq!(AgentId::parse(text).map(|id| id.to_string()), Some(text.to_owned()));
        for other in [
            "01920000-0000-7000-8000-00000000ABCD",
            "019200000000700080000000 0000abcd",
            "0192000000007000800000000000abcd",
            "{01920000-0000-7000-8000-00000000abcd}",
            "urn:uuid:01920000-0000-7000-8000-00000000abcd",
            "",
        ] {
            assert_eq!(AgentId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn an_agent_id_has_version_7() {
        assert!(AgentId::is_form_of("01920000-0000-7000-8000-00000000abcd"));
        for other in
            ["01920000-0000-4000-8000-00000000abcd", "01920000-0000-7000-8000-00000000ABCD", "", "https://a"]
        {
            assert!(!AgentId::is_form_of(other), "{other}");
        }
    }
}
