//! Identities of the tallies of audit events.

use std::net::IpAddr;

use uuid::Uuid;

use domain::id::{AgentId, OrganizationId};
use domain::time::Timestamp;

/// Identity of a tally.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// Introspections of the tokens of one agent by one caller.
    Introspected { minute: Timestamp, caller: AgentId, subject: AgentId },
    /// Failed authentications of one claimed client from one network.
    Failed { minute: Timestamp, network: Option<IpAddr>, claimed: Option<Uuid> },
    /// Refused exchanges of a client.
    Refused { minute: Timestamp, client: AgentId },
    /// All refused exchanges of an organization's clients beyond its share.
    RefusedBeyond { minute: Timestamp, organization: Option<OrganizationId> },
    /// All introspections by an organization's callers beyond its share.
    IntrospectedBeyond { minute: Timestamp, organization: Option<OrganizationId> },
    /// All failures beyond the share of a client or, if `claimed` is `None`, of an organization.
    FailedBeyond { minute: Timestamp, organization: Option<OrganizationId>, claimed: Option<Uuid> },
}

impl Key {
    /// Returns the minute that is counted.
    pub const fn minute(&self) -> Timestamp {
        match self {
            Self::Introspected { minute, .. }
            | Self::Failed { minute, .. }
            | Self::Refused { minute, .. }
            | Self::RefusedBeyond { minute, .. }
            | Self::IntrospectedBeyond { minute, .. }
            | Self::FailedBeyond { minute, .. } => *minute,
        }
    }

    /// Returns the key as the store knows it, the same on every instance.
    pub fn text(&self) -> String {
        match self {
            Self::Introspected { minute, caller, subject } => {
                format!("introspected {} {caller} {subject}", minute.as_millis())
            }
            Self::Failed { minute, network, claimed } => {
                let network = network.map_or_else(String::new, |network| network.to_string());
                let claimed = claimed.map_or_else(String::new, |claimed| claimed.to_string());
                format!("failed {} {network} {claimed}", minute.as_millis())
            }
            Self::Refused { minute, client } => format!("refused {} {client}", minute.as_millis()),
            Self::RefusedBeyond { minute, organization } => {
                format!("refused beyond {} {}", minute.as_millis(), text_of(organization.as_ref()))
            }
            Self::IntrospectedBeyond { minute, organization } => {
                format!("introspected beyond {} {}", minute.as_millis(), text_of(organization.as_ref()))
            }
            Self::FailedBeyond { minute, organization, claimed } => {
                let (organization, claimed) = (text_of(organization.as_ref()), text_of(claimed.as_ref()));
                format!("failed beyond {} {organization} {claimed}", minute.as_millis())
            }
        }
    }
}

fn text_of(id: Option<&impl ToString>) -> String {
    id.map_or_else(String::new, ToString::to_string)
}
