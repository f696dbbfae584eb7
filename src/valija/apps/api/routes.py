"""The API's operations, and the one table that lists them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from pydantic import BaseModel, ValidationError
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from valija import __version__
from valija.apps.api import models
from valija.apps.api.views import REVOCATION_TEXTS, Views
from valija.apps.language import from_accept_language
from valija.apps.machine import Machine
from valija.domain.account import Actor, GrantKind, Setting
from valija.domain.errors import FieldProblem, InvalidFields, RequestError, UnknownName
from valija.domain.text import N_, message
from valija.protocol.smtp_client import Verdict
from valija.services.connection_test import StageOutcome, StageReport
from valija.services.delivery import File
from valija.services.events import Stopping
from valija.services.login import EXIT_STATUS
from valija.services.status import TokenReport

JSON_LIMIT: Final = 1_000_000
WAIT_LIMIT_S: Final = 25.0
FILES_LIMIT: Final = 100
_EXIT_BY_VERDICT: Final = {Verdict.ACCEPTED: 0, Verdict.DEFERRED: 5, Verdict.IN_DOUBT: 5, Verdict.FAILED: 4}


@dataclass(frozen=True, slots=True)
class Call:
    """One request, with what an operation needs of it."""

    machine: Machine
    request: Request
    actor: Actor
    views: Views

    @property
    def setting(self) -> Setting:
        """Return the setting named in the path. Raises :class:`UnknownName`."""
        name = self.request.path_params["setting"]
        try:
            return Setting(name)
        except ValueError:
            raise UnknownName(
                message(N_("There is no setting {name}."), name=name[:40]),
                message(N_("The settings are: {names}."), names=", ".join(s.value for s in Setting)),
            ) from None

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return a number of the query. Raises :class:`InvalidFields`."""
        text = self.request.query_params.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            problem = message(N_("must be a whole number from {low} to {high}"), low=low, high=high)
            raise InvalidFields((FieldProblem(name, problem),))
        return int(text)

    async def body(self, model: type[BaseModel]) -> Any:
        """Return the body, checked. Raises :class:`InvalidFields` or :class:`RequestError`."""
        raw = b""
        async for piece in self.request.stream():
            raw += piece
            if len(raw) > JSON_LIMIT:
                raise RequestError(message(N_("The body is too large.")))
        try:
            return model.model_validate_json(raw or b"{}")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            raise InvalidFields((FieldProblem(where, message("{why}", why=first["msg"])),)) from None

    async def token_report(self, setting: Setting | None = None) -> TokenReport:
        """Report a setting's token."""
        return await self.machine.status.report(setting or self.setting, unsaved=self.machine.tokens.unsaved)

    async def token(self) -> models.TokenView:
        """Show the setting's token."""
        return self.views.token(await self.token_report())


Operation = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the API: what it takes and gives is what the OpenAPI description says."""

    method: str
    path: str
    operation: Operation
    summary: str
    answer: Any
    body: type[BaseModel] | None = None
    query: tuple[tuple[str, str], ...] = ()
    media_type: str = "application/json"
    upload: bool = False


# --- the machine ----------------------------------------------------------------------------------------------------------


async def show_machine(call: Call) -> models.MachineView:
    m = call.machine
    tokens = [call.views.token(await call.token_report(setting)) for setting in Setting]
    return models.MachineView(version=__version__, started_at=m.started_at, sandbox=m.sandbox, tokens=tokens)


async def list_audit(call: Call) -> list[models.AuditView]:
    before = call.number("before", 0, 0, 999_999_999) or None
    records = await call.machine.store.list_audit(call.number("limit", 50, 1, 500), before)
    return [call.views.audit(record) for record in records]


# --- settings and providers -------------------------------------------------------------------------------------------------


async def show_setting(call: Call) -> models.SettingView:
    value = await call.machine.settings.load(call.setting)
    return call.views.setting(call.setting, value, await call.token_report())


async def change_setting(call: Call) -> models.SettingView:
    body: models.Changes = await call.body(models.Changes)
    setting = call.setting
    value = await call.machine.settings.change(setting, body.changes, confirm=body.confirm, actor=call.actor)
    return call.views.setting(setting, value, await call.token_report())


async def list_providers(call: Call) -> list[models.ProviderView]:
    return [await _provider(call, r.name) for r in await call.machine.providers.all()]


async def show_provider(call: Call) -> models.ProviderView:
    return await _provider(call, call.request.path_params["name"])


async def change_provider(call: Call) -> models.ProviderView:
    body: models.Changes = await call.body(models.Changes)
    name = call.request.path_params["name"]
    await call.machine.providers.set(name, body.changes, confirm=body.confirm, actor=call.actor)
    return await _provider(call, name)


async def delete_provider(call: Call) -> dict[str, bool]:
    confirm = call.request.query_params.get("confirm") == "true"
    await call.machine.providers.delete(call.request.path_params["name"], confirm=confirm, actor=call.actor)
    return {"deleted": True}


async def _provider(call: Call, name: str) -> models.ProviderView:
    registration, profile = await call.machine.providers.load(name)
    return call.views.provider(registration, profile, await call.machine.providers.users(name))


# --- tokens -------------------------------------------------------------------------------------------------------------------


async def list_tokens(call: Call) -> list[models.TokenView]:
    return [call.views.token(await call.token_report(setting)) for setting in Setting]


async def show_token(call: Call) -> models.TokenView:
    setting = call.setting
    wait = call.number("wait", 0, 0, int(WAIT_LIMIT_S))
    if wait:
        after = call.number("after_version", 0, 0, 999_999_999)
        await _wait_for_change(call, setting, after, wait)
    return await call.token()


async def _wait_for_change(call: Call, setting: Setting, after: int, seconds: float) -> None:
    """Return when the token has a later version, or after ``seconds``."""
    async with call.machine.events.subscribe() as queue:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (await call.machine.tokens.state(setting.value)).version <= after:
                    if isinstance(await queue.get(), Stopping):
                        return


async def get_token(call: Call) -> models.TokenView:
    body: models.GetToken = await call.body(models.GetToken)
    grant = GrantKind(body.grant) if body.grant else None
    await call.machine.desk.start(call.setting, grant, call.actor)
    return await call.token()


async def paste_redirect(call: Call) -> models.TokenView:
    body: models.PastedRedirect = await call.body(models.PastedRedirect)
    await call.machine.desk.paste(call.setting, body.url, call.actor)
    return await call.token()


async def cancel_authorization(call: Call) -> models.TokenView:
    await call.machine.desk.cancel(call.setting, call.actor)
    return await call.token()


async def refresh_token(call: Call) -> models.TokenView:
    await call.machine.tokens.refresh(call.setting.value)
    return await call.token()


async def delete_token(call: Call) -> models.Deletion:
    _state, revocation = await call.machine.desk.delete(call.setting, call.actor)
    text = call.views.text(REVOCATION_TEXTS[revocation])
    return models.Deletion(token=await call.token(), revocation=cast(Any, revocation), revocation_text=text)


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
            about = _about(form.get("about"))
            uploads = [item for item in form.getlist("file") if not isinstance(item, str)]
            files = [
                File(_path_of(u), u.filename or "file", u.content_type or "application/octet-stream") for u in uploads
            ]
            report = await call.machine.delivery.send(
                about["to"], about.get("subject", ""), about.get("text", ""), files
            )
    except MultiPartException as error:
        raise RequestError(message(N_("The form cannot be read: {why}."), why=error.message)) from None
    worst = max((_EXIT_BY_VERDICT[o.verdict] for o in report.outcomes), default=0)
    outcomes = [call.views.delivered(o) for o in report.outcomes]
    return models.SendReport(message_id=report.message_id, size=report.size, outcomes=outcomes, exit_status=worst)


def _path_of(upload: Any) -> Path:
    """Return where an upload's octets are: a file even for a small one (no name on disk; found by its descriptor)."""
    upload.file.rollover()
    upload.file.flush()
    return Path(f"/proc/self/fd/{upload.file.fileno()}")


def _about(raw: Any) -> dict[str, Any]:
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
    account = call.request.query_params.get("setting") or None
    stored = await call.machine.store.list_received(account, call.number("limit", 50, 1, 500))
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
            while not isinstance(event := await queue.get(), Stopping):
                name = type(event).__name__
                account = getattr(event, "account", getattr(event, "subject", ""))
                data = json.dumps({"event": name, "subject": account, "at": event.at.isoformat()})
                yield f"event: {name}\ndata: {data}\n\n".encode()

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/machine", show_machine, "Show the machine and its tokens", models.MachineView),
    Route("GET", "/settings/{setting}", show_setting, "Show a mail setting", models.SettingView),
    Route(
        "PATCH",
        "/settings/{setting}",
        change_setting,
        "Change fields of a mail setting",
        models.SettingView,
        models.Changes,
    ),
    Route(
        "POST",
        "/settings/{setting}/test",
        test_setting,
        "Test a setting's connection, stage by stage",
        models.TestReport,
    ),
    Route("POST", "/settings/{setting}/receive", receive_mail, "Fetch new mail of a POP setting", models.ReceiveReport),
    Route("GET", "/providers", list_providers, "List the client registrations", list[models.ProviderView]),
    Route("GET", "/providers/{name}", show_provider, "Show a client registration", models.ProviderView),
    Route(
        "PUT", "/providers/{name}", change_provider, "Add or change a registration", models.ProviderView, models.Changes
    ),
    Route(
        "DELETE",
        "/providers/{name}",
        delete_provider,
        "Delete a registration and its tokens",
        dict[str, bool],
        query=(("confirm", "true agrees to the deletion of tokens"),),
    ),
    Route("GET", "/tokens", list_tokens, "Show all tokens", list[models.TokenView]),
    Route(
        "GET",
        "/tokens/{setting}",
        show_token,
        "Show a token; wait until it changes",
        models.TokenView,
        query=(("wait", "seconds to wait, 0-25"), ("after_version", "wait for a later version than this")),
    ),
    Route("DELETE", "/tokens/{setting}", delete_token, "Delete a token and revoke it at the provider", models.Deletion),
    Route("POST", "/tokens/{setting}/refresh", refresh_token, "Refresh a token now", models.TokenView),
    Route(
        "POST",
        "/tokens/{setting}/authorization",
        get_token,
        "Get a token: ask the provider for leave (only at the machine)",
        models.TokenView,
        models.GetToken,
    ),
    Route(
        "DELETE",
        "/tokens/{setting}/authorization",
        cancel_authorization,
        "Stop waiting for authorization",
        models.TokenView,
    ),
    Route(
        "POST",
        "/tokens/{setting}/authorization/redirect",
        paste_redirect,
        "Hand in the address that the browser was sent to",
        models.TokenView,
        models.PastedRedirect,
    ),
    Route(
        "POST",
        "/messages",
        send_message,
        "Send files by e-mail: multipart/form-data with about (JSON: to, subject, text) and file, again for each",
        models.SendReport,
        upload=True,
    ),
    Route(
        "GET",
        "/received",
        list_received,
        "List received mail",
        list[models.ReceivedView],
        query=(("setting", "only of this POP setting"), ("limit", "how many at the most, 1-500")),
    ),
    Route("GET", "/received/{id}", download_received, "Download a received message", None, media_type="message/rfc822"),
    Route(
        "GET",
        "/audit",
        list_audit,
        "Show who did what, latest first",
        list[models.AuditView],
        query=(("limit", "how many at the most, 1-500"), ("before", "only records before this id")),
    ),
    Route(
        "GET",
        "/events",
        stream_events,
        "Follow what happens (server-sent events)",
        None,
        media_type="text/event-stream",
    ),
)


def make_call(machine: Machine, request: Request, actor: Actor) -> Call:
    """Return a call in the language that the client asked for."""
    language = from_accept_language(request.headers.get("accept-language", ""))
    return Call(machine, request, actor, Views(language, machine.status))
