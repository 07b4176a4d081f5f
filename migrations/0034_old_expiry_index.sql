-- The index of the last migration begins in the same way. In a transaction of its own, because raising the lock of CREATE
-- INDEX to that of DROP INDEX would wait for writers that wait for it.
DROP INDEX credentials_expires_at_idx;
