-- Pieces of software with an identity. A decommissioned one keeps its row and its address. Capabilities are separated by
-- spaces.
CREATE TABLE agents (
    agent_id BLOB NOT NULL PRIMARY KEY CHECK (length(agent_id) = 16),
    organization_id BLOB NOT NULL REFERENCES organizations,
    email TEXT NOT NULL CHECK (length(CAST(email AS BLOB)) <= 255),
    agent_type TEXT NOT NULL CHECK (agent_type IN
        ('screener', 'classifier', 'orchestrator', 'extractor', 'summarizer', 'router', 'monitor', 'custom')),
    version TEXT NOT NULL CHECK (length(CAST(version AS BLOB)) <= 64),
    capabilities TEXT NOT NULL CHECK (capabilities <> ''),
    owner TEXT NOT NULL CHECK (length(owner) BETWEEN 1 AND 128),
    default_resource TEXT,
    may_act TEXT NOT NULL CHECK (json_type(may_act) = 'array'),
    redelegation INTEGER NOT NULL CHECK (redelegation IN (0, 1)),
    dpop TEXT NOT NULL CHECK (dpop IN ('optional', 'required')),
    deployment_env TEXT NOT NULL CHECK (deployment_env IN ('development', 'staging', 'production')),
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'decommissioned')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    generation INTEGER NOT NULL CHECK (generation >= 0),
    revision INTEGER NOT NULL CHECK (revision >= 0),
    UNIQUE (organization_id, email)
) STRICT, WITHOUT ROWID;

CREATE INDEX agents_organization_id_created_at_idx ON agents (organization_id, created_at, agent_id);
CREATE INDEX agents_organization_id_owner_idx ON agents (organization_id, owner, created_at, agent_id);
CREATE INDEX agents_organization_id_agent_type_idx ON agents (organization_id, agent_type, created_at, agent_id);
CREATE INDEX agents_organization_id_status_idx ON agents (organization_id, status, created_at, agent_id);
CREATE INDEX agents_created_at_idx ON agents (created_at, agent_id);
CREATE INDEX agents_email_idx ON agents (email, created_at, agent_id);
CREATE INDEX agents_owner_idx ON agents (owner, created_at, agent_id);
CREATE INDEX agents_agent_type_idx ON agents (agent_type, created_at, agent_id);
CREATE INDEX agents_status_idx ON agents (status, created_at, agent_id);
CREATE INDEX agents_administrators_idx ON agents (agent_id)
    WHERE status = 'active' AND instr(' ' || capabilities || ' ', ' admin:orgs ') > 0;

-- How many agents there are, so that a page of a million does not count them. Kept by triggers.
CREATE TABLE agent_counts (
    organization_id BLOB NOT NULL REFERENCES organizations,
    agent_type TEXT NOT NULL,
    status TEXT NOT NULL,
    agents INTEGER NOT NULL CHECK (agents >= 0),
    PRIMARY KEY (organization_id, agent_type, status)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER agents_insert_count AFTER INSERT ON agents BEGIN
    INSERT INTO agent_counts VALUES (NEW.organization_id, NEW.agent_type, NEW.status, 1)
    ON CONFLICT DO UPDATE SET agents = agents + 1;
END;

CREATE TRIGGER agents_update_count AFTER UPDATE OF agent_type, status ON agents
WHEN (OLD.agent_type, OLD.status) <> (NEW.agent_type, NEW.status) BEGIN
    UPDATE agent_counts SET agents = agents - 1
    WHERE (organization_id, agent_type, status) = (OLD.organization_id, OLD.agent_type, OLD.status);
    DELETE FROM agent_counts WHERE agents = 0
        AND (organization_id, agent_type, status) = (OLD.organization_id, OLD.agent_type, OLD.status);
    INSERT INTO agent_counts VALUES (NEW.organization_id, NEW.agent_type, NEW.status, 1)
    ON CONFLICT DO UPDATE SET agents = agents + 1;
END;
