-- Tokens that act for others, and how they are revoked.

CREATE TABLE person_generations (
    issuer_id uuid NOT NULL,
    digest bytea NOT NULL,
    generation bigint NOT NULL,
    CONSTRAINT person_generations_pkey PRIMARY KEY (issuer_id, digest),
    CONSTRAINT person_generations_issuer_id_fkey FOREIGN KEY (issuer_id) REFERENCES trusted_issuers ON DELETE CASCADE,
    CONSTRAINT person_generations_generation_check CHECK (generation > 0 AND octet_length(digest) = 32)
);
COMMENT ON TABLE person_generations IS
    'People of trusted issuers whose tokens were revoked: a token that acts for one carries the generation of its time; 0 for all others';
COMMENT ON COLUMN person_generations.digest IS 'SHA-256 of the sub';

ALTER TABLE outbox
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('token', 'agent', 'organization', 'issuer', 'person'));

-- The tokens that were obtained by exchange from one token.
CREATE INDEX audit_events_root_idx ON audit_events ((metadata ->> 'root'), occurred_at, event_id)
    WHERE action = 'token.exchanged';
