-- Client secrets, as bcrypt hashes; public keys, as JWKs; and identities at trusted issuers. The issuer of a credential
-- that is not live may have been deleted.
CREATE TABLE credentials (
    credential_id BLOB NOT NULL PRIMARY KEY CHECK (length(credential_id) = 16),
    agent_id BLOB NOT NULL REFERENCES agents,
    public_key TEXT CHECK (json_type(public_key) = 'object'),
    issuer_id BLOB,
    subject TEXT,
    claims TEXT CHECK (json_type(claims) = 'object'),
    fingerprint BLOB CHECK (length(fingerprint) = 8),
    secret_hash TEXT,
    secret_digest BLOB CHECK (length(secret_digest) = 32),
    previous_fingerprint BLOB CHECK (length(previous_fingerprint) = 8),
    previous_hash TEXT,
    previous_until INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER,
    revision INTEGER NOT NULL CHECK (revision >= 0),
    CHECK ((public_key IS NOT NULL) + (issuer_id IS NOT NULL) + (secret_hash IS NOT NULL) = 1),
    CHECK ((issuer_id IS NULL) = (claims IS NULL) AND (subject IS NULL OR issuer_id IS NOT NULL)),
    CHECK ((secret_hash IS NULL) = (fingerprint IS NULL)),
    CHECK ((previous_hash IS NULL) = (previous_fingerprint IS NULL)
        AND (previous_hash IS NULL) = (previous_until IS NULL)
        AND (previous_hash IS NULL OR secret_hash IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX credentials_agent_id_idx ON credentials (agent_id, created_at, credential_id);
CREATE INDEX credentials_issuer_id_idx ON credentials (issuer_id, created_at, credential_id)
    WHERE issuer_id IS NOT NULL AND revoked_at IS NULL;
