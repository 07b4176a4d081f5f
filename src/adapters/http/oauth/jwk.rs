//! JSON Web Keys (RFC 7517), only public keys.

use poem_openapi::Object;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use serde_json::Value;

use crate::extract::{Field, Fields, one_of, text};
use domain::jwk::PublicKey;

// `kty` and others have patterns instead of enumerations, because clients generated from an enumeration could not read
// the published keys once it grows.
/// A public key
#[derive(Object)]
#[oai(skip_serializing_if_is_none, deny_unknown_fields)]
pub struct Jwk {
    /// `RSA`, `EC` or `OKP`
    #[oai(validator(pattern = "^(RSA|EC|OKP)$"))]
    kty: String,
    /// `sig`
    #[oai(rename = "use", validator(pattern = "^sig$"))]
    usage: Option<String>,
    /// `RS256`, `ES256` or `EdDSA`, depending on the key type. `Ed25519` (RFC 9864) is read as `EdDSA`
    #[oai(validator(pattern = "^(RS256|ES256|EdDSA|Ed25519)$"))]
    alg: Option<String>,
    #[oai(validator(max_length = 256))]
    kid: Option<String>,
    /// `verify`
    #[oai(validator(min_items = 1, max_items = 1, pattern = "^verify$"))]
    key_ops: Option<Vec<String>>,
    /// `P-256` or `Ed25519`
    #[oai(validator(pattern = "^(P-256|Ed25519)$"))]
    crv: Option<String>,
    /// RSA modulus
    #[oai(validator(pattern = "^[A-Za-z0-9_-]+$", max_length = 684))]
    n: Option<String>,
    /// RSA exponent
    #[oai(validator(pattern = "^[A-Za-z0-9_-]+$", max_length = 684))]
    e: Option<String>,
    #[oai(validator(pattern = "^[A-Za-z0-9_-]+$", max_length = 684))]
    x: Option<String>,
    #[oai(validator(pattern = "^[A-Za-z0-9_-]+$", max_length = 684))]
    y: Option<String>,
}

impl Jwk {
    /// Returns the key in its published form, with this ID.
    pub fn of(key: &PublicKey, id: Option<&str>) -> Self {
        let bare = |kty: &str| Self {
            kty: kty.to_owned(),
            usage: Some("sig".to_owned()),
            alg: Some(key.algorithm().to_owned()),
            kid: id.map(str::to_owned),
            key_ops: None,
            crv: None,
            n: None,
            e: None,
            x: None,
            y: None,
        };
        match key {
            PublicKey::Rsa { n, e } => Self { n: Some(n.clone()), e: Some(e.clone()), ..bare("RSA") },
            PublicKey::P256 { x, y } => {
                Self { crv: Some("P-256".to_owned()), x: Some(x.clone()), y: Some(y.clone()), ..bare("EC") }
            }
            PublicKey::P384 { x, y } => {
                Self { crv: Some("P-384".to_owned()), x: Some(x.clone()), y: Some(y.clone()), ..bare("EC") }
            }
            PublicKey::Ed25519 { x } => {
                Self { crv: Some("Ed25519".to_owned()), x: Some(x.clone()), ..bare("OKP") }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum KeyType {
    Rsa,
    Ec,
    Okp,
}

/// The schema is that of published keys, which have the same members.
impl Field for PublicKey {
    fn schema() -> MetaSchemaRef {
        Jwk::schema_ref()
    }

    fn register(registry: &mut Registry) {
        Jwk::register(registry);
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        fields.object(name, read_jwk)
    }
}

/// Reads a public key that an agent registers. Private members are refused, like all that are not listed here.
fn read_jwk(fields: &mut Fields) -> Option<PublicKey> {
    let kty =
        fields.required("kty", one_of(&[("RSA", KeyType::Rsa), ("EC", KeyType::Ec), ("OKP", KeyType::Okp)]));
    let usage = fields.optional("use", one_of(&[("sig", ())]));
    let operations = fields.optional("key_ops", |value| match value.as_array().map(Vec::as_slice) {
        Some([Value::String(operation)]) if operation == "verify" => Ok(()),
        _ => Err("must be [\"verify\"]".to_owned()),
    });
    let id = fields
        .optional("kid", text(|id| if id.chars().count() <= 256 { Ok(()) } else { Err("is too long") }));
    let Some(kty) = kty else {
        // Without the type, it is not known which members belong to the key.
        for member in ["crv", "n", "e", "x", "y", "alg"] {
            fields.take(member);
        }
        return None;
    };
    let Some(key) = read_members(kty, fields) else {
        // Its names depend on the key.
        fields.take("alg");
        return None;
    };
    let algorithm = fields
        .optional("alg", one_of(&key.algorithm_names().iter().map(|name| (*name, ())).collect::<Vec<_>>()));
    usage.and(operations).and(id).and(algorithm).map(|_| key)
}

/// Reads the members that make up a key of this type.
fn read_members(kty: KeyType, fields: &mut Fields) -> Option<PublicKey> {
    match kty {
        KeyType::Rsa => {
            let (n, e) = (number(fields, "n"), number(fields, "e"));
            Some(PublicKey::Rsa { n: n?, e: e? })
        }
        KeyType::Ec => {
            let curve = fields.required("crv", one_of(&[("P-256", ())]));
            let (x, y) = (number(fields, "x"), number(fields, "y"));
            curve?;
            Some(PublicKey::P256 { x: x?, y: y? })
        }
        KeyType::Okp => {
            let curve = fields.required("crv", one_of(&[("Ed25519", ())]));
            let x = number(fields, "x");
            curve?;
            Some(PublicKey::Ed25519 { x: x? })
        }
    }
}

/// Reads a base64url number of at most 4096 bits.
fn number(fields: &mut Fields, name: &str) -> Option<String> {
    fields.required(
        name,
        text(|value| {
            let is_base64url = value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            if is_base64url && (1..=684).contains(&value.len()) {
                Ok(value.to_owned())
            } else {
                Err("must be base64url without padding, of at most 4096 bits")
            }
        }),
    )
}
