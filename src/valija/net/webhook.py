"""A webhook: JSON posted to an address and signed, bounded in time; no redirects, and what the other side answers is not read.

The header ``X-Valija-Signature`` is ``t=<seconds since 1970>,v1=<hex>``: HMAC-SHA256 by the secret over the seconds, a dot
and the body, so that who receives it can tell that it is ours, as it was sent, and new.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from datetime import datetime
from typing import Final

import httpx2

from valija import __version__
from valija.secret import Secret

TIMEOUT_S: Final = 10.0
SIGNATURE: Final = "X-Valija-Signature"


def sign(secret: Secret, at: datetime, body: bytes) -> str:
    """Return the header's value."""
    seconds = str(int(at.timestamp()))
    digest = hmac.new(secret.reveal().encode(), seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


async def post(tls: ssl.SSLContext, url: str, secret: Secret | None, body: bytes, at: datetime) -> str | None:
    """Post ``body``; return why it was not taken, None if it was (any 2xx)."""
    headers = {"Content-Type": "application/json", "User-Agent": f"valija/{__version__}"}
    if secret is not None:
        headers[SIGNATURE] = sign(secret, at, body)
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx2.AsyncClient(verify=tls, follow_redirects=False, timeout=TIMEOUT_S) as client,
            client.stream("POST", url, headers=headers, content=body) as answer,
        ):
            return None if answer.is_success else f"HTTP {answer.status_code}"
    except (TimeoutError, httpx2.TimeoutException):
        return f"no answer within {TIMEOUT_S:g} s"
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError, ssl.SSLError) as error:
        return str(error)[:200] or type(error).__name__
