-- Devices of the local network, sealed (a password's hash); what was seen of them, and of those nobody knows.

CREATE TABLE devices (
    login TEXT NOT NULL PRIMARY KEY,
    version {{bigint}} NOT NULL,
    payload {{blob}} NOT NULL
) {{strict}};

CREATE TABLE sightings (
    subject TEXT NOT NULL PRIMARY KEY,
    last_at {{bigint}} NOT NULL,
    payload {{blob}} NOT NULL
) {{strict}};

CREATE INDEX sightings_age ON sightings (last_at);
