-- The tokens that were obtained by exchange from one token.

-- No token is issued while the index of a partition is built, and no event from before needs it. A large partition has none:
-- the events of its month are found by organization and action.
CREATE INDEX audit_events_root_idx ON ONLY audit_events ((metadata ->> 'root'), occurred_at, event_id)
    WHERE action = 'token.exchanged';

DO $$
DECLARE partition record;
BEGIN
    FOR partition IN
        SELECT oid::regclass AS name, relname || '_root_idx' AS index FROM pg_inherits JOIN pg_class ON oid = inhrelid
        WHERE inhparent = 'audit_events'::regclass AND pg_relation_size(oid) < 32 * 1024 * 1024 ORDER BY relname
    LOOP
        EXECUTE format('CREATE INDEX %I ON %s ((metadata ->> ''root''), occurred_at, event_id)
            WHERE action = ''token.exchanged''', partition.index, partition.name);
        EXECUTE format('ALTER INDEX audit_events_root_idx ATTACH PARTITION %I', partition.index);
    END LOOP;
END $$;
