//! Proofs of possession (RFC 9449) that come with requests.

use std::sync::Arc;

use super::ports::Ports;
use super::request_context::RequestContext;
use super::settings::Settings;
use domain::proof::{Proof, ProvenRequest};
use ports::clock::Clock;
use ports::proof_verifier::ProofVerifier;

/// A proof as the transport found it, and the request that it came with.
#[derive(Clone, Debug)]
pub struct PresentedProof {
    /// The header `DPoP`; `None` if it was sent more than once, or is not text.
    pub header: Option<String>,
    /// Method of the request that the proof is for.
    pub method: String,
    /// Where that request goes.
    pub target: ProofTarget,
}

/// Where a request goes for which a proof is presented, without a query.
#[derive(Clone, Debug)]
pub enum ProofTarget {
    /// To this service: the path, without that of the issuer.
    Path(String),
    /// To another service, as a trusted proxy says: the URL.
    Url(String),
}

/// Verifies the proofs of requests.
#[derive(Clone)]
pub struct Proofs {
    verifier: Arc<dyn ProofVerifier>,
    clock: Arc<dyn Clock>,
    issuer: Arc<str>,
}

impl Proofs {
    pub(super) fn new(ports: &Ports, settings: &Settings) -> Self {
        Self { verifier: ports.proofs.clone(), clock: ports.clock.clone(), issuer: settings.issuer.clone() }
    }

    /// Returns the proof that comes with a request, made for it and for this access token if it has one. `None` without a proof. Whether it was used before is for the stores to decide.
    ///
    /// Returns an error if the proof is not valid.
    pub(super) fn verify(
        &self,
        context: &RequestContext,
        token: Option<&str>,
    ) -> Result<Option<Proof>, InvalidProof> {
        let Some(presented) = &context.proof else { return Ok(None) };
        let header = presented.header.as_deref().ok_or(InvalidProof("the header must be sent once"))?;
        let proof = self.verifier.verify(header).map_err(InvalidProof)?;
        let url = match &presented.target {
            ProofTarget::Path(path) => format!("{}{path}", self.issuer.trim_end_matches('/')),
            ProofTarget::Url(url) => url.clone(),
        };
        let request = ProvenRequest { method: &presented.method, url: &url, token };
        proof.check(request, self.clock.now()).map_err(InvalidProof)?;
        Ok(Some(proof))
    }
}

/// A proof of possession that is missing or not valid; the text says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the DPoP proof is not accepted: {0}")]
pub struct InvalidProof(pub &'static str);

impl InvalidProof {
    /// The proof was used before.
    pub const USED: Self = Self("it was used before; make a proof with a new jti for each request");
    /// There is no proof, and one is needed.
    pub const MISSING: Self = Self("the request needs one, in the header DPoP");
    /// The proof is by another key.
    pub const OTHER_KEY: Self = Self("it must be by the key that the token is bound to");
}
