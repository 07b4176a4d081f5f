-- What the serving role may do, and what runs with the owner's power on its behalf.

-- A floor under the retention of each plan: an administrator cannot make an organization's record shorter than this.
-- A table of its own, because every token that is issued reads plans, which must not be locked here.
CREATE TABLE audit_floors (
    plan text CONSTRAINT audit_floors_pkey PRIMARY KEY,
    days bigint NOT NULL,
    CONSTRAINT audit_floors_days_check CHECK (days > 0)
);
COMMENT ON TABLE audit_floors IS
    'For how many days events are kept at least on each plan, whatever audit_retention_days says. The same numbers as domain/plan.rs; a test holds them together';
INSERT INTO audit_floors VALUES ('free', 30), ('pro', 90), ('enterprise', 365);

CREATE TABLE audit_retention_falls (
    organization_id uuid CONSTRAINT audit_retention_falls_pkey PRIMARY KEY,
    days integer,
    kept_until timestamptz NOT NULL,
    CONSTRAINT audit_retention_falls_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations
);
COMMENT ON TABLE audit_retention_falls IS
    'Organizations whose retention was made shorter: until kept_until their events are kept as long as before. Written by a trigger; the serving role may only read it';
COMMENT ON COLUMN audit_retention_falls.days IS 'How long events were kept before; null: forever';

CREATE VIEW organization_keeping AS
SELECT o.organization_id,
    CASE WHEN r.days IS NULL OR f.organization_id IS NOT NULL AND f.days IS NULL THEN NULL
        ELSE GREATEST(r.days, floor.days, f.days)::integer END AS days
FROM organizations o
JOIN audit_floors floor USING (plan)
JOIN organization_retention r USING (organization_id)
LEFT JOIN audit_retention_falls f
    ON f.organization_id = o.organization_id AND f.kept_until > clock_timestamp();
COMMENT ON VIEW organization_keeping IS
    'For how many days the events of each organization are kept, which may be longer than they are shown; null: forever';

CREATE FUNCTION organization_gate(organization_id uuid) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ('x' || right(organization_id::text, 8))::bit(32)::integer;
COMMENT ON FUNCTION organization_gate IS
    'The second key of the advisory lock (1, gate) that changes of an organization take exclusively, and the issuing of its tokens in share mode';

-- Nothing calls it any more.
DROP FUNCTION purge_audit_events;
COMMENT ON TABLE audit_events IS
    'What happened, who did it, to what, from where. UPDATE, DELETE and TRUNCATE are refused, except in remove_past_audit_events';

-- A function that runs as the owner looks up nothing in a schema where other roles may create objects: operators and functions
-- are PostgreSQL's own, and tables are named with their schema. An unqualified call would be resolved to the function
-- whose arguments fit best, in whatever schema of the path it is.
DO $migration$
BEGIN
    EXECUTE replace($definition$
CREATE FUNCTION {schema}.remember_retention_fall() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    -- For how many days events were kept, and are from now on; null: forever.
    before bigint;
    after bigint;
BEGIN
    -- GREATEST passes over nulls, and 0 is forever.
    SELECT CASE WHEN shown.days > 0 THEN GREATEST(shown.days, floor.days) END INTO before
    FROM {schema}.plans p JOIN {schema}.audit_floors floor USING (plan),
        LATERAL (SELECT COALESCE(OLD.audit_retention_days, p.audit_retention_days) AS days) AS shown
    WHERE p.plan = OLD.plan;
    SELECT CASE WHEN shown.days > 0 THEN GREATEST(shown.days, floor.days) END INTO after
    FROM {schema}.plans p JOIN {schema}.audit_floors floor USING (plan),
        LATERAL (SELECT COALESCE(NEW.audit_retention_days, p.audit_retention_days) AS days) AS shown
    WHERE p.plan = NEW.plan;
    IF after IS NULL OR before <= after THEN
        RETURN NULL;
    END IF;
    INSERT INTO {schema}.audit_retention_falls AS f (organization_id, days, kept_until)
    VALUES (NEW.organization_id, CASE WHEN before IS NOT NULL THEN LEAST(before, 730000) END::integer, clock_timestamp() + interval '30 days')
    ON CONFLICT ON CONSTRAINT audit_retention_falls_pkey DO UPDATE SET
        days = CASE
            WHEN f.kept_until <= clock_timestamp() THEN EXCLUDED.days
            WHEN f.days IS NULL OR EXCLUDED.days IS NULL THEN NULL
            ELSE GREATEST(f.days, EXCLUDED.days) END,
        kept_until = EXCLUDED.kept_until;
    RETURN NULL;
END $body$
$definition$, '{schema}', quote_ident(current_schema()));

    EXECUTE replace($definition$
CREATE OR REPLACE FUNCTION {schema}.make_audit_partitions(from_time timestamptz, months integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
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
        CONTINUE WHEN to_regclass('{schema}.' || partition) IS NOT NULL;
        -- Each costs every reader of all events, so they are made for events only that happen now or came late.
        IF month NOT BETWEEN (clock_timestamp() AT TIME ZONE 'UTC') - interval '3 years'
                AND (clock_timestamp() AT TIME ZONE 'UTC') + interval '6 months' THEN
            -- Those after the first are made ahead of their time, and may wait for it.
            CONTINUE WHEN month <> first_month;
            RAISE EXCEPTION 'events of % cannot be stored now: the clock of an instance is wrong', to_char(month, 'YYYY-MM')
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        PERFORM pg_advisory_xact_lock(hashtextextended('agentidp audit partitions', 0::bigint));
        -- Not by to_regclass: it answers from a cache that an advisory lock does not refresh.
        CONTINUE WHEN EXISTS (SELECT FROM pg_inherits JOIN pg_class ON oid = inhrelid
            WHERE inhparent = '{schema}.audit_events'::regclass AND relname = partition);
        EXECUTE format('CREATE TABLE {schema}.%1$I (LIKE {schema}.audit_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
            partition);
        EXECUTE format('ALTER TABLE {schema}.audit_events ATTACH PARTITION {schema}.%1$I FOR VALUES FROM (%2$L) TO (%3$L)',
            partition, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        EXECUTE format('COMMENT ON TABLE {schema}.%1$I IS %2$L', partition, 'Audit events of one month');
        EXECUTE format('ALTER TABLE {schema}.%1$I ENABLE ALWAYS TRIGGER audit_events_append_only', partition);
        EXECUTE format('CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON {schema}.%1$I
            FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_audit_change()', partition);
        EXECUTE format('ALTER TABLE {schema}.%1$I ENABLE ALWAYS TRIGGER audit_events_no_truncate', partition);
    END LOOP;
END $body$
$definition$, '{schema}', quote_ident(current_schema()));

    -- It decides by the tables and by the server's own clock alone what is past its time: a caller can ask it for no more.
    EXECUTE replace($definition$
CREATE OR REPLACE FUNCTION {schema}.remove_past_audit_events(as_of timestamptz, grace_days integer, batch integer, after uuid,
    OUT removed bigint, OUT go_on_after uuid)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- A step finds each event by its key: in a large table any other way takes longer than a step may.
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off
AS $body$
DECLARE
    is_first constant boolean := after = '00000000-0000-0000-0000-000000000000';
    present constant timestamptz := LEAST(as_of, clock_timestamp());
    at_once constant integer := 500;
    estimate bigint;
    longest integer;
    of_strays integer := (SELECT audit_retention_days FROM {schema}.plans WHERE plan = 'free');
    partition regclass;
BEGIN
    IF grace_days < 30 THEN
        RAISE EXCEPTION 'events are kept for 30 days of grace';
    END IF;
    removed := 0;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('agentidp audit retention', 0::bigint)) THEN
        RETURN;
    END IF;
    IF is_first THEN
        -- Null is forever.
        SELECT CASE WHEN bool_or(days IS NULL) THEN NULL ELSE GREATEST(max(days), of_strays) END INTO longest
        FROM {schema}.organization_keeping;
        SELECT inhrelid::regclass INTO partition FROM pg_inherits JOIN pg_class ON oid = inhrelid
        WHERE inhparent = '{schema}.audit_events'::regclass
          AND to_date(right(relname::text, 7), 'YYYY_MM') + interval '1 month'
              <= (present AT TIME ZONE 'UTC') - make_interval(hours => 24 * (longest + grace_days))
        ORDER BY relname LIMIT 1;
    END IF;
    IF partition IS NOT NULL THEN
        BEGIN
            -- Readers and writers wait behind this lock, so it is given up soon and tried again by a later step.
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
        SELECT organization_id, days FROM {schema}.organization_keeping
        WHERE organization_id > after ORDER BY organization_id LIMIT at_once
    ), past AS MATERIALIZED (
        SELECT e.event_id, e.occurred_at
        FROM slice
        CROSS JOIN LATERAL (
            SELECT event_id, occurred_at FROM {schema}.audit_events
            WHERE organization_id = slice.organization_id
              AND occurred_at < present - make_interval(hours => 24 * (slice.days + grace_days))
            ORDER BY occurred_at LIMIT batch) AS e
        UNION ALL
        SELECT event_id, occurred_at FROM {schema}.audit_events
        WHERE is_first AND organization_id IS NULL
          AND occurred_at < present - make_interval(hours => 24 * (of_strays + grace_days))
        LIMIT batch
    ), gone AS (
        DELETE FROM {schema}.audit_events a USING past
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
END $body$
$definition$, '{schema}', quote_ident(current_schema()));
END $migration$;
COMMENT ON FUNCTION remember_retention_fall IS
    'Notes in audit_retention_falls how long events were kept before an organization''s retention was made shorter';
REVOKE ALL ON FUNCTION remember_retention_fall FROM PUBLIC;

CREATE TRIGGER organizations_retention_fall AFTER UPDATE OF plan, audit_retention_days ON organizations FOR EACH ROW
    WHEN ((OLD.plan, OLD.audit_retention_days) IS DISTINCT FROM (NEW.plan, NEW.audit_retention_days))
    EXECUTE FUNCTION remember_retention_fall();
-- A plain trigger is skipped where session_replication_role is replica.
ALTER TABLE organizations ENABLE ALWAYS TRIGGER organizations_retention_fall;

-- Revoked credentials are kept in number: an agent's newest thousand. The indexes come last, because changes of credentials
-- wait for them.
CREATE INDEX credentials_unrevoked_idx ON credentials (agent_id) WHERE revoked_at IS NULL;
CREATE INDEX credentials_revoked_idx ON credentials (agent_id, revoked_at, credential_id) WHERE revoked_at IS NOT NULL;
