-- What befell a message between its acceptance and its end, and an account's gate; nothing secret.

CREATE TABLE queue_history (
    id {{id}},
    message_id {{bigint}} NOT NULL REFERENCES queue_messages (id) ON DELETE CASCADE,
    payload {{blob}} NOT NULL
) {{strict}};

CREATE INDEX queue_history_of_message ON queue_history (message_id, id);

CREATE TABLE gate_history (
    id {{id}},
    account TEXT NOT NULL,
    payload {{blob}} NOT NULL
) {{strict}};

CREATE INDEX gate_history_of_account ON gate_history (account, id);
