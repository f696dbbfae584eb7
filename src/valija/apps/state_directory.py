"""Where the state lives: ``--state-dir``, ``VALIJA_STATE_DIR``, systemd's ``STATE_DIRECTORY``, in this order.

Else ``/var/lib/valija`` for root and ``~/.local/state/valija`` for others. A module of its own, because the command line
needs nothing else of the configuration and must start fast.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def state_directory(option: Path | None, environment: Mapping[str, str]) -> Path:
    """Return where the state lives."""
    if option is not None:
        return option.absolute()
    for variable in ("VALIJA_STATE_DIR", "STATE_DIRECTORY"):
        if environment.get(variable):
            return Path(environment[variable].split(":")[0]).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/valija")
    base = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(base) / "valija"
