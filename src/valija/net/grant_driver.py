"""Runs a grant: performs what it yields, sends it what came of it. Cancellable at every wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol, TypeVar

from valija.oauth.client import SignAssertion, SigningFailed, Step, StepResult, Wait
from valija.oauth.http_messages import HttpRequest, HttpResult
from valija.secret import Secret

T = TypeVar("T")


class Http(Protocol):
    """What performs requests."""

    async def perform(self, request: HttpRequest) -> HttpResult:
        """Send a request."""
        ...


Signer = Callable[[SignAssertion], Secret | SigningFailed]


async def run_grant(
    grant: Generator[Step, Any, T], http: Http, sign: Signer, sleep: Callable[[float], Awaitable[None]]
) -> T:
    """Run a grant to its end and return what it returns. Signing (milliseconds of CPU) happens in a thread."""
    try:
        step = next(grant)
        while True:
            result: StepResult = None
            match step:
                case HttpRequest():
                    result = await http.perform(step)
                case SignAssertion():
                    result = await asyncio.to_thread(sign, step)
                case Wait():
                    await sleep(step.seconds)
            step = grant.send(result)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        grant.close()
