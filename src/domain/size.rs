//! Approximate sizes of entities in memory, by which caches are limited.

use crate::agent::Agent;
use crate::issuer::{KeySource, TrustedIssuer};
use crate::organization::Organization;

/// Approximate size of a large credential or key, such as an RSA key of 4096 bits, in bytes.
pub const CREDENTIAL_SIZE: usize = 1_024;

/// Returns the approximate size of an agent, in bytes.
pub fn agent_size(agent: &Agent) -> usize {
    let texts =
        [agent.email.as_str(), agent.version.as_str(), agent.capabilities.as_str(), agent.owner.as_str()];
    let default_resource = agent.default_resource.as_ref().map_or(0, |resource| resource.as_str().len());
    let may_act = agent.may_act.listed().map_or(0, size_of_val);
    let managed_by = agent.managed_by.as_ref().map_or(0, |name| name.as_str().len());
    let optional = default_resource + may_act + managed_by;
    size_of::<Agent>() + texts.iter().map(|text| text.len()).sum::<usize>() + optional
}

/// Returns the approximate size of an organization, in bytes.
pub fn organization_size(organization: &Organization) -> usize {
    let resources = organization.resources.iter().map(|uri| size_of_val(uri) + uri.as_str().len());
    size_of::<Organization>() + organization.name.as_str().len() + resources.sum::<usize>()
}

/// Returns the approximate size of a trusted issuer, in bytes.
pub fn issuer_size(issuer: &TrustedIssuer) -> usize {
    let keys = match &issuer.keys {
        KeySource::Jwks(keys) => keys.len() * CREDENTIAL_SIZE,
        _ => issuer.issuer.as_str().len(),
    };
    let subjects = issuer.subjects.as_ref().map_or(0, |subjects| {
        subjects.scopes.as_str().len() + subjects.may_act.listed().map_or(0, size_of_val)
    });
    let audiences = issuer.audiences.iter().map(|audience| size_of_val(audience) + audience.len());
    size_of::<TrustedIssuer>() + issuer.issuer.as_str().len() + keys + subjects + audiences.sum::<usize>()
}
