-- People of trusted issuers whose tokens were revoked.

CREATE TABLE person_generations (
    issuer_id uuid NOT NULL,
    digest bytea NOT NULL,
    generation bigint NOT NULL,
    CONSTRAINT person_generations_pkey PRIMARY KEY (issuer_id, digest),
    CONSTRAINT person_generations_generation_check CHECK (generation > 0 AND octet_length(digest) = 32)
);
COMMENT ON TABLE person_generations IS
    'People of trusted issuers whose tokens were revoked: a token that acts for one carries the generation of its time; 0 for all others';
COMMENT ON COLUMN person_generations.issuer_id IS
    'The trusted issuer. Once that is deleted, all of its rows are removed step by step';
COMMENT ON COLUMN person_generations.digest IS 'SHA-256 of the sub';
