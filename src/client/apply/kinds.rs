//! Kinds of objects in a manifest, and their fields.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;

use crate::document::{Field, Kind as FieldKind, fields, resolved, schema};
use crate::organization::is_address;

/// A kind of object. The order is that in which objects are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An organization.
    Organization,
    /// A trusted issuer.
    TrustedIssuer,
    /// An agent.
    Agent,
    /// A credential by a trusted issuer.
    FederatedCredential,
    /// A credential by a public key.
    PublicKey,
}

impl Kind {
    /// Every kind with its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("Organization", Self::Organization),
        ("TrustedIssuer", Self::TrustedIssuer),
        ("Agent", Self::Agent),
        ("FederatedCredential", Self::FederatedCredential),
        ("PublicKey", Self::PublicKey),
    ];

    /// Returns the name of the kind.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Returns the name of the field with the ID.
    pub fn id(self) -> &'static str {
        match self {
            Self::Organization => "organizationId",
            Self::TrustedIssuer => "issuerId",
            Self::Agent => "agentId",
            Self::FederatedCredential | Self::PublicKey => "credentialId",
        }
    }

    /// Returns whether this is a kind of credential.
    pub fn is_credential(self) -> bool {
        matches!(self, Self::FederatedCredential | Self::PublicKey)
    }

    /// Returns the fields of the API that an object of this kind has in a manifest.
    pub fn api_fields(self) -> Vec<Field> {
        let (create, update, names): (&str, &str, Option<&[&str]>) = match self {
            Self::Organization => ("CreateOrganizationRequest", "UpdateOrganizationRequest", None),
            Self::TrustedIssuer => ("CreateIssuerRequest", "UpdateIssuerRequest", None),
            Self::Agent => ("CreateAgentRequest", "UpdateAgentRequest", None),
            Self::FederatedCredential => {
                ("CreateCredentialRequest", "", Some(&["subject", "claims", "expiresAt"]))
            }
            Self::PublicKey => ("CreateCredentialRequest", "", Some(&["publicKey", "expiresAt"])),
        };
        let mut all = fields(schema(create));
        if let Some(status) = fields(schema(update)).into_iter().find(|field| field.name == "status") {
            all.push(status);
        }
        all.retain(|field| !["organizationId", "managedBy"].contains(&field.name));
        if let Some(names) = names {
            all.retain(|field| names.contains(&field.name));
        }
        for field in &mut all {
            field.is_required |= field.name == "publicKey";
        }
        all
    }

    /// Returns the fields that name other objects.
    pub fn references(self) -> Vec<Field> {
        let reference = |name, description, is_required| Field {
            name,
            kind: FieldKind::Text,
            description,
            is_required,
            is_nullable: false,
            choices: Vec::new(),
        };
        let organization =
            reference("organization", "Slug of the organization; by default the caller's", false);
        let agent = reference("agent", "Email address of the agent", true);
        let issuer = reference("issuer", "URL of the trusted issuer", true);
        match self {
            Self::Organization => Vec::new(),
            Self::TrustedIssuer | Self::Agent => vec![organization],
            Self::FederatedCredential => vec![organization, agent, issuer],
            Self::PublicKey => vec![organization, agent],
        }
    }

    /// Returns the schema of the body that creates an object of this kind.
    pub fn create_schema(self) -> &'static Value {
        resolved(schema(match self {
            Self::Organization => "CreateOrganizationRequest",
            Self::TrustedIssuer => "CreateIssuerRequest",
            Self::Agent => "CreateAgentRequest",
            Self::FederatedCredential | Self::PublicKey => "CreateCredentialRequest",
        }))
    }

    /// Returns the identity of an object in its organization.
    pub fn key(self, object: &Map<String, Value>) -> String {
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        match self {
            Self::Organization => text("slug").to_owned(),
            Self::TrustedIssuer => text("issuer").to_owned(),
            Self::Agent => address(text("email")),
            Self::FederatedCredential => {
                let claims = object.get("claims").map(sorted).unwrap_or_default();
                format!("{} {} {} {claims}", address(text("agent")), text("issuer"), text("subject"))
            }
            Self::PublicKey => {
                let key = object.get("publicKey").map(thumbprint).unwrap_or_default();
                format!("{} {key}", address(text("agent")))
            }
        }
    }
}

/// Returns an address in the form in which the service keeps it.
pub fn address(text: &str) -> String {
    let composed = text.trim().nfc().collect::<String>().to_lowercase();
    composed.nfc().collect()
}

/// Returns the form in which two URLs of a resource are the same (RFC 3986 section 6.2.2); the text itself if it is no URL.
pub fn normal_form(text: &str) -> String {
    reqwest::Url::parse(text).map_or_else(|_| text.to_owned(), String::from)
}

/// Returns the field of an object that names agents by address, if it does: `mayAct` of an agent, or of the people of an
/// issuer.
pub fn naming_field(kind: Kind, fields: &Map<String, Value>) -> Option<&'static str> {
    let names = |actors: &Value| {
        actors.as_array().into_iter().flatten().any(|actor| actor.as_str().is_some_and(is_address))
    };
    match kind {
        Kind::Agent => fields.get("mayAct").is_some_and(names).then_some("mayAct"),
        Kind::TrustedIssuer => {
            fields.get("subjects").is_some_and(|people| names(&people["mayAct"])).then_some("subjects")
        }
        _ => None,
    }
}

/// Returns the agents that a field of an object names: the list itself, or that of the people of an issuer.
pub fn actors<'a>(fields: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Vec<Value>> {
    let value = fields.get_mut(field)?;
    let list = if field == "subjects" { value.get_mut("mayAct")? } else { value };
    list.as_array_mut()
}

/// Returns a value as a text that does not depend on the order of its members.
pub fn sorted(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut all: Vec<String> =
                members.iter().map(|(name, value)| format!("{name:?}:{}", sorted(value))).collect();
            all.sort();
            format!("{{{}}}", all.join(","))
        }
        Value::Array(all) => format!("[{}]", all.iter().map(sorted).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// Returns the thumbprint of a public key (RFC 7638).
fn thumbprint(key: &Value) -> String {
    let members: &[&str] = match key["kty"].as_str() {
        Some("RSA") => &["e", "kty", "n"],
        Some("EC") => &["crv", "kty", "x", "y"],
        _ => &["crv", "kty", "x"],
    };
    let members = members.iter().map(|name| format!("\"{name}\":{}", key[*name]));
    let text = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
    URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}
