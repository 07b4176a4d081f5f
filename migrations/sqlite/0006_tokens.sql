-- Tokens that were revoked one by one, until they have been expired for a while.
CREATE TABLE token_revocations (
    token_id BLOB NOT NULL PRIMARY KEY CHECK (length(token_id) = 16),
    organization_id BLOB NOT NULL REFERENCES organizations,
    remembered_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX token_revocations_remembered_until_idx ON token_revocations (remembered_until);

-- Assertions and proofs that were used, by the SHA-256 of their jti, until their exp. The signer is an agent or a trusted
-- issuer; that of a proof is nil, because its digest is that of the key and the jti.
CREATE TABLE assertion_replay (
    signer_kind TEXT NOT NULL CHECK (signer_kind IN ('client', 'issuer', 'key')),
    signer BLOB NOT NULL CHECK (length(signer) = 16),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    remembered_until INTEGER NOT NULL,
    PRIMARY KEY (signer_kind, signer, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX assertion_replay_remembered_until_idx ON assertion_replay (remembered_until);

-- Tokens that each client got in a calendar month (UTC), such as 2026-01.
CREATE TABLE monthly_tokens (
    agent_id BLOB NOT NULL REFERENCES agents,
    month TEXT NOT NULL,
    organization_id BLOB NOT NULL REFERENCES organizations,
    tokens INTEGER NOT NULL CHECK (tokens >= 0),
    PRIMARY KEY (agent_id, month)
) STRICT, WITHOUT ROWID;

CREATE INDEX monthly_tokens_organization_id_idx ON monthly_tokens (organization_id, month);
CREATE INDEX monthly_tokens_month_idx ON monthly_tokens (month);
