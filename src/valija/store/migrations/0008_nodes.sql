-- What several nodes that share a database agree on: who has a lane or another duty, for how long; and the bodies that are too
-- large for a row, in pieces, since a file would be on one node only. SQLite has one node.

{{only postgres}} CREATE TABLE holds (
    name TEXT NOT NULL PRIMARY KEY,
    node TEXT NOT NULL,
    ends_at TIMESTAMPTZ NOT NULL
);

{{only postgres}} CREATE TABLE spool_files (
    name TEXT NOT NULL PRIMARY KEY,
    touched_at TIMESTAMPTZ NOT NULL,
    pieces BIGINT
);

{{only postgres}} CREATE TABLE spool_pieces (
    file TEXT NOT NULL REFERENCES spool_files (name) ON DELETE CASCADE,
    place BIGINT NOT NULL,
    octets BYTEA NOT NULL,
    PRIMARY KEY (file, place)
);

{{only postgres}} CREATE INDEX queue_files ON queue_messages (file) WHERE file <> '';

{{only postgres}} ALTER TABLE spool_pieces ALTER COLUMN octets SET STORAGE EXTERNAL;
{{only postgres}} ALTER TABLE queue_messages ALTER COLUMN body SET STORAGE EXTERNAL;
