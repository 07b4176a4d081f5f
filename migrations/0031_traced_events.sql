-- The trace of the request that caused an event.
ALTER TABLE audit_events ADD COLUMN trace_id uuid;
COMMENT ON COLUMN audit_events.trace_id IS
    'Trace (W3C Trace Context) of the request, whose ID is written without hyphens elsewhere; null if it was part of none';
