"""The queue's SQL, by name; placeholders are ``?``. Written so that SQLite and PostgreSQL give it the same meaning.

``{{lock}}`` keeps rows for this transaction, waiting for who has them; ``{{skip}}`` passes over those that another has.
"""

from __future__ import annotations

from typing import Final

ADD_MESSAGE: Final = (
    "INSERT INTO queue_messages (id, account, device, accepted_at, envelope, file, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
ADD_RECIPIENT: Final = (
    "INSERT INTO queue_recipients (message_id, account, place, state, due_at, state_payload) VALUES (?, ?, ?, ?, ?, ?)"
)
# in ascending order of their ids, whatever order they are returned in
ADD_LEASED: Final = (
    "INSERT INTO queue_recipients (message_id, account, place, state, lease_until, state_payload) VALUES (?, ?, ?, ?, ?, ?) "
    "RETURNING id"
)
# the head of the line, by time and then by acceptance; a message may stand in it several times
FIRST_DUE: Final = (
    "SELECT message_id FROM queue_recipients WHERE account = ? AND due_at <= ? ORDER BY due_at, message_id LIMIT ?"
)
_RECIPIENT = "SELECT id, message_id, place, due_at, lease_until, state_payload, state, ended_at FROM queue_recipients "
DUE_RECIPIENTS: Final = _RECIPIENT + "WHERE message_id = ? AND due_at <= ? ORDER BY place {{skip}}"
RECIPIENTS_OF: Final = _RECIPIENT + "WHERE message_id = ? ORDER BY place"
LOAD_RECIPIENT: Final = _RECIPIENT + "WHERE id = ? {{lock}}"
# who waits for another that ends the same leases looks again at the row, and finds it ended: a message is told once, whole
ENDED_LEASES: Final = (
    "SELECT id, message_id, place, due_at, lease_until, state_payload, state, ended_at FROM queue_recipients "
    "WHERE id IN (SELECT id FROM queue_recipients WHERE lease_until < ? ORDER BY lease_until LIMIT ?) "
    "AND lease_until < ? ORDER BY id {{lock}}"
)
UNDER_LEASE: Final = _RECIPIENT + "WHERE account = ? AND lease_until IS NOT NULL ORDER BY id"
LEASED_OF: Final = UNDER_LEASE + " {{lock}}"
REPLACE_STATE: Final = (
    "UPDATE queue_recipients SET state = ?, due_at = ?, lease_until = ?, ended_at = ?, state_payload = ? WHERE id = ?"
)
# the number that grows is a row, not a sequence: it is as durable as the leases, so none is given twice after a crash
NEXT_LEASES: Final = "UPDATE queue_numbers SET last = last + ? WHERE name = 'lease' RETURNING last"
NEXT_DUE: Final = "SELECT min(due_at) FROM queue_recipients WHERE account = ? AND due_at IS NOT NULL"

LOAD_MESSAGE: Final = "SELECT id, envelope, account, device, accepted_at FROM queue_messages WHERE id = ?"
LOAD_TO_SEND: Final = "SELECT id, envelope, file, body FROM queue_messages WHERE id = ?"
LOAD_BODY: Final = "SELECT file, body FROM queue_messages WHERE id = ?"
FILES: Final = "SELECT file FROM queue_messages WHERE file <> ''"
# the plus keeps SQLite at the index of what has ended, instead of walking all messages every minute
ENDED_MESSAGES: Final = (
    "SELECT DISTINCT +message_id FROM queue_recipients r WHERE r.ended_at < ? AND NOT EXISTS (SELECT 1 FROM queue_recipients o "
    "WHERE o.message_id = r.message_id AND (o.ended_at IS NULL OR o.ended_at >= ?)) LIMIT ?"
)
DELETE_MESSAGE: Final = "DELETE FROM queue_messages WHERE id = ? RETURNING file"

_SENT = "FROM queue_recipients WHERE ended_at > ? AND account = ? AND state = 'delivered' "
SENT_AT: Final = "SELECT DISTINCT ended_at, message_id " + _SENT + "ORDER BY ended_at"
SENT_BY_SLICE: Final = "SELECT ended_at / ?, count(*) " + _SENT + "GROUP BY 1 ORDER BY 1"

ADD_HISTORY: Final = "INSERT INTO queue_history (message_id, payload) VALUES (?, ?)"
COUNT_HISTORY: Final = "SELECT message_id, count(*) FROM queue_history WHERE message_id = ? GROUP BY message_id"
TRIM_HISTORY: Final = (
    "DELETE FROM queue_history WHERE id IN "
    "(SELECT id FROM queue_history WHERE message_id = ? ORDER BY id LIMIT ? OFFSET ?)"
)
HISTORY: Final = "SELECT payload FROM queue_history WHERE message_id = ? ORDER BY id"
ADD_GATE_HISTORY: Final = "INSERT INTO gate_history (account, payload) VALUES (?, ?)"
TRIM_GATE_HISTORY: Final = (
    "DELETE FROM gate_history WHERE account = ? AND id < "
    "(SELECT min(id) FROM (SELECT id FROM gate_history WHERE account = ? ORDER BY id DESC LIMIT ?) AS latest)"
)
GATE_HISTORY: Final = "SELECT payload FROM gate_history WHERE account = ? ORDER BY id"

ADD_TRAFFIC: Final = (
    "INSERT INTO traffic (slot, accepted, delivered, failed, waiting) VALUES (?, ?, ?, ?, ?) ON CONFLICT (slot) DO UPDATE SET "
    "accepted = traffic.accepted + excluded.accepted, delivered = traffic.delivered + excluded.delivered, "
    "failed = traffic.failed + excluded.failed, waiting = excluded.waiting"
)
FORGET_TRAFFIC: Final = "DELETE FROM traffic WHERE slot < ?"
TRAFFIC: Final = "SELECT slot, accepted, delivered, failed, waiting FROM traffic WHERE slot >= ? ORDER BY slot"

LOAD_GATE: Final = "SELECT version, payload FROM queue_gates WHERE account = ?"
LIST_GATES: Final = "SELECT account, version, payload FROM queue_gates ORDER BY account"
INSERT_GATE: Final = (
    "INSERT INTO queue_gates (account, version, payload) VALUES (?, ?, ?) "
    "ON CONFLICT (account) DO NOTHING RETURNING version"
)
REPLACE_GATE: Final = (
    "UPDATE queue_gates SET version = ?, payload = ? WHERE account = ? AND version = ? RETURNING version"
)
