//! Trusted issuers, and people of them, as rows.

use std::sync::Arc;

use rusqlite::{Row, named_params, params};
use serde_json::Value;

use super::column::{column, instant, invalid, json_of, named, number, parsed, parsed_if_any, signed, texts};
use crate::database::Database;
use crate::row_cache::RowKey;
use domain::id::{IssuerId, OrganizationId};
use domain::issuer::{IssuerStatus, IssuerUrl, TrustedIssuer};
use domain::managed_by::ManagedBy;
use domain::names::name_of;
use domain::organization::Name;
use domain::signature_algorithm::SignatureAlgorithm;
use ports::store_error::StoreError;
use stored_json::issuer::{key_source, key_source_json, subjects, subjects_json};

/// Reads a trusted issuer from all columns of its table.
pub fn issuer(row: &Row<'_>) -> Result<Arc<TrustedIssuer>, StoreError> {
    let algorithms = texts(row, "algorithms")?;
    let algorithms = algorithms.iter().map(|name| SignatureAlgorithm::parse(name)).collect::<Option<_>>();
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    Ok(Arc::new(TrustedIssuer {
        id: IssuerId(column(row, "issuer_id")?),
        organization: OrganizationId(column(row, "organization_id")?),
        name: parsed(row, "name", |text| Name::parse(text).ok())?,
        issuer: parsed(row, "issuer", |text| IssuerUrl::parse(text).ok())?,
        keys: parsed(row, "keys", |text| key_source(&json(text)?))?,
        audiences: texts(row, "audiences")?,
        algorithms: algorithms.ok_or_else(|| invalid("algorithms"))?,
        max_lifetime_seconds: column(row, "max_lifetime_seconds")?,
        require_jti: column(row, "require_jti")?,
        subject_optional: column(row, "subject_optional")?,
        subjects: parsed_if_any(row, "subjects", |text| subjects(&json(text)?))?,
        managed_by: parsed_if_any(row, "managed_by", |text| ManagedBy::parse(text).ok())?,
        status: named(row, "status", &IssuerStatus::ALL)?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
        generation: number(row, "generation")?,
        subjects_generation: number(row, "subjects_generation")?,
        revision: number(row, "revision")?,
    }))
}

impl Database {
    /// Returns the trusted issuer of an organization that has this `iss`; `None` if it trusts no such issuer.
    pub fn issuer_of(
        &self,
        organization: OrganizationId,
        iss: &str,
    ) -> Result<Option<Arc<TrustedIssuer>>, StoreError> {
        let sql = "SELECT * FROM trusted_issuers WHERE organization_id = ?1 AND issuer = ?2";
        self.first(sql, params![organization.0, iss], issuer)
    }

    /// Stores a trusted issuer in place of the one with its ID, if there is one.
    pub fn put_issuer(&self, issuer: &TrustedIssuer) -> Result<(), StoreError> {
        const PUT: &str = "\
INSERT INTO trusted_issuers (issuer_id, organization_id, name, issuer, keys, audiences, algorithms, max_lifetime_seconds,
    require_jti, subject_optional, subjects, managed_by, status, created_at, updated_at, generation,
    subjects_generation, revision)
VALUES (:issuer_id, :organization_id, :name, :issuer, :keys, :audiences, :algorithms, :max_lifetime_seconds,
    :require_jti, :subject_optional, :subjects, :managed_by, :status, :created_at, :updated_at, :generation,
    :subjects_generation,
    :revision)
ON CONFLICT (issuer_id) DO UPDATE SET name = :name, keys = :keys, audiences = :audiences, algorithms = :algorithms,
    max_lifetime_seconds = :max_lifetime_seconds, require_jti = :require_jti, subject_optional = :subject_optional,
    subjects = :subjects, status = :status, updated_at = :updated_at, generation = :generation,
    subjects_generation = :subjects_generation, revision = :revision";
        let algorithms = issuer.algorithms.iter().map(|one| name_of(&SignatureAlgorithm::ALL, one));
        let parameters = named_params! {
            ":issuer_id": issuer.id.0,
            ":organization_id": issuer.organization.0,
            ":name": issuer.name.as_str(),
            ":issuer": issuer.issuer.as_str(),
            ":keys": key_source_json(&issuer.keys).to_string(),
            ":audiences": json_of(issuer.audiences.iter().map(String::as_str)),
            ":algorithms": json_of(algorithms),
            ":max_lifetime_seconds": issuer.max_lifetime_seconds,
            ":require_jti": issuer.require_jti,
            ":subject_optional": issuer.subject_optional,
            ":subjects": issuer.subjects.as_ref().map(|subjects| subjects_json(subjects).to_string()),
            ":managed_by": issuer.managed_by.as_ref().map(ManagedBy::as_str),
            ":status": name_of(&IssuerStatus::ALL, &issuer.status),
            ":created_at": issuer.created_at.as_millis(),
            ":updated_at": issuer.updated_at.as_millis(),
            ":generation": signed(issuer.generation),
            ":subjects_generation": signed(issuer.subjects_generation),
            ":revision": signed(issuer.revision),
        };
        self.cached_rows().mark_changed(RowKey::Issuer(issuer.id));
        self.execute(PUT, parameters).map(drop)
    }
}
