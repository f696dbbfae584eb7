"""TLS for mail and TLS for HTTP are one."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
from hostile import serving

from valija.apps.config import Configuration, Tls
from valija.apps.machine import SystemClock, build
from valija.domain.account import POP_SETTINGS
from valija.domain.settings import PopSettings, parse_changes
from valija.oauth.http_messages import HttpRequest
from valija.services.login import LoginFailed
from valija.store.memory import MemoryStore


async def test_connections_announce_no_protocol(tmp_path: Path) -> None:
    """ALPN (RFC 7301) for http/1.1 makes Dovecot 2.4 end the handshake."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    server.set_alpn_protocols(["http/1.1", "pop3"])
    announced: list[str | None] = []

    async def handler(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        announced.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        writer.write(b"-ERR not now\r\n")

    machine = build(Configuration(tls=Tls(ca_file=tmp_path / "ca.pem")), MemoryStore(), SystemClock(), tmp_path)
    async with serving(handler, server) as port:
        settings = parse_changes(PopSettings(), {"server": "localhost", "port": port, "auth": "none", "timeout": 5})
        await machine.http.perform(HttpRequest("GET", f"https://localhost:{port}/"))
        with pytest.raises(LoginFailed):
            await machine.retrieval.open(POP_SETTINGS[0], settings)
    await machine.stop()
    assert announced == [None, None]
