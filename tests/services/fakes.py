"""Time that passes by itself, a provider that says what the test tells it, a store that fails when asked to."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from valija.domain.account import Actor, GrantKind, Presence
from valija.domain.errors import StoreFull
from valija.domain.record import AuditRecord
from valija.domain.text import message
from valija.domain.token import Authorization, AuthorizationStarted, TokenObtained, TokenSet, TokenState
from valija.domain.trouble import Trouble, WhoActs
from valija.oauth.http_messages import HttpFailed, HttpRequest, HttpResponse, HttpResult, HttpTrouble, reveal
from valija.secret import Secret
from valija.services.token_manager import Refreshed, RefreshFailed, TokenManager
from valija.store.memory import MemoryStore
from valija.store.port import VersionedToken

START: Final = datetime(2031, 3, 1, 9, 0, tzinfo=UTC)
ANA: Final = Actor("ana", "panel", Presence.AT_MACHINE)
DESK: Final = Actor("luis", "web", Presence.REMOTE)
HOUR: Final = timedelta(hours=1)
SETTLE: Final = 5


async def settle() -> None:
    """Let everything run that can run without time passing."""
    for _ in range(SETTLE):
        await asyncio.sleep(0)
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    while ready:  # noqa: ASYNC110 - nothing tells when all others wait
        await asyncio.sleep(0)


class FakeClock:
    """Time of the test. With ``by_itself`` it jumps to the next sleeper's end as soon as all wait, else by :meth:`advance`."""

    def __init__(self, *, by_itself: bool = True) -> None:
        self._wall = START
        self._monotonic = 1000.0
        self._by_itself = by_itself
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._pump: asyncio.Task[None] | None = None

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + max(seconds, 0.0), next(self._numbers), future))
        if self._by_itself and (self._pump is None or self._pump.done()):
            self._pump = asyncio.create_task(self._run())
        await future

    async def _run(self) -> None:
        while self._sleepers:
            await settle()
            self._wake_next()

    def _wake_next(self) -> None:
        if self._sleepers:
            end, _number, future = heapq.heappop(self._sleepers)
            if not future.done():
                self.jump(max(end - self._monotonic, 0.0))
                future.set_result(None)

    def jump(self, seconds: float) -> None:
        """Let time pass at once, without waking anybody in between."""
        self._monotonic += seconds
        self._wall += timedelta(seconds=seconds)

    def set_wall(self, moment: datetime) -> None:
        """Set the wall clock, as an operator or a time server does."""
        self._wall = moment

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking sleepers in their order."""
        end = self._monotonic + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._wake_next()
            await settle()
        self.jump(max(end - self._monotonic, 0.0))
        await settle()


def tokens_for(clock: FakeClock, text: str = "first", *, life: timedelta = HOUR) -> TokenSet:
    """Return tokens that were got just now."""
    now = clock.now()
    return TokenSet(
        grant_id=f"grant of {text}",
        grant=GrantKind.DEVICE,
        access_token=Secret(f"access {text}"),
        expires_at=now + life,
        refresh_token=Secret(f"refresh {text}"),
        scopes=("smtp",),
        obtained_at=now,
        refreshed_at=now,
    )


async def give_token(manager: TokenManager, clock: FakeClock, account: str = "smtp", **changes: Any) -> TokenSet:
    """Let an account get a token as the desk does; ``changes`` are fields, or ``life``."""
    life = changes.pop("life", HOUR)
    tokens = replace(tokens_for(clock, account, life=life), **changes)
    asked = Authorization(f"asked {account}", tokens.grant, clock.now(), clock.now() + HOUR)
    await manager.apply(account, AuthorizationStarted(asked))
    await manager.apply(account, TokenObtained(asked.authorization_id, tokens))
    return tokens


def failure(
    reason: str = "provider_down",
    who: WhoActs = WhoActs.NOBODY,
    *,
    ends_grant: bool = False,
    retry_after: float | None = None,
) -> RefreshFailed:
    """Return a refresh that failed."""
    return RefreshFailed(Trouble(reason, who, "the provider's words", START), ends_grant, retry_after)


ENDED: Final = failure("grant_ended", WhoActs.USER, ends_grant=True)


class ScriptedRefresher:
    """A provider for the token manager: rotates tokens, or fails as ``answers`` say, one for each request."""

    def __init__(self, clock: FakeClock, *, life: timedelta = HOUR, takes: float = 0.0) -> None:
        self._clock = clock
        self._life = life
        self._takes = takes
        self.answers: list[RefreshFailed] = []
        self.always: RefreshFailed | None = None
        self.asked: list[tuple[datetime, str]] = []
        self.sent: list[TokenSet] = []
        self.discarded: list[TokenSet] = []
        self.gate: asyncio.Event | None = None
        self.same_access_token = False

    async def refresh(self, account: str, tokens: TokenSet) -> Refreshed | RefreshFailed:
        self.asked.append((self._clock.now(), account))
        self.sent.append(tokens)
        number = len(self.asked)
        if self.gate is not None:
            await self.gate.wait()
        if self._takes:
            await self._clock.sleep(self._takes)
        failed = self.always or (self.answers.pop(0) if self.answers else None)
        if failed is not None:
            return replace(failed, trouble=replace(failed.trouble, at=self._clock.now()))
        return self._rotate(tokens, number)

    def _rotate(self, tokens: TokenSet, number: int) -> Refreshed:
        now = self._clock.now()
        new = replace(
            tokens,
            access_token=tokens.access_token if self.same_access_token else Secret(f"access {number}"),
            refresh_token=Secret(f"refresh {number}") if tokens.refresh_token else None,
            expires_at=now + self._life,
            refreshed_at=now,
        )

        async def discard() -> None:
            self.discarded.append(new)

        return Refreshed(new, discard)


class FailingStore(MemoryStore):
    """A store that has no space for the next ``failures`` writes of tokens, and says what it was given before each."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.before_write: Callable[[], Any] | None = None

    async def replace_token(
        self,
        account: str,
        expected_version: int,
        state: TokenState,
        *,
        due_at: datetime | None,
        audit: AuditRecord | None = None,
    ) -> VersionedToken | None:
        await asyncio.sleep(0)
        if self.before_write is not None:
            then, self.before_write = self.before_write, None
            await then()
        if self.failures:
            self.failures -= 1
            raise StoreFull(message("There is no space left."))
        return await super().replace_token(account, expected_version, state, due_at=due_at, audit=audit)


ISSUER: Final = "https://login.example"
METADATA: Final[dict[str, Any]] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "device_authorization_endpoint": f"{ISSUER}/device",
    "revocation_endpoint": f"{ISSUER}/revoke",
    "authorization_response_iss_parameter_supported": True,
}
Answer = HttpResult | Callable[[dict[str, str]], HttpResult]
UNREACHABLE: Final = HttpFailed(HttpTrouble.UNREACHABLE, "no route")


def answer(status: int = 200, **fields: Any) -> HttpResponse:
    """Return a JSON answer."""
    return HttpResponse(status, {}, json.dumps(fields).encode())


def denied(error: str) -> HttpResponse:
    """Return an OAuth error."""
    return answer(400, error=error)


class ScriptedProvider:
    """An authorization server behind the real client: answers by path, first what was scripted, then what is usual."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.scripted: dict[str, list[Answer]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self._numbers: dict[str, int] = {}

    def script(self, path: str, *answers: Answer) -> None:
        """Give these answers next."""
        self.scripted.setdefault(path, []).extend(answers)

    def sent(self, path: str) -> list[dict[str, str]]:
        """Return the forms that were sent to a path."""
        return [form for where, form in self.requests if where == path]

    async def perform(self, request: HttpRequest) -> HttpResult:
        path = request.url.removeprefix(ISSUER)
        form = {name: reveal(value) for name, value in request.form}
        self.requests.append((path, form))
        if path in self.gates:
            await self.gates[path].wait()
        waiting = self.scripted.get(path)
        if waiting:
            found = waiting.pop(0)
            return found(form) if callable(found) else found
        return self._usual(path)

    def _usual(self, path: str) -> HttpResult:
        number = self._numbers[path] = self._numbers.get(path, 0) + 1
        match path:
            case "/.well-known/oauth-authorization-server":
                return answer(**METADATA)
            case "/device":
                device: dict[str, Any] = {"verification_uri": f"{ISSUER}/go", "user_code": f"CODE-{number}"}
                return answer(device_code=f"device code {number}", expires_in=600, interval=5, **device)
            case "/token":
                tokens: dict[str, Any] = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}"}
                return answer(token_type="Bearer", expires_in=3600, scope="smtp", **tokens)
            case "/revoke":
                return answer()
        return answer(404)
