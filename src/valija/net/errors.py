"""What can go wrong with a connection: one exception with a reason that the explanations know."""

from __future__ import annotations

import socket
import ssl


class NetError(Exception):
    """A connection failed. ``reason`` is a key of the explanations, ``stage`` where, ``words`` the system's own."""

    def __init__(self, reason: str, stage: str, words: str) -> None:
        super().__init__(f"{stage}: {reason}: {words}")
        self.reason = reason
        self.stage = stage
        self.words = words


_UNTRUSTED = frozenset({18, 19, 20, 21})  # X509_V_ERR_*: self-signed, no issuer
_EXPIRED = frozenset({9, 10})  # not yet valid, expired
_NAME_MISMATCH = frozenset({62, 64})  # host name, IP address


def explain_os_error(error: OSError, stage: str) -> NetError:
    """Return what an error of the operating system or of TLS means."""
    words = error.strerror or str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return NetError(_certificate_reason(error.verify_code), stage, error.verify_message or words)
    if isinstance(error, ssl.SSLError):
        is_protocol = any(
            w in str(error) for w in ("WRONG_VERSION", "UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "NO_SHARED")
        )
        return NetError("tls_protocol" if is_protocol else "tls_other", stage, str(error))
    if isinstance(error, socket.gaierror):
        return NetError("name_not_found", stage, words)
    if isinstance(error, TimeoutError):
        return NetError("timed_out", stage, words)
    if isinstance(error, ConnectionRefusedError):
        return NetError("connection_refused", stage, words)
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return NetError("tls_protocol" if stage == "tls" else "connection_lost", stage, words)
    return NetError("connection_failed", stage, words)


def _certificate_reason(code: int) -> str:
    if code in _EXPIRED:
        return "tls_expired"
    if code in _NAME_MISMATCH:
        return "tls_name_mismatch"
    return "tls_untrusted" if code in _UNTRUSTED else "tls_other"
