//! OAuth clients: an agent with its organization and credentials.

use std::sync::Arc;

use crate::agent::Agent;
use crate::credential::Credential;
use crate::issuer::TrustedIssuer;
use crate::organization::Organization;

/// A client with its organization and the credentials that may match what it presents.
#[derive(Clone, Debug)]
pub struct RegisteredClient {
    /// The agent that the client is.
    pub agent: Arc<Agent>,
    /// The agent's organization.
    pub organization: Arc<Organization>,
    /// Credentials that may match. Expired or revoked ones may be among them.
    pub candidates: Vec<Arc<Credential>>,
    /// The trusted issuer of the organization that was asked for; `None` if it has no such issuer, or none was asked for.
    pub issuer: Option<Arc<TrustedIssuer>>,
    /// Whether all of this was so when it was asked for; otherwise it was so shortly before.
    pub is_current: bool,
}
