"""How a command that failed ends: what is said of it on standard error, for people or for programs, and its exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from gettext import gettext as _
from typing import Any, Final

import click

from valija.apps.cli import output
from valija.apps.cli.client import ApiProblem, DaemonUnreachable

WRONG_USE: Final = 2
OPERATOR_NEEDED: Final = 4
CANCELLED: Final = 130
EXPECTED: Final = (click.ClickException, click.Abort, ApiProblem, DaemonUnreachable, OSError)


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Was ``--json`` typed, so that an error is for a program, too?"""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def tell(error: Exception, *, as_json: bool) -> int:
    """Say why a command failed, on standard error; return the exit code. ``error`` is one of ``EXPECTED``."""
    if isinstance(error, click.ClickException) and not as_json:
        error.show()  # with the command's usage
        return error.exit_code
    problem = problem_of(error)
    if as_json:
        output.print_json(problem, err=True)
    else:
        output.print_problem(problem)
    return int(problem.get("exit_status", OPERATOR_NEEDED))


def problem_of(error: Exception) -> Mapping[str, Any]:
    """Return an error with the names of RFC 9457, as the daemon answers: detail, code, cure, exit_status."""
    if isinstance(error, ApiProblem):
        return error.problem
    if isinstance(error, click.ClickException):
        return _problem(error.format_message(), "wrong_use", error.exit_code)
    if isinstance(error, click.Abort):
        return _problem(_("Cancelled."), "cancelled", CANCELLED)
    if isinstance(error, DaemonUnreachable):
        text = _("The daemon does not answer at {socket}: {why}.").format(socket=error.socket_path, why=_(error.why))
        cure = _("Start it with `valija run` or `systemctl start valija`; name its state with --state-dir.")
        return _problem(text, "daemon_unreachable", OPERATOR_NEEDED, cure)
    file = error.filename if isinstance(error, OSError) else None  # a file or folder here that was named
    why = output.why_unreadable(error) if isinstance(error, OSError) else str(error)
    text = _("{file} cannot be used: {why}.").format(file=file or "—", why=why)
    return _problem(text, "file_unusable", OPERATOR_NEEDED)


def _problem(detail: str, code: str, exit_status: int, cure: str = "") -> Mapping[str, Any]:
    return {"detail": detail, "code": code, "cure": cure, "exit_status": exit_status}
