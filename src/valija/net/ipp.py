"""Printers by IPP over HTTP (RFC 8010): how they are, and jobs handed over, followed, found and cancelled.

A CUPS queue is reached as CUPS's own programs do it: at ``CUPS_SERVER``, else at its socket, else at port 631 of this machine.
Proxies are never used. Nothing is kept open between two requests: printers sleep.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2

from valija.domain.printer import (
    IPP_PORT,
    PrinterState,
    PrinterStateName,
    PrinterTarget,
    Supply,
    TargetKind,
    parse_reason,
)
from valija.net.errors import NetError, explain_os_error
from valija.oauth.classification import safe_words
from valija.protocol.errors import RemoteProtocolError
from valija.protocol.ipp import (
    ANSWER_LIMIT,
    CONTENT_TYPE,
    IppAnswer,
    IppRequest,
    Member,
    Operation,
    Tag,
    Value,
    number_of,
    parse_answer,
    text_of,
)

SOCKET: Final = "/run/cups/cups.sock"
ANSWER_S: Final = 20.0
HAND_OVER_S: Final = 900.0
SILENCE_S: Final = 120.0  # of a printer that is being sent a document: it may be printing what it has
JOBS_LIMIT: Final = 500
REASONS_LIMIT: Final = 30
SUPPLIES_LIMIT: Final = 40
WORDS_LIMIT: Final = 300
PDF: Final = "application/pdf"
_PIECE: Final = 65_536
_NO_PRINTER: Final = frozenset({400, 405, 411, 415, 501})  # of a server that does not know what is asked
_STAGE: Final = "printer"
_STATES: Final = {3: PrinterStateName.IDLE, 4: PrinterStateName.PROCESSING, 5: PrinterStateName.STOPPED}
_ASKED: Final = (
    "printer-state",
    "printer-state-reasons",
    "printer-state-message",
    "printer-is-accepting-jobs",
    "printer-make-and-model",
    "marker-names",
    "marker-types",
    "marker-colors",
    "marker-levels",
    "marker-low-levels",
)
_NO_SUCH_THING, _GONE, _NOT_POSSIBLE = 0x0406, 0x0407, 0x0404
_OF_THE_JOB: Final = frozenset(
    {  # RFC 8011 appendix B.1.4; the last four are of PWG 5100.13
        0x0400,  # bad-request
        0x0408,  # request-entity-too-large
        0x0409,  # request-value-too-long
        0x040A,  # document-format-not-supported
        0x040B,  # attributes-or-values-not-supported
        0x040E,  # conflicting-attributes
        0x040F,  # compression-not-supported
        0x0410,  # compression-error
        0x0411,  # document-format-error
        0x0412,  # document-access-error
        0x0418,  # document-password-error
        0x0419,  # document-permission-error
        0x041A,  # document-security-error
        0x041B,  # document-unprintable-error
    }
)


class IppRefused(Exception):
    """A printer refused: ``status`` as RFC 8011 appendix B numbers it, ``words`` its own, made safe."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"IPP {status:#06x} {words}".strip())
        self.status = status
        self.words = words

    @property
    def is_final(self) -> bool:
        """Tell whether it is about this job: the same document would be refused again, and another one perhaps taken."""
        return self.status in _OF_THE_JOB

    @property
    def is_unknown(self) -> bool:
        """Tell whether the printer does not know what was named."""
        return self.status in (_NO_SUCH_THING, _GONE)


@dataclass(frozen=True, slots=True)
class JobAtPrinter:
    """A job as the printer knows it: ``state`` as RFC 8011 section 5.3.7 numbers it (7 cancelled, 8 aborted, 9 completed)."""

    id: int
    state: int
    reasons: tuple[str, ...] = ()
    pages: int = 0
    words: str = ""
    left_out: tuple[str, ...] = ()  # attributes that the printer did not take, when it was handed over


@dataclass(frozen=True, slots=True)
class PrintTicket:
    """What a job asks for; what is empty is the printer's own choice. ``media`` is a PWG 5101.1 name, ``tray`` a keyword."""

    name: str
    user: str = "valija"
    copies: int = 1
    sides: str = ""
    color_mode: str = ""
    media: str = ""
    tray: str = ""


class Ipp:
    """Speaks to printers; one for the whole program."""

    def __init__(self, tls: ssl.SSLContext, *, cups: str | None = None) -> None:
        self._tls = tls
        self._cups = os.environ.get("CUPS_SERVER", "") if cups is None else cups

    async def printer_state(self, target: PrinterTarget) -> PrinterState:
        """Return how a printer is. Never raises: one that cannot be reached is a state, too."""
        request = IppRequest(Operation.GET_PRINTER_ATTRIBUTES, target.uri)
        request.add_user()
        request.add(Tag.KEYWORD, "requested-attributes", *_ASKED)
        try:
            answer = await self._ask(target, request)
        except NetError as error:
            return PrinterState(
                PrinterStateName.UNREACHABLE, accepting=False, trouble=error.reason, words=error.words[:WORDS_LIMIT]
            )
        except IppRefused as refused:
            return PrinterState(
                PrinterStateName.UNKNOWN, accepting=False, trouble="printer_refused", words=refused.words
            )
        return _printer_state(answer.first(Tag.PRINTER))

    async def takes_pdf(self, target: PrinterTarget) -> bool:
        """Tell whether a printer says that it takes PDF, or says nothing. Raises :class:`NetError`, :class:`IppRefused`."""
        request = IppRequest(Operation.GET_PRINTER_ATTRIBUTES, target.uri)
        request.add_user()
        request.add(Tag.KEYWORD, "requested-attributes", "document-format-supported")
        answer = await self._ask(target, request)
        known = answer.first(Tag.PRINTER).get("document-format-supported", ())
        return not known or PDF in known

    async def print_file(self, target: PrinterTarget, ticket: PrintTicket, path: Path) -> JobAtPrinter:
        """Hand a PDF over; it is the printer's from then on. Raises :class:`NetError`, :class:`IppRefused`, OSError."""
        request = IppRequest(Operation.PRINT_JOB, target.uri, ticket.user)
        request.add_user()
        request.add(Tag.NAME, "job-name", ticket.name)
        request.add(Tag.MIME_TYPE, "document-format", PDF)
        request.group(Tag.JOB)
        request.add(Tag.INTEGER, "copies", ticket.copies)
        for name, value in (("sides", ticket.sides), ("print-color-mode", ticket.color_mode)):
            if value:
                request.add(Tag.KEYWORD, name, value)
        if ticket.tray:
            request.add_collection("media-col", _media(ticket))
        elif ticket.media:
            request.add(Tag.KEYWORD, "media", ticket.media)
        answer = await self._ask(target, request, path)
        left_out = tuple(sorted(answer.first(Tag.UNSUPPORTED)))[:REASONS_LIMIT]
        return _job(answer.first(Tag.JOB), left_out)

    async def job(self, target: PrinterTarget, number: int) -> JobAtPrinter | None:
        """Return a job; None if the printer does not know it (any more). Raises :class:`NetError`, :class:`IppRefused`."""
        request = IppRequest(Operation.GET_JOB_ATTRIBUTES, target.uri)
        request.add(Tag.INTEGER, "job-id", number)
        request.add_user()
        request.add(Tag.KEYWORD, "requested-attributes", *_JOB_ASKED)
        try:
            return _job((await self._ask(target, request)).first(Tag.JOB))
        except IppRefused as refused:
            if refused.is_unknown:
                return None
            raise

    async def find(self, target: PrinterTarget, name: str) -> JobAtPrinter | None:
        """Return the job of that name, ended or not. Raises :class:`NetError`, :class:`IppRefused`."""
        for which in ("not-completed", "completed"):
            request = IppRequest(Operation.GET_JOBS, target.uri)
            request.add_user()
            request.add(Tag.INTEGER, "limit", JOBS_LIMIT)
            request.add(Tag.KEYWORD, "requested-attributes", *_JOB_ASKED, "job-name")
            request.add(Tag.KEYWORD, "which-jobs", which)
            try:
                answer = await self._ask(target, request)
            except IppRefused as refused:
                if refused.is_unknown:  # "no jobs", as some printers say it
                    continue
                raise
            for job in answer.all(Tag.JOB):
                if text_of(job, "job-name") == name:
                    return _job(job)
        return None

    async def cancel(self, target: PrinterTarget, number: int, user: str = "valija") -> None:
        """Take a job back; one that has ended already is none any more. Raises :class:`NetError`, :class:`IppRefused`."""
        request = IppRequest(Operation.CANCEL_JOB, target.uri, user)
        request.add(Tag.INTEGER, "job-id", number)
        request.add_user()
        try:
            await self._ask(target, request)
        except IppRefused as refused:
            if not refused.is_unknown and refused.status != _NOT_POSSIBLE:
                raise

    # --- HTTP -------------------------------------------------------------------------------------------------------------

    async def _ask(self, target: PrinterTarget, request: IppRequest, path: Path | None = None) -> IppAnswer:
        limit = HAND_OVER_S if path else ANSWER_S
        try:
            async with asyncio.timeout(limit):
                answer = parse_answer(await self._post(target, request.octets(), path))
        except TimeoutError:
            raise NetError("timed_out", _STAGE, f"no answer within {limit:g} s") from None
        except RemoteProtocolError as error:
            raise NetError("printer_nonsense", _STAGE, str(error)) from None
        if not answer.ok:
            raise IppRefused(answer.status, safe_words(answer.words)[:WORDS_LIMIT])
        return answer

    async def _post(self, target: PrinterTarget, octets: bytes, path: Path | None) -> bytes:
        url, transport = self._place(target)
        size = len(octets) + ((await asyncio.to_thread(path.stat)).st_size if path else 0)
        headers = {"Content-Type": CONTENT_TYPE, "Content-Length": str(size), "Accept-Encoding": "identity"}
        timeout = httpx2.Timeout(ANSWER_S, read=SILENCE_S if path else ANSWER_S, write=SILENCE_S)
        body = bytearray()
        try:
            async with (
                httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client,
                client.stream("POST", url, headers=headers, content=_pieces(octets, path)) as answer,
            ):
                if answer.status_code != 200:
                    reason = "printer_nonsense" if answer.status_code in _NO_PRINTER else "printer_denied"
                    raise NetError(reason, _STAGE, f"HTTP {answer.status_code}")
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > ANSWER_LIMIT:
                        raise NetError("printer_nonsense", _STAGE, f"more than {ANSWER_LIMIT} octets")
        except httpx2.TimeoutException:
            raise NetError("timed_out", _STAGE, "") from None
        except httpx2.HTTPError as error:
            raise _explained(error) from None
        return bytes(body)

    def _place(self, target: PrinterTarget) -> tuple[str, httpx2.AsyncHTTPTransport]:
        """Return where to send to, and by which way."""
        if target.kind is not TargetKind.QUEUE:
            parts = urlsplit(target.uri)
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            scheme = "https" if parts.scheme == "ipps" else "http"
            query = f"?{parts.query}" if parts.query else ""
            url = f"{scheme}://{host}:{parts.port or IPP_PORT}{parts.path or '/'}{query}"
            return url, httpx2.AsyncHTTPTransport(verify=self._tls)
        way = urlsplit(target.uri).path
        server = self._cups or (SOCKET if Path(SOCKET).is_socket() else "localhost")
        if server.startswith("/"):
            return f"http://localhost{way}", httpx2.AsyncHTTPTransport(uds=server, verify=self._tls)
        server = server.split("/")[0]  # CUPS_SERVER may name a version behind it
        port = "" if server.rpartition(":")[2].isdigit() and not server.endswith("]") else f":{IPP_PORT}"
        return f"http://{server}{port}{way}", httpx2.AsyncHTTPTransport(verify=self._tls)


_JOB_ASKED: Final = (
    "job-id",
    "job-state",
    "job-state-reasons",
    "job-state-message",
    "job-media-sheets-completed",
    "job-impressions-completed",
)
_SIZES: Final = {  # hundredths of a millimetre
    "iso_a3_297x420mm": (29700, 42000),
    "iso_a4_210x297mm": (21000, 29700),
    "iso_a5_148x210mm": (14800, 21000),
    "na_letter_8.5x11in": (21590, 27940),
    "na_legal_8.5x14in": (21590, 35560),
}


def _media(ticket: PrintTicket) -> Sequence[Member]:
    members: list[Member] = []
    if ticket.media in _SIZES:
        across, down = _SIZES[ticket.media]
        members.append(
            (
                Tag.COLLECTION,
                "media-size",
                [(Tag.INTEGER, "x-dimension", across), (Tag.INTEGER, "y-dimension", down)],
            )
        )
    return [*members, (Tag.KEYWORD, "media-source", ticket.tray)]


async def _pieces(octets: bytes, path: Path | None) -> AsyncIterator[bytes]:
    yield octets
    if path is None:
        return
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
    finally:
        await asyncio.to_thread(file.close)


def _explained(error: httpx2.HTTPError) -> NetError:
    """Return what the deepest error below says; those above only say that there was one."""
    cause: BaseException | None = error
    found: OSError | None = None
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):  # one error for each of a name's addresses
            cause = cause.exceptions[0]
        found = cause if isinstance(cause, OSError) else found
        cause = cause.__cause__ or cause.__context__
    if found is None:
        return NetError("connection_lost", _STAGE, str(error) or type(error).__name__)
    return explain_os_error(found, "tls" if isinstance(found, ssl.SSLError) else _STAGE)


def _texts(attributes: Mapping[str, tuple[Value, ...]], name: str, limit: int) -> list[str]:
    return [safe_words(value)[:127] for value in attributes.get(name, ())[:limit] if isinstance(value, str)]


def _printer_state(said: Mapping[str, tuple[Value, ...]]) -> PrinterState:
    reasons = filter(None, map(parse_reason, _texts(said, "printer-state-reasons", REASONS_LIMIT)))
    return PrinterState(
        state=_STATES.get(number_of(said, "printer-state") or 0, PrinterStateName.UNKNOWN),
        accepting=said.get("printer-is-accepting-jobs", (True,))[0] is not False,
        reasons=tuple(reasons),
        supplies=tuple(_supplies(said)),
        model=safe_words(text_of(said, "printer-make-and-model"))[:127],
        words=safe_words(text_of(said, "printer-state-message"))[:WORDS_LIMIT],
    )


def _supplies(said: Mapping[str, tuple[Value, ...]]) -> list[Supply]:
    names = _texts(said, "marker-names", SUPPLIES_LIMIT)
    kinds, colours = _texts(said, "marker-types", SUPPLIES_LIMIT), _texts(said, "marker-colors", SUPPLIES_LIMIT)
    levels, lows = said.get("marker-levels", ()), said.get("marker-low-levels", ())
    return [
        Supply(name, _at(kinds, place, ""), _at(colours, place, ""), _percent(levels, place), _percent(lows, place))
        for place, name in enumerate(names)
    ]


def _at(values: Sequence[str], place: int, otherwise: str) -> str:
    return values[place] if place < len(values) else otherwise


def _percent(values: Sequence[Value], place: int) -> int | None:
    value = values[place] if place < len(values) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100 else None


def _job(said: Mapping[str, tuple[Value, ...]], left_out: tuple[str, ...] = ()) -> JobAtPrinter:
    number, state = number_of(said, "job-id"), number_of(said, "job-state")
    if number is None:
        raise NetError("printer_nonsense", _STAGE, "an answer without job-id")
    pages = number_of(said, "job-impressions-completed") or number_of(said, "job-media-sheets-completed") or 0
    words = safe_words(text_of(said, "job-state-message"))[:WORDS_LIMIT]
    reasons = tuple(_texts(said, "job-state-reasons", REASONS_LIMIT))
    return JobAtPrinter(number, state or 0, reasons, pages, words, left_out)
