-- agent_store.register
-- The registration locks of the organizations are held, so that no other transaction registers agents of them meanwhile.
WITH asked AS MATERIALIZED (
    SELECT *
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::bigint[], $14::bigint[], $15::uuid[],
        $16::bigint[], $17::text[], $18::uuid[], $19::text[], $20::text[], $21::boolean[], $22::text[], $23::text[],
        $24::int[]) WITH ORDINALITY
        AS asked (agent_id, organization_id, email, agent_type, version, capabilities, owner, default_resource,
        deployment_env, status, created_at, updated_at, generation, revision, caller_id,
        caller_generation, caller_scopes, caller_token, caller_issuers, may_act, redelegation, dpop, managed_by,
        caller_gate, place)
    WHERE {has_locks}
),
-- One for each agent, or none at all.
event AS MATERIALIZED (
    SELECT *
    FROM unnest($25::uuid[], $26::uuid[], $27::text[], $28::text[], $29::text[], $30::uuid[], $31::inet[], $32::text[],
        $33::text[], $34::timestamptz[], $35::uuid[]) WITH ORDINALITY
        AS event (event_id, agent_id, action, outcome, resource_type, resource_id, ip_address, user_agent, metadata,
        occurred_at, trace_id, place)
),
organization AS MATERIALIZED (
    SELECT organization_id, plan, max_agents FROM organizations
    WHERE organization_id = ANY (ARRAY(SELECT DISTINCT organization_id FROM asked))
    ORDER BY organization_id FOR SHARE {unlocked}
),
-- A change of an agent's type or status holds some of these until it ends.
counts AS MATERIALIZED (
    SELECT organization_id, status, agents FROM agent_counts
    WHERE organization_id = ANY (ARRAY(SELECT organization_id FROM organization))
    ORDER BY organization_id, agent_type, status FOR UPDATE {unlocked}
),
judged AS MATERIALIZED (
    SELECT asked.*, NULLIF(COALESCE(o.max_agents, plans.max_agents), 0) AS most,
        (SELECT COALESCE(sum(c.agents), 0) FROM counts c
            WHERE c.organization_id = asked.organization_id AND c.status <> 'decommissioned') AS present,
        (SELECT agent_id FROM agents a
            WHERE a.organization_id = asked.organization_id AND a.email = asked.email) AS holder,
        -- The same condition as that of change.authority_holds.
        asked.caller_id IS NULL OR EXISTS (
            SELECT FROM agents a JOIN organizations o USING (organization_id)
            WHERE a.agent_id = asked.caller_id AND a.status = 'active' AND o.status = 'active'
                AND a.generation + o.generation = asked.caller_generation
                AND a.capabilities @> string_to_array(asked.caller_scopes, ' ')
                AND NOT EXISTS (SELECT FROM token_revocations WHERE token_id = asked.caller_token)
                AND (asked.caller_issuers IS NULL OR issuers_hold(asked.caller_issuers))
        ) AS holds
    FROM asked
    JOIN organization o USING (organization_id)
    JOIN plans USING (plan)
    WHERE (SELECT count(*) FROM counts c WHERE c.organization_id = asked.organization_id)
        = (SELECT count(*) FROM agent_counts c WHERE c.organization_id = asked.organization_id)
),
seated AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY organization_id ORDER BY place) AS seat
    FROM judged WHERE holds AND holder IS NULL
),
registered AS (
    INSERT INTO agents (agent_id, organization_id, email, agent_type, version, capabilities, owner, default_resource,
        deployment_env, status, created_at, updated_at, generation, revision, may_act, redelegation,
        dpop, managed_by)
    SELECT agent_id, organization_id, email, agent_type, version, string_to_array(capabilities, ' '), owner,
        default_resource, deployment_env, status, created_at, updated_at, generation, revision,
        string_to_array(may_act, ' '), redelegation, dpop, managed_by
    FROM seated WHERE most IS NULL OR present + seat <= most
    -- In the order in which every transaction locks the rows of agent_counts.
    ORDER BY organization_id, agent_type, status
    RETURNING agent_id
),
recorded AS (
    INSERT INTO audit_events (event_id, organization_id, agent_id, action, outcome, resource_type, resource_id,
        ip_address, user_agent, metadata, occurred_at, trace_id)
    SELECT event.event_id, seated.organization_id, event.agent_id, event.action, event.outcome, event.resource_type,
        event.resource_id, event.ip_address, event.user_agent, event.metadata::json, event.occurred_at,
        event.trace_id
    FROM event JOIN seated USING (place) JOIN registered ON registered.agent_id = seated.agent_id
)
SELECT place, holds, holder IS NOT NULL AS is_taken, COALESCE(holder = judged.agent_id, false) AS is_there, most,
    registered.agent_id IS NOT NULL AS is_registered
FROM judged LEFT JOIN registered USING (agent_id)
