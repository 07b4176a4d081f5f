-- Agents, and how many there are of each kind.

CREATE TABLE agents (
    -- Never changes.
    agent_id uuid CONSTRAINT agents_pkey PRIMARY KEY,
    organization_id uuid NOT NULL,
    email text NOT NULL,
    created_at timestamptz NOT NULL,
    -- Changes.
    agent_type text NOT NULL,
    version text NOT NULL,
    capabilities text[] NOT NULL,
    owner text NOT NULL,
    deployment_env text NOT NULL,
    status text NOT NULL,
    updated_at timestamptz NOT NULL,
    generation bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT agents_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations,
    CONSTRAINT agents_email_key UNIQUE (organization_id, email),
    CONSTRAINT agents_email_check CHECK (octet_length(email) <= 255),
    CONSTRAINT agents_agent_type_check CHECK (agent_type IN
        ('screener', 'classifier', 'orchestrator', 'extractor', 'summarizer', 'router', 'monitor', 'custom')),
    CONSTRAINT agents_version_check CHECK (octet_length(version) <= 64),
    CONSTRAINT agents_capabilities_check CHECK (cardinality(capabilities) BETWEEN 1 AND 64),
    CONSTRAINT agents_owner_check CHECK (char_length(owner) BETWEEN 1 AND 128),
    CONSTRAINT agents_deployment_env_check CHECK (deployment_env IN ('development', 'staging', 'production')),
    CONSTRAINT agents_status_check CHECK (status IN ('active', 'suspended', 'decommissioned')),
    CONSTRAINT agents_generation_check CHECK (generation >= 0 AND revision >= 0)
);
COMMENT ON TABLE agents IS 'Pieces of software with an identity. A decommissioned one keeps its row and its address';
COMMENT ON COLUMN agents.email IS 'In normal form: trimmed, NFC, lower-cased';
COMMENT ON COLUMN agents.generation IS 'Only ever raised; part of the gen of a token';
COMMENT ON COLUMN agents.revision IS 'Raised by every change, so that a lost race is refused';

-- Each list is walked newest first, within an organization or over all.
CREATE INDEX agents_organization_id_created_at_idx ON agents (organization_id, created_at, agent_id);
CREATE INDEX agents_organization_id_owner_idx ON agents (organization_id, owner, created_at, agent_id);
CREATE INDEX agents_organization_id_agent_type_idx ON agents (organization_id, agent_type, created_at, agent_id);
CREATE INDEX agents_organization_id_status_idx ON agents (organization_id, status, created_at, agent_id);
CREATE INDEX agents_created_at_idx ON agents (created_at, agent_id);
CREATE INDEX agents_owner_idx ON agents (owner, created_at, agent_id);
CREATE INDEX agents_agent_type_idx ON agents (agent_type, created_at, agent_id);
CREATE INDEX agents_status_idx ON agents (status, created_at, agent_id);
-- The few who may administer, so that the last of them is found without a search.
CREATE INDEX agents_administrators_idx ON agents (agent_id)
    WHERE status = 'active' AND capabilities @> ARRAY['admin:orgs'];

CREATE TABLE agent_counts (
    organization_id uuid NOT NULL,
    agent_type text NOT NULL,
    status text NOT NULL,
    agents bigint NOT NULL,
    CONSTRAINT agent_counts_pkey PRIMARY KEY (organization_id, agent_type, status),
    CONSTRAINT agent_counts_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations,
    CONSTRAINT agent_counts_agents_check CHECK (agents >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE agent_counts IS
    'How many agents there are, so that a page of a million does not count them. Kept by a trigger';

CREATE FUNCTION count_agents() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- The two rows are locked in one order, or two agents that change places would wait for each other.
    is_first boolean := TG_OP = 'UPDATE' AND (OLD.agent_type, OLD.status) < (NEW.agent_type, NEW.status);
BEGIN
    IF is_first THEN
        UPDATE agent_counts SET agents = agents - 1
        WHERE organization_id = OLD.organization_id AND agent_type = OLD.agent_type AND status = OLD.status;
    END IF;
    INSERT INTO agent_counts AS c (organization_id, agent_type, status, agents)
    VALUES (NEW.organization_id, NEW.agent_type, NEW.status, 1)
    ON CONFLICT ON CONSTRAINT agent_counts_pkey DO UPDATE SET agents = c.agents + 1;
    IF TG_OP = 'UPDATE' AND NOT is_first THEN
        UPDATE agent_counts SET agents = agents - 1
        WHERE organization_id = OLD.organization_id AND agent_type = OLD.agent_type AND status = OLD.status;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION count_agents IS 'Keeps agent_counts';

CREATE TRIGGER agents_insert_count AFTER INSERT ON agents
    FOR EACH ROW EXECUTE FUNCTION count_agents();
CREATE TRIGGER agents_update_count AFTER UPDATE OF agent_type, status ON agents FOR EACH ROW
    WHEN ((OLD.agent_type, OLD.status) IS DISTINCT FROM (NEW.agent_type, NEW.status))
    EXECUTE FUNCTION count_agents();
