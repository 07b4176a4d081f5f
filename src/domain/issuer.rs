//! Trusted issuers: third parties whose signed JWTs an organization accepts for its agents.

use std::num::NonZeroU16;
use std::sync::Arc;

use fluent_uri::Uri;

use super::generation::generation_after;
use super::id::{IssuerId, OrganizationId};
use super::issuer_key::IssuerKey;
use super::managed_by::ManagedBy;
use super::may_act::MayAct;
use super::organization::Name;
use super::scope::Scopes;
use super::signature_algorithm::SignatureAlgorithm;
use super::time::Timestamp;

/// The most trusted issuers of an organization.
pub const MAX_ISSUERS: u32 = 20;
/// The longest `iss`, in bytes.
pub const MAX_ISSUER_BYTES: usize = 512;
/// The most audiences of an issuer.
pub const MAX_AUDIENCES: usize = 10;
/// The longest audience, in characters.
pub const MAX_AUDIENCE_CHARS: usize = 512;
/// The shortest and the longest lifetime of an assertion that an issuer can be limited to, in seconds.
pub const LIFETIME_SECONDS: std::ops::RangeInclusive<u32> = 60..=90_000;
/// The longest lifetime of an assertion unless another is given, in seconds.
pub const DEFAULT_LIFETIME_SECONDS: u32 = 21_600;
/// The algorithms of an issuer unless others are given.
pub const DEFAULT_ALGORITHMS: [SignatureAlgorithm; 4] = [
    SignatureAlgorithm::Rs256,
    SignatureAlgorithm::Ps256,
    SignatureAlgorithm::Es256,
    SignatureAlgorithm::EdDsa,
];

/// A third party whose signed JWTs one organization accepts, and where its keys are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedIssuer {
    /// ID of the trusted issuer.
    pub id: IssuerId,
    /// The organization that trusts it.
    pub organization: OrganizationId,
    /// Display name.
    pub name: Name,
    /// The exact `iss` of its JWTs. Never changes.
    pub issuer: IssuerUrl,
    /// Where its keys are found. Their type never changes.
    pub keys: KeySource,
    /// Audiences of which every `aud` must be one.
    pub audiences: Vec<String>,
    /// Algorithms that it may sign with.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// The longest lifetime of an assertion, in seconds.
    pub max_lifetime_seconds: u32,
    /// Whether an assertion needs a `jti` and may be used only once.
    pub require_jti: bool,
    /// Whether a credential may do without a subject.
    pub subject_optional: bool,
    /// People of the issuer that agents may act for; `None` if they cannot be acted for.
    pub subjects: Option<Subjects>,
    /// Tool or team that manages the issuer; `None` if none was named. Never changes.
    pub managed_by: Option<ManagedBy>,
    /// Whether agents may authenticate by it.
    pub status: IssuerStatus,
    /// Instant of creation.
    pub created_at: Timestamp,
    /// Instant of the last change.
    pub updated_at: Timestamp,
    /// Raised by each suspension, which revokes every token that rests on the issuer; never lowered.
    pub generation: u64,
    /// Raised whenever `subjects` is removed, which revokes every token that acts for a person of the issuer; never
    /// lowered.
    pub subjects_generation: u64,
    /// Raised by every change, so that a store can refuse a change of an outdated issuer.
    pub revision: u64,
}

/// People of a trusted issuer that agents may act for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    /// Audiences of which every `aud` of a person's token must be one.
    pub audiences: Vec<String>,
    /// Agents that may act.
    pub may_act: MayAct,
    /// Scopes that a person can pass on.
    pub scopes: Scopes,
    /// The greatest age of a person's token, in seconds.
    pub max_age_seconds: u32,
    /// Whether an agent may pass the right to act on.
    pub redelegation: bool,
}

/// A trusted issuer with the generation that a token rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IssuerGeneration {
    /// The trusted issuer.
    pub issuer: IssuerId,
    /// Its generation when the token was issued.
    pub generation: u64,
}

impl TrustedIssuer {
    /// Returns the issuer with these fields replaced, or an unchanged copy if nothing differs.
    #[must_use]
    pub fn changed(&self, change: IssuerChange, at: Timestamp) -> Self {
        let mut after = self.clone();
        after.name = change.name.unwrap_or(after.name);
        after.keys = change.keys.unwrap_or(after.keys);
        after.audiences = change.audiences.unwrap_or(after.audiences);
        after.algorithms = change.algorithms.unwrap_or(after.algorithms);
        after.max_lifetime_seconds = change.max_lifetime_seconds.unwrap_or(after.max_lifetime_seconds);
        after.require_jti = change.require_jti.unwrap_or(after.require_jti);
        after.subject_optional = change.subject_optional.unwrap_or(after.subject_optional);
        after.subjects = change.subjects.unwrap_or(after.subjects);
        after.status = change.status.unwrap_or(after.status);
        if after == *self {
            return after;
        }
        if self.is_active() && !after.is_active() {
            after.generation = generation_after(after.generation, at);
        }
        if self.subjects.is_some() && after.subjects.is_none() {
            after.subjects_generation = generation_after(after.subjects_generation, at);
        }
        after.revision += 1;
        after.updated_at = at;
        after
    }

    /// Returns whether only the name differs, so that the change lets no one else authenticate.
    pub fn differs_in_name_only(&self, after: &Self) -> bool {
        let Self { updated_at, revision, .. } = *after;
        Self { name: after.name.clone(), updated_at, revision, ..self.clone() } == *after
    }

    /// Returns whether agents may authenticate by the issuer.
    pub fn is_active(&self) -> bool {
        self.status == IssuerStatus::Active
    }

    /// Returns the issuer with its generation, as a token rests on it.
    pub const fn generation(&self) -> IssuerGeneration {
        IssuerGeneration { issuer: self.id, generation: self.generation }
    }

    /// Returns an audience that is both the issuer's own and one of its people; `None` if no audience is both.
    ///
    /// An assertion of a workload could otherwise be used as a person's token.
    pub fn shared_audience(&self) -> Option<&str> {
        let subjects = self.subjects.as_ref()?;
        self.audiences.iter().find(|audience| subjects.audiences.contains(audience)).map(String::as_str)
    }
}

/// The fields of a trusted issuer to be changed. A field that is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct IssuerChange {
    /// New name.
    pub name: Option<Name>,
    /// New place of the keys, of the same type.
    pub keys: Option<KeySource>,
    /// New audiences.
    pub audiences: Option<Vec<String>>,
    /// New algorithms.
    pub algorithms: Option<Vec<SignatureAlgorithm>>,
    /// New longest lifetime of an assertion.
    pub max_lifetime_seconds: Option<u32>,
    /// Whether a `jti` becomes necessary.
    pub require_jti: Option<bool>,
    /// Whether a subject becomes optional.
    pub subject_optional: Option<bool>,
    /// New people, or none.
    pub subjects: Option<Option<Subjects>>,
    /// New status.
    pub status: Option<IssuerStatus>,
}

/// Status of a trusted issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IssuerStatus {
    /// Agents may authenticate by it.
    Active,
    /// No agent authenticates by it.
    Suspended,
}

impl IssuerStatus {
    /// Every status with its name.
    pub const ALL: [(&'static str, Self); 2] = [("active", Self::Active), ("suspended", Self::Suspended)];
}

/// Where the public keys of a trusted issuer are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// At the `jwks_uri` of its OpenID configuration.
    Discovery,
    /// At this URL.
    JwksUri(KeysUrl),
    /// Nowhere else: these keys only.
    Jwks(Arc<[IssuerKey]>),
    /// In the SPIFFE bundle at this URL.
    SpiffeBundle(KeysUrl),
}

impl KeySource {
    /// Returns whether both are of the same type.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The exact `iss` of a trusted issuer: an absolute URL without user, query or fragment, or a SPIFFE trust domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerUrl(Arc<str>);

impl IssuerUrl {
    /// Parses an `iss`. Whether a URL with `http` may be used depends on the addresses that are allowed.
    ///
    /// Returns what is wrong with any other text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_ISSUER_BYTES {
            return Err("must be at most 512 bytes");
        }
        if let Some(domain) = text.strip_prefix("spiffe://") {
            return if is_trust_domain(domain) {
                Ok(Self(text.into()))
            } else {
                Err(
                    "must be spiffe:// and a trust domain of a-z, 0-9, \".\", \"-\" and \"_\", without a path",
                )
            };
        }
        check_url(text, false)?;
        Ok(Self(text.into()))
    }

    /// Returns the `iss` as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the SPIFFE trust domain; `None` for the URL of another issuer.
    pub fn trust_domain(&self) -> Option<&str> {
        self.0.strip_prefix("spiffe://")
    }

    /// Returns the URL of the issuer's OpenID configuration (OpenID Connect Discovery 1.0 section 4).
    pub fn configuration(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.0.trim_end_matches('/'))
    }
}

/// Returns the trust domain of a SPIFFE ID; `None` for any other text (SPIFFE-ID section 2).
pub fn trust_domain_of(subject: &str) -> Option<&str> {
    let rest = subject.strip_prefix("spiffe://")?;
    let domain = rest.split_once('/').map_or(rest, |(domain, _)| domain);
    is_trust_domain(domain).then_some(domain)
}

fn is_trust_domain(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'))
}

/// A URL from which keys are fetched: absolute, without user or fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeysUrl(Arc<str>);

impl KeysUrl {
    /// Parses a URL. Whether one with `http` may be used depends on the addresses that are allowed.
    ///
    /// Returns what is wrong with any other text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_ISSUER_BYTES {
            return Err("must be at most 512 bytes");
        }
        check_url(text, true)?;
        Ok(Self(text.into()))
    }

    /// Returns the URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_url(text: &str, may_have_query: bool) -> Result<(), &'static str> {
    let Ok(uri) = Uri::parse(text) else { return Err("must be an absolute https URL") };
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return Err("must be an absolute https URL with a host");
    };
    // Schemes are compared in lower case only, so that an issuer has one spelling.
    if !matches!(uri.scheme().as_str(), "https" | "http") {
        return Err("must be an absolute https URL");
    }
    if authority.has_userinfo() {
        return Err("must not have a user");
    }
    if uri.has_fragment() {
        return Err("must not have a fragment");
    }
    if uri.has_query() && !may_have_query {
        return Err("must not have a query");
    }
    if authority.port().is_some_and(|port| port.as_str().parse::<NonZeroU16>().is_err()) {
        return Err("must have a port of 1 to 65535, or none");
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::*;

    pub fn issuer() -> TrustedIssuer {
        let at = Timestamp::from_millis(0);
        TrustedIssuer {
            id: IssuerId(Uuid::from_u128(6)),
            organization: OrganizationId(Uuid::from_u128(2)),
            name: Name::parse("CI").expect("a name"),
            issuer: IssuerUrl::parse("https://ci.example.com").expect("a URL"),
            keys: KeySource::Discovery,
            audiences: vec!["https://id.example.com".to_owned()],
            algorithms: DEFAULT_ALGORITHMS.to_vec(),
            max_lifetime_seconds: DEFAULT_LIFETIME_SECONDS,
            require_jti: false,
            subject_optional: false,
            subjects: None,
            managed_by: None,
            status: IssuerStatus::Active,
            created_at: at,
            updated_at: at,
            generation: 0,
            subjects_generation: 0,
            revision: 0,
        }
    }

    pub fn subjects() -> Subjects {
        Subjects {
            audiences: vec!["app".to_owned()],
            may_act: MayAct::All,
            scopes: Scopes::capabilities(&["a:b"]).expect("valid"),
            max_age_seconds: 60,
            redelegation: false,
        }
    }

    #[test]
    fn an_issuer_is_a_url_or_a_trust_domain_as_written() {
        for right in [
            "https://token.actions.githubusercontent.com",
            "https://login.microsoftonline.com/tenant/v2.0",
            "https://accounts.google.com/",
            "https://[2001:db8::1]:8443/x",
            "http://localhost:8080",
            "spiffe://example.org",
        ] {
            assert_eq!(IssuerUrl::parse(right).map(|url| url.as_str().to_owned()), Ok(right.to_owned()));
        }
        let long = format!("https://example.com/{}", "a".repeat(MAX_ISSUER_BYTES));
        for wrong in [
            "",
            "example.com",
            "//example.com",
            "https:///path",
            "https://",
            "ftp://example.com",
            "HTTPS://example.com",
            "https://user@example.com",
            "https://example.com?x",
            "https://example.com#x",
            "https://example.com:99999",
            "https://example.com:0",
            "https://exa mple.com",
            "spiffe://",
            "spiffe://Example.org",
            "spiffe://example.org/workload",
            &long,
        ] {
            assert!(IssuerUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_configuration_is_found_below_an_issuer_with_or_without_a_trailing_slash() {
        for issuer in ["https://example.com/a", "https://example.com/a/"] {
            let configuration = IssuerUrl::parse(issuer).expect("a URL").configuration();
            assert_eq!(configuration, "https://example.com/a/.well-known/openid-configuration");
        }
    }

    #[test]
    fn the_trust_domain_is_the_authority_of_a_spiffe_id() {
        assert_eq!(trust_domain_of("spiffe://example.org/ns/a"), Some("example.org"));
        assert_eq!(trust_domain_of("spiffe://example.org"), Some("example.org"));
        for other in [
            "example.org",
            "spiffe:///a",
            "spiffe://EXAMPLE.org/a",
            "https://example.org/a",
            "spiffe://u@a/b",
        ] {
            assert_eq!(trust_domain_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_suspension_raises_the_generation_and_no_other_change_does() {
        let at = Timestamp::from_millis(5);
        let to = |status| IssuerChange { status: Some(status), ..IssuerChange::default() };
        let before = issuer();
        assert_eq!(before.changed(IssuerChange::default(), at), before);
        assert_eq!(before.changed(to(IssuerStatus::Active), at), before);
        let suspended = before.changed(to(IssuerStatus::Suspended), at);
        assert_eq!((suspended.generation, suspended.revision, suspended.updated_at), (5, 1, at));
        let back = suspended.changed(to(IssuerStatus::Active), at);
        assert_eq!((back.generation, back.revision, back.is_active()), (5, 2, true));
        let again = back.changed(to(IssuerStatus::Suspended), at);
        assert_eq!(again.generation, 6);
    }

    #[test]
    fn removing_the_people_raises_their_generation_and_no_other_change_does() {
        let at = Timestamp::from_millis(5);
        let to = |subjects| IssuerChange { subjects: Some(subjects), ..IssuerChange::default() };
        let none = issuer().changed(to(None), at);
        assert_eq!((none.subjects_generation, none.revision), (0, 0));
        let some = none.changed(to(Some(subjects())), at);
        let other = some.changed(to(Some(Subjects { redelegation: true, ..subjects() })), at);
        assert_eq!((some.subjects_generation, other.subjects_generation, other.revision), (0, 0, 2));
        let gone = other.changed(to(None), at);
        assert_eq!((gone.subjects_generation, gone.generation), (5, 0));
    }

    #[test]
    fn a_change_of_anything_but_the_name_is_more_than_that() {
        let at = Timestamp::from_millis(5);
        let before = issuer();
        let name = Some(Name::parse("Other").expect("a name"));
        let renamed = before.changed(IssuerChange { name: name.clone(), ..IssuerChange::default() }, at);
        assert!(before.differs_in_name_only(&renamed));
        let more = IssuerChange { name, require_jti: Some(true), ..IssuerChange::default() };
        assert!(!before.differs_in_name_only(&before.changed(more, at)));
        let suspended = IssuerChange { status: Some(IssuerStatus::Suspended), ..IssuerChange::default() };
        assert!(!before.differs_in_name_only(&before.changed(suspended, at)));
    }

    #[test]
    fn an_audience_of_both_workloads_and_people_is_found() {
        let audiences = vec!["app".to_owned(), "https://id.example.com".to_owned()];
        let subjects = Subjects { audiences, ..subjects() };
        assert_eq!(issuer().shared_audience(), None);
        let both = TrustedIssuer { subjects: Some(subjects.clone()), ..issuer() };
        assert_eq!(both.shared_audience(), Some("https://id.example.com"));
        let apart = TrustedIssuer {
            subjects: Some(Subjects { audiences: vec!["app".to_owned()], ..subjects }),
            ..issuer()
        };
        assert_eq!(apart.shared_audience(), None);
    }
}
