"""Broken promises of the wire."""

from __future__ import annotations


class ProtocolError(Exception):
    """Root of this room's errors."""


class RemoteProtocolError(ProtocolError):
    """The other side broke the rules: an overlong line, garbage, a reply that cannot be read. The text is safe to show."""


class LocalProtocolError(ProtocolError):
    """We would break the rules: CR, LF or NUL in an argument, a step out of order."""
