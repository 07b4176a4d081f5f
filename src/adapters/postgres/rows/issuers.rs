//! Conversion between rows of trusted issuers and the domain.

use serde_json::{Map, Value, json};
use tokio_postgres::Row;

use super::codec::{column, instant, named, number};
use super::jwks;
use crate::pool::failure::inconsistent;
use domain::claim_rules::ClaimRules;
use domain::federation::FederatedIdentity;
use domain::id::{IssuerId, OrganizationId};
use domain::issuer::{
    IssuerGeneration, IssuerStatus, IssuerUrl, KeySource, KeysUrl, Subjects, TrustedIssuer,
};
use domain::issuer_key::IssuerKey;
use domain::may_act::MayAct;
use domain::names::name_of;
use domain::organization::Name;
use domain::scope::Scopes;
use domain::signature_algorithm::SignatureAlgorithm;
use ports::store_error::StoreError;

/// Columns that [`issuer`] reads.
pub const ISSUER: &str = "issuer_id, organization_id, name, issuer, keys, audiences, algorithms, max_lifetime_seconds, \
    require_jti, subject_optional, subjects, status, created_at, updated_at, generation, subjects_generation, \
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

fn key_source_json(source: &KeySource) -> Value {
    match source {
        KeySource::Discovery => json!({ "type": "discovery" }),
        KeySource::JwksUri(url) => json!({ "type": "jwks_uri", "uri": url.as_str() }),
        KeySource::SpiffeBundle(url) => json!({ "type": "spiffe_bundle", "uri": url.as_str() }),
        KeySource::Jwks(keys) => {
            let keys: Vec<Value> = keys.iter().map(key_json).collect();
            json!({ "type": "jwks", "keys": keys })
        }
    }
}

fn key_json(key: &IssuerKey) -> Value {
    let algorithm = key.algorithm.map(|algorithm| name_of(&SignatureAlgorithm::ALL, &algorithm));
    json!({ "kid": key.id, "alg": algorithm, "key": jwks::jwk(&key.key) })
}

fn key_source(stored: &Value) -> Option<KeySource> {
    let url = || KeysUrl::parse(stored["uri"].as_str()?).ok();
    match stored["type"].as_str()? {
        "discovery" => Some(KeySource::Discovery),
        "jwks_uri" => Some(KeySource::JwksUri(url()?)),
        "spiffe_bundle" => Some(KeySource::SpiffeBundle(url()?)),
        "jwks" => {
            let key = |stored: &Value| {
                Some(IssuerKey {
                    id: stored["kid"].as_str().map(str::to_owned),
                    algorithm: match stored["alg"].as_str() {
                        None => None,
                        Some(name) => Some(SignatureAlgorithm::parse(name)?),
                    },
                    key: jwks::public_key(&stored["key"])?,
                })
            };
            let keys: Option<Vec<_>> = stored["keys"].as_array()?.iter().map(key).collect();
            Some(KeySource::Jwks(keys?.into()))
        }
        _ => None,
    }
}

fn subjects_json(subjects: &Subjects) -> Value {
    json!({
        "audiences": subjects.audiences,
        "mayAct": subjects.may_act.listed().map(|_| subjects.may_act.names()),
        "scopes": subjects.scopes.as_str(),
        "maxAgeSeconds": subjects.max_age_seconds,
        "redelegation": subjects.redelegation,
    })
}

fn subjects(stored: &Value) -> Option<Subjects> {
    let texts = |value: &Value| -> Option<Vec<String>> {
        value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
    };
    Some(Subjects {
        audiences: texts(&stored["audiences"])?,
        may_act: may_act(stored.get("mayAct")?)?,
        scopes: Scopes::of_token(stored["scopes"].as_str()?),
        max_age_seconds: stored["maxAgeSeconds"].as_u64()?.try_into().ok()?,
        redelegation: stored["redelegation"].as_bool()?,
    })
}

/// Reads the agents that may act for people: null for every agent, as the first version that knew people wrote it.
fn may_act(stored: &Value) -> Option<MayAct> {
    let Some(names) = stored.as_array() else { return stored.is_null().then_some(MayAct::All) };
    let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
    MayAct::of_names(&names?)
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

#[cfg(test)]
mod tests {
    use domain::id::AgentId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn people_are_written_as_the_first_version_that_knew_them_reads_them() {
        let with = |may_act| Subjects {
            audiences: vec!["app".to_owned()],
            may_act,
            scopes: Scopes::of_token("a:b"),
            max_age_seconds: 60,
            redelegation: false,
        };
        let agent = AgentId(Uuid::from_u128(1));
        for (may_act, written) in
            [(MayAct::All, Value::Null), (MayAct::Only(vec![agent]), json!([agent.to_string()]))]
        {
            let stored = subjects_json(&with(may_act.clone()));
            assert_eq!(stored["mayAct"], written);
            assert_eq!(subjects(&stored), Some(with(may_act)));
        }
        for refused in [json!(["*", agent.to_string()]), json!("*"), json!([1])] {
            let mut stored = subjects_json(&with(MayAct::All));
            stored["mayAct"] = refused.clone();
            assert_eq!(subjects(&stored), None, "{refused}");
        }
        let mut stored = subjects_json(&with(MayAct::All));
        stored.as_object_mut().expect("an object").remove("mayAct");
        assert_eq!(subjects(&stored), None);
    }
}
