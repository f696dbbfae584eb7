"""What the API says and takes of Internet fax."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, WithJsonSchema

from valija.apps.api.fields import CHANGES_LIMIT
from valija.apps.api.models import Answer, Body
from valija.domain import fax as limits
from valija.message.tiff_fax import FaxPaper, FaxProfile, FaxResolution


def _words(kind: type[Any]) -> dict[str, Any]:
    return {"type": "string", "enum": [member.value for member in kind]}


def _number(bounds: tuple[int, int]) -> dict[str, Any]:
    return {"type": "integer", "minimum": bounds[0], "maximum": bounds[1]}


def _list(limit: int) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", "maxLength": 600}, "maxItems": limit}


FAX_FIELDS: Final[dict[str, Any]] = {
    "type": "object",
    "description": "wait is in hours, resend_every in minutes; senders are addresses or @domain; forward are “who: to”",
    "properties": {
        "profile": _words(FaxProfile),
        "resolution": _words(FaxResolution),
        "paper": _words(FaxPaper),
        "halftone": _words(limits.Halftone),
        "gateway": {"type": "string", "maxLength": 253},
        "own_number": {"type": "string", "maxLength": 40},
        "cover": {"type": "boolean"},
        "confirmation": _words(limits.Confirmation),
        "wait": _number(limits.WAIT_RANGE_H),
        "resend": _number(limits.RESEND_RANGE),
        "resend_every": _number(limits.RESEND_RANGE_MIN),
        "junk": _words(limits.JunkRule),
        "senders": _list(limits.SENDERS_LIMIT),
        "forward": _list(limits.RULES_LIMIT),
        "answer": {"type": "boolean"},
    },
    "additionalProperties": False,
}


class FaxSettingsChanges(Body):
    """Fields to change; the others stay as they are."""

    changes: Annotated[dict[str, Any], WithJsonSchema(FAX_FIELDS)] = Field(max_length=CHANGES_LIMIT)


class FaxSettingsView(Answer):
    """How faxes are sent and received; ``wait`` in hours, ``resend_every`` in minutes."""

    profile: str
    resolution: str
    paper: str
    halftone: str
    gateway: str
    own_number: str
    cover: bool
    confirmation: str
    wait: int
    resend: int
    resend_every: int
    junk: str
    senders: list[str]
    forward: list[str]
    answer: bool


class JobFileView(Answer):
    """A file that a job keeps; ``size`` in octets."""

    name: str
    size: int
