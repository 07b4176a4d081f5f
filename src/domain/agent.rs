//! Agents: pieces of software with an identity, and their life cycle.

use email_address::{EmailAddress, Options};
use unicode_normalization::UnicodeNormalization as _;

use super::generation::generation_after;
use super::id::{AgentId, OrganizationId};
use super::managed_by::ManagedBy;
use super::may_act::MayAct;
use super::proof::ProofRequirement;
use super::resource_indicator::ResourceIndicator;
use super::scope::{ManagementScope, Scopes};
use super::time::Timestamp;

/// The longest email address, in bytes.
pub const MAX_EMAIL_BYTES: usize = 255;
/// The longest version, in bytes.
pub const MAX_VERSION_BYTES: usize = 64;
/// The longest owner, in characters.
pub const MAX_OWNER_CHARS: usize = 128;

/// A piece of software that acts on its own, owned by one organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// ID of the agent, which is also its `client_id`.
    pub id: AgentId,
    /// The organization that owns the agent.
    pub organization: OrganizationId,
    /// Email address, unique in the organization.
    pub email: Email,
    /// Kind of work that the agent does.
    pub agent_type: AgentType,
    /// Version of the software.
    pub version: Version,
    /// Scopes that the agent may request.
    pub capabilities: Scopes,
    /// Team or person responsible for the agent.
    pub owner: Owner,
    /// Audience of its tokens if none is requested, one of its organization's resources; `None` for the issuer.
    pub default_resource: Option<ResourceIndicator>,
    /// Agents that may act for this one.
    pub may_act: MayAct,
    /// Whether an actor may pass on the authority that it holds for this agent.
    pub redelegation: bool,
    /// Whether its tokens must be bound to a key.
    pub dpop: ProofRequirement,
    /// Environment in which the agent runs.
    pub deployment_env: DeploymentEnv,
    /// Tool or team that manages the agent; `None` if none was named. Never changes.
    pub managed_by: Option<ManagedBy>,
    /// Position in the life cycle.
    pub status: AgentStatus,
    /// Instant of registration.
    pub created_at: Timestamp,
    /// Instant of the last change.
    pub updated_at: Timestamp,
    /// Raised by every change that must revoke the agent's tokens; never lowered.
    pub generation: u64,
    /// Raised by every change, so that a store can refuse a change of an outdated agent.
    pub revision: u64,
}

impl Agent {
    /// Returns the agent with these fields replaced, or an unchanged copy if nothing differs.
    ///
    /// Returns [`Decommissioned`] if the agent is decommissioned.
    pub fn changed(&self, change: AgentChange, at: Timestamp) -> Result<Self, Decommissioned> {
        self.ensure_not_decommissioned()?;
        let mut after = self.clone();
        after.agent_type = change.agent_type.unwrap_or(after.agent_type);
        after.version = change.version.unwrap_or(after.version);
        after.capabilities = change.capabilities.unwrap_or(after.capabilities);
        after.owner = change.owner.unwrap_or(after.owner);
        after.default_resource = change.default_resource.unwrap_or(after.default_resource);
        after.may_act = change.may_act.unwrap_or(after.may_act);
        after.redelegation = change.redelegation.unwrap_or(after.redelegation);
        after.dpop = change.dpop.unwrap_or(after.dpop);
        after.deployment_env = change.deployment_env.unwrap_or(after.deployment_env);
        if let Some(is_active) = change.is_active {
            after.status = if is_active { AgentStatus::Active } else { AgentStatus::Suspended };
        }
        Ok(if after == *self { after } else { after.stamped(self, at) })
    }

    /// Returns the agent in its final state.
    ///
    /// A decommissioned agent keeps its row and its email address, and is never reactivated. Returns
    /// [`Decommissioned`] if the agent is decommissioned already.
    pub fn decommissioned(&self, at: Timestamp) -> Result<Self, Decommissioned> {
        self.ensure_not_decommissioned()?;
        Ok(Self { status: AgentStatus::Decommissioned, ..self.clone() }.stamped(self, at))
    }

    /// Returns the agent with all of its present tokens revoked: the kill switch.
    ///
    /// Returns [`Decommissioned`] if the agent is decommissioned.
    pub fn with_tokens_revoked(&self, at: Timestamp) -> Result<Self, Decommissioned> {
        self.ensure_not_decommissioned()?;
        let generation = generation_after(self.generation, at);
        Ok(Self { generation, ..self.clone() }.stamped(self, at))
    }

    /// Records a change of `before`. Leaving the status `active` revokes the agent's present tokens.
    fn stamped(mut self, before: &Self, at: Timestamp) -> Self {
        if before.status == AgentStatus::Active && self.status != AgentStatus::Active {
            self.generation = generation_after(self.generation, at);
        }
        self.revision += 1;
        self.updated_at = at;
        self
    }

    /// Returns [`Decommissioned`] if the agent is decommissioned, because such an agent never changes.
    pub fn ensure_not_decommissioned(&self) -> Result<(), Decommissioned> {
        if self.status == AgentStatus::Decommissioned { Err(Decommissioned) } else { Ok(()) }
    }

    /// Returns whether the agent could administer all organizations, as far as the agent itself is concerned.
    ///
    /// Whether it can also depends on its credentials and its organization.
    pub fn could_administer(&self) -> bool {
        self.is_active() && self.capabilities.management().contains(ManagementScope::AdminOrgs)
    }

    /// Returns whether the agent may get and use tokens, as far as the agent itself is concerned.
    pub fn is_active(&self) -> bool {
        self.status == AgentStatus::Active
    }
}

/// The fields of an agent to be changed. A field that is `None` stays; any other is replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct AgentChange {
    /// New type.
    pub agent_type: Option<AgentType>,
    /// New version.
    pub version: Option<Version>,
    /// New capabilities.
    pub capabilities: Option<Scopes>,
    /// New owner.
    pub owner: Option<Owner>,
    /// New default resource; `Some(None)` removes it.
    pub default_resource: Option<Option<ResourceIndicator>>,
    /// New agents that may act for the agent.
    pub may_act: Option<MayAct>,
    /// Whether an actor may pass on authority.
    pub redelegation: Option<bool>,
    /// Whether its tokens must be bound to a key.
    pub dpop: Option<ProofRequirement>,
    /// New deployment environment.
    pub deployment_env: Option<DeploymentEnv>,
    /// `true` for active, `false` for suspended. Decommissioning is a separate operation.
    pub is_active: Option<bool>,
}

/// The agent is decommissioned and cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is decommissioned, which is final")]
pub struct Decommissioned;

/// Life cycle of an agent: `active ⇄ suspended`, and from either to `decommissioned`, which is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentStatus {
    /// The agent may get and use tokens.
    Active,
    /// The agent may neither get nor use tokens until it is reactivated.
    Suspended,
    /// The agent may never get or use tokens again.
    Decommissioned,
}

impl AgentStatus {
    /// Every status with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("active", Self::Active), ("suspended", Self::Suspended), ("decommissioned", Self::Decommissioned)];
}

/// Kind of work that an agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentType {
    /// Screens input.
    Screener,
    /// Classifies input.
    Classifier,
    /// Orchestrates other agents.
    Orchestrator,
    /// Extracts data.
    Extractor,
    /// Summarizes content.
    Summarizer,
    /// Routes work.
    Router,
    /// Monitors systems.
    Monitor,
    /// Does any other work.
    Custom,
}

impl AgentType {
    /// Every type with its name.
    pub const ALL: [(&'static str, Self); 8] = [
        ("screener", Self::Screener),
        ("classifier", Self::Classifier),
        ("orchestrator", Self::Orchestrator),
        ("extractor", Self::Extractor),
        ("summarizer", Self::Summarizer),
        ("router", Self::Router),
        ("monitor", Self::Monitor),
        ("custom", Self::Custom),
    ];
}

/// Environment in which an agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeploymentEnv {
    /// Development.
    Development,
    /// Staging.
    Staging,
    /// Production.
    Production,
}

impl DeploymentEnv {
    /// Every environment with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("development", Self::Development), ("staging", Self::Staging), ("production", Self::Production)];
}

/// An email address in normal form: trimmed, NFC, lower-cased. Permanently unique in an organization.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// Parses an address into its normal form.
    ///
    /// The address is of RFC 5321 and 6531: a local part and a domain with a dot in it, without display name,
    /// address literal or control characters.
    ///
    /// Returns what is wrong with the text if it is not such an address.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let composed = text.trim().nfc().collect::<String>().to_lowercase();
        let normal: String = composed.nfc().collect();
        if normal.len() > MAX_EMAIL_BYTES {
            return Err("must be at most 255 bytes");
        }
        let options = Options::default().without_display_text().without_domain_literal().with_required_tld();
        if normal.chars().any(char::is_control) || EmailAddress::parse_with_options(&normal, options).is_err()
        {
            return Err("must be a valid email address, such as \"agent@example.com\"");
        }
        Ok(Self(normal))
    }

    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A version according to SemVer 2.0.0, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// Parses a version.
    ///
    /// Returns what is wrong with the text if it is not a version.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_VERSION_BYTES {
            return Err("must be at most 64 bytes");
        }
        match semver::Version::parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err("must be a version of SemVer 2.0.0, such as \"1.2.3\""),
        }
    }

    /// Returns the version as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The team or person responsible for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    /// Parses an owner.
    ///
    /// Returns what is wrong with the text if it is not an owner.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters");
        }
        if !(1..=MAX_OWNER_CHARS).contains(&text.chars().count()) {
            return Err("must be 1 to 128 characters");
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the owner as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Filter of a list of agents. A field that is `None` matches every agent.
#[derive(Clone, Debug, Default)]
pub struct AgentFilter {
    /// Email address of the agent.
    pub email: Option<Email>,
    /// Owner of the agent.
    pub owner: Option<Owner>,
    /// Type of the agent.
    pub agent_type: Option<AgentType>,
    /// Status of the agent.
    pub status: Option<AgentStatus>,
}

impl AgentFilter {
    /// Returns whether the agent matches every field of the filter.
    pub fn matches(&self, agent: &Agent) -> bool {
        self.email.as_ref().is_none_or(|email| *email == agent.email)
            && self.owner.as_ref().is_none_or(|owner| *owner == agent.owner)
            && self.agent_type.is_none_or(|agent_type| agent_type == agent.agent_type)
            && self.status.is_none_or(|status| status == agent.status)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    pub fn agent() -> Agent {
        let at = Timestamp::from_millis(0);
        Agent {
            id: AgentId(Uuid::nil()),
            organization: OrganizationId(Uuid::nil()),
            email: Email::parse("agent@example.com").expect("valid"),
            agent_type: AgentType::Custom,
            version: Version::parse("1.0.0").expect("valid"),
            capabilities: Scopes::capabilities(&["a:b"]).expect("valid"),
            owner: Owner::parse("team").expect("valid"),
            default_resource: None,
            may_act: MayAct::NONE,
            redelegation: false,
            dpop: ProofRequirement::Optional,
            deployment_env: DeploymentEnv::Development,
            managed_by: None,
            status: AgentStatus::Active,
            created_at: at,
            updated_at: at,
            generation: 0,
            revision: 0,
        }
    }

    #[test]
    fn spellings_of_one_address_have_one_normal_form() {
        for (left, right) in [
            (" Agent@Example.COM ", "agent@example.com"),
            ("\u{212a}elvin@example.com", "kelvin@example.com"),
            ("jose\u{301}@example.com", "jos\u{e9}@example.com"),
        ] {
            assert_eq!(Email::parse(left), Email::parse(right), "{left}");
            assert!(Email::parse(left).is_ok(), "{left}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(250));
        for text in [
            "",
            "a",
            "a@b",
            "a@@example.com",
            "a@example.com.",
            "\"a\r\n\"@example.com",
            "\"a\tb\"@example.com",
            "a\u{80}@example.com",
            "A <a@example.com>",
            "a@[127.0.0.1]",
            &long,
        ] {
            assert!(Email::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_longest_address_version_and_owner_pass_and_longer_ones_do_not() {
        let domain = format!("{}.{}.{}.com", "b".repeat(63), "c".repeat(63), "d".repeat(58));
        let longest = format!("{}@{domain}", "a".repeat(64));
        assert_eq!(longest.len(), MAX_EMAIL_BYTES);
        assert!(Email::parse(&longest).is_ok());
        assert_eq!(Email::parse(&longest.replace("d.com", "dd.com")), Err("must be at most 255 bytes"));
        let longest = format!("1.0.0-{}", "a".repeat(MAX_VERSION_BYTES - 6));
        assert!(Version::parse(&longest).is_ok());
        assert_eq!(Version::parse(&format!("{longest}a")), Err("must be at most 64 bytes"));
        let longest = "\u{e9}".repeat(MAX_OWNER_CHARS);
        assert_eq!(Owner::parse(&longest).as_ref().map(Owner::as_str), Ok(longest.as_str()));
        for wrong in ["", "a\tb", &format!("{longest}a")] {
            assert!(Owner::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_could_administer_is_active_and_may_administer_organizations() {
        let capabilities = Scopes::capabilities(&["admin:orgs"]).expect("valid");
        let administrator = Agent { capabilities, ..agent() };
        assert!(administrator.could_administer() && !agent().could_administer());
        let suspension = AgentChange { is_active: Some(false), ..AgentChange::default() };
        let at = Timestamp::from_millis(1);
        let suspended = administrator.changed(suspension, at).expect("not decommissioned");
        assert!(!suspended.could_administer());
        let gone = administrator.decommissioned(at).expect("not decommissioned");
        assert_eq!((gone.status, gone.could_administer()), (AgentStatus::Decommissioned, false));
    }

    proptest! {
        #[test]
        fn the_state_machine_holds_for_any_walk(steps in prop::collection::vec(0u8..5, 0..30)) {
            let mut now = agent();
            for (time, step) in steps.into_iter().enumerate() {
                let at = Timestamp::from_millis(time as i64 + 1);
                let status = |is_active| AgentChange { is_active: Some(is_active), ..AgentChange::default() };
                let next = match step {
                    0 => now.changed(status(true), at),
                    1 => now.changed(status(false), at),
                    2 => now.decommissioned(at),
                    3 => now.with_tokens_revoked(at),
                    _ => now.changed(AgentChange::default(), at),
                };
                match next {
                    Err(Decommissioned) => prop_assert_eq!(now.status, AgentStatus::Decommissioned),
                    Ok(next) => {
                        prop_assert_ne!(now.status, AgentStatus::Decommissioned, "it is final");
                        let left_active = now.is_active() && !next.is_active();
                        let killed = left_active || step == 3;
                        let after = if killed { generation_after(now.generation, at) } else { now.generation };
                        prop_assert_eq!(next.generation, after);
                        let touched = next != now;
                        prop_assert_eq!(next.revision, now.revision + u64::from(touched));
                        prop_assert_eq!(next.updated_at == at, touched);
                        now = next;
                    }
                }
            }
        }

        #[test]
        fn every_semver_is_a_version_and_comes_back_as_written(
            major: u64, minor: u64, patch: u64, pre in "(-(0|[1-9][0-9]{0,3}|[a-z][a-z0-9-]{0,4}))?", build in "(\\+[a-z0-9]{1,4})?",
        ) {
            let text = format!("{major}.{minor}.{patch}{pre}{build}");
            prop_assume!(text.len() <= MAX_VERSION_BYTES);
            let version = Version::parse(&text);
            prop_assert_eq!(version.as_ref().map(Version::as_str), Ok(text.as_str()));
        }

        #[test]
        fn what_is_no_semver_is_refused(text in "(1\\.0|01\\.0\\.0|1\\.0\\.0-|1\\.0\\.0\\+|v1\\.0\\.0|99999999999999999999\\.0\\.0| 1\\.0\\.0|1\\.0\\.0-01|1\\.0\\.0-[a-z]{60})") {
            prop_assert!(Version::parse(&text).is_err());
        }

        #[test]
        fn a_normal_form_is_its_own_normal_form(text in "\\PC{1,12}@[a-zA-Z0-9]{1,8}\\.com") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email));
            }
        }
    }
}
