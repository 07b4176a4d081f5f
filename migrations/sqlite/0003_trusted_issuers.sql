-- Third parties whose signed JWTs an organization accepts.
CREATE TABLE trusted_issuers (
    issuer_id BLOB NOT NULL PRIMARY KEY CHECK (length(issuer_id) = 16),
    organization_id BLOB NOT NULL REFERENCES organizations,
    name TEXT NOT NULL,
    issuer TEXT NOT NULL,
    keys TEXT NOT NULL CHECK (json_type(keys) = 'object'),
    audiences TEXT NOT NULL CHECK (json_type(audiences) = 'array'),
    algorithms TEXT NOT NULL CHECK (json_type(algorithms) = 'array'),
    max_lifetime_seconds INTEGER NOT NULL CHECK (max_lifetime_seconds > 0),
    require_jti INTEGER NOT NULL CHECK (require_jti IN (0, 1)),
    subject_optional INTEGER NOT NULL CHECK (subject_optional IN (0, 1)),
    subjects TEXT CHECK (json_type(subjects) = 'object'),
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    generation INTEGER NOT NULL CHECK (generation >= 0),
    subjects_generation INTEGER NOT NULL CHECK (subjects_generation >= 0),
    revision INTEGER NOT NULL CHECK (revision >= 0),
    UNIQUE (organization_id, issuer)
) STRICT, WITHOUT ROWID;

CREATE INDEX trusted_issuers_organization_id_created_at_idx
    ON trusted_issuers (organization_id, created_at, issuer_id);
CREATE INDEX trusted_issuers_created_at_idx ON trusted_issuers (created_at, issuer_id);

-- People whose tokens were revoked, by the SHA-256 of their sub. Any other person has generation 0. The rows of an issuer
-- that was deleted are removed later.
CREATE TABLE person_generations (
    issuer_id BLOB NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    generation INTEGER NOT NULL CHECK (generation > 0),
    PRIMARY KEY (issuer_id, digest)
) STRICT, WITHOUT ROWID;
