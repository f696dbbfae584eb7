-- The machine's jobs: what does not change about each, its state, how far it is; and what befell it. Nothing secret.

CREATE TABLE jobs (
    id {{id}},
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    ended_at {{bigint}},
    done {{bigint}} NOT NULL,
    pages {{bigint}} NOT NULL,
    card {{blob}} NOT NULL,
    payload {{blob}} NOT NULL
) {{strict}};

CREATE INDEX jobs_live ON jobs (id) WHERE ended_at IS NULL;
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE job_history (
    id {{id}},
    job_id {{bigint}} NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    payload {{blob}} NOT NULL
) {{strict}};

CREATE INDEX job_history_of_job ON job_history (job_id, id);
