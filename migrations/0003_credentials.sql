-- Credentials: how agents prove who they are.

CREATE TABLE credentials (
    -- Never changes.
    credential_id uuid CONSTRAINT credentials_pkey PRIMARY KEY,
    agent_id uuid NOT NULL,
    public_key json,
    created_at timestamptz NOT NULL,
    -- Changes.
    fingerprint bytea,
    secret_hash text,
    previous_fingerprint bytea,
    previous_hash text,
    previous_until timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    revision bigint NOT NULL,
    CONSTRAINT credentials_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents,
    CONSTRAINT credentials_proof_check CHECK (
        (public_key IS NULL) = (secret_hash IS NOT NULL) AND (secret_hash IS NULL) = (fingerprint IS NULL)),
    CONSTRAINT credentials_previous_check CHECK (
        (previous_hash IS NULL) = (previous_fingerprint IS NULL)
        AND (previous_hash IS NULL) = (previous_until IS NULL)
        AND (previous_hash IS NULL OR secret_hash IS NOT NULL)),
    CONSTRAINT credentials_fingerprint_check CHECK (
        octet_length(fingerprint) = 8 AND octet_length(previous_fingerprint) = 8),
    CONSTRAINT credentials_revision_check CHECK (revision >= 0)
);
COMMENT ON TABLE credentials IS 'Client secrets, as bcrypt hashes, and public keys, as JWKs';
COMMENT ON COLUMN credentials.fingerprint IS
    'The first 8 bytes of the secret''s SHA-256: picks the hash to compare, gives nothing of 192 random bits away';
COMMENT ON COLUMN credentials.previous_until IS 'Until when the secret before the last rotation still works';

CREATE INDEX credentials_agent_id_idx ON credentials (agent_id, created_at, credential_id);
CREATE INDEX credentials_fingerprint_idx ON credentials (agent_id, fingerprint)
    WHERE fingerprint IS NOT NULL AND revoked_at IS NULL;
CREATE INDEX credentials_previous_fingerprint_idx ON credentials (agent_id, previous_fingerprint)
    WHERE previous_fingerprint IS NOT NULL AND revoked_at IS NULL;
CREATE INDEX credentials_public_key_idx ON credentials (agent_id)
    WHERE public_key IS NOT NULL AND revoked_at IS NULL;

CREATE TABLE credential_uses (
    credential_id uuid CONSTRAINT credential_uses_pkey PRIMARY KEY,
    last_used_at timestamptz NOT NULL,
    CONSTRAINT credential_uses_credential_id_fkey FOREIGN KEY (credential_id) REFERENCES credentials
) WITH (fillfactor = 50);
COMMENT ON TABLE credential_uses IS
    'When each was last used, to the minute. Apart from credentials, which issuing locks in share mode: two issuers that both raised that lock would wait for each other';
