-- Administrators may manage trusted issuers.

-- Capabilities that named the resource before it was reserved are management scopes from now on.
DO $$
DECLARE holder record;
BEGIN
    FOR holder IN
        SELECT agent_id, capability FROM agents, unnest(capabilities) AS capability
        WHERE capability LIKE 'issuers:%' ORDER BY agent_id, capability
    LOOP
        RAISE WARNING 'agent % has the capability %, which is reserved for this service from now on',
            holder.agent_id, holder.capability;
    END LOOP;
END $$;

-- Each with its event. A limit on capabilities is checked at the agent's next change.
DO $$
DECLARE
    administrator record;
    at timestamptz := date_trunc('milliseconds', clock_timestamp());
BEGIN
    IF NOT EXISTS (SELECT FROM agents WHERE capabilities @> ARRAY['admin:orgs']) THEN
        RETURN;
    END IF;
    PERFORM make_audit_partitions(at, 1);
    FOR administrator IN
        UPDATE agents SET updated_at = at, revision = revision + 1, capabilities = capabilities || ARRAY(
            SELECT scope FROM unnest(ARRAY['issuers:read', 'issuers:write']) AS scope WHERE scope <> ALL (capabilities))
        WHERE capabilities @> ARRAY['admin:orgs'] AND NOT capabilities @> ARRAY['issuers:read', 'issuers:write']
        RETURNING agent_id, organization_id
    LOOP
        INSERT INTO audit_events (event_id, organization_id, action, outcome, resource_type, resource_id, metadata, occurred_at)
        -- A random UUID with the time in front and version 7.
        VALUES (encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
                PLACING substring(int8send((extract(epoch FROM at) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1),
                'hex')::uuid,
            administrator.organization_id, 'agent.updated', 'success', 'agent', administrator.agent_id,
            '{"fields":["capabilities"]}', at);
    END LOOP;
END $$;
