-- What was decided here and must be told to Redis.

CREATE TABLE outbox (
    notice_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT outbox_pkey PRIMARY KEY,
    kind text NOT NULL,
    subject_id uuid NOT NULL,
    generation bigint,
    remembered_until timestamptz NOT NULL,
    CONSTRAINT outbox_kind_check CHECK (kind IN ('token', 'agent', 'organization')),
    CONSTRAINT outbox_generation_check CHECK ((kind = 'token') = (generation IS NULL))
);
COMMENT ON TABLE outbox IS
    'Kills that Redis has not been told yet: written with the kill, taken out once told, so that a crash between the two is repaired';
CREATE INDEX outbox_remembered_until_idx ON outbox (remembered_until);
