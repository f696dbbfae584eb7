"""Forms with files: what cannot be read is refused in words, on the page that it came from."""

from __future__ import annotations

import pytest
from asgi_faces import Machinery, blank, furnished_fixture, log_in

here = furnished_fixture
PAGES = {"/send": "/send", "/fax": "/fax", "/scan": "/scan", "/contacts/file": "/contacts"}
BROKEN = {
    "no boundary": ("multipart/form-data", b"--x\r\n"),
    "no multipart": ("application/x-www-form-urlencoded", b"to=a%40example.org"),
    "another encoding": ("multipart/form-data; boundary=x; charset=utf-16", b"--x--\r\n"),
    "a field without an end": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="to"\r\n\r\n',
    ),
    "a field without a name": (
        "multipart/form-data; boundary=x",
        b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n",
    ),
    "a long field": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="to"\r\n\r\n' + b"a" * 70_000 + b"\r\n--x--\r\n",
    ),
}


@pytest.mark.parametrize("action", PAGES)
@pytest.mark.parametrize("kind", BROKEN)
async def test_what_is_no_form_is_refused_in_words(here: Machinery, action: str, kind: str) -> None:
    media_type, octets = BROKEN[kind]
    async with here.panel() as panel:
        await log_in(panel)
        answer = await panel.post(action, content=octets, headers={"Content-Type": media_type})
    assert answer.status_code in (400, 403, 422)
    assert "<h1" in answer.text


@pytest.mark.parametrize("action", PAGES)
async def test_no_file_is_said_and_what_was_typed_stays(here: Machinery, action: str) -> None:
    async with here.panel() as panel:
        await log_in(panel)
        fields = await blank(panel, PAGES[action]) | {"to": "luis@example.org", "from": "file"}
        answer = await panel.post(action, data=fields, files={"file": ("", b"")})
    assert answer.status_code in (400, 422)
    assert "Choose a file." in answer.text
    assert action == "/contacts/file" or "luis@example.org" in answer.text
