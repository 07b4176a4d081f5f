//! All tables of a durable store as JSON, for moving the data of one store to another.
//!
//! A row is an object with a member for each [`Column`]. An ID is a string, an instant the milliseconds since
//! 1970-01-01T00:00:00Z, bytes are in lower-case hexadecimal, and a month is its first day.

use Kind::{Address, Bytes, Date, Flag, Id, Instant, Json, Number, Text, Texts, Words};

/// A table that is moved.
#[derive(Debug)]
pub struct Table {
    /// Name of the table.
    pub name: &'static str,
    /// Columns of the table.
    pub columns: &'static [Column],
    /// Columns by which a row is found, the first of `columns`.
    pub key: usize,
}

/// Name and type of a column.
pub type Column = (&'static str, Kind);

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A UUID.
    Id,
    /// A text.
    Text,
    /// A number.
    Number,
    /// An instant.
    Instant,
    /// True or false.
    Flag,
    /// Any JSON.
    Json,
    /// A list of texts.
    Texts,
    /// A list of texts without spaces.
    Words,
    /// Bytes.
    Bytes,
    /// An IP address.
    Address,
    /// A day.
    Date,
}

/// Every table that is moved. A table comes after those that it refers to.
pub const TABLES: [Table; 16] = [
    Table {
        name: "organizations",
        columns: &[
            ("organization_id", Id),
            ("slug", Text),
            ("name", Text),
            ("plan", Text),
            ("status", Text),
            ("resources", Texts),
            ("max_agents", Number),
            ("max_tokens_per_month", Number),
            ("requests_per_minute", Number),
            ("audit_retention_days", Number),
            ("created_at", Instant),
            ("updated_at", Instant),
            ("generation", Number),
            ("revision", Number),
        ],
        key: 1,
    },
    Table {
        name: "audit_retention_falls",
        columns: &[("organization_id", Id), ("days", Number), ("kept_until", Instant)],
        key: 1,
    },
    Table {
        name: "agents",
        columns: &[
            ("agent_id", Id),
            ("organization_id", Id),
            ("email", Text),
            ("agent_type", Text),
            ("version", Text),
            ("capabilities", Words),
            ("owner", Text),
            ("default_resource", Text),
            ("may_act", Texts),
            ("redelegation", Flag),
            ("dpop", Text),
            ("deployment_env", Text),
            ("managed_by", Text),
            ("status", Text),
            ("created_at", Instant),
            ("updated_at", Instant),
            ("generation", Number),
            ("revision", Number),
        ],
        key: 1,
    },
    Table {
        name: "trusted_issuers",
        columns: &[
            ("issuer_id", Id),
            ("organization_id", Id),
            ("name", Text),
            ("issuer", Text),
            ("keys", Json),
            ("audiences", Texts),
            ("algorithms", Texts),
            ("max_lifetime_seconds", Number),
            ("require_jti", Flag),
            ("subject_optional", Flag),
            ("subjects", Json),
            ("managed_by", Text),
            ("status", Text),
            ("created_at", Instant),
            ("updated_at", Instant),
            ("generation", Number),
            ("subjects_generation", Number),
            ("revision", Number),
        ],
        key: 1,
    },
    Table {
        name: "person_generations",
        columns: &[("issuer_id", Id), ("digest", Bytes), ("generation", Number)],
        key: 2,
    },
    Table {
        name: "credentials",
        columns: &[
            ("credential_id", Id),
            ("agent_id", Id),
            ("public_key", Json),
            ("issuer_id", Id),
            ("subject", Text),
            ("claims", Json),
            ("fingerprint", Bytes),
            ("secret_hash", Text),
            ("secret_digest", Bytes),
            ("previous_fingerprint", Bytes),
            ("previous_hash", Text),
            ("previous_until", Instant),
            ("created_at", Instant),
            ("expires_at", Instant),
            ("revoked_at", Instant),
            ("revision", Number),
        ],
        key: 1,
    },
    Table { name: "credential_uses", columns: &[("credential_id", Id), ("last_used_at", Instant)], key: 1 },
    Table {
        name: "audit_events",
        columns: &[
            ("event_id", Id),
            ("occurred_at", Instant),
            ("organization_id", Id),
            ("agent_id", Id),
            ("action", Text),
            ("outcome", Text),
            ("resource_type", Text),
            ("resource_id", Id),
            ("ip_address", Address),
            ("user_agent", Text),
            ("metadata", Json),
            ("trace_id", Id),
        ],
        key: 2,
    },
    Table {
        name: "audit_tallies",
        columns: &[
            ("tally_key", Text),
            ("minute", Instant),
            ("event_id", Id),
            ("organization_id", Id),
            ("agent_id", Id),
            ("action", Text),
            ("outcome", Text),
            ("resource_type", Text),
            ("resource_id", Id),
            ("ip_address", Address),
            ("user_agent", Text),
            ("metadata", Json),
            ("occurred_at", Instant),
            ("counted", Number),
            ("in_full", Number),
            ("granted", Number),
        ],
        key: 1,
    },
    Table {
        name: "token_revocations",
        columns: &[("token_id", Id), ("organization_id", Id), ("remembered_until", Instant)],
        key: 1,
    },
    Table {
        name: "assertion_replay",
        columns: &[("agent_id", Id), ("digest", Bytes), ("remembered_until", Instant)],
        key: 2,
    },
    Table {
        name: "issuer_replay",
        columns: &[("issuer_id", Id), ("digest", Bytes), ("remembered_until", Instant)],
        key: 2,
    },
    Table { name: "proof_replay", columns: &[("digest", Bytes), ("remembered_until", Instant)], key: 1 },
    Table {
        name: "monthly_tokens",
        columns: &[
            ("agent_id", Id),
            ("month", Date),
            ("organization_id", Id),
            ("tokens", Number),
            ("granted", Number),
        ],
        key: 2,
    },
    Table {
        name: "outbox",
        columns: &[
            ("subject_id", Id),
            ("kind", Text),
            ("topic", Text),
            ("generation", Number),
            ("remembered_until", Instant),
        ],
        key: 2,
    },
    // Last: kept by triggers on agents, so that it is only compared.
    Table {
        name: "agent_counts",
        columns: &[("organization_id", Id), ("agent_type", Text), ("status", Text), ("agents", Number)],
        key: 3,
    },
];

impl Table {
    /// Returns whether the store keeps the rows by itself, so that they are compared and not inserted.
    pub fn is_derived(&self) -> bool {
        self.name == "agent_counts"
    }
}
