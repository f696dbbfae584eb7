"""What was fetched, taken apart into files: blocking, for a thread of its own. Memory does not grow with the message."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from valija.message.fax_mail import SNIFFED, TEXT_LIMIT, PartKind, kind_of, text_of_html
from valija.message.mime_fields import decode_text
from valija.message.mime_reading import (
    BadMail,
    Event,
    Limits,
    MessageHead,
    MimeReader,
    PartBegan,
    PartData,
    PartEnded,
    PartHead,
)

PIECE: Final = 262_144
_MANY: Final = 1 << 40
_HEAD_ONLY: Final = Limits(parts=_MANY, depth=_MANY, near_delimiters=_MANY, decoded=_MANY)


@dataclass(frozen=True, slots=True)
class PartFile:
    """A part on disk: what it is, its name as the sender gave it.

    ``is_attached``: it says so, or has a name. ``is_in_text``: a picture that belongs to a text in HTML.
    """

    path: Path
    kind: PartKind
    name: str
    media_type: str = ""
    is_attached: bool = False
    is_in_text: bool = False


def read_head(path: Path) -> MessageHead:
    """Return a message's head, whatever follows it. Raises :class:`BadMail`, OSError."""
    reader = MimeReader(_HEAD_ONLY)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            for event in reader.feed(piece):
                if isinstance(event, MessageHead):
                    return event
    return next(event for event in reader.end() if isinstance(event, MessageHead))


def unpack(path: Path, folder: Path, limits: Limits = Limits()) -> tuple[list[PartFile], str]:  # noqa: B008 - frozen
    """Write a message's parts as files ``part-001.pdf`` and so on; return them, and why not all of them (empty: all are there).

    Names of files are ours; the sender's are only shown. Texts are UTF-8. Raises OSError.
    """
    unpacking = _Unpacking(folder)
    reader = MimeReader(limits)
    why = ""
    with path.open("rb") as file, unpacking:
        try:
            while piece := file.read(PIECE):
                unpacking.take(reader.feed(piece))
            unpacking.take(reader.end())
        except BadMail as bad:
            why = str(bad)
    return unpacking.files, why


class _Unpacking(ExitStack):
    """Writes parts as they come."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.files: list[PartFile] = []
        self._folder = folder
        self._head: PartHead | None = None
        self._kept = b""
        self._out: BinaryIO | None = None
        self._kind = PartKind.OTHER

    def take(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, PartBegan):
                self._head, self._kept, self._out = event.head, b"", None
            elif isinstance(event, PartData):
                self._data(event.octets)
            elif isinstance(event, PartEnded):
                self._ended()

    def _data(self, octets: bytes) -> None:
        if self._out is not None:
            self._out.write(octets)
            return
        self._kept += octets
        if len(self._kept) >= SNIFFED:
            self._decide()

    def _decide(self) -> None:
        if self._head is None:
            return
        if not self.files or self.files[-1].path.stem != f"part-{self._head.number:03}":
            self._kind = kind_of(self._head, self._kept[:SNIFFED])
            target = self._folder / f"part-{self._head.number:03}.{self._kind.value}"
            self.files.append(_part(target, self._kind, self._head))
        if self._kind in (PartKind.TEXT, PartKind.HTML):  # kept until its end, to be decoded as a whole
            self._kept = self._kept[: TEXT_LIMIT * 4]
            return
        self._out = self.enter_context(self.files[-1].path.open("wb"))
        self._out.write(self._kept)
        self._kept = b""

    def _ended(self) -> None:
        head = self._head
        if head is None or (self._out is None and not self._kept):
            return
        if self._out is None:
            self._decide()
        if self._out is not None:
            self._out.close()
        else:
            text = decode_text(self._kept, head.parameters.get("charset", ""))[:TEXT_LIMIT]
            last = self.files[-1]
            if self._kind is PartKind.HTML:
                text = text_of_html(text)
            target = last.path.with_suffix(".txt")
            target.write_text(text, "utf-8", "replace")
            self.files[-1] = replace(last, path=target, kind=PartKind.TEXT if text.strip() else PartKind.OTHER)
        self._head = None


def _part(path: Path, kind: PartKind, head: PartHead) -> PartFile:
    in_text = head.inside == "multipart/related" and any(name == "content-id" for name, _value in head.fields)
    attached = head.disposition == "attachment" or bool(head.file_name)
    return PartFile(path, kind, head.file_name, head.media_type, attached, in_text)


def copy_to(path: Path, folder: Path) -> None:
    """Put a file into another folder of the same disk; it is there once, whatever was before."""
    target = folder / path.name
    target.unlink(missing_ok=True)
    target.hardlink_to(path)
