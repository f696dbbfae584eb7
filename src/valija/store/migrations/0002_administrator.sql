-- The administrator: the password's hash and the lock-out by name, and the sessions that are open.

CREATE TABLE administrator (
    name TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    payload {{blob}} NOT NULL
) {{strict}};

CREATE TABLE sessions (
    key TEXT NOT NULL PRIMARY KEY,
    last_seen_at {{bigint}} NOT NULL,
    payload {{blob}} NOT NULL
) {{strict}};

CREATE INDEX sessions_last_seen ON sessions (last_seen_at);
