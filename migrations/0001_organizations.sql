-- Organizations, and the plans that they are on.

CREATE TABLE plans (
    plan text CONSTRAINT plans_pkey PRIMARY KEY,
    max_agents bigint NOT NULL,
    max_tokens_per_month bigint NOT NULL,
    requests_per_minute bigint NOT NULL,
    audit_retention_days bigint NOT NULL,
    CONSTRAINT plans_limits_check CHECK (
        LEAST(max_agents, max_tokens_per_month, requests_per_minute, audit_retention_days) >= 0)
);
COMMENT ON TABLE plans IS
    'What each plan allows. 0 is unlimited. The same numbers as domain/plan.rs; a test holds them together';

INSERT INTO plans VALUES
    ('free', 100, 10000, 100, 90),
    ('pro', 1000, 100000, 1000, 365),
    ('enterprise', 0, 0, 10000, 2557);

CREATE TABLE organizations (
    -- Never changes.
    organization_id uuid CONSTRAINT organizations_pkey PRIMARY KEY,
    slug text NOT NULL,
    created_at timestamptz NOT NULL,
    -- Changes.
    name text NOT NULL,
    plan text NOT NULL,
    status text NOT NULL,
    resources text[] NOT NULL,
    max_agents bigint,
    max_tokens_per_month bigint,
    requests_per_minute bigint,
    audit_retention_days bigint,
    updated_at timestamptz NOT NULL,
    generation bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT organizations_slug_key UNIQUE (slug),
    CONSTRAINT organizations_slug_check CHECK (slug ~ '^[a-z0-9-]{2,50}$'),
    CONSTRAINT organizations_name_check CHECK (char_length(name) BETWEEN 2 AND 100),
    CONSTRAINT organizations_plan_fkey FOREIGN KEY (plan) REFERENCES plans,
    CONSTRAINT organizations_status_check CHECK (status IN ('active', 'suspended')),
    CONSTRAINT organizations_resources_check CHECK (cardinality(resources) <= 50),
    CONSTRAINT organizations_limits_check CHECK (
        COALESCE(LEAST(max_agents, max_tokens_per_month, requests_per_minute, audit_retention_days), 0) >= 0),
    CONSTRAINT organizations_generation_check CHECK (generation >= 0 AND revision >= 0)
);
COMMENT ON TABLE organizations IS 'Tenants. They own agents, credentials and audit events';
COMMENT ON COLUMN organizations.resources IS 'The audiences that its agents may ask for (RFC 8707)';
COMMENT ON COLUMN organizations.max_agents IS 'In place of the plan''s; null: the plan''s; 0: unlimited. So are the other three';
COMMENT ON COLUMN organizations.generation IS 'Only ever raised; part of the gen of a token';
COMMENT ON COLUMN organizations.revision IS 'Raised by every change, so that a lost race is refused';

CREATE INDEX organizations_created_at_idx ON organizations (created_at, organization_id);
CREATE INDEX organizations_plan_idx ON organizations (plan);
