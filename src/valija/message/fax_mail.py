"""What the parts of a mail are to a fax machine: pages, a text, an answer to what it sent itself. Pure.

Lenient where gateways are: a TIFF may say that it is ``image/tiff``, ``image/tif``, ``image/x-tiff``, ``image/tiff-fx``,
``application/octet-stream`` with a name, or nothing that is true; so the first octets decide, and what a part says only helps
where they tell nothing.
"""

from __future__ import annotations

import re
from enum import StrEnum
from html import unescape
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


_HIDDEN: Final = frozenset({"script", "style", "head", "title", "template"})
_AS_IT_STANDS: Final = ("script", "style")  # what is in them is no markup
_BREAKS: Final = frozenset({"p", "br", "div", "tr", "li", "h1", "h2", "h3", "h4", "table", "blockquote", "pre", "hr"})
# A comment or declaration, a tag, or text. What has no end goes to the end, so that each character is looked at once.
_PIECE: Final = re.compile(
    r"<!--.*?(?:-->|\Z)|<[!?][^>]*+(?:>|\Z)"
    r"""|<(?P<ends>/?)(?P<tag>[A-Za-z][^\s/>]*+)(?:=\s*+"[^"]*+(?:"|\Z)|=\s*+'[^']*+(?:'|\Z)|[^>])*+(?:>|\Z)"""
    r"|(?P<text>[^<]++|<)",
    re.DOTALL,
)


def text_of_html(html: str) -> str:
    """Return what a page says, without its looks; nothing is fetched. Never fails, and takes no longer for a hostile one."""
    html, at, hidden, out = html[:TEXT_LIMIT], 0, 0, []
    while (piece := _PIECE.match(html, at)) is not None:
        at, tag = piece.end(), (piece["tag"] or "").lower()
        if piece["text"] and not hidden:
            out.append(re.sub(r"\s+", " ", unescape(piece["text"])))
        elif tag in _HIDDEN:
            hidden = max(hidden - 1, 0) if piece["ends"] else hidden + 1
        elif tag in _BREAKS:
            out.append("\n")
        if tag in _AS_IT_STANDS and not piece["ends"]:
            end = re.compile(rf"</{tag}", re.IGNORECASE).search(html, at)
            at = end.start() if end is not None else len(html)
    text = re.sub(r"[ \t]{2,}", " ", "".join(out))  # else a long row of them is looked through from each one on
    return re.sub(r" ?\n ?(?:\n ?)+", "\n\n", text).strip()
