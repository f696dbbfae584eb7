"""Drives a grant by hand: answers what it yields."""

from __future__ import annotations

import json
from collections.abc import Generator
from itertools import count
from typing import Any, TypeVar

from valija.net.data_files import read_error_table
from valija.oauth.client import Client, ClientAuthentication, SignAssertion, Wait
from valija.oauth.grants import Context
from valija.oauth.http_messages import HttpFailed, HttpRequest, HttpResponse
from valija.secret import Secret

T = TypeVar("T")
ERRORS = read_error_table()
ENDPOINT = "https://login.example.com/token"
Answer = HttpResponse | HttpFailed | dict[str, Any] | tuple[int, dict[str, Any]]


class Exchange:
    """What a grant asked for, while it was given these answers in turn."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[HttpRequest] = []
        self.assertions: list[SignAssertion] = []
        self.waits: list[float] = []
        self.clock = 1_000_000.0

    def run(self, grant: Generator[Any, Any, T]) -> T:
        """Run to the end."""
        sent: Any = None
        try:
            while True:
                step = grant.send(sent)
                sent = self._answer(step)
        except StopIteration as end:
            value: T = end.value
            return value

    def _answer(self, step: Any) -> Any:
        match step:
            case HttpRequest():
                self.requests.append(step)
                return _response(self._answers.pop(0))
            case SignAssertion():
                self.assertions.append(step)
                return Secret("signed")
            case Wait():
                self.waits.append(step.seconds)
                self.clock += step.seconds
        return None

    def context(self, authentication: ClientAuthentication = ClientAuthentication.NONE, secret: str = "") -> Context:
        """Return what grants need of their caller."""
        client = Client("client-1", authentication, ENDPOINT, Secret(secret) if secret else None)
        return Context(client, ERRORS, lambda: self.clock, (f"jti-{n}" for n in count()))

    def form(self, number: int = -1) -> dict[str, str]:
        """Return a request's form, secrets revealed."""
        form = self.requests[number].form
        return {name: value.reveal() if isinstance(value, Secret) else value for name, value in form}


def _response(answer: Answer) -> HttpResponse | HttpFailed:
    if isinstance(answer, HttpResponse | HttpFailed):
        return answer
    status, body = answer if isinstance(answer, tuple) else (200, answer)
    return HttpResponse(status, {"content-type": "application/json"}, json.dumps(body).encode())


def error(name: str, status: int = 400, **more: Any) -> tuple[int, dict[str, Any]]:
    """Return an error answer (RFC 6749 section 5.2)."""
    return status, {"error": name, **more}


def good(**more: Any) -> dict[str, Any]:
    """Return a token response."""
    return {"access_token": "at-1", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt-1", **more}
