-- Room for the two scopes of trusted issuers beyond the 64 capabilities that a change may give an agent.

ALTER TABLE agents
    DROP CONSTRAINT agents_capabilities_check,
    ADD CONSTRAINT agents_capabilities_check CHECK (cardinality(capabilities) BETWEEN 1 AND 66) NOT VALID;
