//! Fields of trusted issuers and federated credentials in inputs: their schemas and their readers.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use serde_json::{Map, Value};

use super::actors::Actors;
use crate::extract::values::{NO_CONTROLS, Number, distinct, list_of_strings, reference, text_field};
use crate::extract::wire::{WireEnum, inline};
use crate::extract::{Declared, Field, Fields, input, text};
use domain::claim_rules::{ClaimRules, MAX_CLAIMS, MAX_TEXT_CHARS, MAX_VALUES};
use domain::delegation::{MAX_SUBJECT_CHARS, is_sub};
use domain::issuer::{
    IssuerUrl, KeySource, KeysUrl, LIFETIME_SECONDS, MAX_AUDIENCE_CHARS, MAX_AUDIENCES, Subjects,
};
use domain::issuer_key::{IssuerKey, KeyUse, MAX_PINNED_KEYS};
use domain::scope::Scopes;
use domain::signature_algorithm::SignatureAlgorithm;

/// Pattern of an absolute URL without user and fragment, or of a SPIFFE trust domain.
const ISSUER: &str = "^(https?://[^\\s/?#@]+(/[^\\s?#]*)?|spiffe://[a-z0-9._-]{1,255})$";
/// Pattern of an absolute URL without user and fragment.
const KEYS_URL: &str = "^https?://[^\\s/?#@]+([/?][^\\s#]*)?$";

fn url(pattern: &str) -> MetaSchema {
    MetaSchema { max_length: Some(512), pattern: Some(pattern.to_owned()), ..MetaSchema::new("string") }
}

text_field!(IssuerUrl, url(ISSUER));

/// Type of a key source on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySourceType {
    Discovery,
    JwksUri,
    Jwks,
    SpiffeBundle,
}

impl WireEnum for KeySourceType {
    const TYPE: &'static str = "KeySourceType";
    const NAMES: &'static [(&'static str, Self)] = &[
        ("discovery", Self::Discovery),
        ("jwks_uri", Self::JwksUri),
        ("jwks", Self::Jwks),
        ("spiffe_bundle", Self::SpiffeBundle),
    ];
}

/// A set of keys that is pinned.
pub struct PinnedKeys(Vec<IssuerKey>);

impl Field for PinnedKeys {
    fn schema() -> MetaSchemaRef {
        let key = MetaSchema {
            description: Some(
                "Public key: RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519; `kid` and `alg` are optional",
            ),
            additional_properties: Some(Box::new(inline(MetaSchema::ANY))),
            ..MetaSchema::new("object")
        };
        let keys = MetaSchema {
            items: Some(Box::new(inline(key))),
            min_items: Some(1),
            max_items: Some(MAX_PINNED_KEYS),
            ..MetaSchema::new("array")
        };
        inline(MetaSchema {
            description: Some("JWK set (RFC 7517 section 5); other members are ignored"),
            required: vec!["keys"],
            properties: vec![("keys", inline(keys))],
            ..MetaSchema::new("object")
        })
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let Some(set) = fields.take(name) else { return Some(None) };
        let keys = set.get("keys").and_then(Value::as_array);
        let Some(keys) = keys.filter(|keys| (1..=MAX_PINNED_KEYS).contains(&keys.len())) else {
            fields.field_error(name, format!("must be a JWK set with 1 to {MAX_PINNED_KEYS} keys"));
            return None;
        };
        let mut sound = Vec::with_capacity(keys.len());
        for (place, key) in keys.iter().enumerate() {
            match IssuerKey::parse(key, KeyUse::Signature) {
                Ok(key) => sound.push(key),
                Err(what) => fields.field_error(&format!("{name}.keys[{place}]"), what),
            }
        }
        (sound.len() == keys.len()).then_some(Some(Self(sound)))
    }
}

impl Field for KeysUrl {
    fn schema() -> MetaSchemaRef {
        inline(url(KEYS_URL))
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        fields.optional(name, text(Self::parse))
    }
}

input! {
    /// Where the keys of a trusted issuer are found
    IssuerKeysRequest {
        required "type" kind: KeySourceType,
        /// URL of the JWK set or of the SPIFFE bundle, for `jwks_uri` and `spiffe_bundle`
        optional "uri" uri: KeysUrl,
        /// The keys themselves, for `jwks`
        optional "jwks" jwks: PinnedKeys,
    }
    check fields {
        if let (Some(kind), Some(uri), Some(jwks)) = (kind, &uri, &jwks) {
            let has_uri = matches!(kind, KeySourceType::JwksUri | KeySourceType::SpiffeBundle);
            for (name, is_there, is_needed) in
                [("uri", uri.is_some(), has_uri), ("jwks", jwks.is_some(), kind == KeySourceType::Jwks)]
            {
                match (is_there, is_needed) {
                    (true, false) => fields.field_error(name, "does not go with this type"),
                    (false, true) => fields.field_error(name, "is missing"),
                    _ => {}
                }
            }
        }
    }
}

impl Field for KeySource {
    fn schema() -> MetaSchemaRef {
        reference::<IssuerKeysRequest>()
    }

    fn register(registry: &mut Registry) {
        KeySourceType::register(registry);
        IssuerKeysRequest::register(registry);
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let read = |fields: &mut Fields| {
            let IssuerKeysRequest { kind, uri, jwks } = IssuerKeysRequest::read(fields)?;
            match kind {
                KeySourceType::Discovery => Some(Self::Discovery),
                KeySourceType::JwksUri => uri.map(Self::JwksUri),
                KeySourceType::SpiffeBundle => uri.map(Self::SpiffeBundle),
                KeySourceType::Jwks => jwks.map(|PinnedKeys(keys)| Self::Jwks(keys.into())),
            }
        };
        fields.object(name, read)
    }
}

/// Audiences of a trusted issuer or of its people.
pub struct Audiences(pub Vec<String>);

impl Field for Audiences {
    fn schema() -> MetaSchemaRef {
        let audience = MetaSchema {
            min_length: Some(1),
            max_length: Some(MAX_AUDIENCE_CHARS),
            ..MetaSchema::new("string")
        };
        list_of_strings(audience, Some(1), MAX_AUDIENCES)
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let parse = |text: &str| match (1..=MAX_AUDIENCE_CHARS).contains(&text.chars().count()) {
            true => Ok(text.to_owned()),
            false => Err("must be 1 to 512 characters"),
        };
        Some(distinct(fields, name, 1..=MAX_AUDIENCES, parse)?.map(Self))
    }
}

impl Field for Vec<SignatureAlgorithm> {
    fn schema() -> MetaSchemaRef {
        let names = SignatureAlgorithm::ALL.iter().map(|(name, _)| *name).chain(["Ed25519"]);
        let algorithm =
            MetaSchema { enum_items: names.map(Value::from).collect(), ..MetaSchema::new("string") };
        list_of_strings(algorithm, Some(1), SignatureAlgorithm::ALL.len())
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let parse = |text: &str| {
            SignatureAlgorithm::parse(text)
                .ok_or("must be one of: RS256, RS384, RS512, PS256, ES256, ES384, EdDSA")
        };
        distinct(fields, name, 1..=SignatureAlgorithm::ALL.len(), parse)
    }
}

input! {
    /// People of the issuer that agents may act for
    IssuerSubjectsRequest {
        /// Audiences of which every `aud` of a person's token must be one; none that workloads use
        required "audiences" audiences: Audiences,
        /// `["*"]` for every agent of the organization, or agent IDs
        required "mayAct" may_act: Actors<1>,
        /// Scopes that a person can pass on; no management scope
        required "scopes" scopes: Scopes,
        /// The greatest age of a person's token
        required "maxAgeSeconds" max_age_seconds: Number<{ *LIFETIME_SECONDS.start() }, { *LIFETIME_SECONDS.end() }>,
        /// Whether an agent may pass the right to act on
        defaulted "redelegation" redelegation: bool = false,
    }
    check fields {
        if let Some(scopes) = &scopes
            && !scopes.management().is_empty()
        {
            fields.field_error("scopes", "must not have a management scope");
        }
    }
}

/// Null stands for no people.
impl Field for Option<Subjects> {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            nullable: true,
            all_of: vec![reference::<IssuerSubjectsRequest>()],
            ..MetaSchema::new("object")
        })
    }

    fn register(registry: &mut Registry) {
        IssuerSubjectsRequest::register(registry);
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        match fields.take(name) {
            None => return Some(None),
            Some(Value::Null) => return Some(Some(None)),
            Some(value) => fields.put(name, value),
        }
        let subjects = fields.object(name, IssuerSubjectsRequest::read)?;
        Some(subjects.map(|subjects| {
            Some(Subjects {
                audiences: subjects.audiences.0,
                may_act: subjects.may_act.0,
                scopes: subjects.scopes,
                max_age_seconds: subjects.max_age_seconds.0,
                redelegation: subjects.redelegation,
            })
        }))
    }
}

/// The `sub` of a person.
pub struct PersonSub(pub String);

impl Field for PersonSub {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            min_length: Some(1),
            max_length: Some(MAX_SUBJECT_CHARS),
            pattern: Some(NO_CONTROLS.to_owned()),
            ..MetaSchema::new("string")
        })
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let parse = |sub: &str| match is_sub(sub) {
            true => Ok(Self(sub.to_owned())),
            false => Err("must be 1 to 255 characters, without control characters"),
        };
        fields.optional(name, text(parse))
    }
}

/// The `sub` of a federated credential.
pub struct Subject(pub String);

impl Field for Subject {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            min_length: Some(1),
            max_length: Some(MAX_TEXT_CHARS),
            ..MetaSchema::new("string")
        })
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let parse = |subject: &str| match (1..=MAX_TEXT_CHARS).contains(&subject.chars().count()) {
            true => Ok(Self(subject.to_owned())),
            false => Err("must be 1 to 512 characters"),
        };
        fields.optional(name, text(parse))
    }
}

impl Field for ClaimRules {
    fn schema() -> MetaSchemaRef {
        let simple = || {
            ["string", "number", "boolean"].map(|kind| {
                let max_length = (kind == "string").then_some(MAX_TEXT_CHARS);
                inline(MetaSchema { max_length, ..MetaSchema::new(kind) })
            })
        };
        let one = inline(MetaSchema { any_of: simple().into(), ..MetaSchema::ANY });
        let list = MetaSchema {
            items: Some(Box::new(one)),
            min_items: Some(1),
            max_items: Some(MAX_VALUES),
            ..MetaSchema::new("array")
        };
        let any = simple().into_iter().chain([inline(list)]).collect();
        inline(MetaSchema {
            min_properties: Some(1),
            max_properties: Some(MAX_CLAIMS),
            additional_properties: Some(Box::new(inline(MetaSchema { any_of: any, ..MetaSchema::ANY }))),
            ..MetaSchema::new("object")
        })
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let rules: Map<String, Value> = match fields.take(name) {
            None => return Some(None),
            Some(Value::Object(rules)) if !rules.is_empty() => rules,
            Some(_) => {
                fields.field_error(name, "must be an object with 1 to 10 members");
                return None;
            }
        };
        match Self::new(rules) {
            Ok(rules) => Some(Some(rules)),
            Err((claim, what)) => {
                let place = if claim.is_empty() { name.to_owned() } else { format!("{name}.{claim}") };
                fields.field_error(&place, what);
                None
            }
        }
    }
}
