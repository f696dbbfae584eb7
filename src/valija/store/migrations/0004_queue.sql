-- The queue: a message, a row for each of its recipients, a gate for each account.
-- due_at is set for what waits, lease_until for what a worker has, ended_at for what has ended; never two of them.
-- state_payload is empty for what waits for its first try; envelope and state_payload hold nothing secret.

CREATE TABLE queue_messages (
    id {{id}},
    account TEXT NOT NULL,
    device TEXT NOT NULL,
    accepted_at {{bigint}} NOT NULL,
    envelope {{blob}} NOT NULL,
    file TEXT NOT NULL,
    body {{blob}} NOT NULL
) {{strict}};

CREATE TABLE queue_recipients (
    id {{id}},
    message_id {{bigint}} NOT NULL REFERENCES queue_messages (id) ON DELETE CASCADE,
    account TEXT NOT NULL,
    place {{bigint}} NOT NULL,
    state TEXT NOT NULL,
    due_at {{bigint}},
    lease_until {{bigint}},
    ended_at {{bigint}},
    state_payload {{blob}} NOT NULL
) {{strict}};

CREATE INDEX queue_due ON queue_recipients (account, due_at, message_id) WHERE due_at IS NOT NULL;
CREATE INDEX queue_leases ON queue_recipients (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX queue_ended ON queue_recipients (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX queue_of_message ON queue_recipients (message_id);

CREATE TABLE queue_numbers (
    name TEXT NOT NULL PRIMARY KEY,
    last {{bigint}} NOT NULL
) {{strict}};

INSERT INTO queue_numbers (name, last) VALUES ('lease', 0);

CREATE TABLE queue_gates (
    account TEXT NOT NULL PRIMARY KEY,
    version {{bigint}} NOT NULL,
    payload {{blob}} NOT NULL
) {{strict}};
