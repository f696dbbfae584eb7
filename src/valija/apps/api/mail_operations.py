"""The API's operations that move mail: test, send, receive; and the stream of what happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, cast

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response, StreamingResponse

from valija.apps.api import models
from valija.apps.api.calls import JSON_LIMIT, Call
from valija.domain.account import Setting
from valija.domain.errors import RequestError, UnknownName, ValijaError
from valija.domain.text import N_, message
from valija.protocol.smtp_transaction import Verdict
from valija.services.connection_test import StageOutcome, StageReport
from valija.services.delivery import File
from valija.services.events import Event, Stopping
from valija.services.login import EXIT_STATUS

FILES_LIMIT: Final = 100
QUIET_LIMIT_S: Final = (
    15.0  # then a stream says that it is there; connections that are silent for longer are cut on the way
)
_EXIT_BY_VERDICT: Final = {Verdict.ACCEPTED: 0, Verdict.DEFERRED: 5, Verdict.IN_DOUBT: 5, Verdict.FAILED: 4}


# --- mail ---------------------------------------------------------------------------------------------------------------------


async def test_setting(call: Call) -> models.TestReport | Response:
    setting = call.setting
    if "application/x-ndjson" in call.request.headers.get("accept", ""):
        return StreamingResponse(_test_lines(call, setting), media_type="application/x-ndjson")
    reports = [report async for report in call.machine.test.run(setting)]
    summary = _test_summary(call, reports)
    return models.TestReport(**summary.model_dump(), stages=[call.views.stage(r) for r in reports])


async def _test_lines(call: Call, setting: Setting) -> AsyncIterator[bytes]:
    reports = []
    async for report in call.machine.test.run(setting):
        reports.append(report)
        yield call.views.stage(report).model_dump_json().encode() + b"\n"
    yield _test_summary(call, reports).model_dump_json().encode() + b"\n"


def _test_summary(call: Call, reports: list[StageReport]) -> models.TestSummary:
    failed = next((r for r in reports if r.outcome is StageOutcome.FAILED), None)
    if failed is None:
        text = call.views.text(N_("The connection works."))
        return models.TestSummary(passed=True, who_acts="nobody", summary=text)
    who = failed.trouble.who_acts.value if failed.trouble else "operator"
    return models.TestSummary(
        passed=False, who_acts=cast(Any, who), summary=call.views.text(N_("The connection does not work."))
    )


async def send_message(call: Call) -> models.SendReport:
    try:
        form_context = call.request.form(max_files=FILES_LIMIT, max_fields=10, max_part_size=JSON_LIMIT)
        async with form_context as form:
            about = about_of(form.get("about"))
            uploads = [item for item in form.getlist("file") if not isinstance(item, str)]
            files = [
                File(path_of(u), u.filename or "file", u.content_type or "application/octet-stream") for u in uploads
            ]
            report = await call.machine.delivery.send(
                about["to"], about.get("subject", ""), about.get("text", ""), files
            )
    except HTTPException as error:  # what the reader of forms makes of one that is broken
        raise RequestError(message(N_("The form cannot be read: {why}."), why=error.detail)) from None
    worst = max((_EXIT_BY_VERDICT[o.verdict] for o in report.outcomes), default=0)
    outcomes = [call.views.delivered(o) for o in report.outcomes]
    return models.SendReport(message_id=report.message_id, size=report.size, outcomes=outcomes, exit_status=worst)


def path_of(upload: Any) -> Path:
    """Return where an upload's octets are: a file even for a small one (no name on disk; found by its descriptor)."""
    upload.file.rollover()
    upload.file.flush()
    return Path(f"/proc/self/fd/{upload.file.fileno()}")


def about_of(raw: Any) -> dict[str, Any]:
    """Return the form's field about: to, subject, text, and whatever else is in it. Raises :class:`RequestError`."""
    about: Any = None
    if isinstance(raw, str):
        with contextlib.suppress(ValueError):
            about = json.loads(raw)
    fits = (
        isinstance(about, dict)
        and isinstance(about.get("to"), list)
        and all(isinstance(a, str) for a in about["to"])
        and all(isinstance(about.get(k, ""), str) for k in ("subject", "text"))
    )
    if not fits:
        raise RequestError(message(N_("The form needs a field about: JSON with to, subject and text.")))
    return cast("dict[str, Any]", about)


async def receive_mail(call: Call) -> models.ReceiveReport:
    setting = _pop(call)
    report = await call.machine.retrieval.check(setting)
    status = EXIT_STATUS[report.trouble.who_acts] if report.trouble else 0
    return models.ReceiveReport(
        setting=cast(Any, setting.value),
        messages=[call.views.received(m, call.machine.state_dir) for m in report.messages],
        trouble=call.views.raw_trouble(report.trouble),
        exit_status=status,
    )


def _pop(call: Call) -> Setting:
    if not call.setting.is_pop:
        raise RequestError(
            message(N_("The SMTP setting does not receive.")),
            message(N_("Name a POP setting: internet-fax, email-print or email-status.")),
        )
    return call.setting


async def list_received(call: Call) -> list[models.ReceivedView]:
    stored = await call.machine.store.list_received(call.choice("setting") or None, call.number("limit"))
    return [call.views.received(m, call.machine.state_dir) for m in stored]


async def download_received(call: Call) -> Response:
    text = call.request.path_params["id"]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1
    stored = await call.machine.store.load_received(number)
    path = call.machine.state_dir / stored.message.file if stored else None
    if path is None or not await asyncio.to_thread(path.exists):
        raise UnknownName(message(N_("There is no message {number}."), number=text[:20]))
    return FileResponse(path, media_type="message/rfc822")


async def stream_events(call: Call) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        async with call.machine.events.subscribe() as queue:
            yield b": ok\n\n"
            while not isinstance(event := await _next(queue), Stopping) and await _may_follow(call):
                yield _told(event) if event is not None else b": still here\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _next(queue: asyncio.Queue[Event]) -> Event | None:
    """Return the next event; None if nothing has happened for a while."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(QUIET_LIMIT_S):
            return await queue.get()
    return None


async def _may_follow(call: Call) -> bool:
    """Tell whether the caller would still be let in: a token that was deleted or has ended closes its streams."""
    try:
        await call.admit()
    except ValijaError:
        return False
    return True


def _told(event: Event) -> bytes:
    name = type(event).__name__
    account = getattr(event, "account", getattr(event, "subject", ""))
    data = json.dumps({"event": name, "subject": account, "at": event.at.isoformat()})
    return f"event: {name}\ndata: {data}\n\n".encode()
