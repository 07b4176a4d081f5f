-- The audience of an agent's tokens where its client requests none.
ALTER TABLE agents ADD COLUMN default_resource text;
COMMENT ON COLUMN agents.default_resource IS
    'One of the resources of the organization, as it is listed there; null if tokens are for the issuer by default';
