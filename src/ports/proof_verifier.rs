//! Verification of proofs of possession (RFC 9449).

use domain::proof::Proof;

/// Verifies proofs of possession by the keys that they carry.
pub trait ProofVerifier: Send + Sync {
    /// Returns the contents of a proof that the key in its header has signed.
    ///
    /// Returns what is wrong with any other text: it is no compact JWS, its `typ` is not `dpop+jwt`, its `alg` is not one of
    /// [`PROOF_ALGORITHMS`](domain::proof::PROOF_ALGORITHMS) or does not fit the key, the key is weak, off its curve or
    /// comes with a private part, a claim is missing or of a wrong type, or the signature is not the key's. Nothing is
    /// fetched.
    fn verify(&self, proof: &str) -> Result<Proof, &'static str>;
}
