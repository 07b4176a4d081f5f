-- Credentials that expire soon are counted once a minute. Most never expire.
CREATE INDEX credentials_expires_at_idx ON credentials (expires_at)
    WHERE expires_at IS NOT NULL AND revoked_at IS NULL;
