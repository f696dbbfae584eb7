"""What the parts of a mail are to a fax machine: pages, a text, an answer to what it sent itself. Pure.

Lenient where gateways are: a TIFF may say that it is ``image/tiff``, ``image/tif``, ``image/x-tiff``, ``image/tiff-fx``,
``application/octet-stream`` with a name, or nothing that is true; so the first octets decide, and what a part says only helps
where they tell nothing.
"""

from __future__ import annotations

import re
from enum import StrEnum
from html.parser import HTMLParser
from typing import Final

from valija.message.mime_reading import PartHead

FAX_TYPE: Final = "image/tiff; application=faxbw"  # RFC 3302: profiles S and F
SNIFFED: Final = 1024  # octets that are enough for :func:`kind_of`
TEXT_LIMIT: Final = 400_000  # characters of a text that are made pages of


class PartKind(StrEnum):
    """What a part is; the value is the ending of a file that holds it."""

    TIFF = "tif"
    PDF = "pdf"
    JPEG = "jpg"
    PNG = "png"
    TEXT = "txt"
    HTML = "html"
    STATUS = "status"  # of a delivery report
    NOTIFICATION = "notification"
    RETURNED = "returned"  # the original that a report is about
    OTHER = "bin"


_BEGINNINGS: Final = (
    (re.compile(rb"II\*\0|MM\0\*"), PartKind.TIFF),
    (re.compile(rb"[\s\0]{0,64}%PDF-"), PartKind.PDF),
    (re.compile(rb"\xff\xd8\xff"), PartKind.JPEG),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PartKind.PNG),
)
_BY_TYPE: Final = {
    "message/delivery-status": PartKind.STATUS,
    "message/global-delivery-status": PartKind.STATUS,
    "message/disposition-notification": PartKind.NOTIFICATION,
    "message/global-disposition-notification": PartKind.NOTIFICATION,
    "text/rfc822-headers": PartKind.RETURNED,
    "message/rfc822": PartKind.RETURNED,
    "message/global": PartKind.RETURNED,
    "message/global-headers": PartKind.RETURNED,
    "text/html": PartKind.HTML,
}
PAGES: Final = frozenset({PartKind.TIFF, PartKind.PDF, PartKind.JPEG, PartKind.PNG})


def kind_of(head: PartHead, beginning: bytes) -> PartKind:
    """Return what a part is; ``beginning`` are its first decoded octets (``SNIFFED`` are enough)."""
    by_type = _BY_TYPE.get(head.media_type)
    if by_type is not None and by_type is not PartKind.HTML:
        return by_type
    for pattern, kind in _BEGINNINGS:
        if pattern.match(beginning):
            return kind
    if by_type is PartKind.HTML:
        return PartKind.HTML
    return PartKind.TEXT if head.media_type.startswith("text/") and b"\0" not in beginning else PartKind.OTHER


class _Text(HTMLParser):
    """Keeps what a page would show."""

    _HIDDEN: Final = frozenset({"script", "style", "head", "title", "template"})
    _BREAKS: Final = frozenset(
        {"p", "br", "div", "tr", "li", "h1", "h2", "h3", "h4", "table", "blockquote", "pre", "hr"}
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in self._HIDDEN:
            self._hidden += 1
        elif tag in self._BREAKS:
            self.out.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._HIDDEN:
            self._hidden = max(self._hidden - 1, 0)
        elif tag in self._BREAKS:
            self.out.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.out.append(re.sub(r"\s+", " ", data))


def text_of_html(html: str) -> str:
    """Return what a page says, without its looks; nothing is fetched. Never fails."""
    reader = _Text()
    try:
        reader.feed(html[:TEXT_LIMIT])
        reader.close()
    except (ValueError, AssertionError, RecursionError):  # what the parser makes of hostile declarations
        return "".join(reader.out).strip()
    return re.sub(r"[ \t]*\n[ \t]*(?:\n[ \t]*)+", "\n\n", "".join(reader.out)).strip()
