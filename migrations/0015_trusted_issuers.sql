-- Trusted issuers: third parties whose JWTs authenticate agents that have no secret.

CREATE TABLE trusted_issuers (
    -- Never changes.
    issuer_id uuid CONSTRAINT trusted_issuers_pkey PRIMARY KEY,
    organization_id uuid NOT NULL,
    issuer text NOT NULL,
    created_at timestamptz NOT NULL,
    -- Changes.
    name text NOT NULL,
    keys json NOT NULL,
    audiences text[] NOT NULL,
    algorithms text[] NOT NULL,
    max_lifetime_seconds bigint NOT NULL,
    require_jti boolean NOT NULL,
    subject_optional boolean NOT NULL,
    subjects json,
    status text NOT NULL,
    updated_at timestamptz NOT NULL,
    generation bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT trusted_issuers_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations,
    CONSTRAINT trusted_issuers_issuer_key UNIQUE (organization_id, issuer),
    CONSTRAINT trusted_issuers_status_check CHECK (status IN ('active', 'suspended')),
    CONSTRAINT trusted_issuers_generation_check CHECK (generation >= 0 AND revision >= 0)
);
COMMENT ON TABLE trusted_issuers IS 'Third parties whose signed JWTs an organization accepts for its agents';
COMMENT ON COLUMN trusted_issuers.issuer IS 'The exact iss';
COMMENT ON COLUMN trusted_issuers.keys IS 'Where its public keys are found, or the keys themselves';
COMMENT ON COLUMN trusted_issuers.generation IS
    'Raised by each suspension: a token that rests on the issuer carries the generation of its time';
CREATE INDEX trusted_issuers_organization_id_idx ON trusted_issuers (organization_id, created_at, issuer_id);
CREATE INDEX trusted_issuers_created_at_idx ON trusted_issuers (created_at, issuer_id);
CREATE INDEX trusted_issuers_status_idx ON trusted_issuers (status, created_at, issuer_id);

CREATE TABLE issuer_replay (
    issuer_id uuid NOT NULL,
    digest bytea NOT NULL,
    remembered_until timestamptz NOT NULL,
    CONSTRAINT issuer_replay_pkey PRIMARY KEY (issuer_id, digest),
    CONSTRAINT issuer_replay_digest_check CHECK (octet_length(digest) = 32)
);
COMMENT ON TABLE issuer_replay IS
    'Assertions of issuers that allow one use only, by the SHA-256 of their jti, until their exp';
CREATE INDEX issuer_replay_remembered_until_idx ON issuer_replay (remembered_until);

-- Bound to the table when it is defined, not looked up when it is called.
CREATE FUNCTION issuers_hold(rests_on text) RETURNS boolean LANGUAGE sql STABLE
    RETURN NOT EXISTS (
        SELECT FROM unnest(string_to_array(rests_on, ' ')) AS one
        WHERE NOT EXISTS (
            SELECT FROM trusted_issuers
            WHERE issuer_id = split_part(one, ':', 1)::uuid AND generation = split_part(one, ':', 2)::bigint
                AND status = 'active'));
COMMENT ON FUNCTION issuers_hold IS
    'Whether each of these issuers, as issuer_id:generation with spaces between them, is there, active and of that generation';
