-- The agents that may act for an agent.
ALTER TABLE agents
    ADD COLUMN may_act text[] NOT NULL DEFAULT '{}',
    ADD COLUMN redelegation boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN agents.may_act IS
    'IDs of agents of the organization that may act for this one, or * alone for all of them';
COMMENT ON COLUMN agents.redelegation IS 'Whether an actor may pass on the authority that it holds for this agent';
