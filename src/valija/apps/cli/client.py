"""The daemon's API over its Unix socket, with the standard library only: the CLI must start fast."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

SOCKET_NAME = "control.sock"
ANSWER_TIMEOUT_S = 90.0


class DaemonUnreachable(Exception):
    """Nobody answers on the daemon's socket."""

    def __init__(self, socket_path: Path, why: str) -> None:
        super().__init__(why)
        self.socket_path = socket_path
        self.why = why


class ApiProblem(Exception):
    """The daemon said no (RFC 9457): ``problem`` has title, detail, code, cure, exit_status, perhaps problems."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or "")
        self.problem = problem

    @property
    def code(self) -> str:
        """Return the problem's code."""
        return str(self.problem.get("code", ""))


def in_path(name: str) -> str:
    """Return what somebody typed as a part of an address: whatever it is, it is a name there and nothing else."""
    return quote(name, safe="", errors="surrogateescape")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class DaemonClient:
    """Calls the API; ``language`` is the one that sentences in answers are wanted in."""

    def __init__(self, state_dir: Path, language: str) -> None:
        self.socket_path = state_dir / SOCKET_NAME
        self.language = language

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        timeout: float = ANSWER_TIMEOUT_S,
    ) -> Any:
        """Return the JSON answer. Raises :class:`ApiProblem`, :class:`DaemonUnreachable`."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        with self._open(method, path, query, data, headers, timeout) as response:
            return json.loads(response.read() or b"null")

    def lines(self, method: str, path: str, body: Any = None, *, timeout: float = 900.0) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects of a streamed answer (one a line) as they come."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/x-ndjson"} | ({} if data is None else {"Content-Type": "application/json"})
        with self._open(method, path, None, data, headers, timeout) as response:
            while line := response.readline():
                if line.strip():
                    yield json.loads(line)

    def upload(self, path: str, body: Iterator[bytes], content_type: str, *, timeout: float = 900.0) -> Any:
        """Send ``body`` in pieces (chunked); return the JSON answer."""
        headers = {"Content-Type": content_type, "Transfer-Encoding": "chunked"}
        with self._open("POST", path, None, body, headers, timeout) as response:
            return json.loads(response.read() or b"null")

    def download(self, path: str, *, timeout: float = 900.0) -> Iterator[bytes]:
        """Yield the octets of an answer in pieces."""
        with self._open("GET", path, None, None, {}, timeout) as response:
            while piece := response.read(65536):
                yield piece

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: bytes | Iterator[bytes] | None,
        headers: Mapping[str, str],
        timeout: float,
    ) -> Iterator[http.client.HTTPResponse]:
        target = "/v1" + path + ("?" + urlencode({k: v for k, v in query.items() if v is not None}) if query else "")
        connection = _UnixConnection(self.socket_path, timeout)
        try:
            chunked = "Transfer-Encoding" in headers
            connection.request(
                method, target, body, {"Accept-Language": self.language, **headers}, encode_chunked=chunked
            )
            response = connection.getresponse()
            if response.status >= 400:
                raise ApiProblem(_problem(response))
            yield response
        except (OSError, http.client.HTTPException) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise DaemonUnreachable(self.socket_path, words or type(error).__name__) from None
        finally:
            connection.close()


def _problem(response: http.client.HTTPResponse) -> Mapping[str, Any]:
    raw = response.read(1_000_000)
    try:
        problem = json.loads(raw)
    except ValueError:
        problem = None
    if isinstance(problem, dict):
        return problem
    return {"title": response.reason, "status": response.status, "detail": raw[:300].decode("utf-8", "replace")}
