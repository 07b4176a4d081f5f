//! Conversion between database rows and domain types.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::issuers::federated_identity;
use crate::pool::failure::inconsistent;
use domain::agent::{Agent, AgentStatus, AgentType, DeploymentEnv, Email, Owner, Version};
use domain::credential::{Credential, CredentialKind, PreviousSecret, StoredSecret};
use domain::id::{AgentId, CredentialId, OrganizationId};
use domain::managed_by::ManagedBy;
use domain::may_act::MayAct;
use domain::organization::{Name, Organization, OrganizationStatus, Slug};
use domain::page::Page;
use domain::plan::{Limit, LimitOverrides, Plan};
use domain::proof::ProofRequirement;
use domain::resource_indicator::ResourceIndicator;
use domain::scope::Scopes;
use domain::secret::{Fingerprint, SecretDigest, SecretHash};
use domain::time::Timestamp;
use ports::store_error::StoreError;
use stored_json::jwk::{jwk, public_key};

/// Columns that [`agent`] reads.
pub const AGENT: &str = "agent_id, organization_id, email, agent_type, version, capabilities, owner, \
    default_resource, may_act, redelegation, dpop, deployment_env, managed_by, status, created_at, updated_at, generation, revision";
/// Columns that [`organization`] reads.
pub const ORGANIZATION: &str = "organization_id, name, slug, plan, status, resources, max_agents, \
    max_tokens_per_month, requests_per_minute, audit_retention_days, created_at, updated_at, generation, revision";
/// Columns that [`credential`] reads, from `credentials` joined with `credential_uses`.
pub const CREDENTIAL: &str = "credential_id, agent_id, public_key, issuer_id, subject, claims, fingerprint, secret_hash, secret_digest, \
    previous_fingerprint, previous_hash, previous_until, created_at, expires_at, revoked_at, last_used_at, revision";

/// Range of milliseconds since the epoch that `timestamptz` can safely hold.
///
/// About 4000 BC to AD 293,500.
const TIMESTAMPTZ_RANGE: (i64, i64) = (-188_000_000_000_000, 9_200_000_000_000_000);

/// Reads a column of a row.
pub fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, StoreError> {
    row.try_get(name).map_err(|error| inconsistent(format!("{name}: {error}")))
}

/// Reads an instant.
pub fn instant(row: &Row, name: &str) -> Result<Timestamp, StoreError> {
    column::<SqlTimestamp>(row, name).map(|at| at.0)
}

/// Reads an instant that may be null.
pub fn optional_instant(row: &Row, name: &str) -> Result<Option<Timestamp>, StoreError> {
    column::<Option<SqlTimestamp>>(row, name).map(|at| at.map(|at| at.0))
}

/// Reads a text column of a row and parses its value.
pub fn parsed<T>(row: &Row, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
    parse(column(row, name)?).ok_or_else(|| inconsistent(format!("{name} holds an invalid value")))
}

/// Reads the name of the tool or team that manages something.
pub fn managed_by(row: &Row) -> Result<Option<ManagedBy>, StoreError> {
    let parse =
        |text: &str| ManagedBy::parse(text).map_err(|_| inconsistent("managed_by holds an invalid value"));
    column::<Option<&str>>(row, "managed_by")?.map(parse).transpose()
}

/// Reads a column that holds a number that is never negative.
pub fn number(row: &Row, name: &str) -> Result<u64, StoreError> {
    column::<i64>(row, name)?.try_into().map_err(|_| inconsistent(format!("{name} is negative")))
}

/// Converts a number to the signed type of the database, saturating at its maximum.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Builds a page from rows that each contain the `total`.
pub fn page_of<T>(
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Page<Arc<T>>, StoreError> {
    let items = rows.iter().map(|row| read(row).map(Arc::new)).collect::<Result<_, _>>()?;
    Ok(Page { items, ..empty_page(rows)? })
}

/// Builds an empty page from a row that contains the `total`.
pub fn empty_page<T>(rows: &[Row]) -> Result<Page<Arc<T>>, StoreError> {
    let first = rows.first().ok_or_else(|| inconsistent("a list without a total"))?;
    Ok(Page { items: Vec::new(), total: number(first, "total")? })
}

/// Returns the value with this name; `None` if the name is unknown.
pub fn named<T: Copy>(names: &[(&'static str, T)], name: &str) -> Option<T> {
    names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// Reads an agent from the columns [`AGENT`].
pub fn agent(row: &Row) -> Result<Agent, StoreError> {
    Ok(Agent {
        id: AgentId(column(row, "agent_id")?),
        organization: OrganizationId(column(row, "organization_id")?),
        email: parsed(row, "email", |text| Email::parse(text).ok())?,
        agent_type: parsed(row, "agent_type", |text| named(&AgentType::ALL, text))?,
        version: parsed(row, "version", |text| Version::parse(text).ok())?,
        // More than a change would allow, if a scope became reserved or was added since.
        capabilities: Scopes::of_token(&column::<Vec<&str>>(row, "capabilities")?.join(" ")),
        owner: parsed(row, "owner", |text| Owner::parse(text).ok())?,
        default_resource: column::<Option<&str>>(row, "default_resource")?
            .map(|text| {
                let parsed = ResourceIndicator::parse(text);
                parsed.map_err(|_| inconsistent("default_resource holds an invalid value"))
            })
            .transpose()?,
        may_act: MayAct::of_names(&column::<Vec<&str>>(row, "may_act")?)
            .ok_or_else(|| inconsistent("may_act holds an invalid value"))?,
        redelegation: column(row, "redelegation")?,
        dpop: parsed(row, "dpop", |text| named(&ProofRequirement::ALL, text))?,
        deployment_env: parsed(row, "deployment_env", |text| named(&DeploymentEnv::ALL, text))?,
        managed_by: managed_by(row)?,
        status: parsed(row, "status", |text| named(&AgentStatus::ALL, text))?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
        generation: number(row, "generation")?,
        revision: number(row, "revision")?,
    })
}

/// Reads an organization from the columns [`ORGANIZATION`].
pub fn organization(row: &Row) -> Result<Organization, StoreError> {
    let resources = column::<Vec<&str>>(row, "resources")?;
    let resources = resources.into_iter().map(ResourceIndicator::parse).collect::<Result<_, _>>();
    Ok(Organization {
        id: OrganizationId(column(row, "organization_id")?),
        name: parsed(row, "name", |text| Name::parse(text).ok())?,
        slug: parsed(row, "slug", |text| Slug::parse(text).ok())?,
        plan: parsed(row, "plan", |text| named(&Plan::ALL, text))?,
        status: parsed(row, "status", |text| named(&OrganizationStatus::ALL, text))?,
        resources: resources.map_err(|_| inconsistent("resources hold an invalid value"))?,
        overrides: LimitOverrides {
            max_agents: limit(row, "max_agents")?,
            max_tokens_per_month: limit(row, "max_tokens_per_month")?,
            requests_per_minute: limit(row, "requests_per_minute")?,
            audit_retention_days: limit(row, "audit_retention_days")?,
        },
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
        generation: number(row, "generation")?,
        revision: number(row, "revision")?,
    })
}

fn limit(row: &Row, name: &str) -> Result<Option<Limit>, StoreError> {
    match column::<Option<i64>>(row, name)? {
        None => Ok(None),
        Some(0) => Ok(Some(Limit::Unlimited)),
        Some(most) => match u32::try_from(most) {
            Ok(most) => Ok(Some(Limit::AtMost(most))),
            Err(_) => Err(inconsistent(format!("{name} is not a limit"))),
        },
    }
}

/// Converts a limit to its column: null for the plan's limit, 0 for unlimited.
pub fn limit_column(limit: Option<Limit>) -> Option<i64> {
    limit.map(|limit| match limit {
        Limit::Unlimited => 0,
        Limit::AtMost(most) => most.into(),
    })
}

/// Reads a credential from the columns [`CREDENTIAL`].
pub fn credential(row: &Row) -> Result<Credential, StoreError> {
    let kind = match column::<Option<Value>>(row, "public_key")? {
        Some(jwk) => CredentialKind::Key(
            public_key(&jwk).ok_or_else(|| inconsistent("public_key holds an invalid value"))?,
        ),
        None if let Some(identity) = federated_identity(row)? => CredentialKind::Federated(identity),
        None => {
            let current = StoredSecret {
                fingerprint: bytes(row, "fingerprint")?
                    .map(Fingerprint)
                    .ok_or_else(|| inconsistent("no fingerprint"))?,
                hash: SecretHash(column(row, "secret_hash")?),
                digest: bytes(row, "secret_digest")?.map(SecretDigest),
            };
            let previous = match bytes(row, "previous_fingerprint")? {
                None => None,
                Some(fingerprint) => Some(PreviousSecret {
                    secret: StoredSecret {
                        fingerprint: Fingerprint(fingerprint),
                        hash: SecretHash(column(row, "previous_hash")?),
                        digest: None,
                    },
                    until: instant(row, "previous_until")?,
                }),
            };
            CredentialKind::Secret { current, previous }
        }
    };
    Ok(Credential {
        id: CredentialId(column(row, "credential_id")?),
        agent: AgentId(column(row, "agent_id")?),
        kind,
        created_at: instant(row, "created_at")?,
        expires_at: optional_instant(row, "expires_at")?,
        revoked_at: optional_instant(row, "revoked_at")?,
        last_used_at: optional_instant(row, "last_used_at")?,
        revision: number(row, "revision")?,
    })
}

fn bytes<const LENGTH: usize>(row: &Row, name: &str) -> Result<Option<[u8; LENGTH]>, StoreError> {
    let Some(bytes) = column::<Option<&[u8]>>(row, name)? else { return Ok(None) };
    bytes.try_into().map(Some).map_err(|_| inconsistent(format!("{name} has a wrong length")))
}

/// Columns that depend on a credential's kind.
pub struct KindColumns<'a> {
    pub public_key: Option<Value>,
    pub issuer: Option<Uuid>,
    pub subject: Option<&'a str>,
    pub claims: Option<Value>,
    pub fingerprint: Option<&'a [u8]>,
    pub secret_hash: Option<&'a str>,
    pub secret_digest: Option<&'a [u8]>,
    pub previous_fingerprint: Option<&'a [u8]>,
    pub previous_hash: Option<&'a str>,
    pub previous_until: Option<SqlTimestamp>,
}

impl<'a> KindColumns<'a> {
    pub fn of(kind: &'a CredentialKind) -> Self {
        let (current, previous) = match kind {
            CredentialKind::Secret { current, previous } => (Some(current), previous.as_ref()),
            _ => (None, None),
        };
        let identity = match kind {
            CredentialKind::Federated(identity) => Some(identity),
            _ => None,
        };
        Self {
            public_key: match kind {
                CredentialKind::Key(key) => Some(jwk(key)),
                _ => None,
            },
            issuer: identity.map(|identity| identity.issuer.0),
            subject: identity.and_then(|identity| identity.subject.as_deref()),
            claims: identity.map(|identity| Value::Object(identity.claims.as_map().clone())),
            fingerprint: current.map(|secret| &secret.fingerprint.0[..]),
            secret_hash: current.map(|secret| secret.hash.0.as_str()),
            secret_digest: current.and_then(|secret| secret.digest.as_ref()).map(|digest| &digest.0[..]),
            previous_fingerprint: previous.map(|previous| &previous.secret.fingerprint.0[..]),
            previous_hash: previous.map(|previous| previous.secret.hash.0.as_str()),
            previous_until: previous.map(|previous| SqlTimestamp(previous.until)),
        }
    }
}

/// An instant as a `timestamptz`.
#[derive(Clone, Copy, Debug)]
pub struct SqlTimestamp(pub Timestamp);

impl ToSql for SqlTimestamp {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        // The nearest end of PostgreSQL's range serves as well as an instant outside the range.
        let millis = self.0.as_millis().clamp(TIMESTAMPTZ_RANGE.0, TIMESTAMPTZ_RANGE.1);
        let distance = Duration::from_millis(millis.unsigned_abs());
        let at = if millis < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
        at.to_sql(kind, out)
    }

    fn accepts(kind: &Type) -> bool {
        <SystemTime as ToSql>::accepts(kind)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for SqlTimestamp {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let at = SystemTime::from_sql(kind, raw)?;
        let millis = match at.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis())?,
            Err(before) => -i64::try_from(before.duration().as_millis())?,
        };
        Ok(Self(Timestamp::from_millis(millis)))
    }

    fn accepts(kind: &Type) -> bool {
        <SystemTime as FromSql>::accepts(kind)
    }
}
