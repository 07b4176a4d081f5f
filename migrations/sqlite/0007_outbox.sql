-- Messages that a change causes, until they are delivered.
CREATE TABLE outbox (
    notice_id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('token', 'agent', 'organization', 'issuer', 'person')),
    subject_id BLOB NOT NULL CHECK (length(subject_id) = 16),
    generation INTEGER,
    remembered_until INTEGER NOT NULL,
    CHECK ((kind = 'token') = (generation IS NULL))
) STRICT;

CREATE INDEX outbox_remembered_until_idx ON outbox (remembered_until);
