-- A known secret is recognized without its slow hash, also by an instance that has just started.
ALTER TABLE credentials
    ADD COLUMN secret_digest bytea,
    ADD CONSTRAINT credentials_secret_digest_check CHECK (octet_length(secret_digest) = 32) NOT VALID;
COMMENT ON COLUMN credentials.secret_digest IS
    'HMAC-SHA-256 of the hash and the current secret, by a key that is derived from the signing key and is not in the database; null if that is not known';
