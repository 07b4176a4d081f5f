//! Refusals of access tokens, with their challenges.

use crate::error::{ApiError, Code, rate_limited};
use app::bearer::BearerError;
use domain::proof::PROOF_ALGORITHMS;

impl From<BearerError> for ApiError {
    fn from(error: BearerError) -> Self {
        refused(error, None)
    }
}

/// Returns the refusal of a caller without a valid access token (RFC 6750 section 3, RFC 9449 section 7.1).
///
/// `parameter` is added to each scheme of the challenge.
pub fn refused(error: BearerError, parameter: Option<&str>) -> ApiError {
    let message = error.to_string();
    let algorithms = &*format!(r#"algs="{}""#, PROOF_ALGORITHMS.join(" "));
    let challenge = match error {
        BearerError::Missing => {
            [challenge("Bearer", &[], parameter), challenge("DPoP", &[algorithms], parameter)].join(", ")
        }
        BearerError::Invalid => challenge("Bearer", &[r#"error="invalid_token""#], parameter),
        BearerError::InvalidBound => challenge("DPoP", &[r#"error="invalid_token""#, algorithms], parameter),
        BearerError::InvalidProof(_) => {
            challenge("DPoP", &[r#"error="invalid_dpop_proof""#, algorithms], parameter)
        }
        BearerError::RateLimited => return rate_limited(),
        BearerError::Store(failure) => return failure.into(),
    };
    ApiError::new(Code::Unauthorized, message).with_challenge(challenge)
}

/// Returns the challenge of one scheme.
pub fn challenge(scheme: &str, parameters: &[&str], last: Option<&str>) -> String {
    let parameters: Vec<&str> = parameters.iter().copied().chain(last).collect();
    format!("{scheme} {}", parameters.join(", ")).trim_end().to_owned()
}
