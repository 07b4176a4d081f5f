//! Explains whether an assertion of a trusted issuer would authenticate a client, and why not.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Issuers, IssuersError};
use crate::caller::Caller;
use crate::client_auth::federated_jwt::spent;
use domain::credential::{Credential, CredentialKind};
use domain::federation::{Check, Finding, ForeignAssertion, keys_to_try};
use domain::id::{AgentId, IssuerId};
use domain::issuer::TrustedIssuer;
use domain::issuer_key::IssuerKey;
use domain::scope::ManagementScope;
use domain::time::Timestamp;
use ports::assertion_verifier::MAX_ASSERTION_BYTES;
use ports::credential_store::{Freshness, PresentedKind};

/// Results of the checks of an assertion.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Whether the assertion would authenticate the client, or some agent if no client was named.
    pub is_accepted: bool,
    /// Every check that could be made, in order.
    pub checks: Vec<Finding>,
    /// Agents of the organization with a credential that matches subject and claims.
    pub agents: Vec<AgentId>,
    /// The claims, as the assertion states them; empty if it cannot be read. Only the check of the signature says whether
    /// they are true.
    pub claims: Map<String, Value>,
}

impl Issuers {
    /// Makes every check of an assertion that can be made, also after a failed one. Nothing is issued, spent or counted.
    ///
    /// Returns [`IssuersError::NoSuchAgent`] if the client is not of the issuer's organization.
    pub async fn explain(
        &self,
        caller: &Caller,
        id: IssuerId,
        text: &str,
        client: Option<AgentId>,
    ) -> Result<Explanation, IssuersError> {
        caller.require(ManagementScope::IssuersRead)?;
        let issuer = self.lookup(caller, id).await?;
        let now = self.clock.now();
        let client = match client {
            None => None,
            Some(client) => Some(self.credentials_of_client(&issuer, client, now).await?),
        };
        let read = (text.len() <= MAX_ASSERTION_BYTES).then(|| self.verifier.read_foreign(text)).flatten();
        let Some(assertion) = read else {
            let checks = vec![Finding::new(Check::Format, false).expecting("a signed JWT")];
            return Ok(Explanation { is_accepted: false, checks, agents: Vec::new(), claims: Map::new() });
        };
        let has_credential = match &client {
            Some(credentials) => !credentials.is_empty(),
            None => self.store.is_in_use(issuer.id, now).await?,
        };
        let matching = self.store.credentials_of(&issuer, assertion.subject(), now).await?;
        let named = assertion.claims.get("iss").or_else(|| assertion.claims.get("sub"));
        let mut checks = vec![
            Finding::new(Check::Format, true),
            Finding::new(Check::Issuer, has_credential && assertion.may_be_of(&issuer.issuer))
                .expecting(match has_credential {
                    true => issuer.issuer.as_str().to_owned(),
                    false => format!("a federated credential of an agent for {}", issuer.issuer.as_str()),
                })
                .having(named.cloned()),
            issuer.check_status(),
        ];
        checks.extend(self.check_signature(&issuer, &assertion, text).await);
        let mut claims = issuer.check_claims(&assertion, &issuer.audiences, now);
        if let Some(spent) = spent(&issuer, &assertion) {
            let is_spent = self.tokens.is_spent(&spent).await?;
            for finding in claims.iter_mut().filter(|finding| finding.check == Check::Jti) {
                finding.passed &= !is_spent;
            }
        }
        checks.extend(claims);
        let (agents, of_any) = check_credentials(&issuer, &assertion, &matching);
        let of_client = client.map(|credentials| check_credentials(&issuer, &assertion, &credentials).1);
        checks.extend(of_client.unwrap_or(of_any));
        let is_accepted = checks.iter().all(|finding| finding.passed);
        Ok(Explanation { is_accepted, checks, agents, claims: assertion.claims })
    }

    async fn credentials_of_client(
        &self,
        issuer: &TrustedIssuer,
        client: AgentId,
        now: Timestamp,
    ) -> Result<Vec<Arc<Credential>>, IssuersError> {
        let kind = PresentedKind::Federated(issuer.issuer.as_str().into());
        let known = self.credentials.find_client(client, kind, Freshness::Current).await?;
        let known = known.filter(|known| known.organization.id == issuer.organization);
        let known = known.ok_or(IssuersError::NoSuchAgent)?;
        Ok(known.candidates.into_iter().filter(|credential| credential.is_live(now)).collect())
    }

    /// Makes the checks of algorithm, key and signature.
    async fn check_signature(
        &self,
        issuer: &TrustedIssuer,
        assertion: &ForeignAssertion,
        text: &str,
    ) -> Vec<Finding> {
        let mut algorithm = issuer.check_algorithm(assertion);
        let keys = self
            .keys
            .keys(issuer.organization, &issuer.issuer, &issuer.keys, assertion.key_id.as_deref())
            .await;
        let Ok(keys) = keys else {
            let key = Finding::new(Check::Key, false)
                .expecting("keys of the issuer, which cannot be fetched now: see keysStatus")
                .having(assertion.key_id.clone());
            return vec![algorithm, key];
        };
        let ids: Vec<Value> = keys.iter().map(|IssuerKey { id, .. }| Value::from(id.clone())).collect();
        let key =
            |passed| Finding::new(Check::Key, passed).expecting(ids.clone()).having(assertion.key_id.clone());
        match keys_to_try(&keys, assertion) {
            Err(Check::Key) => vec![algorithm, key(false)],
            Err(_) => {
                algorithm.passed = false;
                vec![algorithm, key(true)]
            }
            Ok(keys) => {
                let has_signed = |one: &IssuerKey| self.verifier.has_issuer_signed(one, assertion, text);
                let signature = Finding::new(Check::Signature, keys.into_iter().any(has_signed));
                vec![algorithm, key(true), signature]
            }
        }
    }
}

/// Makes the checks of subject and claims: of a credential that passes both, or else of the one that comes closest.
///
/// Returns the agents of all that pass both.
fn check_credentials(
    issuer: &TrustedIssuer,
    assertion: &ForeignAssertion,
    credentials: &[Arc<Credential>],
) -> (Vec<AgentId>, Vec<Finding>) {
    let mut agents = Vec::new();
    let mut closest: Option<(usize, [Finding; 2])> = None;
    for credential in credentials {
        let CredentialKind::Federated(identity) = &credential.kind else { continue };
        let findings = identity.check(issuer, assertion);
        let passed = match &findings {
            [subject, claims] if subject.passed && claims.passed => 2,
            [subject, _] => usize::from(subject.passed),
        };
        if passed == 2 && !agents.contains(&credential.agent) {
            agents.push(credential.agent);
        }
        if closest.as_ref().is_none_or(|(best, _)| passed > *best) {
            closest = Some((passed, findings));
        }
    }
    let findings = match closest {
        Some((_, findings)) => findings.into(),
        None => {
            let subject = Finding::new(Check::Subject, false).expecting("the sub of a federated credential");
            vec![subject.having(assertion.claims.get("sub").cloned())]
        }
    };
    (agents, findings)
}
