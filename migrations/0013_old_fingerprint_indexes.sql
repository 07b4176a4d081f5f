-- The indexes of migration 10 serve what these served. In a transaction of its own, because raising the lock of
-- CREATE INDEX to that of DROP INDEX would wait for writers that wait for it.
DROP INDEX credentials_fingerprint_idx, credentials_previous_fingerprint_idx;
