-- audit_log.tally
WITH counted AS (
    INSERT INTO audit_tallies AS t (tally_key, minute, event_id, organization_id, agent_id, action, outcome,
        resource_type, resource_id, ip_address, user_agent, metadata, occurred_at, counted, in_full, granted)
    SELECT tally_key, minute, event_id, organization_id, agent_id, action, outcome,
        resource_type, resource_id, ip_address, user_agent, metadata::json, occurred_at,
        counted + GREATEST(wanted - $5, 0), LEAST(wanted, $5), LEAST(wanted, $5)
    FROM unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::bigint[],
        $6::uuid[], $7::uuid[], $8::uuid[], $9::text[], $10::text[], $11::text[], $12::uuid[], $13::inet[],
        $14::text[], $15::text[], $16::timestamptz[], $17::uuid[]) AS new (tally_key, minute, counted, wanted,
        event_id, organization_id, agent_id, action, outcome, resource_type, resource_id, ip_address,
        user_agent, metadata, occurred_at, trace_id)
    ORDER BY tally_key
    ON CONFLICT ON CONSTRAINT audit_tallies_pkey DO UPDATE SET
        granted = LEAST(EXCLUDED.granted, $5 - t.in_full),
        in_full = t.in_full + LEAST(EXCLUDED.granted, $5 - t.in_full),
        counted = t.counted + EXCLUDED.counted + EXCLUDED.granted - LEAST(EXCLUDED.granted, $5 - t.in_full)
    RETURNING t.tally_key, t.granted
)
INSERT INTO audit_events (event_id, organization_id, agent_id, action, outcome, resource_type, resource_id,
    ip_address, user_agent, metadata, occurred_at, trace_id)
SELECT event_id, organization_id, agent_id, action, outcome, resource_type, resource_id,
    ip_address, user_agent, metadata::json, occurred_at, trace_id
FROM unnest($18::text[], $19::bigint[], $20::uuid[], $21::uuid[], $22::uuid[], $23::text[], $24::text[],
    $25::text[], $26::uuid[], $27::inet[], $28::text[], $29::text[], $30::timestamptz[], $31::uuid[]) AS event (tally_key, seat,
    event_id, organization_id, agent_id, action, outcome, resource_type, resource_id, ip_address,
    user_agent, metadata, occurred_at, trace_id)
JOIN counted USING (tally_key)
WHERE event.seat <= counted.granted
