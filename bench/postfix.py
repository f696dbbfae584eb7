"""Postfix beside us, three times: one that accepts, one that relays, one that is the provider's submission server."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rig_certificates import Certificates
from rig_process import Process, as_root, await_ready, child

from bench.figures import free_port

PASSWORD: Final = "bench-password"
HELPER: Final = Path(__file__).with_name("mail_servers.py")
ACCEPTED: Final = "message-id="  # cleanup logs it once for each message

# Only who knows the password; any name. In the language of both versions that Debian has.
_DOVECOT: Final = {
    "2.3": """
base_dir = @DIR@/base
state_dir = @DIR@/state
log_path = @DIR@/dovecot.log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
passdb {
  driver = static
  args = password=%s
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}
service auth {
  unix_listener @DIR@/auth {
    mode = 0666
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
""",
    "2.4": """
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
base_dir = @DIR@/base
state_dir = @DIR@/state
log_path = @DIR@/dovecot.log
protocols =
ssl = no
auth_allow_cleartext = yes
auth_mechanisms = plain login
passdb static {
  password = %s
}
userdb static {
  fields {
    uid = nobody
    gid = nogroup
    home = /nonexistent
  }
}
service auth {
  unix_listener @DIR@/auth {
    mode = 0666
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
""",
}

_MAIN: Final = """
compatibility_level = 3.6
config_directory = @DIR@/etc
queue_directory = @DIR@/spool
data_directory = @DIR@/data
maillog_file = @DIR@/postfix.log
maillog_file_prefixes = @DIR@
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = bench.example
mydestination =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
smtp_dns_support_level = disabled
smtp_host_lookup = native
biff = no
message_size_limit = 209715200
mailbox_size_limit = 0
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = @DOVECOT@/auth
smtpd_sasl_security_options = noanonymous
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_auth_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
smtpd_error_sleep_time = 0
in_flow_delay = 0
default_process_limit = 200
"""

_MASTER: Final = """
127.0.0.1:%d inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
tlsproxy unix - - n - 0 tlsproxy
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
smtp unix - - n - - smtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Server:
    """One Postfix: its lines of main.cf beside the common ones."""

    port: int
    lines: tuple[str, ...]

    def files(self) -> dict[str, str]:
        """Return what goes into main.cf and master.cf."""
        return {"main": _MAIN + "\n".join(self.lines) + "\n", "master": _MASTER % self.port}


def keeping(*more: str) -> Server:
    """Return one that takes mail for good and keeps it: in the hold queue, which costs it least."""
    return Server(free_port(), ("smtpd_sender_restrictions = check_sender_access static:HOLD", *more))


def submission(certificates: Certificates) -> Server:
    """Return a provider's: STARTTLS, then AUTH, both required; it keeps what it has taken."""
    return Server(
        free_port(),
        (
            "smtpd_sender_restrictions = check_sender_access static:HOLD",
            "smtpd_relay_restrictions = permit_sasl_authenticated, reject",
            "smtpd_tls_security_level = encrypt",
            "smtpd_tls_auth_only = yes",
            f"smtpd_tls_cert_file = {certificates.server}",
            f"smtpd_tls_key_file = {certificates.server_key}",
        ),
    )


AS_INSTALLED: Final = ()
USUAL_PROCESSES: Final = "default_process_limit = 100"
FAST: Final = (
    "initial_destination_concurrency = 20",
    "minimal_backoff_time = 5s",
    "maximal_backoff_time = 30s",
    "queue_run_delay = 5s",
)


def relay(upstream: int, certificates: Certificates, more: tuple[str, ...] = FAST) -> Server:
    """Return one that hands all on to a submission server, over kept connections with TLS and SASL PLAIN."""
    there = f"[localhost]:{upstream}"
    return Server(
        free_port(),
        (
            f"relayhost = {there}",
            "smtp_sasl_auth_enable = yes",
            f"smtp_sasl_password_maps = inline:{{ {{ {there} = bench:{PASSWORD} }} }}",
            "smtp_sasl_security_options = noanonymous",
            "smtp_tls_security_level = secure",
            "smtp_tls_secure_cert_match = nexthop",
            f"smtp_tls_CAfile = {certificates.ca}",
            "smtp_tls_session_cache_database = @CACHE@:$data_directory/smtp_scache",
            "smtp_tls_connection_reuse = yes",
            f"smtp_connection_cache_destinations = {there}",
            *more,
        ),
    )


class Servers:
    """Those that run."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def count(self, name: str, words: str = ACCEPTED) -> int:
        """Return how often a Postfix has logged these words since they were asked for first."""
        return int(self._ask(f"count {name} {words}"))

    def cpu(self, name: str) -> float:
        """Return the CPU seconds of all of a Postfix's processes."""
        return float(self._ask(f"cpu {name}"))

    def _ask(self, question: str) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question.encode() + b"\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextlib.contextmanager
def running(servers: Mapping[str, Server]) -> Iterator[Servers]:
    """Start them, and Dovecot for their logins; all is gone at the end."""
    directory = Path(tempfile.mkdtemp(prefix="valija-bench-"))
    directory.chmod(0o755)
    asked = {
        "directory": str(directory / "mail"),
        "dovecot": {version: text % PASSWORD for version, text in _DOVECOT.items()},
        "postfix": {name: server.files() for name, server in servers.items()},
        "ports": [server.port for server in servers.values()],
    }
    (directory / "mail").mkdir(mode=0o755)
    with child([*as_root(), sys.executable, "-I", str(HELPER)], directory / "mail_servers.log") as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        await_ready("Postfix", process, directory)
        yield Servers(process)
