-- What the machine tells of itself: alerts as they stand, and what was told of them by which channels. Nothing secret.

CREATE TABLE alerts (
    name TEXT NOT NULL PRIMARY KEY,
    version {{bigint}} NOT NULL,
    solved_at {{bigint}},
    payload {{blob}} NOT NULL
) {{strict}};

CREATE TABLE tellings (
    id {{id}},
    name TEXT NOT NULL UNIQUE,
    version {{bigint}} NOT NULL,
    told_at {{bigint}} NOT NULL,
    due_at {{bigint}},
    payload {{blob}} NOT NULL
) {{strict}};

CREATE INDEX tellings_due ON tellings (due_at) WHERE due_at IS NOT NULL;
