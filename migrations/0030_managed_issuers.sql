-- The tool or team that manages a trusted issuer.
ALTER TABLE trusted_issuers
    ADD COLUMN managed_by text,
    ADD CONSTRAINT trusted_issuers_managed_by_check CHECK (char_length(managed_by) BETWEEN 1 AND 64) NOT VALID;
COMMENT ON COLUMN trusted_issuers.managed_by IS
    'Name of the tool or team that created the issuer and manages it since; null if none was named. Never changes';
