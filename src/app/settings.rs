//! Settings of the use cases.

use std::sync::Arc;

/// Settings of the use cases, chosen by the operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Issuer identifier: the tokens' `iss`, and the audience of client assertions.
    pub issuer: Arc<str>,
    /// Second audience accepted in client assertions: the token endpoint's URL. `None` if only the issuer is
    /// accepted.
    pub token_endpoint_audience: Option<Arc<str>>,
    /// Lifetime of a token, in seconds.
    pub token_ttl_seconds: u32,
    /// Greatest number of actors of a token, 1 to 5.
    pub max_delegation_depth: u32,
    /// Failed authentications allowed per client address and minute.
    pub address_requests_per_minute: u32,
    /// Whether metrics are reported to anything.
    pub has_metrics: bool,
}
