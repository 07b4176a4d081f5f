-- The revocation of a person's tokens is published like every other revocation.

ALTER TABLE outbox
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('token', 'agent', 'organization', 'issuer', 'person'));
