-- Tokens for programs that use the API: found by the SHA-256 of what they send.

CREATE TABLE api_tokens (
    name TEXT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    last_used_at {{bigint}},
    payload {{blob}} NOT NULL
) {{strict}};
