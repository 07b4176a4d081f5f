-- Proofs of possession (RFC 9449).

ALTER TABLE agents
    ADD COLUMN dpop text NOT NULL DEFAULT 'optional',
    ADD CONSTRAINT agents_dpop_check CHECK (dpop IN ('optional', 'required'));
COMMENT ON COLUMN agents.dpop IS 'Whether the tokens of the agent must be bound to a key';

CREATE TABLE proof_replay (
    digest bytea CONSTRAINT proof_replay_pkey PRIMARY KEY,
    remembered_until timestamptz NOT NULL,
    CONSTRAINT proof_replay_digest_check CHECK (octet_length(digest) = 32)
);
COMMENT ON TABLE proof_replay IS
    'Proofs that were used at the token endpoint, by the SHA-256 of key and jti, until they are refused as too old';
CREATE INDEX proof_replay_remembered_until_idx ON proof_replay (remembered_until);
