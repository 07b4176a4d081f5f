-- The tool or team that manages an agent.
ALTER TABLE agents
    ADD COLUMN managed_by text,
    ADD CONSTRAINT agents_managed_by_check CHECK (char_length(managed_by) BETWEEN 1 AND 64) NOT VALID;
COMMENT ON COLUMN agents.managed_by IS
    'Name of the tool or team that created the agent and manages it since; null if none was named. Never changes';
