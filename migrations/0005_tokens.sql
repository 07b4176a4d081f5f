-- What must be known of tokens. A token has no row of its own.

CREATE TABLE token_revocations (
    token_id uuid CONSTRAINT token_revocations_pkey PRIMARY KEY,
    organization_id uuid NOT NULL,
    remembered_until timestamptz NOT NULL,
    CONSTRAINT token_revocations_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations
);
COMMENT ON TABLE token_revocations IS 'Tokens that were revoked one by one, until they have been expired for a while';
CREATE INDEX token_revocations_remembered_until_idx ON token_revocations (remembered_until);
CREATE INDEX token_revocations_organization_id_idx ON token_revocations (organization_id);

CREATE TABLE assertion_replay (
    agent_id uuid NOT NULL,
    digest bytea NOT NULL,
    remembered_until timestamptz NOT NULL,
    CONSTRAINT assertion_replay_pkey PRIMARY KEY (agent_id, digest),
    CONSTRAINT assertion_replay_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents,
    CONSTRAINT assertion_replay_digest_check CHECK (octet_length(digest) = 32)
);
COMMENT ON TABLE assertion_replay IS 'Client assertions that were used, by the SHA-256 of their jti, until their exp';
CREATE INDEX assertion_replay_remembered_until_idx ON assertion_replay (remembered_until);

CREATE TABLE monthly_tokens (
    agent_id uuid NOT NULL,
    month date NOT NULL,
    organization_id uuid NOT NULL,
    tokens bigint NOT NULL,
    quota bigint,
    granted bigint NOT NULL,
    CONSTRAINT monthly_tokens_pkey PRIMARY KEY (agent_id, month),
    CONSTRAINT monthly_tokens_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents,
    CONSTRAINT monthly_tokens_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations,
    CONSTRAINT monthly_tokens_tokens_check CHECK (tokens >= 0 AND granted >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE monthly_tokens IS 'Tokens that each client got in a calendar month (UTC)';
COMMENT ON COLUMN monthly_tokens.quota IS 'The limit that the last count was held to; null: none';
COMMENT ON COLUMN monthly_tokens.granted IS
    'How many of the last batch fitted: an upsert cannot tell what stood there before it';
CREATE INDEX monthly_tokens_organization_id_idx ON monthly_tokens (organization_id, month);
CREATE INDEX monthly_tokens_month_idx ON monthly_tokens (month);
