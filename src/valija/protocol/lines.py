"""Octets to lines, bounded."""

from __future__ import annotations

from valija.protocol.errors import RemoteProtocolError


class LineReader:
    """Collects octets and gives whole lines, without their end.

    A line ends with LF; one CR before it belongs to the end. ``max_line`` counts the octets before the end. What is
    buffered never exceeds what was fed at once plus ``max_line``.
    """

    __slots__ = ("_buffer", "_max_line")

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add octets."""
        self._buffer += data

    def next_line(self) -> bytes | None:
        """Return the next line, or None until it is whole. Raises :class:`RemoteProtocolError` for a longer one."""
        if not self._buffer:
            return None
        end = self._buffer.find(b"\n", 0, self._max_line + 2)
        if end < 0:
            if len(self._buffer) > self._max_line + 1:
                raise RemoteProtocolError(f"a line of more than {self._max_line} octets")
            return None
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        if len(line) > self._max_line:
            raise RemoteProtocolError(f"a line of more than {self._max_line} octets")
        del self._buffer[: end + 1]
        return line

    def take_rest(self) -> bytes:
        """Return and forget what is buffered; after STARTTLS anything here is an injection."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def __len__(self) -> int:
        return len(self._buffer)
