//! Federated credentials, and the checks of a JWT that a trusted issuer signed (RFC 7523 section 3).
//!
//! A federated credential says that the holder of a JWT from a trusted issuer, with this subject and these claims, is the
//! agent. Neither side stores a secret.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::claim_rules::{ClaimRules, claim};
use super::id::IssuerId;
use super::issuer::{IssuerUrl, TrustedIssuer, trust_domain_of};
use super::issuer_key::IssuerKey;
use super::signature_algorithm::SignatureAlgorithm;
use super::time::Timestamp;

/// Seconds by which `nbf` and `iat` may lie in the future, since the clock of the issuer may be ahead.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// Identity at a trusted issuer that authenticates an agent. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedIdentity {
    /// The trusted issuer. It may be deleted once the credential is not live.
    pub issuer: IssuerId,
    /// The exact `sub`; `None` if the claims alone decide.
    pub subject: Option<String>,
    /// Claims that the JWT must have.
    pub claims: ClaimRules,
}

/// A JWT that is presented as a client assertion or as the token of a person, with nothing of it verified.
#[derive(Clone, Debug)]
pub struct ForeignAssertion {
    /// `alg` of the header; `None` if it is not the name of an algorithm that an issuer may use.
    pub algorithm: Option<SignatureAlgorithm>,
    /// `alg` as it was written.
    pub algorithm_name: String,
    /// `kid` of the header; `None` if it has none.
    pub key_id: Option<String>,
    /// `typ` of the header; `None` if it has none.
    pub media_type: Option<String>,
    /// The payload.
    pub claims: Map<String, Value>,
}

impl ForeignAssertion {
    /// Returns the `iss` of the trusted issuer that may have signed it; `None` if it names none.
    ///
    /// A JWT-SVID need not have an `iss`: there the trust domain of `sub` names it. `is_svid` says whether it was presented
    /// as one; otherwise `sub` counts only without an `iss`.
    pub fn issuer(&self, is_svid: bool) -> Option<String> {
        match self.claims.get("iss") {
            Some(issuer) if !is_svid => issuer.as_str().map(str::to_owned),
            _ => trust_domain_of(self.subject()?).map(|domain| format!("spiffe://{domain}")),
        }
    }

    /// Returns whether it may be of this issuer, presented as either type of assertion.
    pub fn may_be_of(&self, issuer: &IssuerUrl) -> bool {
        [false, true].into_iter().any(|is_svid| self.issuer(is_svid).as_deref() == Some(issuer.as_str()))
    }

    /// Returns `sub`; `None` if it is absent or not a text.
    pub fn subject(&self) -> Option<&str> {
        self.claims.get("sub")?.as_str()
    }

    /// Returns `jti`; `None` if it is absent, empty or not a text.
    pub fn jti(&self) -> Option<&str> {
        self.claims.get("jti")?.as_str().filter(|jti| !jti.is_empty())
    }

    /// Returns the SHA-256 of `jti`, so that a long one takes no more space; `None` if it is absent, empty or not a text.
    pub fn jti_digest(&self) -> Option<[u8; 32]> {
        self.jti().map(|jti| Sha256::digest(jti.as_bytes()).into())
    }

    /// Returns `exp`; `None` if it is absent or not a number.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.instant("exp").ok().flatten()
    }

    /// Returns `iat`; `None` if it is absent or not a number.
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.instant("iat").ok().flatten()
    }

    /// Returns an instant (RFC 7519 section 2, `NumericDate`); an error if the claim is not a number.
    fn instant(&self, name: &str) -> Result<Option<Timestamp>, NotANumber> {
        let Some(value) = self.claims.get(name) else { return Ok(None) };
        let seconds = value.as_i64().or_else(|| {
            // Whole seconds within the years that a timestamp can have.
            let seconds = value.as_f64().filter(|seconds| seconds.abs() < 1e12)?;
            format!("{:.0}", seconds.floor()).parse().ok()
        });
        let seconds = seconds.filter(|seconds| seconds.unsigned_abs() < 1_000_000_000_000);
        seconds.map(|seconds| Some(Timestamp::from_millis(0).plus_seconds(seconds))).ok_or(NotANumber)
    }
}

/// A claim that must be a number is something else.
#[derive(Debug)]
struct NotANumber;

/// A check of an assertion of a trusted issuer, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// It is a JWT.
    Format,
    /// The client has a live federated credential of the issuer.
    Issuer,
    /// The issuer is active.
    IssuerStatus,
    /// The issuer may use the algorithm, and so may the key.
    Algorithm,
    /// `kid` names a key of the issuer.
    Key,
    /// A key of the issuer made the signature.
    Signature,
    /// Every `aud` is an audience of the issuer.
    Audience,
    /// `exp` lies in the future.
    Expiry,
    /// The lifetime is not too long.
    Lifetime,
    /// `nbf` and `iat` do not lie ahead.
    NotBefore,
    /// `jti` is present and was not used before, if the issuer requires it.
    Jti,
    /// `sub` is that of the credential.
    Subject,
    /// The claims are those of the credential.
    Claims,
}

impl Check {
    /// Every check with its name, in order.
    pub const ALL: [(&'static str, Self); 13] = [
        ("format", Self::Format),
        ("issuer", Self::Issuer),
        ("issuer_status", Self::IssuerStatus),
        ("algorithm", Self::Algorithm),
        ("key", Self::Key),
        ("signature", Self::Signature),
        ("audience", Self::Audience),
        ("expiry", Self::Expiry),
        ("lifetime", Self::Lifetime),
        ("not_before", Self::NotBefore),
        ("jti", Self::Jti),
        ("subject", Self::Subject),
        ("claims", Self::Claims),
    ];

    /// Returns the description of a failure after a valid signature: the name of the check and its rule, but not the
    /// values that would pass.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Format => "format: the assertion must be a signed JWT",
            Self::Issuer => "issuer: the client must have a credential for the assertion's iss",
            Self::IssuerStatus => "issuer_status: the trusted issuer must be active",
            Self::Algorithm => "algorithm: the trusted issuer must allow the assertion's alg",
            Self::Key => "key: the assertion's kid must name a key of its issuer",
            Self::Signature => "signature: a key of the issuer must have signed the assertion",
            Self::Audience => {
                "audience: every aud of the assertion must be in audiences of the trusted issuer, or for a person in its subjects.audiences"
            }
            Self::Expiry => "expiry: the assertion's exp must lie in the future; get a new one",
            Self::Lifetime => {
                "lifetime: the time from the assertion's iat to its exp must not be longer than the trusted issuer allows"
            }
            Self::NotBefore => "not_before: the assertion's nbf and iat must not lie ahead; check the clock",
            Self::Jti => "jti: the assertion must have a jti that was not used before; get a new one",
            Self::Subject => "subject: the assertion's sub must be that of a credential of the client",
            Self::Claims => "claims: the assertion's claims must be those of a credential of the client",
        }
    }
}

/// Result of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// Whether it passed.
    pub passed: bool,
    /// The values that pass, if they can be shown.
    pub expected: Option<Value>,
    /// The value of the assertion, if it has one.
    pub actual: Option<Value>,
}

impl Finding {
    /// Creates a result without values.
    pub const fn new(check: Check, passed: bool) -> Self {
        Self { check, passed, expected: None, actual: None }
    }

    /// Adds the values that pass.
    #[must_use]
    pub fn expecting(self, expected: impl Into<Value>) -> Self {
        Self { expected: Some(expected.into()), ..self }
    }

    /// Adds the value of the assertion; `None` if it has none.
    #[must_use]
    pub fn having(self, actual: Option<impl Into<Value>>) -> Self {
        Self { actual: actual.map(Into::into), ..self }
    }
}

impl TrustedIssuer {
    /// Makes the check of its status.
    pub fn check_status(&self) -> Finding {
        Finding::new(Check::IssuerStatus, self.is_active())
            .expecting("active")
            .having(Some(if self.is_active() { "active" } else { "suspended" }))
    }

    /// Makes the check of the algorithm, as far as it does not depend on the key.
    pub fn check_algorithm(&self, assertion: &ForeignAssertion) -> Finding {
        let allowed = |algorithm| self.algorithms.contains(&algorithm);
        let names: Vec<&str> = self
            .algorithms
            .iter()
            .map(|algorithm| super::names::name_of(&SignatureAlgorithm::ALL, algorithm))
            .collect();
        Finding::new(Check::Algorithm, assertion.algorithm.is_some_and(allowed))
            .expecting(names)
            .having(Some(assertion.algorithm_name.as_str()))
    }

    /// Makes the checks that come after the signature and before those of a credential, in order, for these audiences of
    /// the issuer. Whether a `jti` was used before is not among them.
    pub fn check_claims(
        &self,
        assertion: &ForeignAssertion,
        audiences: &[String],
        now: Timestamp,
    ) -> [Finding; 5] {
        let claims = &assertion.claims;
        let audience = claims.get("aud");
        let is_own =
            |audience: &Value| audience.as_str().is_some_and(|text| audiences.iter().any(|own| own == text));
        let has_own = match audience {
            Some(Value::Array(members)) => !members.is_empty() && members.iter().all(is_own),
            Some(one) => is_own(one),
            None => false,
        };
        let (expiry, issued, not_before) =
            (assertion.instant("exp"), assertion.instant("iat"), assertion.instant("nbf"));
        let expires_at = expiry.ok().flatten();
        let lifetime = match (expires_at, &issued) {
            (Some(end), Ok(start)) => Some(end.as_seconds() - start.unwrap_or(now).as_seconds()),
            _ => None,
        };
        let latest = now.plus_seconds(CLOCK_SKEW_SECONDS);
        let is_past = |instant: &Result<Option<Timestamp>, NotANumber>| {
            instant.as_ref().is_ok_and(|at| at.is_none_or(|at| at <= latest))
        };
        let ahead = ["nbf", "iat"].into_iter().filter_map(|name| {
            let value = claims.get(name)?;
            (!is_past(&assertion.instant(name))).then(|| value.clone())
        });
        let ahead = ahead.chain(claims.get("nbf").or_else(|| claims.get("iat")).cloned()).next();
        [
            Finding::new(Check::Audience, has_own).expecting(audiences).having(audience.cloned()),
            Finding::new(Check::Expiry, expires_at.is_some_and(|end| now < end))
                .expecting(format!("more than {}", now.as_seconds()))
                .having(claims.get("exp").cloned()),
            Finding::new(
                Check::Lifetime,
                lifetime.is_some_and(|seconds| seconds <= i64::from(self.max_lifetime_seconds)),
            )
            .expecting(format!("at most {} seconds", self.max_lifetime_seconds))
            .having(lifetime),
            Finding::new(Check::NotBefore, is_past(&issued) && is_past(&not_before))
                .expecting(format!("at most {}", latest.as_seconds()))
                .having(ahead),
            Finding::new(Check::Jti, !self.require_jti || assertion.jti().is_some())
                .expecting(if self.require_jti { "one that was not used before" } else { "not required" })
                .having(claims.get("jti").cloned()),
        ]
    }
}

impl FederatedIdentity {
    /// Returns whether an issuer allows such a credential: one without a subject only if the issuer has `subject_optional`,
    /// and then with claims.
    pub fn fits(&self, subject_optional: bool) -> bool {
        self.subject.is_some() || subject_optional && !self.claims.as_map().is_empty()
    }

    /// Makes the two checks of a credential of this issuer.
    ///
    /// The subject of a SPIFFE issuer's assertion must be in its trust domain, even if the claims alone decide.
    pub fn check(&self, issuer: &TrustedIssuer, assertion: &ForeignAssertion) -> [Finding; 2] {
        let subject = assertion.subject();
        let is_own = match &self.subject {
            Some(own) => subject == Some(own),
            // The issuer may have demanded subjects since.
            None => issuer.subject_optional,
        };
        let domain = issuer.issuer.trust_domain();
        let is_within = domain.is_none_or(|domain| subject.and_then(trust_domain_of) == Some(domain));
        let expected = match (&self.subject, domain) {
            (Some(own), _) => Value::from(own.as_str()),
            (None, Some(domain)) => Value::from(format!("any of spiffe://{domain}")),
            (None, None) if issuer.subject_optional => Value::from("any"),
            (None, None) => Value::from("that of a credential with a subject, as the issuer demands"),
        };
        let actual: Map<String, Value> = self
            .claims
            .as_map()
            .keys()
            .filter_map(|name| Some((name.clone(), claim(&assertion.claims, name)?.clone())))
            .collect();
        [
            Finding::new(Check::Subject, is_own && is_within)
                .expecting(expected)
                .having(assertion.claims.get("sub").cloned()),
            Finding::new(Check::Claims, self.claims.match_claims(&assertion.claims))
                .expecting(self.claims.as_map().clone())
                .having(Some(actual)),
        ]
    }
}

/// Returns the keys that may have signed an assertion: the one or more with its `kid`, or all if it has none; of these
/// only those that allow its algorithm. Returns the check that fails if there are none.
pub fn keys_to_try<'a>(
    keys: &'a [IssuerKey],
    assertion: &ForeignAssertion,
) -> Result<Vec<&'a IssuerKey>, Check> {
    let named = |key: &&IssuerKey| assertion.key_id.is_none() || key.id == assertion.key_id;
    let named: Vec<_> = keys.iter().filter(named).collect();
    if named.is_empty() {
        return Err(Check::Key);
    }
    let fits = |key: &&IssuerKey| assertion.algorithm.is_some_and(|algorithm| key.allows(algorithm));
    let fitting: Vec<_> = named.into_iter().filter(fits).collect();
    if fitting.is_empty() { Err(Check::Algorithm) } else { Ok(fitting) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::super::issuer::tests::issuer;
    use super::super::jwk::PublicKey;
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_000_000_500)
    }

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    fn assertion(claims: &Value) -> ForeignAssertion {
        ForeignAssertion {
            algorithm: Some(SignatureAlgorithm::Rs256),
            algorithm_name: "RS256".to_owned(),
            key_id: None,
            media_type: None,
            claims: map(claims),
        }
    }

    fn valid() -> Value {
        json!({
            "iss": "https://ci.example.com", "sub": "repo:a/b", "aud": "https://id.example.com",
            "iat": 1_000_000, "nbf": 1_000_000, "exp": 1_000_600, "jti": "1",
            "repository_id": "42", "run": 7, "is_fork": false, "groups": ["x", "y"],
            "kubernetes.io": { "namespace": "prod", "a/b": { "m~n": 1 } },
        })
    }

    fn with(name: &str, value: Value) -> ForeignAssertion {
        let mut claims = valid();
        claims[name] = value;
        assertion(&claims)
    }

    fn without(name: &str) -> ForeignAssertion {
        let mut claims = map(&valid());
        claims.remove(name);
        assertion(&Value::Object(claims))
    }

    fn failing(issuer: &TrustedIssuer, assertion: &ForeignAssertion) -> Vec<Check> {
        let findings = issuer.check_claims(assertion, &issuer.audiences, now());
        findings.iter().filter(|finding| !finding.passed).map(|finding| finding.check).collect()
    }

    #[test]
    fn each_rule_of_the_claims_fails_by_itself() {
        let strict = TrustedIssuer { require_jti: true, ..issuer() };
        assert_eq!(failing(&strict, &assertion(&valid())), []);
        let rows = [
            (with("aud", json!("https://else.example.com")), vec![Check::Audience]),
            (with("aud", json!(["https://id.example.com", "other"])), vec![Check::Audience]),
            (with("aud", json!([])), vec![Check::Audience]),
            (with("aud", json!({ "a": 1 })), vec![Check::Audience]),
            (without("aud"), vec![Check::Audience]),
            (with("exp", json!(1_000_000)), vec![Check::Expiry]),
            (without("exp"), vec![Check::Expiry, Check::Lifetime]),
            (with("exp", json!("1000600")), vec![Check::Expiry, Check::Lifetime]),
            (with("exp", json!(1e300)), vec![Check::Expiry, Check::Lifetime]),
            (with("exp", json!(1_000_000 + 21_601)), vec![Check::Lifetime]),
            (with("iat", json!("x")), vec![Check::Lifetime, Check::NotBefore]),
            (with("iat", json!(1_000_061)), vec![Check::NotBefore]),
            (with("nbf", json!(1_000_061)), vec![Check::NotBefore]),
            (with("nbf", json!(null)), vec![Check::NotBefore]),
            (with("jti", json!("")), vec![Check::Jti]),
            (with("jti", json!(7)), vec![Check::Jti]),
            (without("jti"), vec![Check::Jti]),
        ];
        for (assertion, checks) in rows {
            assert_eq!(failing(&strict, &assertion), checks, "{:?}", assertion.claims);
        }
        for fine in [
            with("aud", json!(["https://id.example.com"])),
            with("exp", json!(1_000_001)),
            with("exp", json!(1_000_600.9)),
            with("exp", json!(1_000_000 + 21_600)),
            with("iat", json!(1_000_060)),
            without("iat"),
            without("nbf"),
        ] {
            assert_eq!(failing(&strict, &fine), [], "{:?}", fine.claims);
        }
        assert_eq!(failing(&issuer(), &without("jti")), []);
    }

    #[test]
    fn the_lifetime_of_an_assertion_without_iat_counts_from_now() {
        let mut claims = map(&valid());
        claims.remove("iat");
        claims.insert("exp".to_owned(), json!(1_000_000 + 21_601));
        assert_eq!(failing(&issuer(), &assertion(&Value::Object(claims))), [Check::Lifetime]);
    }

    fn identity(subject: Option<&str>, claims: &Value) -> FederatedIdentity {
        FederatedIdentity {
            issuer: IssuerId(Uuid::from_u128(6)),
            subject: subject.map(str::to_owned),
            claims: ClaimRules::new(map(claims)).expect("valid rules"),
        }
    }

    fn passes(identity: &FederatedIdentity, assertion: &ForeignAssertion) -> (bool, bool) {
        let [subject, claims] =
            identity.check(&TrustedIssuer { subject_optional: true, ..issuer() }, assertion);
        (subject.passed, claims.passed)
    }

    #[test]
    fn subject_and_claims_are_compared_exactly() {
        let token = assertion(&valid());
        for (subject, rules, result) in [
            (Some("repo:a/b"), json!({}), (true, true)),
            (Some("repo:a/B"), json!({}), (false, true)),
            (Some("repo:a/b "), json!({}), (false, true)),
            (None, json!({ "repository_id": "42" }), (true, true)),
            (None, json!({ "repository_id": 42 }), (true, false)),
            (None, json!({ "run": 7 }), (true, true)),
            (None, json!({ "run": 7.0 }), (true, true)),
            (None, json!({ "run": "7" }), (true, false)),
            (None, json!({ "is_fork": false }), (true, true)),
            (None, json!({ "is_fork": "false" }), (true, false)),
            (None, json!({ "groups": "y" }), (true, true)),
            (None, json!({ "groups": ["a", "x"] }), (true, true)),
            (None, json!({ "groups": "z" }), (true, false)),
            (None, json!({ "repository_id": ["1", "42"] }), (true, true)),
            (None, json!({ "absent": "x" }), (true, false)),
            (None, json!({ "/kubernetes.io/namespace": "prod" }), (true, true)),
            (None, json!({ "/kubernetes.io/namespace": "dev" }), (true, false)),
            (None, json!({ "/kubernetes.io/a~1b/m~0n": 1 }), (true, true)),
            (None, json!({ "/groups/1": "y" }), (true, true)),
            (None, json!({ "kubernetes.io/namespace": "prod" }), (true, false)),
            (Some("repo:a/b"), json!({ "run": 7, "groups": "z" }), (true, false)),
        ] {
            assert_eq!(passes(&identity(subject, &rules), &token), result, "{subject:?} {rules}");
        }
        assert_eq!(passes(&identity(Some("7"), &json!({})), &with("sub", json!(7))), (false, true));
    }

    #[test]
    fn a_credential_without_subject_matches_nothing_once_the_issuer_demands_subjects() {
        let any = identity(None, &json!({ "run": 7 }));
        assert!(!any.check(&issuer(), &assertion(&valid()))[0].passed);
    }

    #[test]
    fn a_spiffe_subject_must_be_of_the_issuers_trust_domain() {
        let spiffe = TrustedIssuer {
            issuer: IssuerUrl::parse("spiffe://example.org").expect("a trust domain"),
            subject_optional: true,
            ..issuer()
        };
        let any = identity(None, &json!({ "run": 7 }));
        for (subject, result) in
            [("spiffe://example.org/a", true), ("spiffe://evil.org/a", false), ("a", false)]
        {
            assert_eq!(any.check(&spiffe, &with("sub", json!(subject)))[0].passed, result, "{subject}");
        }
    }

    #[test]
    fn an_issuer_is_named_by_iss_or_by_the_trust_domain_of_a_jwt_svid() {
        let both = with("sub", json!("spiffe://example.org/a"));
        assert_eq!(both.issuer(false).as_deref(), Some("https://ci.example.com"));
        assert_eq!(both.issuer(true).as_deref(), Some("spiffe://example.org"));
        let svid = assertion(&json!({ "sub": "spiffe://example.org/a" }));
        assert_eq!(svid.issuer(false).as_deref(), Some("spiffe://example.org"));
        assert_eq!(with("iss", json!(7)).issuer(false), None);
        assert_eq!(assertion(&json!({ "sub": "a" })).issuer(true), None);
    }

    #[test]
    fn a_kid_selects_keys_and_the_algorithm_must_fit_them() {
        let key = |id: Option<&str>, key| IssuerKey { id: id.map(str::to_owned), algorithm: None, key };
        let rsa = PublicKey::Rsa { n: "n".to_owned(), e: "e".to_owned() };
        let p256 = PublicKey::P256 { x: "x".to_owned(), y: "y".to_owned() };
        let keys = [key(Some("1"), rsa.clone()), key(Some("2"), p256), key(None, rsa)];
        let signed = |key_id: Option<&str>| ForeignAssertion {
            key_id: key_id.map(str::to_owned),
            ..assertion(&valid())
        };
        assert_eq!(keys_to_try(&keys, &signed(Some("1"))).map(|keys| keys.len()), Ok(1));
        assert_eq!(keys_to_try(&keys, &signed(Some("2"))), Err(Check::Algorithm));
        assert_eq!(keys_to_try(&keys, &signed(Some("3"))), Err(Check::Key));
        assert_eq!(keys_to_try(&keys, &signed(None)).map(|keys| keys.len()), Ok(2));
        assert_eq!(keys_to_try(&[], &signed(None)), Err(Check::Key));
    }
}
