-- Retention in steps that are short however much there is: none counts what it drops, none looks at all
-- organizations at once, and none waits for readers while others wait behind it.

-- Instances of the version before still call it: the next migration drops it.
COMMENT ON FUNCTION purge_audit_events IS 'Replaced by remove_past_audit_events';

-- Runs as the owner, and decides by the tables alone what is past its time: nobody can ask it for more.
-- One step either drops one partition that lies wholly in the past, or removes at most batch events of the
-- organizations that come after one. It says from where to go on; null: it is done, or another does it now. What is
-- of no organization goes first, from before the first of them.
CREATE FUNCTION remove_past_audit_events(as_of timestamptz, grace_days integer, batch integer, after uuid,
    OUT removed bigint, OUT go_on_after uuid)
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    is_first constant boolean := after = '00000000-0000-0000-0000-000000000000';
    at_once constant integer := 500;
    estimate bigint;
    longest integer;
    of_strays integer := (SELECT audit_retention_days FROM plans WHERE plan = 'free');
    partition regclass;
BEGIN
    IF grace_days < 30 OR as_of > clock_timestamp() + interval '1 day' THEN
        RAISE EXCEPTION 'events are kept for 30 days of grace, by the present time';
    END IF;
    removed := 0;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('agentidp audit retention', 0)) THEN
        RETURN;
    END IF;
    IF is_first THEN
        -- Null is for ever.
        SELECT CASE WHEN bool_or(days IS NULL) THEN NULL ELSE GREATEST(max(days), of_strays) END INTO longest
        FROM organization_retention;
        SELECT inhrelid::regclass INTO partition FROM pg_inherits
        WHERE inhparent = 'audit_events'::regclass
          AND to_date(right(inhrelid::regclass::text, 7), 'YYYY_MM') + interval '1 month'
              <= (as_of AT TIME ZONE 'UTC') - make_interval(hours => 24 * (longest + grace_days))
        ORDER BY inhrelid::regclass::text LIMIT 1;
    END IF;
    IF partition IS NOT NULL THEN
        BEGIN
            -- Whoever reads or appends waits behind this lock: better not now than for long.
            PERFORM set_config('lock_timeout', '100ms', true);
            -- As many as were there when the table was last looked over: to count them takes too long.
            SELECT GREATEST(reltuples, 1) INTO estimate FROM pg_class WHERE oid = partition;
            EXECUTE format('DROP TABLE %s', partition);
            removed := estimate;
            go_on_after := after;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END IF;
    PERFORM set_config('agentidp.retention', 'on', true);
    WITH slice AS MATERIALIZED (
        SELECT organization_id, days FROM organization_retention
        WHERE organization_id > after ORDER BY organization_id LIMIT at_once
    ), past AS MATERIALIZED (
        SELECT e.event_id, e.occurred_at
        FROM slice
        CROSS JOIN LATERAL (
            SELECT event_id, occurred_at FROM audit_events
            WHERE organization_id = slice.organization_id
              AND occurred_at < as_of - make_interval(hours => 24 * (slice.days + grace_days))
            ORDER BY occurred_at LIMIT batch) AS e
        UNION ALL
        SELECT event_id, occurred_at FROM audit_events
        WHERE is_first AND organization_id IS NULL
          AND occurred_at < as_of - make_interval(hours => 24 * (of_strays + grace_days))
        LIMIT batch
    ), gone AS (
        DELETE FROM audit_events a USING past
        WHERE a.event_id = past.event_id AND a.occurred_at = past.occurred_at
        RETURNING true
    )
    SELECT (SELECT count(*) FROM gone),
        (SELECT organization_id FROM slice ORDER BY organization_id OFFSET at_once - 1)
    INTO removed, go_on_after;
    PERFORM set_config('agentidp.retention', 'off', true);
    -- Of these there may be more.
    IF removed >= batch THEN
        go_on_after := after;
    END IF;
END $$;
COMMENT ON FUNCTION remove_past_audit_events IS
    'One step of removing events that are past their retention and its grace; answers about how many went, and from where to go on';
REVOKE ALL ON FUNCTION remove_past_audit_events FROM PUBLIC;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION remove_past_audit_events SET search_path = %I, pg_temp', current_schema());
    -- A step finds each event by its key: in a large table any other way takes longer than a step may.
    ALTER FUNCTION remove_past_audit_events SET enable_hashjoin = off;
    ALTER FUNCTION remove_past_audit_events SET enable_mergejoin = off;
    ALTER FUNCTION remove_past_audit_events SET enable_seqscan = off;
END $$;
