-- Ends the tokens that act for the people of a trusted issuer.
ALTER TABLE trusted_issuers ADD COLUMN subjects_generation bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN trusted_issuers.subjects_generation IS
    'Raised whenever subjects becomes null: a token that acts for a person of the issuer carries that of its time';
