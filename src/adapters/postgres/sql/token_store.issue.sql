-- token_store.issue
-- This statement has four forms, since most batches have no dependencies and take a seventh less time without them. The
-- non-waiting form skips gates and rows that other transactions have locked, so that no
-- organization waits for another's lock. The waiting form waits for them.
WITH asked AS MATERIALIZED (
    -- An agent's organization never changes, so it may be read before any lock is taken.
    SELECT asked.*, agents.organization_id, organization_gate(agents.organization_id) AS gate,
        (date_trunc('month', asked.occurred_at AT TIME ZONE 'UTC'))::date AS month
    FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bigint[], $5::timestamptz[], $6::bytea[],
        $7::timestamptz[], $8::uuid[], $9::uuid[], $10::text[], $11::text[], $12::text[], $13::uuid[], $14::inet[],
        $15::text[], $16::text[], $17::timestamptz[], $18::uuid[]) WITH ORDINALITY
        AS asked (subject_id, credential_id, fingerprint, revision, changed_at, digest, digest_until,
        event_id, agent_id, action, outcome, resource_type, resource_id, ip_address, user_agent,
        metadata, occurred_at, trace_id, place)
    JOIN agents ON agents.agent_id = asked.subject_id
),
-- with dependencies
depended AS MATERIALIZED (
    -- An agent that does not exist has neither organization nor gate.
    SELECT d.*, agents.organization_id, organization_gate(agents.organization_id) AS gate
    FROM unnest($19::bigint[], $20::uuid[], $21::bigint[], $22::timestamptz[])
        AS d (place, agent_id, revision, changed_at)
    LEFT JOIN agents USING (agent_id)
),
rests AS MATERIALIZED (
    -- Without a revision, the token was decided by the generation only.
    SELECT * FROM unnest($23::bigint[], $24::uuid[], $25::bigint[], $26::bigint[], $27::timestamptz[])
        AS r (place, issuer_id, generation, revision, changed_at)
),
spends AS MATERIALIZED (
    -- Assertions of issuers that allow one use only and, without an issuer, proofs of possession.
    SELECT * FROM unnest($28::bigint[], $29::uuid[], $30::bytea[], $31::timestamptz[])
        AS s (place, issuer_id, digest, until)
),
ancestors AS MATERIALIZED (
    SELECT * FROM unnest($32::bigint[], $33::uuid[]) AS a (place, token_id)
),
persons AS MATERIALIZED (
    SELECT * FROM unnest($34::bigint[], $35::uuid[], $36::bytea[], $37::bigint[])
        AS p (place, issuer_id, digest, generation)
),
-- end
-- Each of the next steps waits for the one before it, and locks in order. A revocation that came first is seen. A
-- later one waits until these tokens are on disk, and then revokes them. The row locks alone would be correct, but a
-- writer could starve while other transactions share its row in turn. At a gate (the organization's advisory lock)
-- PostgreSQL queues fairly, so no waiter is overtaken.
gate AS MATERIALIZED (
    SELECT gate
    -- DISTINCT keeps the locks out of the subquery, so that they are taken in order.
-- with dependencies
    FROM (SELECT DISTINCT gate FROM (SELECT gate FROM asked UNION ALL SELECT gate FROM depended) AS each ORDER BY gate)
        AS gates
-- without dependencies
    FROM (SELECT DISTINCT gate FROM asked ORDER BY gate) AS gates
-- end
    WHERE {passes}
),
organization AS MATERIALIZED (
    SELECT organization_id, status, revision, updated_at, plan, max_tokens_per_month FROM organizations
    WHERE organization_id = ANY (ARRAY(
-- with dependencies
        SELECT organization_id FROM asked JOIN gate USING (gate)
        UNION SELECT organization_id FROM depended JOIN gate USING (gate)))
-- without dependencies
        SELECT DISTINCT organization_id FROM asked JOIN gate USING (gate)))
-- end
    ORDER BY organization_id FOR SHARE {unlocked}
),
agent AS MATERIALIZED (
    SELECT agent_id, status, revision, updated_at FROM agents
    WHERE agent_id = ANY (ARRAY(
-- with dependencies
        SELECT subject_id FROM asked JOIN organization USING (organization_id)
        UNION SELECT agent_id FROM depended JOIN organization USING (organization_id)))
-- without dependencies
        SELECT DISTINCT subject_id FROM asked JOIN organization USING (organization_id)))
-- end
    ORDER BY agent_id FOR SHARE {unlocked}
),
-- with dependencies
issuer AS MATERIALIZED (
    SELECT issuer_id, organization_id, status, generation, revision, updated_at FROM trusted_issuers
    WHERE issuer_id = ANY (ARRAY(
        SELECT DISTINCT issuer_id FROM rests JOIN asked USING (place) JOIN agent ON agent.agent_id = asked.subject_id))
    ORDER BY issuer_id FOR SHARE {unlocked}
),
-- end
credential AS MATERIALIZED (
    SELECT credential_id, agent_id, fingerprint, previous_fingerprint, previous_until,
        expires_at, revoked_at
    FROM credentials
    WHERE credential_id = ANY (ARRAY(
        SELECT DISTINCT credential_id FROM asked JOIN agent ON agent.agent_id = asked.subject_id))
    ORDER BY credential_id FOR SHARE {unlocked}
),
held AS MATERIALIZED (
    SELECT asked.*,
        NULLIF(COALESCE(o.max_tokens_per_month, plans.max_tokens_per_month), 0) AS quota,
        o.status = 'active' AND a.status = 'active' AND a.revision + o.revision = asked.revision
            AND date_trunc('milliseconds', GREATEST(a.updated_at, o.updated_at)) = asked.changed_at
            AND c.agent_id = asked.subject_id AND c.revoked_at IS NULL
            AND (c.expires_at IS NULL OR asked.occurred_at < c.expires_at)
            AND (asked.fingerprint IS NULL OR c.fingerprint = asked.fingerprint
                OR c.previous_fingerprint = asked.fingerprint AND asked.occurred_at < c.previous_until)
            IS TRUE
-- with dependencies
            AND NOT EXISTS (
                SELECT FROM depended d LEFT JOIN agent USING (agent_id)
                LEFT JOIN organization ON organization.organization_id = d.organization_id
                WHERE d.place = asked.place AND (agent.status = 'active' AND organization.status = 'active'
                    AND agent.revision + organization.revision = d.revision
                    AND date_trunc('milliseconds', GREATEST(agent.updated_at, organization.updated_at)) = d.changed_at) IS NOT TRUE
            )
            AND NOT EXISTS (
                SELECT FROM rests r LEFT JOIN issuer USING (issuer_id)
                WHERE r.place = asked.place AND (issuer.status = 'active'
                    AND issuer.organization_id = asked.organization_id AND issuer.generation = r.generation
                    AND (r.revision IS NULL OR issuer.revision = r.revision
                        AND date_trunc('milliseconds', issuer.updated_at) = r.changed_at)) IS NOT TRUE
            )
            -- Neither is locked: a token whose ancestor or person is revoked while this statement runs is stored, and is
            -- inactive from the beginning.
            AND NOT EXISTS (SELECT FROM ancestors JOIN token_revocations USING (token_id)
                WHERE ancestors.place = asked.place)
            AND NOT EXISTS (
                SELECT FROM persons p LEFT JOIN person_generations g USING (issuer_id, digest)
                WHERE p.place = asked.place AND COALESCE(g.generation, 0) <> p.generation
            )
-- end
            AS holds
    FROM asked
    JOIN organization o USING (organization_id)
    JOIN plans USING (plan)
    JOIN agent a ON a.agent_id = asked.subject_id
    JOIN credential c ON c.credential_id = asked.credential_id
-- with dependencies
    -- A request is judged only once all agents and issuers that it depends on are locked.
    WHERE NOT EXISTS (
        SELECT FROM depended d LEFT JOIN agent USING (agent_id)
        WHERE d.place = asked.place AND d.gate IS NOT NULL AND agent.agent_id IS NULL)
    AND NOT EXISTS (
        SELECT FROM rests r LEFT JOIN issuer USING (issuer_id)
        WHERE r.place = asked.place AND issuer.issuer_id IS NULL)
-- end
),
judged AS MATERIALIZED (
    -- Of the requests that hold, only the first may spend an assertion.
    SELECT held.*, held.digest IS NOT NULL AND (
            EXISTS (SELECT FROM assertion_replay r
                WHERE r.agent_id = held.subject_id AND r.digest = held.digest)
            OR row_number() OVER (PARTITION BY held.subject_id, held.digest, held.holds ORDER BY held.place) > 1
        )
-- with dependencies
            -- No two requests of a batch have the same such assertion.
            OR EXISTS (SELECT FROM spends s JOIN issuer_replay r USING (issuer_id, digest) WHERE s.place = held.place)
            OR EXISTS (SELECT FROM spends s JOIN proof_replay r USING (digest)
                WHERE s.place = held.place AND s.issuer_id IS NULL)
-- end
        AS is_spent
    FROM held
),
seated AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY subject_id, month ORDER BY place) AS seat
    FROM judged WHERE holds AND NOT is_spent
),
counted AS (
    INSERT INTO monthly_tokens AS m (agent_id, month, organization_id, tokens, quota, granted)
    SELECT subject_id, month, organization_id, LEAST(count(*), quota), quota, LEAST(count(*), quota)
    FROM seated GROUP BY subject_id, month, organization_id, quota ORDER BY subject_id, month
    ON CONFLICT ON CONSTRAINT monthly_tokens_pkey DO UPDATE SET
        quota = EXCLUDED.quota,
        granted = LEAST(EXCLUDED.granted, GREATEST(COALESCE(EXCLUDED.quota, 9223372036854775807) - m.tokens, 0)),
        tokens = m.tokens + LEAST(EXCLUDED.granted, GREATEST(COALESCE(EXCLUDED.quota, 9223372036854775807) - m.tokens, 0))
    RETURNING m.agent_id, m.month, m.granted
),
passed AS MATERIALIZED (
    SELECT seated.*
    FROM seated JOIN counted ON counted.agent_id = seated.subject_id AND counted.month = seated.month
    WHERE seated.seat <= counted.granted
),
spent AS (
    -- An assertion that is spent elsewhere at the same time fails the batch. The retried batch sees it as spent.
    INSERT INTO assertion_replay (agent_id, digest, remembered_until)
    SELECT subject_id, digest, digest_until FROM passed WHERE digest IS NOT NULL ORDER BY subject_id, digest
),
-- with dependencies
spent_of_issuers AS (
    INSERT INTO issuer_replay (issuer_id, digest, remembered_until)
    SELECT s.issuer_id, s.digest, s.until FROM passed JOIN spends s USING (place)
    WHERE s.issuer_id IS NOT NULL ORDER BY s.issuer_id, s.digest
),
spent_proofs AS (
    INSERT INTO proof_replay (digest, remembered_until)
    SELECT s.digest, s.until FROM passed JOIN spends s USING (place) WHERE s.issuer_id IS NULL ORDER BY s.digest
),
-- end
used AS (
    INSERT INTO credential_uses AS u (credential_id, last_used_at)
    SELECT p.credential_id, date_trunc('minute', max(p.occurred_at))
    FROM passed p LEFT JOIN credential_uses known USING (credential_id)
    GROUP BY p.credential_id, known.last_used_at
    HAVING known.last_used_at IS NULL OR known.last_used_at < date_trunc('minute', max(p.occurred_at))
    ORDER BY p.credential_id
    ON CONFLICT ON CONSTRAINT credential_uses_pkey
        DO UPDATE SET last_used_at = GREATEST(u.last_used_at, EXCLUDED.last_used_at)
),
recorded AS (
    INSERT INTO audit_events (event_id, organization_id, agent_id, action, outcome, resource_type, resource_id,
        ip_address, user_agent, metadata, occurred_at, trace_id)
    SELECT event_id, organization_id, agent_id, action, outcome, resource_type, resource_id,
        ip_address, user_agent, metadata::json, occurred_at, trace_id
    FROM passed
)
-- If a request was not judged, something that it depends on is locked, or does not exist. Its gate is then that of an
-- agent whose row is missing, unless it is the client's own.
SELECT asked.place,
-- with dependencies
    CASE WHEN EXISTS (SELECT FROM credential c WHERE c.credential_id = asked.credential_id) THEN
        COALESCE((SELECT min(d.gate) FROM depended d LEFT JOIN agent USING (agent_id)
            WHERE d.place = asked.place AND agent.agent_id IS NULL), asked.gate)
    ELSE asked.gate END AS gate,
-- without dependencies
    asked.gate,
-- end
    judged.holds, judged.is_spent, judged.quota, passed.place IS NOT NULL AS is_issued
FROM asked LEFT JOIN judged USING (place) LEFT JOIN passed USING (place)
