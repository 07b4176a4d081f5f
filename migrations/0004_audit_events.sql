-- The audit log: appended to, never changed; by month, so that what is past its time goes as a whole.

CREATE TABLE audit_events (
    event_id uuid NOT NULL,
    organization_id uuid,
    agent_id uuid,
    action text NOT NULL,
    outcome text NOT NULL,
    resource_type text,
    resource_id uuid,
    ip_address inet,
    user_agent text,
    metadata json NOT NULL,
    occurred_at timestamptz NOT NULL,
    CONSTRAINT audit_events_pkey PRIMARY KEY (event_id, occurred_at),
    CONSTRAINT audit_events_action_check CHECK (action ~ '^[a-z]+\.[a-z]+$'),
    CONSTRAINT audit_events_outcome_check CHECK (outcome IN ('success', 'failure')),
    CONSTRAINT audit_events_resource_check CHECK ((resource_type IS NULL) = (resource_id IS NULL)),
    CONSTRAINT audit_events_user_agent_check CHECK (octet_length(user_agent) <= 512)
) PARTITION BY RANGE (occurred_at);
COMMENT ON TABLE audit_events IS
    'What happened, who did it, to what, from where. UPDATE, DELETE and TRUNCATE are refused, but for purge_audit_events';
COMMENT ON COLUMN audit_events.organization_id IS
    'Whose it is; null where a failed authentication named no known client. No foreign key: it is taken from the row that changed, and a check for each event would cost more than the event';
COMMENT ON COLUMN audit_events.agent_id IS 'Who acted; null for a stranger and for the operator';

-- Each list is walked newest first, within an organization or over all. Nearly all rows are token.issued: the
-- indexes that only look for others leave them out.
CREATE INDEX audit_events_occurred_at_idx ON audit_events (occurred_at, event_id);
CREATE INDEX audit_events_organization_id_idx ON audit_events (organization_id, occurred_at, event_id);
CREATE INDEX audit_events_agent_id_idx ON audit_events (agent_id, occurred_at, event_id);
CREATE INDEX audit_events_resource_id_idx ON audit_events (resource_id, occurred_at, event_id);
CREATE INDEX audit_events_action_idx ON audit_events (action, occurred_at, event_id)
    WHERE action <> 'token.issued';
CREATE INDEX audit_events_organization_id_action_idx ON audit_events (organization_id, action, occurred_at, event_id)
    WHERE action <> 'token.issued';
CREATE INDEX audit_events_failure_idx ON audit_events (occurred_at, event_id) WHERE outcome = 'failure';
CREATE INDEX audit_events_organization_id_failure_idx ON audit_events (organization_id, occurred_at, event_id)
    WHERE outcome = 'failure';
CREATE INDEX audit_events_resource_type_idx ON audit_events (resource_type, occurred_at, event_id)
    WHERE resource_type <> 'token';
CREATE INDEX audit_events_organization_id_resource_type_idx
    ON audit_events (organization_id, resource_type, occurred_at, event_id) WHERE resource_type <> 'token';

CREATE TABLE audit_tallies (
    tally_key text CONSTRAINT audit_tallies_pkey PRIMARY KEY,
    minute timestamptz NOT NULL,
    event_id uuid NOT NULL,
    organization_id uuid,
    agent_id uuid,
    action text NOT NULL,
    outcome text NOT NULL,
    resource_type text,
    resource_id uuid,
    ip_address inet,
    user_agent text,
    metadata json NOT NULL,
    occurred_at timestamptz NOT NULL,
    counted bigint NOT NULL,
    in_full bigint NOT NULL,
    granted bigint NOT NULL,
    CONSTRAINT audit_tallies_counted_check CHECK (counted >= 0 AND in_full >= 0 AND granted >= 0)
);
COMMENT ON TABLE audit_tallies IS
    'Introspections and failures of a minute that is not over, counted over all instances: each becomes one audit event';
COMMENT ON COLUMN audit_tallies.in_full IS 'How many were written as events of their own';
COMMENT ON COLUMN audit_tallies.granted IS 'How many of those that were told last';
CREATE INDEX audit_tallies_minute_idx ON audit_tallies (minute);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('agentidp.retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_events is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
COMMENT ON FUNCTION refuse_audit_change IS 'Refuses every change of an event, but for its retention';

CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
-- A plain trigger is skipped where session_replication_role is replica.
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only;
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_no_truncate;

-- Runs as the owner: whoever appends may not make tables. A new partition is made apart and then attached,
-- because CREATE TABLE … PARTITION OF would lock out all who read and append.
CREATE FUNCTION make_audit_partitions(from_time timestamptz, months integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    first_month timestamp := date_trunc('month', from_time AT TIME ZONE 'UTC');
    month timestamp;
    partition text;
BEGIN
    IF months NOT BETWEEN 1 AND 24 THEN
        RAISE EXCEPTION 'between 1 and 24 months at once';
    END IF;
    FOR month IN SELECT first_month + make_interval(months => n) FROM generate_series(0, months - 1) n LOOP
        partition := 'audit_events_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass(partition) IS NOT NULL;
        PERFORM pg_advisory_xact_lock(hashtextextended('agentidp audit partitions', 0));
        -- Not by to_regclass: it answers from a cache that an advisory lock does not refresh.
        CONTINUE WHEN EXISTS (SELECT FROM pg_inherits JOIN pg_class ON oid = inhrelid
            WHERE inhparent = 'audit_events'::regclass AND relname = partition);
        EXECUTE format('CREATE TABLE %I (LIKE audit_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
        EXECUTE format('ALTER TABLE audit_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            partition, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        EXECUTE format('COMMENT ON TABLE %I IS %L', partition, 'Audit events of one month');
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER audit_events_append_only', partition);
        EXECUTE format('CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON %I
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()', partition);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER audit_events_no_truncate', partition);
    END LOOP;
END $$;
COMMENT ON FUNCTION make_audit_partitions IS 'Makes the partition of a month and of those after it, where they are missing';

-- More than what the calendar of timestamptz holds is as good as two thousand years.
CREATE VIEW organization_retention AS
SELECT o.organization_id,
    LEAST(730000, NULLIF(COALESCE(o.audit_retention_days, p.audit_retention_days), 0))::integer AS days
FROM organizations o JOIN plans p USING (plan);
COMMENT ON VIEW organization_retention IS
    'For how many days the events of each organization are shown; null: for ever. Those of none are kept as on the plan free';

-- Runs as the owner, and decides by the tables alone what is past its time: nobody can ask it for more.
-- Partitions that lie wholly in the past go whole; of the others at most batch events go at once.
CREATE FUNCTION purge_audit_events(as_of timestamptz, grace_days integer, batch integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    removed bigint := 0;
    n bigint;
    longest integer;
    of_strays integer := (SELECT audit_retention_days FROM plans WHERE plan = 'free');
    partition regclass;
BEGIN
    IF grace_days < 30 OR as_of > clock_timestamp() + interval '1 day' THEN
        RAISE EXCEPTION 'events are kept for 30 days of grace, by the present time';
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('agentidp audit retention', 0)) THEN
        RETURN 0;
    END IF;
    PERFORM set_config('agentidp.retention', 'on', true);
    -- Null is for ever.
    SELECT CASE WHEN bool_or(days IS NULL) THEN NULL ELSE GREATEST(max(days), of_strays) END INTO longest
    FROM organization_retention;
    FOR partition IN
        SELECT inhrelid::regclass FROM pg_inherits
        WHERE inhparent = 'audit_events'::regclass
          AND to_date(right(inhrelid::regclass::text, 7), 'YYYY_MM') + interval '1 month'
              <= (as_of AT TIME ZONE 'UTC') - make_interval(hours => 24 * (longest + grace_days))
    LOOP
        EXECUTE format('SELECT count(*) FROM %s', partition) INTO n;
        EXECUTE format('DROP TABLE %s', partition);
        removed := removed + n;
    END LOOP;
    WITH past AS (
        SELECT e.event_id, e.occurred_at
        FROM organization_retention o
        CROSS JOIN LATERAL (
            SELECT event_id, occurred_at FROM audit_events
            WHERE organization_id = o.organization_id
              AND occurred_at < as_of - make_interval(hours => 24 * (o.days + grace_days))
            ORDER BY occurred_at LIMIT batch) AS e
        UNION ALL
        SELECT event_id, occurred_at FROM audit_events
        WHERE organization_id IS NULL
          AND occurred_at < as_of - make_interval(hours => 24 * (of_strays + grace_days))
        LIMIT batch
    )
    DELETE FROM audit_events a USING past
    WHERE a.event_id = past.event_id AND a.occurred_at = past.occurred_at;
    GET DIAGNOSTICS n = ROW_COUNT;
    PERFORM set_config('agentidp.retention', 'off', true);
    RETURN removed + n;
END $$;
COMMENT ON FUNCTION purge_audit_events IS 'Removes events that are past their retention and its grace; answers how many';
REVOKE ALL ON FUNCTION make_audit_partitions, purge_audit_events FROM PUBLIC;

-- What runs as the owner must not take a caller's temporary table for one of these.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION make_audit_partitions SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION purge_audit_events SET search_path = %I, pg_temp', current_schema());
END $$;
