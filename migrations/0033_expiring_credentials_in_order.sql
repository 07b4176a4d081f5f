-- Credentials that expire soon are listed by their end, and by their ID if two end at once.
CREATE INDEX credentials_expires_at_credential_id_idx ON credentials (expires_at, credential_id)
    WHERE expires_at IS NOT NULL AND revoked_at IS NULL;
