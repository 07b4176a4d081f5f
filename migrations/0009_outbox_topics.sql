-- Messages of the outbox for more than one consumer.

-- The version before this one writes and reads revocations only, and names no topic.
ALTER TABLE outbox ADD COLUMN topic text NOT NULL DEFAULT 'revocations';
COMMENT ON COLUMN outbox.topic IS 'The consumers of the message. Each message has one row a topic, which is removed once delivered';
COMMENT ON COLUMN outbox.notice_id IS
    'Sequence of the message. It follows the order of writing, not that of commits: consumers remove what they delivered and keep no position';
CREATE INDEX outbox_topic_notice_id_idx ON outbox (topic, notice_id);
