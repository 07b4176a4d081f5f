-- A file that has been in use: agents of 100 organizations, and audit events of the last months, nearly all of them
-- token.issued. The numbers are in the temporary tables agents_wanted and events_wanted.
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -1500000;
CREATE TEMP TABLE present AS SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS at;
INSERT INTO organizations (organization_id, slug, name, plan, status, resources, created_at, updated_at, generation,
    revision)
SELECT unhex(printf('%032x', value + 1)), 'organization-' || value, 'Organization ' || value, 'enterprise', 'active', '[]',
    at - value * 86400000, at, 0, 0
FROM generate_series(0, 99), present;

INSERT INTO agents (agent_id, organization_id, email, agent_type, version, capabilities, owner, may_act, redelegation,
    dpop, deployment_env, status, created_at, updated_at, generation, revision)
SELECT unhex(printf('%032x', value)), unhex(printf('%032x', value % 100 + 1)), 'agent-' || value || '@example.com',
    json('["screener","classifier","orchestrator","extractor","summarizer","router","monitor","custom"]') ->> (value % 8),
    '1.0.0', 'agents:read documents:read documents:write', 'team-' || (value % 1000), '[]', 0, 'optional', 'production',
    json('["active","active","active","suspended","decommissioned"]') ->> (value % 5), at - value * 1000, at, 0, 0
FROM generate_series(1, (SELECT number FROM agents_wanted)), present;

-- UUIDs of version 7, as the service creates them: they increase with time.
INSERT INTO audit_events (event_id, organization_id, agent_id, action, outcome, resource_type, resource_id, ip_address,
    user_agent, metadata, occurred_at)
SELECT unhex(printf('%012x', occurred) || '7' || substr(hex(randomblob(2)), 2) || '8' || substr(hex(randomblob(8)), 2)),
    unhex(printf('%032x', value % 100 + 1)), unhex(printf('%032x', value % (SELECT number FROM agents_wanted) + 1)),
    CASE value % 200 WHEN 0 THEN 'agent.updated' WHEN 1 THEN 'token.introspected' WHEN 2 THEN 'auth.failed'
        ELSE 'token.issued' END,
    CASE value % 200 WHEN 2 THEN 'failure' ELSE 'success' END,
    CASE WHEN value % 200 > 2 THEN 'token' ELSE 'agent' END,
    unhex(printf('%012x', occurred) || '7' || substr(hex(randomblob(2)), 2) || '8' || substr(hex(randomblob(8)), 2)),
    '192.0.2.1', 'bench', '{"scope":"documents:read","credentialId":"01920000-0000-7000-8000-000000000000"}', occurred
FROM (SELECT value, at - 5184000000 * (number - value) / number AS occurred
    FROM generate_series(1, (SELECT number FROM events_wanted)), present, events_wanted);
PRAGMA journal_mode = WAL;
