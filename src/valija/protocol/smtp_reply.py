"""SMTP replies (RFC 5321 section 4.2) with enhanced status codes (RFC 3463, RFC 2034), read with bounds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from valija.protocol.errors import RemoteProtocolError
from valija.protocol.lines import LineReader

LINE_LIMIT: Final = 16384  # RFC 5321 says 512; challenges to AUTH may have 12288
LINES_LIMIT: Final = 200
WORDS_LIMIT: Final = 600
_LINE: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED: Final = re.compile(r"\A([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """A whole reply: code, enhanced status code (empty if there is none), the text of each line as it came."""

    code: int
    enhanced: str
    lines: tuple[str, ...]

    @property
    def is_positive(self) -> bool:
        """Tell whether it is 2yz."""
        return 200 <= self.code < 300

    @property
    def is_transient(self) -> bool:
        """Tell whether it is 4yz: the same may work later."""
        return 400 <= self.code < 500

    @property
    def text(self) -> str:
        """Return the text of all lines, without enhanced codes."""
        return " ".join(_ENHANCED.sub("", line, count=1).strip() for line in self.lines).strip()

    @property
    def server_words(self) -> str:
        """Return code and text as one safe line for people."""
        words = _UNSAFE.sub(" ", " ".join(part for part in (str(self.code), self.enhanced, self.text) if part))
        return words if len(words) <= WORDS_LIMIT else words[: WORDS_LIMIT - 1] + "…"


class ReplyReader:
    """Octets to replies."""

    __slots__ = ("_code", "_lines", "_reader")

    def __init__(self) -> None:
        self._reader = LineReader(LINE_LIMIT)
        self._lines: list[str] = []
        self._code = b""

    def feed(self, data: bytes) -> None:
        """Add octets."""
        self._reader.feed(data)

    def next_reply(self) -> SmtpReply | None:
        """Return the next whole reply. Raises :class:`RemoteProtocolError` for what is none."""
        while (line := self._reader.next_line()) is not None:
            found = _LINE.fullmatch(line)
            if found is None or (self._code and found.group(1) != self._code):
                raise RemoteProtocolError(
                    f"not an SMTP reply: {_UNSAFE.sub(' ', line[:80].decode('utf-8', 'replace'))}"
                )
            self._code = found.group(1)
            self._lines.append((found.group(3) or b"").decode("utf-8", "replace"))
            if len(self._lines) > LINES_LIMIT:
                raise RemoteProtocolError(f"a reply of more than {LINES_LIMIT} lines")
            if found.group(2) != b"-":
                return self._take()
        return None

    def _take(self) -> SmtpReply:
        enhanced = _ENHANCED.match(self._lines[0])
        reply = SmtpReply(int(self._code), enhanced.group(1) if enhanced else "", tuple(self._lines))
        self._lines, self._code = [], b""
        return reply

    def is_clean(self) -> bool:
        """Tell whether nothing is buffered; after STARTTLS anything else is an injection (CVE-2011-0411)."""
        return not self._lines and len(self._reader) == 0
