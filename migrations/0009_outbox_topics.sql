-- Messages of the outbox for more than one consumer.

-- The version before this one writes and reads revocations only, and names no topic.
ALTER TABLE outbox ADD COLUMN topic text NOT NULL DEFAULT 'revocations';
COMMENT ON TABLE outbox IS
    'Messages that are not delivered yet: written with the change that causes them and deleted after delivery, so that a crash between the two loses none';
COMMENT ON COLUMN outbox.topic IS 'The consumers of the message. A message has one row per topic, which is deleted after delivery';
COMMENT ON COLUMN outbox.notice_id IS
    'Sequence of the message. It follows the order of writing, not that of commits: consumers remove what they delivered and keep no position';
CREATE INDEX outbox_topic_notice_id_idx ON outbox (topic, notice_id);
