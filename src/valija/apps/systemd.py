"""Telling systemd how the daemon is (sd_notify(3)); silent where there is no systemd."""

from __future__ import annotations

import os
import socket
from typing import Final

_ADDRESS: Final = os.environ.get("NOTIFY_SOCKET", "")


def notify(state: str) -> None:
    """Send one state line such as ``READY=1``; a manager that does not listen is no reason to stop."""
    if not _ADDRESS:
        return
    address = "\0" + _ADDRESS[1:] if _ADDRESS.startswith("@") else _ADDRESS
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        try:
            out.sendto(state.encode(), address)
        except OSError as error:
            # said on standard error, which systemd keeps: the log may not be set up yet
            os.write(2, f"sd_notify failed: {error}\n".encode())
