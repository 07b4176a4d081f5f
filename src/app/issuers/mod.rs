//! Use cases of trusted issuers: create, find, list, change, suspend, delete, explain, revoke the tokens of a person.

mod explain;
mod faults;

use std::sync::Arc;

use super::agents::REVOCATION_ATTEMPTS;
use super::caller::{Caller, Forbidden};
use super::events::Events;
use super::metrics::{RevocationCounts, RevocationKind};
use super::ports::Ports;
use super::settings::Settings;
use domain::audit::{AuditAction, AuditEvent, Metadata};
use domain::id::{IssuerId, OrganizationId};
use domain::issuer::{IssuerChange, IssuerStatus, IssuerUrl, KeySource, Subjects, TrustedIssuer};
use domain::issuer_key::IssuerKey;
use domain::managed_by::ManagedBy;
use domain::organization::Name;
use domain::page::{Page, PageRequest};
use domain::resource_indicator::normal_form;
use domain::scope::ManagementScope;
use domain::signature_algorithm::SignatureAlgorithm;
use domain::time::Timestamp;
pub use explain::Explanation;
use faults::{Fault, fault_of_subjects, refuse};
use ports::assertion_verifier::AssertionVerifier;
use ports::clock::Clock;
use ports::credential_store::CredentialStore;
use ports::ids::Ids;
use ports::issuer_keys::IssuerKeys;
pub use ports::issuer_keys::{KeysState, KeysStatus};
use ports::issuer_store::{ChangeIssuerError, InsertIssuerError, IssuerStore};
use ports::store_error::StoreError;
use ports::token_store::TokenStore;
use ports::write::{CallerRevoked, Write};

/// Use cases of trusted issuers.
#[derive(Clone)]
pub struct Issuers {
    store: Arc<dyn IssuerStore>,
    credentials: Arc<dyn CredentialStore>,
    tokens: Arc<dyn TokenStore>,
    keys: Arc<dyn IssuerKeys>,
    verifier: Arc<dyn AssertionVerifier>,
    events: Events,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
    revocations: RevocationCounts,
    own_issuer: Arc<str>,
}

/// A trusted issuer to be created.
#[derive(Clone, Debug)]
pub struct NewIssuer {
    /// The organization; the caller's if `None`. Naming one requires `admin:orgs`.
    pub organization: Option<OrganizationId>,
    /// Display name.
    pub name: Name,
    /// The exact `iss` of its JWTs.
    pub issuer: IssuerUrl,
    /// Where its keys are found.
    pub keys: KeySource,
    /// Audiences; `None` for the issuer of this service.
    pub audiences: Option<Vec<String>>,
    /// Algorithms that it may sign with.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// The longest lifetime of an assertion, in seconds.
    pub max_lifetime_seconds: u32,
    /// Whether an assertion needs a `jti` and may be used only once.
    pub require_jti: bool,
    /// Whether a credential may do without a subject.
    pub subject_optional: bool,
    /// People that agents may act for.
    pub subjects: Option<Subjects>,
    /// Tool or team that manages it.
    pub managed_by: Option<ManagedBy>,
}

/// A trusted issuer, and how this instance last fetched its keys.
#[derive(Clone, Debug)]
pub struct ShownIssuer {
    /// The issuer.
    pub issuer: Arc<TrustedIssuer>,
    /// The last attempt of this instance to fetch its keys.
    pub keys: KeysStatus,
}

impl Issuers {
    pub(super) fn new(ports: &Ports, settings: &Settings) -> Self {
        Self {
            store: ports.stores.issuers.clone(),
            credentials: ports.stores.credentials.clone(),
            tokens: ports.stores.tokens.clone(),
            keys: ports.issuer_keys.clone(),
            verifier: ports.assertions.clone(),
            events: Events::new(ports.ids.clone()),
            ids: ports.ids.clone(),
            clock: ports.clock.clone(),
            revocations: RevocationCounts::new(),
            own_issuer: settings.issuer.clone(),
        }
    }

    /// Creates a trusted issuer. Its keys are fetched once, and the issuer is created even if that fails.
    pub async fn create(&self, caller: &Caller, new: NewIssuer) -> Result<ShownIssuer, IssuersError> {
        caller.require(ManagementScope::IssuersWrite)?;
        if new.organization.is_some() {
            caller.require(ManagementScope::AdminOrgs)?;
        }
        let at = self.clock.now();
        let overlapping = if new.audiences.is_some() { "audiences" } else { "subjects.audiences" };
        let issuer = TrustedIssuer {
            id: IssuerId(self.ids.next()),
            organization: new.organization.unwrap_or(caller.agent.organization),
            name: new.name,
            issuer: new.issuer,
            keys: new.keys,
            audiences: new.audiences.unwrap_or_else(|| vec![self.own_issuer.to_string()]),
            algorithms: new.algorithms,
            max_lifetime_seconds: new.max_lifetime_seconds,
            require_jti: new.require_jti,
            subject_optional: new.subject_optional,
            subjects: new.subjects,
            managed_by: new.managed_by,
            status: IssuerStatus::Active,
            created_at: at,
            updated_at: at,
            generation: 0,
            subjects_generation: 0,
            revision: 0,
        };
        let ours = |url: &str| normal_form(url).trim_end_matches('/').to_owned();
        let mut faults = Vec::new();
        if ours(issuer.issuer.as_str()) == ours(&self.own_issuer) {
            faults.push(("issuer".to_owned(), "must not be the issuer of this service"));
        }
        // Nothing is fetched from the issuer itself if its keys are elsewhere.
        if issuer.keys == KeySource::Discovery || issuer.issuer.as_str().starts_with("http://") {
            faults.extend(self.fault_of_url("issuer", issuer.issuer.as_str()));
        }
        faults.extend(self.faults_of_keys(&issuer.issuer, &issuer.keys));
        faults.extend(fault_of_subjects(&issuer, overlapping));
        refuse(faults)?;
        let metadata = Metadata::default().with("issuer", issuer.issuer.as_str());
        let event = self.events.success(caller.event(AuditAction::IssuerCreated, issuer.id, metadata), at);
        let write = Write { authority: Some(&caller.authority()), events: &[event], at };
        self.store.insert(caller.tenancy(), &issuer, write).await?;
        Ok(self.fetched(issuer).await)
    }

    /// Returns the trusted issuer with this ID.
    ///
    /// Returns [`IssuersError::NoSuchIssuer`] if the ID is unknown or outside the caller's tenancy.
    pub async fn find(&self, caller: &Caller, id: IssuerId) -> Result<ShownIssuer, IssuersError> {
        caller.require(ManagementScope::IssuersRead)?;
        Ok(self.shown(self.lookup(caller, id).await?))
    }

    /// Returns a page of trusted issuers, newest first.
    ///
    /// The page is empty if the organization is outside the caller's tenancy.
    pub async fn list(
        &self,
        caller: &Caller,
        organization: Option<OrganizationId>,
        status: Option<IssuerStatus>,
        page: PageRequest,
    ) -> Result<Page<ShownIssuer>, IssuersError> {
        caller.require(ManagementScope::IssuersRead)?;
        let Some(within) = caller.tenancy().narrowed_to(organization) else {
            return Ok(Page { items: Vec::new(), total: 0 });
        };
        let found = self.store.list(within, status, page).await?;
        let items = found.items.into_iter().map(|issuer| self.shown(issuer)).collect();
        Ok(Page { items, total: found.total })
    }

    /// Replaces the fields named in the change.
    ///
    /// If nothing differs, nothing is stored and no event is recorded. Suspending an issuer permanently revokes every
    /// token that rests on it. New keys are fetched once.
    pub async fn change(
        &self,
        caller: &Caller,
        id: IssuerId,
        change: IssuerChange,
    ) -> Result<ShownIssuer, IssuersError> {
        caller.require(ManagementScope::IssuersWrite)?;
        let is_suspension = change.status == Some(IssuerStatus::Suspended);
        let attempts = if is_suspension { REVOCATION_ATTEMPTS } else { 1 };
        for _ in 0..attempts {
            let before = self.lookup(caller, id).await?;
            let mut faults = Vec::new();
            match &change.keys {
                Some(keys) if !keys.is_like(&before.keys) => {
                    faults.push(("keys".to_owned(), "must be of the type that the issuer has"));
                }
                Some(keys) => faults.extend(self.faults_of_keys(&before.issuer, keys)),
                None => {}
            }
            let at = self.clock.now();
            let after = before.changed(change.clone(), at);
            let is_sent = change.audiences.is_some() || change.subjects.is_none();
            faults
                .extend(fault_of_subjects(&after, if is_sent { "audiences" } else { "subjects.audiences" }));
            refuse(faults)?;
            if after == *before {
                return Ok(self.shown(before));
            }
            let events = self.events_of_change(caller, &before, &after, at);
            let write = Write { authority: Some(&caller.authority()), events: &events, at };
            match self.store.update(&before, &after, write).await {
                Ok(()) => {
                    let kind = RevocationKind::Issuer;
                    self.revocations.count_if_raised(kind, before.generation, after.generation);
                    let has_new_keys = after.keys != before.keys;
                    return Ok(if has_new_keys {
                        self.fetched(after).await
                    } else {
                        self.shown(Arc::new(after))
                    });
                }
                Err(ChangeIssuerError::LostRace) => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        Err(IssuersError::Conflict)
    }

    /// Deletes a trusted issuer. Every token that rests on it becomes inactive.
    ///
    /// Returns [`IssuersError::InUse`] if a live credential needs it.
    pub async fn delete(&self, caller: &Caller, id: IssuerId) -> Result<(), IssuersError> {
        caller.require(ManagementScope::IssuersWrite)?;
        for _ in 0..REVOCATION_ATTEMPTS {
            let issuer = self.lookup(caller, id).await?;
            let at = self.clock.now();
            let metadata = Metadata::default().with("issuer", issuer.issuer.as_str());
            let event = self.events.success(caller.event(AuditAction::IssuerDeleted, id, metadata), at);
            let write = Write { authority: Some(&caller.authority()), events: &[event], at };
            match self.store.delete(&issuer, write).await {
                Ok(()) => {
                    self.revocations.count(RevocationKind::Issuer);
                    return Ok(());
                }
                Err(ChangeIssuerError::LostRace) => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        Err(IssuersError::Conflict)
    }

    /// Revokes every token that acts for a person of a trusted issuer. The person need not have been seen before.
    pub async fn revoke_subject(
        &self,
        caller: &Caller,
        id: IssuerId,
        subject: &str,
    ) -> Result<(), IssuersError> {
        caller.require(ManagementScope::IssuersWrite)?;
        let issuer = self.lookup(caller, id).await?;
        let at = self.clock.now();
        let metadata = Metadata::default().with("subject", subject);
        let event = self.events.success(caller.event(AuditAction::SubjectRevoked, id, metadata), at);
        let write = Write { authority: Some(&caller.authority()), events: &[event], at };
        self.store.revoke_person(&issuer, subject, write).await.map_err(|error| match error {
            ChangeIssuerError::LostRace => IssuersError::NoSuchIssuer,
            refused => refused.into(),
        })?;
        self.revocations.count(RevocationKind::Subject);
        Ok(())
    }

    async fn lookup(&self, caller: &Caller, id: IssuerId) -> Result<Arc<TrustedIssuer>, IssuersError> {
        self.store.find(caller.tenancy(), id).await?.ok_or(IssuersError::NoSuchIssuer)
    }

    fn shown(&self, issuer: Arc<TrustedIssuer>) -> ShownIssuer {
        let keys = self.keys.status(&issuer.issuer, &issuer.keys);
        ShownIssuer { issuer, keys }
    }

    /// Returns the issuer after its keys were fetched, unless they are cached.
    async fn fetched(&self, issuer: TrustedIssuer) -> ShownIssuer {
        if let Err(error) = self.keys.keys(issuer.organization, &issuer.issuer, &issuer.keys, None).await {
            tracing::debug!(%error, issuer = %issuer.id, "no keys yet");
        }
        self.shown(Arc::new(issuer))
    }

    /// Returns why keys cannot be found there, and which pinned keys cannot verify signatures.
    fn faults_of_keys(&self, issuer: &IssuerUrl, keys: &KeySource) -> Vec<Fault> {
        let is_spiffe = issuer.trust_domain().is_some();
        match keys {
            KeySource::Discovery if is_spiffe => {
                vec![("keys".to_owned(), "must not be discovery for a spiffe:// issuer")]
            }
            KeySource::SpiffeBundle(_) if !is_spiffe => {
                vec![("keys".to_owned(), "must be a spiffe_bundle for a spiffe:// issuer only")]
            }
            KeySource::Discovery => Vec::new(),
            KeySource::JwksUri(url) | KeySource::SpiffeBundle(url) => {
                self.fault_of_url("keys.uri", url.as_str()).into_iter().collect()
            }
            KeySource::Jwks(keys) => {
                let fault = |(place, key): (usize, &IssuerKey)| {
                    let what = self.verifier.check_key(&key.key).err()?;
                    Some((format!("keys.jwks.keys[{place}]"), what))
                };
                keys.iter().enumerate().filter_map(fault).collect()
            }
        }
    }

    fn fault_of_url(&self, field: &str, url: &str) -> Option<Fault> {
        if url.starts_with("spiffe://") {
            return None;
        }
        self.keys.check_url(url).err().map(|what| (field.to_owned(), what))
    }

    fn events_of_change(
        &self,
        caller: &Caller,
        before: &TrustedIssuer,
        after: &TrustedIssuer,
        at: Timestamp,
    ) -> Vec<AuditEvent> {
        let named = [
            ("name", before.name != after.name),
            ("keys", before.keys != after.keys),
            ("audiences", before.audiences != after.audiences),
            ("algorithms", before.algorithms != after.algorithms),
            ("maxLifetimeSeconds", before.max_lifetime_seconds != after.max_lifetime_seconds),
            ("requireJti", before.require_jti != after.require_jti),
            ("subjectOptional", before.subject_optional != after.subject_optional),
            ("subjects", before.subjects != after.subjects),
        ];
        let status = (before.status != after.status).then_some(match after.status {
            IssuerStatus::Suspended => AuditAction::IssuerSuspended,
            IssuerStatus::Active => AuditAction::IssuerReactivated,
        });
        self.events.of_change(caller, after.id, (AuditAction::IssuerUpdated, &named), status, at)
    }
}

/// Error returned by the use cases of trusted issuers.
#[derive(Debug, thiserror::Error)]
pub enum IssuersError {
    /// The caller lacks a scope that the call requires, or one of an agent that the issuer authenticates.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No trusted issuer has this ID within the caller's tenancy.
    #[error("no such trusted issuer")]
    NoSuchIssuer,
    /// The organization is unknown.
    #[error("no such organization")]
    NoSuchOrganization,
    /// No agent of the issuer's organization has this ID.
    #[error("no such agent in the organization of the issuer")]
    NoSuchAgent,
    /// Fields have values that cannot be used: the path of each, and the text that follows it.
    #[error("fields have values that cannot be used")]
    Invalid(Vec<(String, &'static str)>),
    /// The organization trusts this `iss` already.
    #[error("the organization trusts this issuer already")]
    Taken,
    /// The organization has as many issuers as it may.
    #[error("the organization already has {0} trusted issuers; delete one that is not in use")]
    LimitReached(u32),
    /// A live credential needs the issuer.
    #[error("an active credential uses the issuer; revoke it first, or suspend the issuer")]
    InUse,
    /// The issuer was changed concurrently.
    #[error("the issuer was changed concurrently; read it and try again")]
    Conflict,
    /// The change would leave no administrator.
    #[error("this would leave no active agent with admin:orgs and an active credential")]
    LastAdministrator,
    /// The caller's authority was revoked while the change was in progress.
    #[error(transparent)]
    CallerRevoked(#[from] CallerRevoked),
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<InsertIssuerError> for IssuersError {
    fn from(error: InsertIssuerError) -> Self {
        match error {
            InsertIssuerError::NoSuchOrganization => Self::NoSuchOrganization,
            InsertIssuerError::Taken => Self::Taken,
            InsertIssuerError::LimitReached(limit) => Self::LimitReached(limit),
            InsertIssuerError::CallerRevoked(error) => Self::CallerRevoked(error),
            InsertIssuerError::Store(failure) => Self::Store(failure),
        }
    }
}

impl From<ChangeIssuerError> for IssuersError {
    fn from(error: ChangeIssuerError) -> Self {
        match error {
            ChangeIssuerError::LostRace => Self::Conflict,
            ChangeIssuerError::InUse => Self::InUse,
            ChangeIssuerError::MissingScopes(missing) => Self::Forbidden(Forbidden { missing }),
            ChangeIssuerError::LastAdministrator => Self::LastAdministrator,
            ChangeIssuerError::CallerRevoked(error) => Self::CallerRevoked(error),
            ChangeIssuerError::Store(failure) => Self::Store(failure),
        }
    }
}
