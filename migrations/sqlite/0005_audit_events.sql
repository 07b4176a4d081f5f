-- What happened, who did it, to what, from where. Rows are only added; agentidp_retention() is known to the service alone,
-- and true while it removes what is past its retention.
CREATE TABLE audit_events (
    event_id BLOB NOT NULL PRIMARY KEY CHECK (length(event_id) = 16),
    organization_id BLOB,
    agent_id BLOB,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('success', 'failure')),
    resource_type TEXT,
    resource_id BLOB,
    ip_address TEXT,
    user_agent TEXT CHECK (length(CAST(user_agent AS BLOB)) <= 512),
    metadata TEXT NOT NULL CHECK (json_type(metadata) = 'object'),
    occurred_at INTEGER NOT NULL,
    CHECK ((resource_type IS NULL) = (resource_id IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_events_occurred_at_idx ON audit_events (occurred_at, event_id);
CREATE INDEX audit_events_organization_id_idx ON audit_events (organization_id, occurred_at, event_id);
CREATE INDEX audit_events_agent_id_idx ON audit_events (agent_id, occurred_at, event_id) WHERE agent_id IS NOT NULL;
CREATE INDEX audit_events_resource_id_idx ON audit_events (resource_id, occurred_at, event_id)
    WHERE resource_id IS NOT NULL;
CREATE INDEX audit_events_action_idx ON audit_events (action, occurred_at, event_id) WHERE action <> 'token.issued';
CREATE INDEX audit_events_organization_id_action_idx ON audit_events (organization_id, action, occurred_at, event_id)
    WHERE action <> 'token.issued';
CREATE INDEX audit_events_failure_idx ON audit_events (occurred_at, event_id) WHERE outcome = 'failure';
CREATE INDEX audit_events_organization_id_failure_idx ON audit_events (organization_id, occurred_at, event_id)
    WHERE outcome = 'failure';
CREATE INDEX audit_events_resource_type_idx ON audit_events (resource_type, occurred_at, event_id)
    WHERE resource_type <> 'token';
CREATE INDEX audit_events_organization_id_resource_type_idx
    ON audit_events (organization_id, resource_type, occurred_at, event_id) WHERE resource_type <> 'token';
CREATE INDEX audit_events_root_idx ON audit_events (metadata ->> '$.root', occurred_at, event_id)
    WHERE action = 'token.exchanged';

-- REPLACE would not fire the trigger of a deletion.
CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE event_id = NEW.event_id) BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only: there is an event with this ID');
END;
CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only: UPDATE is refused');
END;
CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events WHEN NOT agentidp_retention() BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only: DELETE is refused');
END;

-- Introspections and failures of a minute that is not over. Each becomes one audit event. in_full says how many were
-- stored as events of their own.
CREATE TABLE audit_tallies (
    tally_key TEXT NOT NULL PRIMARY KEY,
    minute INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    organization_id BLOB,
    agent_id BLOB,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    resource_type TEXT,
    resource_id BLOB,
    ip_address TEXT,
    user_agent TEXT,
    metadata TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    counted INTEGER NOT NULL CHECK (counted >= 0),
    in_full INTEGER NOT NULL CHECK (in_full >= 0)
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_tallies_minute_idx ON audit_tallies (minute);
