"""The SQL, by name; placeholders are ``?``. Written so that SQLite and PostgreSQL give it the same meaning."""

from __future__ import annotations

from typing import Final

LOAD_TOKEN: Final = "SELECT version, payload FROM tokens WHERE account = ?"
LIST_TOKENS: Final = "SELECT account, version, payload FROM tokens ORDER BY account"
TOKENS_DUE: Final = "SELECT account FROM tokens WHERE due_at <= ? OR due_at > ? ORDER BY due_at LIMIT ?"
NEXT_DUE: Final = "SELECT min(due_at) FROM tokens WHERE due_at IS NOT NULL"
# a first state is inserted, a later one replaces the version that was read; nothing returned is a conflict
INSERT_TOKEN: Final = (
    "INSERT INTO tokens (account, version, state, due_at, payload) VALUES (?, 1, ?, ?, ?) "
    "ON CONFLICT (account) DO NOTHING RETURNING version"
)
REPLACE_TOKEN: Final = (
    "UPDATE tokens SET version = version + 1, state = ?, due_at = ?, payload = ? "
    "WHERE account = ? AND version = ? RETURNING version"
)
# forgetting does not compare: it wins over whatever is under way, whose compare-and-swap then fails
FORGET_TOKEN: Final = "UPDATE tokens SET version = version + 1, state = ?, due_at = NULL, payload = ? WHERE account = ?"

LOAD_SETTINGS: Final = "SELECT version, payload FROM settings WHERE name = ?"
INSERT_SETTINGS: Final = (
    "INSERT INTO settings (name, version, payload) VALUES (?, 1, ?) ON CONFLICT (name) DO NOTHING RETURNING version"
)
REPLACE_SETTINGS: Final = (
    "UPDATE settings SET version = version + 1, payload = ? WHERE name = ? AND version = ? RETURNING version"
)

LOAD_REGISTRATION: Final = "SELECT version, payload FROM registrations WHERE name = ?"
LIST_REGISTRATIONS: Final = "SELECT name, version, payload FROM registrations ORDER BY name"
INSERT_REGISTRATION: Final = (
    "INSERT INTO registrations (name, version, payload) VALUES (?, 1, ?) "
    "ON CONFLICT (name) DO NOTHING RETURNING version"
)
REPLACE_REGISTRATION: Final = (
    "UPDATE registrations SET version = version + 1, payload = ? WHERE name = ? AND version = ? RETURNING version"
)
DELETE_REGISTRATION: Final = "DELETE FROM registrations WHERE name = ? RETURNING version"

KNOWN: Final = "SELECT unique_id FROM received WHERE account = ? AND maildrop = ? AND unique_id = ?"
RECORD_RECEIVED: Final = (
    "INSERT INTO received (account, maildrop, unique_id, received_at, file, size, sender, subject) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, maildrop, unique_id) DO NOTHING "
    "RETURNING id, account, maildrop, unique_id"
)
_RECEIVED = "SELECT id, account, maildrop, unique_id, received_at, file, size, sender, subject FROM received "
LIST_RECEIVED: Final = _RECEIVED + "ORDER BY id DESC LIMIT ?"
LIST_RECEIVED_OF: Final = _RECEIVED + "WHERE account = ? ORDER BY id DESC LIMIT ?"
RECEIVED_AFTER: Final = _RECEIVED + "WHERE account = ? AND id > ? ORDER BY id LIMIT ?"
LOAD_RECEIVED: Final = _RECEIVED + "WHERE id = ?"

LOAD_ADMINISTRATOR: Final = "SELECT version, payload FROM administrator WHERE name = ?"
INSERT_ADMINISTRATOR: Final = (
    "INSERT INTO administrator (name, version, payload) VALUES (?, 1, ?) "
    "ON CONFLICT (name) DO NOTHING RETURNING version"
)
REPLACE_ADMINISTRATOR: Final = (
    "UPDATE administrator SET version = version + 1, payload = ? WHERE name = ? AND version = ? RETURNING version"
)
ADD_SESSION: Final = "INSERT INTO sessions (key, last_seen_at, payload) VALUES (?, ?, ?)"
LOAD_SESSION: Final = "SELECT last_seen_at, payload FROM sessions WHERE key = ?"
TOUCH_SESSION: Final = "UPDATE sessions SET last_seen_at = ? WHERE key = ? AND last_seen_at < ?"
DELETE_SESSION: Final = "DELETE FROM sessions WHERE key = ?"
DELETE_OTHER_SESSIONS: Final = "DELETE FROM sessions WHERE key <> ?"
DELETE_SESSIONS_BEFORE: Final = "DELETE FROM sessions WHERE last_seen_at < ?"

APPEND_AUDIT: Final = (
    "INSERT INTO audit (at, who, place, presence, action, subject, details) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
LIST_AUDIT: Final = (
    "SELECT id, at, who, place, presence, action, subject, details FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?"
)

ADD_API_TOKEN: Final = (
    "INSERT INTO api_tokens (name, digest, last_used_at, payload) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (name) DO NOTHING RETURNING name"
)
LIST_API_TOKENS: Final = "SELECT name, last_used_at, payload FROM api_tokens ORDER BY name"
LOAD_API_TOKEN: Final = "SELECT name, last_used_at, payload FROM api_tokens WHERE digest = ?"
DELETE_API_TOKEN: Final = "DELETE FROM api_tokens WHERE name = ? RETURNING name"
NOTE_API_TOKEN_USE: Final = (
    "UPDATE api_tokens SET last_used_at = ? WHERE digest = ? AND (last_used_at IS NULL OR last_used_at < ?)"
)

LIST_DEVICES: Final = "SELECT login, version, payload FROM devices ORDER BY login"
INSERT_DEVICE: Final = (
    "INSERT INTO devices (login, version, payload) VALUES (?, 1, ?) ON CONFLICT (login) DO NOTHING RETURNING version"
)
REPLACE_DEVICE: Final = (
    "UPDATE devices SET version = version + 1, payload = ? WHERE login = ? AND version = ? RETURNING version"
)
DELETE_DEVICE: Final = "DELETE FROM devices WHERE login = ? RETURNING login"
LIST_SIGHTINGS: Final = "SELECT subject, payload FROM sightings ORDER BY last_at DESC, subject"
SAVE_SIGHTING: Final = (
    "INSERT INTO sightings (subject, last_at, payload) VALUES (?, ?, ?) "
    "ON CONFLICT (subject) DO UPDATE SET last_at = excluded.last_at, payload = excluded.payload"
)
DELETE_SIGHTING: Final = "DELETE FROM sightings WHERE subject = ?"

LOAD_META: Final = "SELECT value FROM meta WHERE name = ?"
INSERT_META: Final = "INSERT INTO meta (name, value) VALUES (?, ?)"
