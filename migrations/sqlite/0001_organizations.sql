-- Instants are milliseconds since 1970-01-01T00:00:00Z, IDs are the 16 bytes of a UUID, and lists are JSON.

-- Tenants. They own agents, credentials and audit events. A limit replaces that of the plan; 0 is unlimited.
CREATE TABLE organizations (
    organization_id BLOB NOT NULL PRIMARY KEY CHECK (length(organization_id) = 16),
    slug TEXT NOT NULL UNIQUE CHECK (length(slug) BETWEEN 2 AND 50 AND slug NOT GLOB '*[^a-z0-9-]*'),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 2 AND 100),
    plan TEXT NOT NULL CHECK (plan IN ('free', 'pro', 'enterprise')),
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended')),
    resources TEXT NOT NULL CHECK (json_type(resources) = 'array' AND json_array_length(resources) <= 50),
    max_agents INTEGER CHECK (max_agents >= 0),
    max_tokens_per_month INTEGER CHECK (max_tokens_per_month >= 0),
    requests_per_minute INTEGER CHECK (requests_per_minute >= 0),
    audit_retention_days INTEGER CHECK (audit_retention_days >= 0),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    generation INTEGER NOT NULL CHECK (generation >= 0),
    revision INTEGER NOT NULL CHECK (revision >= 0)
) STRICT, WITHOUT ROWID;

CREATE INDEX organizations_created_at_idx ON organizations (created_at, organization_id);

-- Organizations whose retention was made shorter. Until kept_until their events are kept for as many days as before; null:
-- forever.
CREATE TABLE audit_retention_falls (
    organization_id BLOB NOT NULL PRIMARY KEY REFERENCES organizations,
    days INTEGER CHECK (days > 0),
    kept_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
