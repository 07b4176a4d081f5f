-- Proofs that were used at the token endpoint.

CREATE TABLE proof_replay (
    digest bytea CONSTRAINT proof_replay_pkey PRIMARY KEY,
    remembered_until timestamptz NOT NULL,
    CONSTRAINT proof_replay_digest_check CHECK (octet_length(digest) = 32)
);
COMMENT ON TABLE proof_replay IS
    'Proofs that were used at the token endpoint, by the SHA-256 of key and jti, until they are refused as too old';
CREATE INDEX proof_replay_remembered_until_idx ON proof_replay (remembered_until);
