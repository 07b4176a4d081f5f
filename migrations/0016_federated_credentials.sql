-- Credentials by which the JWTs of a trusted issuer authenticate an agent.

-- A revoked credential keeps showing the issuer after that is deleted, so there is no foreign key.
ALTER TABLE credentials
    ADD COLUMN issuer_id uuid,
    ADD COLUMN subject text,
    ADD COLUMN claims json,
    DROP CONSTRAINT credentials_proof_check,
    ADD CONSTRAINT credentials_proof_check CHECK (
        num_nonnulls(public_key::text, secret_hash, issuer_id) = 1 AND (secret_hash IS NULL) = (fingerprint IS NULL)
        AND (issuer_id IS NULL) = (claims IS NULL) AND (issuer_id IS NOT NULL OR subject IS NULL)) NOT VALID;
COMMENT ON COLUMN credentials.issuer_id IS 'The trusted issuer whose JWTs authenticate the agent';
COMMENT ON COLUMN credentials.subject IS 'The exact sub of these JWTs; null: the claims alone decide';
COMMENT ON COLUMN credentials.claims IS 'Claims that these JWTs must have, by name or JSON Pointer';
