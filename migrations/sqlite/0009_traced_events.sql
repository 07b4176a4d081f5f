-- The trace of the request that caused an event.
ALTER TABLE audit_events ADD COLUMN trace_id BLOB CHECK (length(trace_id) = 16);
