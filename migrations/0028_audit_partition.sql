-- The partition of one month has a function of its own, so that a copy from another store can bring older events than
-- make_audit_partitions would take: that one serves instances, whose clocks may be wrong.
DO $migration$ BEGIN
    EXECUTE replace($definition$
CREATE FUNCTION {schema}.make_audit_partition(month timestamp) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    partition constant text := 'audit_events_' || to_char(month, 'YYYY_MM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('agentidp audit partitions', 0::bigint));
    -- Not by to_regclass: it answers from a cache that an advisory lock does not refresh.
    IF EXISTS (SELECT FROM pg_inherits JOIN pg_class ON oid = inhrelid
            WHERE inhparent = '{schema}.audit_events'::regclass AND relname = partition) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE {schema}.%1$I (LIKE {schema}.audit_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
        partition);
    EXECUTE format('ALTER TABLE {schema}.audit_events ATTACH PARTITION {schema}.%1$I FOR VALUES FROM (%2$L) TO (%3$L)',
        partition, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
    EXECUTE format('COMMENT ON TABLE {schema}.%1$I IS %2$L', partition, 'Audit events of one month');
    EXECUTE format('ALTER TABLE {schema}.%1$I ENABLE ALWAYS TRIGGER audit_events_append_only', partition);
    EXECUTE format('CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON {schema}.%1$I
        FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_audit_change()', partition);
    EXECUTE format('ALTER TABLE {schema}.%1$I ENABLE ALWAYS TRIGGER audit_events_no_truncate', partition);
END $body$
$definition$, '{schema}', quote_ident(current_schema()));

    EXECUTE replace($definition$
CREATE OR REPLACE FUNCTION {schema}.make_audit_partitions(from_time timestamptz, months integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    first_month timestamp := date_trunc('month', from_time AT TIME ZONE 'UTC');
    month timestamp;
BEGIN
    IF months NOT BETWEEN 1 AND 24 THEN
        RAISE EXCEPTION 'between 1 and 24 months at once';
    END IF;
    FOR month IN SELECT first_month + make_interval(months => n) FROM generate_series(0, months - 1) n LOOP
        CONTINUE WHEN to_regclass('{schema}.audit_events_' || to_char(month, 'YYYY_MM')) IS NOT NULL;
        -- Each costs every reader of all events, so they are made for events only that happen now or came late.
        IF month NOT BETWEEN (clock_timestamp() AT TIME ZONE 'UTC') - interval '3 years'
                AND (clock_timestamp() AT TIME ZONE 'UTC') + interval '6 months' THEN
            -- Those after the first are made ahead of their time, and may wait for it.
            CONTINUE WHEN month <> first_month;
            RAISE EXCEPTION 'events of % cannot be stored now: the clock of an instance is wrong', to_char(month, 'YYYY-MM')
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        PERFORM {schema}.make_audit_partition(month);
    END LOOP;
END $body$
$definition$, '{schema}', quote_ident(current_schema()));
END $migration$;

REVOKE ALL ON FUNCTION make_audit_partition FROM PUBLIC;
COMMENT ON FUNCTION make_audit_partition IS 'Creates the partition of audit_events for one month, if it is missing';
