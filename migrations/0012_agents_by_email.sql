-- Agents are looked up by email address, also across organizations.
CREATE INDEX agents_email_created_at_agent_id_idx ON agents (email, created_at, agent_id);
