-- What faces ask of a long queue is answered from indexes that are written anyway: counts and lists by state, without a look
-- at the rows. Held mail, which is rare, has an index of its own. And how much mail passed, in slots of ten minutes.

DROP INDEX queue_due;
CREATE INDEX queue_due ON queue_recipients (account, due_at, message_id, state) WHERE due_at IS NOT NULL;
DROP INDEX queue_ended;
CREATE INDEX queue_ended ON queue_recipients (ended_at, account, state, message_id) WHERE ended_at IS NOT NULL;
CREATE INDEX queue_held ON queue_recipients (account, state, message_id)
    WHERE due_at IS NULL AND lease_until IS NULL AND ended_at IS NULL;
CREATE INDEX queue_device ON queue_messages (device, id);

CREATE TABLE traffic (
    slot {{bigint}} NOT NULL PRIMARY KEY,
    accepted {{bigint}} NOT NULL,
    delivered {{bigint}} NOT NULL,
    failed {{bigint}} NOT NULL,
    waiting {{bigint}} NOT NULL
) {{strict}};
