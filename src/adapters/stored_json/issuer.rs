//! Parts of trusted issuers as JSON.

use serde_json::{Value, json};

use super::jwk::{jwk, public_key};
use domain::issuer::{KeySource, KeysUrl, Subjects};
use domain::issuer_key::IssuerKey;
use domain::may_act::MayAct;
use domain::names::name_of;
use domain::scope::Scopes;
use domain::signature_algorithm::SignatureAlgorithm;

/// Converts the place where the keys of a trusted issuer are found.
pub fn key_source_json(source: &KeySource) -> Value {
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
    json!({ "kid": key.id, "alg": algorithm, "key": jwk(&key.key) })
}

/// Reads where the keys of a trusted issuer are found; `None` if no version writes such a value.
pub fn key_source(stored: &Value) -> Option<KeySource> {
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
                    key: public_key(&stored["key"])?,
                })
            };
            let keys: Option<Vec<_>> = stored["keys"].as_array()?.iter().map(key).collect();
            Some(KeySource::Jwks(keys?.into()))
        }
        _ => None,
    }
}

/// Converts what is declared for the people of a trusted issuer.
pub fn subjects_json(subjects: &Subjects) -> Value {
    json!({
        "audiences": subjects.audiences,
        "mayAct": subjects.may_act.listed().map(|_| subjects.may_act.names()),
        "scopes": subjects.scopes.as_str(),
        "maxAgeSeconds": subjects.max_age_seconds,
        "redelegation": subjects.redelegation,
    })
}

/// Reads what is declared for the people of a trusted issuer; `None` if no version writes such a value.
pub fn subjects(stored: &Value) -> Option<Subjects> {
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
