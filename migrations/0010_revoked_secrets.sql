-- A lookup finds revoked secrets too, so that the audit log can say why a client was refused.
CREATE INDEX credentials_agent_id_fingerprint_idx ON credentials (agent_id, fingerprint)
    WHERE fingerprint IS NOT NULL;
CREATE INDEX credentials_agent_id_previous_fingerprint_idx ON credentials (agent_id, previous_fingerprint)
    WHERE previous_fingerprint IS NOT NULL;
