-- Apart from the columns, so that credentials can be read while the indexes are built.

CREATE INDEX credentials_issuer_id_idx ON credentials (issuer_id, subject, created_at)
    WHERE issuer_id IS NOT NULL AND revoked_at IS NULL;
CREATE INDEX credentials_agent_issuer_id_idx ON credentials (agent_id, issuer_id)
    WHERE issuer_id IS NOT NULL AND revoked_at IS NULL;
