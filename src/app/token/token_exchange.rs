//! Token exchange (RFC 8693): a token that acts for another agent or for a person, or that can do less than one which the
//! client has already.
//!
//! The actor is the authenticated client, always. What is decided follows from the subject token, never from which
//! parameters were sent. Whatever is not allowed by the side of the subject is refused.

use std::sync::Arc;

use async_trait::async_trait;

use super::target::Targets;
use super::{Asked, Exchange, Grant, Granted, TokenError, TokenRequest};
use crate::client_auth::federated_jwt::spent;
use crate::client_auth::{AuthenticatedClient, ClientAuthError, FormParameter};
use crate::foreign_jwt::{ForeignJwts, SignatureFault};
use crate::proofs::InvalidProof;
use crate::{Ports, Settings};
use domain::agent::Agent;
use domain::delegation::{Delegation, DelegationRule, Person, digest_of, is_sub};
use domain::federation::{Check, ForeignAssertion};
use domain::issuer::{Subjects, TrustedIssuer};
use domain::issuer_key::MAX_PINNED_KEYS;
use domain::names::name_of;
use domain::organization::Organization;
use domain::scope::Scopes;
use domain::token::{Claims, PersonStatus, TokenStatus};
use ports::clock::Clock;
use ports::issuer_keys::KeysUnavailable;
use ports::issuer_store::IssuerStore;
use ports::token_signer::TokenSigner;
use ports::token_store::{Dependency, IssuerDependency, PersonDependency, TokenStore};

/// The value of `grant_type`.
pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The type of an access token of this service (RFC 8693 section 3).
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The types of a JWT of a trusted issuer.
const FOREIGN_TYPES: [&str; 2] =
    ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];

const SUBJECT_TOKEN: &str = "subject_token";
const SUBJECT_TOKEN_TYPE: &str = "subject_token_type";
const ACTOR_TOKEN: &str = "actor_token";
const ACTOR_TOKEN_TYPE: &str = "actor_token_type";
const REQUESTED_TOKEN_TYPE: &str = "requested_token_type";

/// The form parameters of the grant.
pub(super) const PARAMETERS: &[FormParameter] = &[
    FormParameter {
        name: SUBJECT_TOKEN,
        description: "For token exchange: the token of the party that is acted for",
    },
    FormParameter {
        name: SUBJECT_TOKEN_TYPE,
        description: "`urn:ietf:params:oauth:token-type:access_token` for a token of this service, `…:jwt` or `…:id_token` for one of a trusted issuer",
    },
    FormParameter {
        name: ACTOR_TOKEN,
        description: "Optional: an access token of the client, which acts in any case",
    },
    FormParameter { name: ACTOR_TOKEN_TYPE, description: "`urn:ietf:params:oauth:token-type:access_token`" },
    FormParameter {
        name: REQUESTED_TOKEN_TYPE,
        description: "`urn:ietf:params:oauth:token-type:access_token`",
    },
];

/// The longest token that is read, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Most keys that are tried for a token without a `kid`.
const MAX_SIGNATURES: usize = MAX_PINNED_KEYS;
/// Types of JWTs that are never those of a person.
const OTHER_TYPES: [&str; 3] = ["at+jwt", "logout+jwt", "dpop+jwt"];

/// `token-exchange`.
pub(super) struct TokenExchange {
    tokens: Arc<dyn TokenStore>,
    issuers: Arc<dyn IssuerStore>,
    signer: Arc<dyn TokenSigner>,
    jwts: ForeignJwts,
    clock: Arc<dyn Clock>,
    targets: Targets,
    issuer: Arc<str>,
    max_depth: u32,
}

impl TokenExchange {
    pub(super) fn new(ports: &Ports, settings: &Settings) -> Self {
        Self {
            tokens: ports.stores.tokens.clone(),
            issuers: ports.stores.issuers.clone(),
            signer: ports.signer.clone(),
            jwts: ForeignJwts::new(ports),
            clock: ports.clock.clone(),
            targets: Targets::new(settings),
            issuer: settings.issuer.clone(),
            max_depth: settings.max_delegation_depth,
        }
    }

    /// Returns what a token of this service is exchanged for, and the scopes that it can have at most.
    async fn of_token(
        &self,
        Asked { client, key, .. }: Asked<'_>,
        text: &str,
    ) -> Result<(Exchange, Scopes), TokenError> {
        let Some((claims, status)) = self.active(client, text).await? else {
            return Err(ExchangeRefusal::SubjectToken(
                "subject_token: it must be an active access token of the client's organization",
            )
            .into());
        };
        // A bound token never becomes a bearer token, and its client cannot bind it to another key.
        match (&claims.key, key) {
            (Some(_), None) => return Err(InvalidProof::MISSING.into()),
            (Some(own), Some(key)) if claims.agent == client.agent.id && own != key => {
                return Err(InvalidProof::OTHER_KEY.into());
            }
            _ => {}
        }
        let delegation = Delegation::of_exchange(&claims, &status, client.agent.id, self.max_depth)
            .map_err(ExchangeRefusal::Rule)?;
        let dependency = |agent: &Arc<Agent>| dependency(agent, &status.organization);
        let of_chain = std::iter::once(&status.agent).chain(&status.other_agents);
        let person = claims.person().zip(status.person.as_ref());
        let by_generation = claims.issuers.iter().map(|one| IssuerDependency {
            issuer: one.issuer,
            generation: one.generation,
            decided_by: None,
        });
        let exchange = Exchange {
            delegation,
            expires_at: claims.expires_at,
            issuers: claims.issuers.clone(),
            depends_on: of_chain.filter(|agent| agent.id != client.agent.id).map(dependency).collect(),
            decided_by: by_generation
                .filter(|one| person.is_none_or(|(_, known)| known.issuer.id != one.issuer))
                .chain(person.map(|(_, known)| IssuerDependency::of(&known.issuer)))
                .collect(),
            person: person.map(|(person, known)| depends_on_person(person, known)),
            assertion: None,
        };
        Ok((exchange, status.effective_scopes(&claims)))
    }

    /// Returns a token of this service with its status, if it is active and of the client's organization.
    async fn active(
        &self,
        client: &AuthenticatedClient,
        text: &str,
    ) -> Result<Option<(Arc<Claims>, TokenStatus)>, TokenError> {
        let claims = self.signer.verify(text, self.clock.now());
        let Some(claims) = claims.filter(|claims| claims.organization == client.organization.id) else {
            return Ok(None);
        };
        let status = self.tokens.status(&claims).await?.filter(|status| status.is_active(&claims));
        Ok(status.map(|status| (claims, status)))
    }

    /// Returns what a JWT of a trusted issuer is exchanged for, and the scopes that it can have at most.
    async fn of_person(
        &self,
        client: &AuthenticatedClient,
        text: &str,
    ) -> Result<(Exchange, Scopes), TokenError> {
        let jwt = self.jwts.read(text).ok_or(ExchangeRefusal::Check(Check::Format))?;
        let sub = jwt.subject().unwrap_or_default();
        let iss = jwt.issuer(false).unwrap_or_default();
        if *iss == *self.issuer {
            return Err(ExchangeRefusal::SubjectToken(
                "subject_token: a token of this service is of the type urn:ietf:params:oauth:token-type:access_token",
            )
            .into());
        }
        let known = self.issuers.find_for_person(client.organization.id, &iss, &digest_of(sub)).await?;
        let known = known.ok_or(ExchangeRefusal::Check(Check::Issuer))?;
        let issuer = &known.issuer;
        let subjects = issuer.subjects.as_ref().ok_or(ExchangeRefusal::Rule(DelegationRule::Subjects))?;
        match self.jwts.check_signature(issuer, &jwt, text, MAX_SIGNATURES).await {
            Ok(()) => {}
            Err(SignatureFault::Check(check)) => return Err(ExchangeRefusal::Check(check).into()),
            Err(SignatureFault::KeysUnavailable(KeysUnavailable { retry_after })) => {
                return Err(ClientAuthError::KeysUnavailable { retry_after }.into());
            }
        }
        let expires_at = self.check_claims(issuer, subjects, &jwt)?;
        if !subjects.may_act.allows(client.agent.id) {
            return Err(ExchangeRefusal::Rule(DelegationRule::MayAct).into());
        }
        let person = Person {
            issuer: issuer.id,
            iss: issuer.issuer.as_str().into(),
            sub: sub.into(),
            generation: known.token_generation(),
        };
        let exchange = Exchange {
            expires_at,
            issuers: vec![issuer.generation()],
            depends_on: Vec::new(),
            decided_by: vec![IssuerDependency::of(issuer)],
            person: Some(depends_on_person(&person, &known)),
            assertion: spent(issuer, &jwt),
            delegation: Delegation::of_person(person, client.agent.id),
        };
        Ok((exchange, subjects.scopes.clone()))
    }

    /// Makes the checks of a person's token that come after the signature, and returns its `exp`.
    fn check_claims(
        &self,
        issuer: &TrustedIssuer,
        subjects: &Subjects,
        jwt: &ForeignAssertion,
    ) -> Result<i64, ExchangeRefusal> {
        let now = self.clock.now();
        let of_other_type = |media_type: &String| {
            let name = media_type.to_ascii_lowercase();
            OTHER_TYPES.contains(&name.strip_prefix("application/").unwrap_or(&name))
        };
        if jwt.media_type.as_ref().is_some_and(of_other_type) {
            return Err(ExchangeRefusal::SubjectToken(
                "subject_token: its typ must not be that of an access token, a logout token or a proof",
            ));
        }
        let findings = issuer.check_claims(jwt, &subjects.audiences, now);
        if let Some(failed) = findings.iter().find(|finding| !finding.passed) {
            return Err(ExchangeRefusal::Check(failed.check));
        }
        let oldest = now.plus_seconds(-i64::from(subjects.max_age_seconds));
        let expires_at = jwt.expires_at().filter(|_| jwt.issued_at().is_some_and(|at| at >= oldest));
        let expires_at = expires_at.ok_or(ExchangeRefusal::Check(Check::Lifetime))?;
        if !jwt.subject().is_some_and(is_sub) {
            return Err(ExchangeRefusal::Check(Check::Subject));
        }
        Ok(expires_at.as_seconds())
    }

    /// Checks an actor token, if there is one. It says no more than the client's authentication.
    async fn check_actor(
        &self,
        client: &AuthenticatedClient,
        request: &TokenRequest,
    ) -> Result<(), TokenError> {
        match (request.parameter(ACTOR_TOKEN), request.parameter(ACTOR_TOKEN_TYPE)) {
            (None, None) => Ok(()),
            (Some(token), Some(ACCESS_TOKEN)) => {
                let found = self.active(client, token).await?;
                let is_own = found.is_some_and(|(claims, _)| claims.agent == client.agent.id);
                let refusal = "actor_token must be an active access token of the client, or be left out";
                if is_own { Ok(()) } else { Err(TokenError::Malformed(refusal)) }
            }
            (Some(_), Some(_)) => Err(TokenError::Malformed(
                "actor_token_type must be urn:ietf:params:oauth:token-type:access_token",
            )),
            _ => Err(TokenError::Malformed("actor_token and actor_token_type go together")),
        }
    }
}

/// Returns an agent as the store is to confirm it.
fn dependency(agent: &Agent, organization: &Organization) -> Dependency {
    Dependency {
        agent: agent.id,
        revision: agent.revision + organization.revision,
        changed_at: agent.updated_at.max(organization.updated_at),
    }
}

/// Returns a person as the store is to confirm it.
fn depends_on_person(person: &Person, known: &PersonStatus) -> PersonDependency {
    PersonDependency { issuer: person.issuer, digest: digest_of(&person.sub), generation: known.generation }
}

#[async_trait]
impl Grant for TokenExchange {
    fn grant_type(&self) -> &'static str {
        GRANT_TYPE
    }

    async fn authorize(&self, asked: Asked<'_>) -> Result<Granted, TokenError> {
        let Asked { client, request, scope, .. } = asked;
        if request.parameter(REQUESTED_TOKEN_TYPE).is_some_and(|wanted| wanted != ACCESS_TOKEN) {
            return Err(TokenError::Malformed(
                "requested_token_type must be urn:ietf:params:oauth:token-type:access_token, or be left out",
            ));
        }
        let token =
            request.parameter(SUBJECT_TOKEN).ok_or(TokenError::Malformed("subject_token is missing"))?;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(ExchangeRefusal::SubjectToken("subject_token: it must be at most 16 KB").into());
        }
        self.check_actor(client, request).await?;
        let (exchange, can_have) = match request.parameter(SUBJECT_TOKEN_TYPE) {
            Some(ACCESS_TOKEN) => self.of_token(asked, token).await?,
            Some(kind) if FOREIGN_TYPES.contains(&kind) => self.of_person(client, token).await?,
            Some(_) => {
                return Err(ExchangeRefusal::SubjectToken(
                    "subject_token: subject_token_type must be urn:ietf:params:oauth:token-type:access_token, …:jwt or …:id_token",
                )
                .into());
            }
            None => return Err(TokenError::Malformed("subject_token_type is missing")),
        };
        let most = can_have.intersection(&client.agent.capabilities).without_management();
        let scopes = match scope {
            Some(asked) => most.grant(asked).map_err(|_| TokenError::ScopeNotDelegated)?,
            None => most,
        };
        if scopes.is_empty() {
            return Err(TokenError::ScopeNotDelegated);
        }
        let audience = self.targets.audience(client, request, false)?;
        Ok(Granted { audience, scopes, exchange: Some(exchange) })
    }
}

/// Reason for which a subject token is not exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeRefusal {
    /// The token is inactive, unknown or of another kind; the text says which kinds are accepted.
    #[error("{0}")]
    SubjectToken(&'static str),
    /// A rule of the subject's side forbids it.
    #[error("{}", .0.description())]
    Rule(DelegationRule),
    /// This check of a JWT of a trusted issuer failed.
    #[error("{}", rule_of_person(*.0))]
    Check(Check),
}

/// Returns the description of a check of a person's token that failed.
fn rule_of_person(check: Check) -> &'static str {
    match check {
        Check::Issuer => "issuer: the client's organization must trust the subject token's iss",
        Check::Lifetime => {
            "lifetime: the subject token needs an iat, and neither its age nor its lifetime may be greater than the trusted issuer allows"
        }
        Check::Subject => {
            "subject: the subject token's sub must have 1 to 255 characters, and no control characters"
        }
        other => other.rule(),
    }
}

impl ExchangeRefusal {
    /// Returns the name of the reason in audit events.
    pub fn name(self) -> &'static str {
        match self {
            Self::SubjectToken(_) => "subject_token",
            Self::Rule(rule) => name_of(&DelegationRule::ALL, &rule),
            Self::Check(check) => name_of(&Check::ALL, &check),
        }
    }
}
