"""What somebody may put into the argument of a command, to break it or to break out of it."""

from __future__ import annotations

from typing import Final

HOSTILE: Final = [
    b"\r",
    b"\n",
    b"\r\nRCPT TO:<evil@x.test>",
    b"\nRCPT TO:<evil@x.test>",
    b"\rRCPT TO:<evil@x.test>",
    b"\0",
    b"\0\r\n",
    b"\x01\x1b[31m\x7f",
    b"\xff\xfe",
    b"\xc0\x8a",  # LF in UTF-8 that is too long
    b"\xe2\x80\xa8",  # LINE SEPARATOR
    b"\xc2\x85",  # NEXT LINE
    b"\xed\xa0\x80",  # half a surrogate
    b"%0d%0a",
    b"+0D+0ARCPT+20TO:evil@x.test",  # CR LF in xtext
    b"x" * 600,
    b"x" * 3000,
    b"x" * 13_000,
    b"<" * 400,
    b">" * 400,
    b'"' * 401,
    b"(" * 400,
    b"\\" * 401,
    b"@" * 300,
    b"." * 300,
    b" ",
    b"\t",
    b"=",
    b"9" * 400,
    b"-1",
    b"1e9",
]
