-- Proofs of possession (RFC 9449).
ALTER TABLE agents
    ADD COLUMN dpop text NOT NULL DEFAULT 'optional',
    ADD CONSTRAINT agents_dpop_check CHECK (dpop IN ('optional', 'required'));
COMMENT ON COLUMN agents.dpop IS 'Whether the tokens of the agent must be bound to a key';
