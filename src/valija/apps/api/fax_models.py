"""What the API says and takes of Internet fax."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, WithJsonSchema

from valija.apps.api.fields import CHANGES_LIMIT
from valija.apps.api.models import Answer, Body
from valija.domain import fax as limits
from valija.domain.senders import SENDERS_LIMIT
from valija.message.tiff_fax import FaxPaper, FaxProfile, FaxResolution


def words_of(kind: type[Any]) -> dict[str, Any]:
    return {"type": "string", "enum": [member.value for member in kind]}


def number_of(bounds: tuple[int, int]) -> dict[str, Any]:
    return {"type": "integer", "minimum": bounds[0], "maximum": bounds[1]}


def list_of(limit: int) -> dict[str, Any]:
    """A list, or a text with an entry on each line."""
    return {"type": ["array", "string"], "items": {"type": "string", "maxLength": 600}, "maxItems": limit}


FAX_FIELDS: Final[dict[str, Any]] = {
    "type": "object",
    "description": (
        "wait is in hours, resend_every in minutes; senders are addresses or @domain; "
        "forward are “who: to”, an address or a folder"
    ),
    "properties": {
        "profile": words_of(FaxProfile),
        "resolution": words_of(FaxResolution),
        "paper": words_of(FaxPaper),
        "halftone": words_of(limits.Halftone),
        "gateway": {"type": "string", "maxLength": 253},
        "own_number": {"type": "string", "maxLength": 40},
        "cover": {"type": "boolean"},
        "confirmation": words_of(limits.Confirmation),
        "wait": number_of(limits.WAIT_RANGE_H),
        "resend": number_of(limits.RESEND_RANGE),
        "resend_every": number_of(limits.RESEND_RANGE_MIN),
        "junk": words_of(limits.JunkRule),
        "senders": list_of(SENDERS_LIMIT),
        "forward": list_of(limits.RULES_LIMIT),
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
