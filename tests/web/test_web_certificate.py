"""The web page's certificate is renewed while the machine runs."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from valija.apps.config import Configuration
from valija.apps.machine import SystemClock, build
from valija.apps.web.faces import Faces
from valija.domain.errors import ConfigurationError
from valija.store.memory import MemoryStore


def _issue(folder: Path, *, key: bool = True) -> bytes:
    """Write a certificate, and its key; return it as a client sees it."""
    issued = trustme.CA().issue_cert("localhost")
    for name, pem in (("web.pem", issued.cert_chain_pems[0]), ("web.key", issued.private_key_pem))[: 1 + key]:
        (folder / f"{name}.new").write_bytes(pem.bytes())
        (folder / f"{name}.new").replace(folder / name)
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


async def _shown(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(shown)


async def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    """One whose key is another one's is not, and the page goes on; a daemon's own is looked at in the same way."""
    first = _issue(tmp_path)
    web = {"port": 0, "certificate": tmp_path / "web.pem", "key": tmp_path / "web.key"}
    configuration = Configuration.model_validate({"panel": {"enabled": False}, "web": web})
    machine = build(configuration, MemoryStore(), SystemClock(), tmp_path)
    faces = Faces(machine, configuration, loopback_only=True)
    await faces.start()
    port = urlsplit(machine.web_address).port or 0
    assert await _shown(port) == first
    _issue(tmp_path, key=False)
    await asyncio.to_thread(faces.look)
    assert await _shown(port) == first
    renewed = _issue(tmp_path)
    faces.reload()
    async with asyncio.timeout(5):
        while await _shown(port) != renewed:  # noqa: ASYNC110 - it is the other side's
            await asyncio.sleep(0.05)
    await faces.stop()
    await machine.http.close()


async def test_a_key_that_is_encrypted_is_said_and_nobody_is_asked(tmp_path: Path) -> None:
    """Who starts the machine at a terminal is not left before a question of OpenSSL's."""
    _issue(tmp_path)
    key = serialization.load_pem_private_key((tmp_path / "web.key").read_bytes(), None)
    how = serialization.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    (tmp_path / "web.key").write_bytes(pem)
    web = {"port": 0, "certificate": tmp_path / "web.pem", "key": tmp_path / "web.key"}
    configuration = Configuration.model_validate({"panel": {"enabled": False}, "web": web})
    machine = build(configuration, MemoryStore(), SystemClock(), tmp_path)
    with pytest.raises(ConfigurationError, match=r"web\.key is encrypted"):
        await Faces(machine, configuration, loopback_only=True).start()
    await machine.http.close()
