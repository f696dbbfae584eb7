"""The API's bodies (JSON). Times are ISO 8601 in UTC; sentences are in the language of Accept-Language."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from valija.apps.api.fields import CHANGES_LIMIT, PROVIDER_FIELDS, SETTING_FIELDS
from valija.domain.api_token import DAYS, DAYS_RANGE, NAME_PATTERN

SettingName = Literal["smtp", "internet-fax", "email-print", "email-status"]
PopName = Literal["internet-fax", "email-print", "email-status"]
GrantName = Literal["device", "code", "client-credentials", "service-account"]
ScopeName = Literal["read", "settings", "tokens", "mail"]
StateValue = Literal["not_retrieved", "awaiting_authorization", "retrieved", "invalid"]


class Body(BaseModel):
    """What a client sends: unknown fields are refused. All are built when they are first used: a start need not wait for it."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class Answer(BaseModel):
    """What the daemon sends."""

    model_config = ConfigDict(defer_build=True)


class SettingChanges(Body):
    """Fields to change; the others stay as they are. ``confirm`` agrees to the deletion of a token."""

    # checked field by field in the domain, which names each one that is wrong in the reader's language
    changes: Annotated[dict[str, Any], WithJsonSchema(SETTING_FIELDS)] = Field(max_length=CHANGES_LIMIT)
    confirm: bool = False


class ProviderChanges(Body):
    """Fields to change; the others stay as they are. ``confirm`` agrees to the deletion of tokens."""

    changes: Annotated[dict[str, Any], WithJsonSchema(PROVIDER_FIELDS)] = Field(max_length=CHANGES_LIMIT)
    confirm: bool = False


class MakeApiToken(Body):
    """A token for a program: its name, what it may do, and for how many days."""

    name: str = Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$"})
    scopes: list[str] = Field(
        json_schema_extra={"items": {"type": "string", "enum": ["read", "settings", "tokens", "mail"]}, "minItems": 1}
    )
    days: int = Field(default=DAYS, json_schema_extra={"minimum": DAYS_RANGE[0], "maximum": DAYS_RANGE[1]})


class GetToken(Body):
    """Which grant to use; null is the provider's first."""

    grant: GrantName | None = None


class PastedRedirect(Body):
    """The address that the browser was sent to at the end of the code grant."""

    url: str = Field(max_length=16_384)


class TroubleView(Answer):
    """A trouble, explained."""

    reason: str
    meaning: str
    cure: str
    who_acts: Literal["nobody", "user", "administrator", "operator"]
    server_words: str
    at: datetime


class AuthorizationView(Answer):
    """A permission that is being asked for."""

    id: str
    grant: GrantName
    started_at: datetime
    expires_at: datetime
    verification_uri: str | None
    verification_uri_complete: str | None
    user_code: str | None
    interval: float
    authorization_url: str | None


class TokenView(Answer):
    """The token of a setting."""

    setting: SettingName
    version: int
    state: StateValue
    state_label: str
    account: str
    provider: str
    provider_name: str
    in_use: bool
    expired: bool
    grant: GrantName | None
    obtained_at: datetime | None
    refreshed_at: datetime | None
    expires_at: datetime | None
    idle_limit_at: datetime | None
    scopes: list[str]
    authorization: AuthorizationView | None
    trouble: TroubleView | None
    unsaved: bool


class Deletion(Answer):
    """What a deletion did: ``revocation`` at the provider."""

    token: TokenView
    revocation: Literal["revoked", "not_supported", "in_use", "failed", "nothing"]
    revocation_text: str


class Row(Answer):
    """One field for people."""

    field: str
    label: str
    text: str


class SettingView(Answer):
    """A mail setting: ``fields`` for programs, ``rows`` for people; a password is never shown."""

    setting: SettingName
    fields: dict[str, Any]
    rows: list[Row]
    token_state: StateValue


class ProviderView(Answer):
    """A client registration; secrets are never shown, only whether they are set."""

    name: str
    kind: str
    display_name: str
    client_id: str
    fields: dict[str, Any]
    rows: list[Row]
    notes: list[str]
    used_by: list[SettingName]


class StageView(Answer):
    """One stage of a connection test."""

    stage: str
    label: str
    outcome: Literal["passed", "failed", "warning", "skipped"]
    found: str
    trouble: TroubleView | None


class TestSummary(Answer):
    """How a connection test ended."""

    passed: bool
    who_acts: Literal["nobody", "user", "administrator", "operator"]
    summary: str


class TestReport(TestSummary):
    """A whole connection test."""

    stages: list[StageView]


class OutcomeView(Answer):
    """What became of a message for one recipient."""

    recipient: str
    outcome: Literal["accepted", "deferred", "failed", "in_doubt"]
    label: str
    server_words: str
    trouble: TroubleView | None


class SendReport(Answer):
    """What became of a message."""

    message_id: str
    size: int
    outcomes: list[OutcomeView]
    exit_status: int


class ReceivedView(Answer):
    """A message that was received and kept."""

    id: int
    setting: PopName
    received_at: datetime
    size: int
    sender: str
    subject: str
    file: str


class ReceiveReport(Answer):
    """What a check of a maildrop found."""

    setting: PopName
    messages: list[ReceivedView]
    trouble: TroubleView | None
    exit_status: int


class AuditView(Answer):
    """One record of the audit trail; ``concerns`` and ``said`` are its subject and details in words."""

    id: int
    at: datetime
    who: str
    where: str
    presence: Literal["at_machine", "remote"]
    action: str
    label: str
    subject: str
    concerns: str
    details: dict[str, str]
    said: str


class QueueAccountView(Answer):
    """An account's mail: how much in which state, and whether it may leave.

    ``paused_until``: it waits by itself for what passes; ``paused_meaning`` says why, ``paused_why`` in the server's words.
    """

    account: str
    open: bool
    held: bool
    closed_at: datetime | None
    trouble: TroubleView | None
    probe_at: datetime | None
    paused_until: datetime | None
    paused_why: str
    paused_meaning: str
    counts: dict[str, int]


class MachineView(Answer):
    """The machine itself; ``mail``: each account's queue, and whether it may leave."""

    version: str
    started_at: datetime
    sandbox: dict[str, str] | None
    web_address: str
    tokens: list[TokenView]
    mail: list[QueueAccountView]
    warnings: list[str]


class ApiTokenView(Answer):
    """A token for a program; the token itself is shown once, when it is made."""

    name: str
    scopes: list[ScopeName]
    created_at: datetime
    expires_at: datetime
    ended: bool
    created_by: str
    last_used_at: datetime | None


class MadeApiToken(ApiTokenView):
    """A new token; ``token`` is what the program sends, and is shown this once."""

    token: str


class Deleted(Answer):
    """It is gone."""

    deleted: Literal[True] = True


class PanelAddress(Answer):
    """An address that opens the panel once, within a minute; it is a secret for so long."""

    url: str


class FieldProblemView(Answer):
    """What is wrong with a field."""

    field: str
    label: str
    problem: str


class Problem(Answer):
    """Why something was refused (RFC 9457); ``code`` and ``exit_status`` are for programs."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    cure: str = ""
    exit_status: int
    problems: list[FieldProblemView] = []
    trouble: TroubleView | None = None
