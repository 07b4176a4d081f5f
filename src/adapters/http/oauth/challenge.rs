//! Challenges of access tokens.

use app::bearer::BearerError;

/// Returns the challenge to a caller without a valid access token (RFC 6750 section 3, RFC 9449 section 7.1); `None` if
/// the caller is refused for another reason.
///
/// `parameter` is added to each scheme of the challenge.
pub fn bearer_challenge(error: &BearerError, parameter: Option<&str>) -> Option<String> {
    const ALGORITHMS: &str = r#"algs="ES256 EdDSA RS256 PS256""#;
    let scheme = |name: &str, parameters: &[&str]| {
        let parameters: Vec<&str> = parameters.iter().copied().chain(parameter).collect();
        format!("{name} {}", parameters.join(", ")).trim_end().to_owned()
    };
    match error {
        BearerError::Missing => Some([scheme("Bearer", &[]), scheme("DPoP", &[ALGORITHMS])].join(", ")),
        BearerError::Invalid => Some(scheme("Bearer", &[r#"error="invalid_token""#])),
        BearerError::InvalidBound => Some(scheme("DPoP", &[r#"error="invalid_token""#, ALGORITHMS])),
        BearerError::InvalidProof(_) => Some(scheme("DPoP", &[r#"error="invalid_dpop_proof""#, ALGORITHMS])),
        BearerError::RateLimited | BearerError::Store(_) => None,
    }
}
