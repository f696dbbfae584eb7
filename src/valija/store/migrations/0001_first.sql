-- The first schema. {{id}} and {{blob}} are the engine's words for a growing number and for octets.

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value {{blob}} NOT NULL
) {{strict}};

CREATE TABLE tokens (
    account TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    due_at {{bigint}},
    payload {{blob}} NOT NULL
) {{strict}};

CREATE INDEX tokens_due ON tokens (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    payload {{blob}} NOT NULL
) {{strict}};

CREATE TABLE registrations (
    name TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    payload {{blob}} NOT NULL
) {{strict}};

CREATE TABLE received (
    id {{id}},
    account TEXT NOT NULL,
    maildrop TEXT NOT NULL,
    unique_id TEXT NOT NULL,
    received_at {{bigint}} NOT NULL,
    file TEXT NOT NULL,
    size {{bigint}} NOT NULL,
    sender TEXT NOT NULL,
    subject TEXT NOT NULL,
    UNIQUE (account, maildrop, unique_id)
) {{strict}};

CREATE TABLE audit (
    id {{id}},
    at {{bigint}} NOT NULL,
    who TEXT NOT NULL,
    place TEXT NOT NULL,
    presence TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL
) {{strict}};
