-- Which agents may act for an agent or for the people of a trusted issuer, and until when.

ALTER TABLE agents
    ADD COLUMN may_act uuid[] DEFAULT '{}',
    ADD COLUMN redelegation boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN agents.may_act IS
    'Agents of the organization that may act for this one; null if every agent of it may';
COMMENT ON COLUMN agents.redelegation IS 'Whether an actor may pass on the authority that it holds for this agent';

ALTER TABLE trusted_issuers ADD COLUMN subjects_generation bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN trusted_issuers.subjects_generation IS
    'Raised whenever subjects becomes null: a token that acts for a person of the issuer carries that of its time';
