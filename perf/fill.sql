-- A database that has been in use: :agents agents of :organizations organizations, and :events audit events of the
-- last months, nearly all of them token.issued. Run with psql, as the owner of the tables.
\set ON_ERROR_STOP on
SET synchronous_commit = off;
INSERT INTO organizations (organization_id, slug, created_at, name, plan, status, resources, updated_at, generation,
    revision)
SELECT md5('organization ' || n)::uuid, 'organization-' || n, now() - n * interval '1 day', 'Organization ' || n,
    'enterprise', 'active', '{}', now(), 0, 0
FROM generate_series(0, :organizations - 1) n;

ALTER TABLE agents DISABLE TRIGGER agents_insert_count;
INSERT INTO agents (agent_id, organization_id, email, created_at, agent_type, version, capabilities, owner,
    deployment_env, status, updated_at, generation, revision)
SELECT md5('agent ' || n)::uuid, md5('organization ' || n % :organizations)::uuid, 'agent-' || n || '@example.com',
    now() - n * interval '1 second',
    (ARRAY['screener', 'classifier', 'orchestrator', 'extractor', 'summarizer', 'router', 'monitor', 'custom'])[n % 8 + 1],
    '1.0.0', ARRAY['documents:read', 'documents:write', 'agents:read'], 'team-' || n % 1000, 'production',
    (ARRAY['active', 'active', 'active', 'suspended', 'decommissioned'])[n % 5 + 1], now(), 0, 0
FROM generate_series(1, :agents) n;
ALTER TABLE agents ENABLE TRIGGER agents_insert_count;
INSERT INTO agent_counts SELECT organization_id, agent_type, status, count(*) FROM agents GROUP BY 1, 2, 3
ON CONFLICT ON CONSTRAINT agent_counts_pkey DO UPDATE SET agents = EXCLUDED.agents;

SELECT make_audit_partitions(now() - interval '3 months', 6);
-- UUIDs of version 7, as the service creates them: they increase with time, so the indexes are written at their ends.
INSERT INTO audit_events (event_id, organization_id, agent_id, action, outcome, resource_type, resource_id, ip_address,
    user_agent, metadata, occurred_at)
SELECT (millis || '7' || substr(random, 1, 3) || '8' || substr(random, 4, 15))::uuid,
    md5('organization ' || n % :organizations)::uuid, md5('agent ' || n % :agents)::uuid,
    CASE n % 200 WHEN 0 THEN 'agent.updated' WHEN 1 THEN 'token.introspected' WHEN 2 THEN 'auth.failed'
        ELSE 'token.issued' END,
    CASE n % 200 WHEN 2 THEN 'failure' ELSE 'success' END,
    CASE WHEN n % 200 > 2 THEN 'token' ELSE 'agent' END,
    (millis || '7' || substr(random, 18, 3) || '8' || substr(random, 4, 15))::uuid, '192.0.2.1', 'bench',
    '{"scope":"documents:read","credentialId":"01920000-0000-7000-8000-000000000000"}', at
FROM generate_series(1, :events) n
CROSS JOIN LATERAL (
    SELECT now() - interval '60 days' * ((:events - n)::float8 / :events) AS at, md5(n::text) AS random
) drawn
CROSS JOIN LATERAL (SELECT lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS millis) told;
VACUUM (ANALYZE);
