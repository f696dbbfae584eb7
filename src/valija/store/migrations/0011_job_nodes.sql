-- Which node works on a job (its files are there), and when each node was last seen.

ALTER TABLE jobs ADD COLUMN node TEXT NOT NULL DEFAULT '';

CREATE TABLE job_nodes (
    name TEXT NOT NULL PRIMARY KEY,
    seen_at {{bigint}} NOT NULL
) {{strict}};
