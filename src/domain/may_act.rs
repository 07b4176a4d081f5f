//! Which agents may act for a subject (RFC 8693 section 4.4).

use super::id::AgentId;

/// The most agents that may act for one subject, if they are listed.
pub const MAX_ACTORS: usize = 64;

/// Name that stands for every agent.
pub const ALL: &str = "*";

/// The agents that may act for an agent, or for the people of a trusted issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MayAct {
    /// Every agent of the organization.
    All,
    /// These agents, of the same organization.
    Only(Vec<AgentId>),
}

impl MayAct {
    /// No agent: the default, because a subject must allow its actors.
    pub const NONE: Self = Self::Only(Vec::new());

    /// Returns whether this agent, of the same organization, may act.
    pub fn allows(&self, actor: AgentId) -> bool {
        match self {
            Self::All => true,
            Self::Only(agents) => agents.contains(&actor),
        }
    }

    /// Returns the listed agents; `None` if every agent may act.
    pub fn listed(&self) -> Option<&[AgentId]> {
        match self {
            Self::All => None,
            Self::Only(agents) => Some(agents),
        }
    }

    /// Returns the IDs of the agents, or `*` alone for every agent.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::All => vec![ALL.to_owned()],
            Self::Only(agents) => agents.iter().map(ToString::to_string).collect(),
        }
    }

    /// Returns the agents with these IDs, or every agent for `*` alone; `None` for anything else.
    pub fn of_names(names: &[&str]) -> Option<Self> {
        if names == [ALL] {
            return Some(Self::All);
        }
        names.iter().map(|id| AgentId::parse(id)).collect::<Option<_>>().map(Self::Only)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_agent_may_act_only_if_it_is_listed_or_if_every_agent_may() {
        let [one, other] = [1, 2].map(|id| AgentId(Uuid::from_u128(id)));
        assert!(MayAct::All.allows(one));
        assert!(!MayAct::NONE.allows(one));
        let listed = MayAct::Only(vec![one]);
        assert!(listed.allows(one) && !listed.allows(other));
        for may_act in [MayAct::All, MayAct::NONE, listed] {
            let names = may_act.names();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(MayAct::of_names(&names), Some(may_act));
        }
        let one = one.to_string();
        for names in [&["x"][..], &["*", &one], &["*", "*"], &[""]] {
            assert_eq!(MayAct::of_names(names), None, "{names:?}");
        }
    }
}
