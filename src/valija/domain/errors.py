"""Broken promises, as one tree; each says what happened and what to do, for people, and has a code for programs.

::

    ValijaError
    ├── RequestError                what was asked cannot be done so           (exit 2, HTTP 4xx)
    │   ├── InvalidFields           one or more fields are out of their limits
    │   ├── UnknownName             no such setting, provider, ...
    │   ├── ConfirmationNeeded      it would delete a token; ask first
    │   ├── NotAtTheMachine         only the administrator at the machine may do it
    │   └── NotReady                a setting lacks something for this
    ├── ConsentNeeded               the token is not there or not valid         (exit 3)
    ├── OperatorNeeded              something is wrong that a person must mend  (exit 4)
    │   ├── ConfigurationError      the configuration file
    │   └── StoreError              the store cannot be used
    │       ├── StoreLocked         another daemon has it
    │       ├── StoreUnreachable    the database server does not answer, or its answer to a write was lost
    │       ├── StoreVersion        made by another version
    │       ├── StoreDamaged        truncated or not ours
    │       └── MasterKeyError      the key is missing or another one
    └── TryLater                    it passes by itself                         (exit 5)
        └── StoreFull               no space left; nothing was changed

The pure rooms below have their own roots: :mod:`valija.protocol.errors`, :mod:`valija.oauth`. Expected outcomes (a
refusal, a time-out, a provider that is down) are values, not members of this tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from valija.domain.text import Message


class ValijaError(Exception):
    """Root: ``what`` happened and the ``cure``; ``diagnostics`` is for the operator's log, without secrets."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 4
    http_status: ClassVar[int] = 500

    def __init__(self, what: Message, cure: Message | None = None, *, diagnostics: str = "") -> None:
        super().__init__(str(what))
        self.what = what
        self.cure = cure
        self.diagnostics = diagnostics

    def __str__(self) -> str:
        return f"{self.what} {self.cure}" if self.cure else str(self.what)


class RequestError(ValijaError):
    """What was asked cannot be done so."""

    code = "bad_request"
    exit_status = 2
    http_status = 400


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """A field by its wire name and what is wrong with it: the sentence goes on after the field's label.

    ``label`` is what the field is called where another one has the same wire name.
    """

    field: str
    problem: Message
    label: str = ""


class InvalidFields(RequestError):
    """One or more fields are out of their limits; nothing was stored."""

    code = "invalid_fields"
    http_status = 422

    def __init__(self, problems: tuple[FieldProblem, ...]) -> None:
        self.problems = problems
        super().__init__(Message("; ".join(f"{p.field} {p.problem}" for p in problems)))


class UnknownName(RequestError):
    """There is nothing of that name."""

    code = "unknown_name"
    http_status = 404


class ConfirmationNeeded(RequestError):
    """The change would delete a token; it is done when asked for with a confirmation."""

    code = "confirmation_needed"
    http_status = 409


class NotAtTheMachine(RequestError):
    """Only the administrator at the machine may do this."""

    code = "not_at_the_machine"
    http_status = 403


class NotReady(RequestError):
    """A setting lacks something for this."""

    code = "not_ready"
    http_status = 409


class ConsentNeeded(ValijaError):
    """The token is not there or not valid: an administrator must get one."""

    code = "consent_needed"
    exit_status = 3
    http_status = 409


class OperatorNeeded(ValijaError):
    """Something is wrong that a person must mend."""

    code = "operator_needed"
    exit_status = 4
    http_status = 500


class ConfigurationError(OperatorNeeded):
    """The configuration file cannot be used."""

    code = "configuration"


class StoreError(OperatorNeeded):
    """The store cannot be used; it was left as it is."""

    code = "store"


class StoreLocked(StoreError):
    """Another daemon has the store."""

    code = "store_locked"


class StoreUnreachable(StoreError):
    """The database server does not answer, or its answer to a write was lost: that one may be done or not."""

    code = "store_unreachable"


class BodyMissing(StoreError):
    """The octets of one message are not there, or not all of them."""

    code = "body_missing"


class StoreVersion(StoreError):
    """The store was made by another version of the program."""

    code = "store_version"


class StoreDamaged(StoreError):
    """The store's file is truncated or is not a store."""

    code = "store_damaged"


class MasterKeyError(StoreError):
    """The master key is missing, unreadable or not the one that the store was encrypted with."""

    code = "master_key"


class TryLater(ValijaError):
    """It passes by itself."""

    code = "try_later"
    exit_status = 5
    http_status = 503


class StoreFull(TryLater):
    """There is no space left; nothing was changed."""

    code = "store_full"
