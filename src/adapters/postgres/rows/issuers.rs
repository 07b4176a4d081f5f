//! Conversion between rows of trusted issuers and the domain.

use serde_json::{Map, Value};
use tokio_postgres::Row;

use super::codec::{column, instant, managed_by, named, number};
use crate::pool::failure::inconsistent;
use domain::claim_rules::ClaimRules;
use domain::federation::FederatedIdentity;
use domain::id::{IssuerId, OrganizationId};
use domain::issuer::{IssuerGeneration, IssuerStatus, IssuerUrl, TrustedIssuer};
use domain::names::name_of;
use domain::organization::Name;
use domain::signature_algorithm::SignatureAlgorithm;
use ports::store_error::StoreError;
use stored_json::issuer::{key_source, key_source_json, subjects, subjects_json};

/// Columns that [`issuer`] reads.
pub const ISSUER: &str = "issuer_id, organization_id, name, issuer, keys, audiences, algorithms, max_lifetime_seconds, \
    require_jti, subject_optional, subjects, managed_by, status, created_at, updated_at, generation, subjects_generation, \
    revision";

/// Reads a trusted issuer from the columns [`ISSUER`].
pub fn issuer(row: &Row) -> Result<TrustedIssuer, StoreError> {
    let invalid = |name: &str| inconsistent(format!("{name} holds an invalid value"));
    let seconds = number(row, "max_lifetime_seconds")?;
    let algorithms: Option<Vec<_>> =
        column::<Vec<&str>>(row, "algorithms")?.into_iter().map(SignatureAlgorithm::parse).collect();
    Ok(TrustedIssuer {
        id: IssuerId(column(row, "issuer_id")?),
        organization: OrganizationId(column(row, "organization_id")?),
        name: Name::parse(column(row, "name")?).map_err(|_| invalid("name"))?,
        issuer: IssuerUrl::parse(column(row, "issuer")?).map_err(|_| invalid("issuer"))?,
        keys: key_source(&column(row, "keys")?).ok_or_else(|| invalid("keys"))?,
        audiences: column(row, "audiences")?,
        algorithms: algorithms.ok_or_else(|| invalid("algorithms"))?,
        max_lifetime_seconds: u32::try_from(seconds).map_err(|_| invalid("max_lifetime_seconds"))?,
        require_jti: column(row, "require_jti")?,
        subject_optional: column(row, "subject_optional")?,
        subjects: match column::<Option<Value>>(row, "subjects")? {
            None => None,
            Some(stored) => Some(subjects(&stored).ok_or_else(|| invalid("subjects"))?),
        },
        managed_by: managed_by(row)?,
        status: named(&IssuerStatus::ALL, column(row, "status")?).ok_or_else(|| invalid("status"))?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
        generation: number(row, "generation")?,
        subjects_generation: number(row, "subjects_generation")?,
        revision: number(row, "revision")?,
    })
}

/// Columns of a trusted issuer that change.
pub struct ChangingColumns<'a> {
    pub name: &'a str,
    pub keys: Value,
    pub audiences: &'a [String],
    pub algorithms: Vec<&'static str>,
    pub max_lifetime_seconds: i64,
    pub subjects: Option<Value>,
    pub status: &'static str,
}

impl<'a> ChangingColumns<'a> {
    pub fn of(issuer: &'a TrustedIssuer) -> Self {
        Self {
            name: issuer.name.as_str(),
            keys: key_source_json(&issuer.keys),
            audiences: &issuer.audiences,
            algorithms: issuer
                .algorithms
                .iter()
                .map(|algorithm| name_of(&SignatureAlgorithm::ALL, algorithm))
                .collect(),
            max_lifetime_seconds: issuer.max_lifetime_seconds.into(),
            subjects: issuer.subjects.as_ref().map(subjects_json),
            status: name_of(&IssuerStatus::ALL, &issuer.status),
        }
    }
}

/// Converts the issuers that a token rests on to the parameter of the SQL function `issuers_hold`; `None` if there are
/// none.
pub fn rests_on(issuers: &[IssuerGeneration]) -> Option<String> {
    let one = |rests_on: &IssuerGeneration| format!("{}:{}", rests_on.issuer, rests_on.generation);
    let all: Vec<String> = issuers.iter().map(one).collect();
    (!all.is_empty()).then(|| all.join(" "))
}

/// Reads the identity of a federated credential; `None` if the credential is of another kind.
pub fn federated_identity(row: &Row) -> Result<Option<FederatedIdentity>, StoreError> {
    let Some(id) = column(row, "issuer_id")? else { return Ok(None) };
    let claims = match column::<Option<Value>>(row, "claims")? {
        Some(Value::Object(claims)) => claims,
        _ => Map::new(),
    };
    Ok(Some(FederatedIdentity {
        issuer: IssuerId(id),
        subject: column(row, "subject")?,
        claims: ClaimRules::of_stored(claims),
    }))
}
