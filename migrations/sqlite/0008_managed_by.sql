-- The tool or team that manages an agent or a trusted issuer.
ALTER TABLE agents ADD COLUMN managed_by TEXT CHECK (length(managed_by) BETWEEN 1 AND 64);
ALTER TABLE trusted_issuers ADD COLUMN managed_by TEXT CHECK (length(managed_by) BETWEEN 1 AND 64);
