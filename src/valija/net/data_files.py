"""The data files that ship with the program, read and parsed once."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from valija.domain.explanations import Explainer, build_explainer, parse_explanation
from valija.domain.trouble import WhoActs
from valija.oauth.catalogue import Catalogue, parse_catalogue
from valija.oauth.classification import Action, ErrorTable, parse_error_table

WHO_ACTS = {
    Action.POLL: WhoActs.USER,
    Action.RETRY: WhoActs.NOBODY,
    Action.ASK_USER: WhoActs.USER,
    Action.ASK_ADMINISTRATOR: WhoActs.ADMINISTRATOR,
    Action.CONFIGURATION: WhoActs.OPERATOR,
}


def _table(package: str, name: str) -> dict[str, Any]:
    return tomllib.loads((files(package) / name).read_text("utf-8"))


@cache
def read_catalogue() -> Catalogue:
    """Return the providers' profiles."""
    return parse_catalogue(_table("valija.oauth", "providers.toml"))


@cache
def read_error_table() -> ErrorTable:
    """Return the table of providers' errors."""
    return parse_error_table(_table("valija.oauth", "error_table.toml"))


@cache
def read_explainer() -> Explainer:
    """Return the explanations of all reasons."""
    errors = (
        parse_explanation(row.reason, {"meaning": row.meaning, "cure": row.cure, "who_acts": WHO_ACTS[row.action]})
        for row in read_error_table().rows
    )
    return build_explainer(
        _table("valija.domain", "explanations.toml"), _table("valija.domain", "reply_table.toml"), errors
    )
