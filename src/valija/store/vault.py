"""Encryption at rest: AES-256-GCM (NIST SP 800-38D), bound to the place that the octets belong to.

A box is: one octet format (1), eight octets key id, twelve octets random nonce, ciphertext with its 16-octet tag. Format,
key id and place (table, row, column) are associated data, so a box that was moved to another row does not open. Several
keys can be there: the active one encrypts, any decrypts, so keys can be rotated.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_SIZE: Final = 32
_FORMAT: Final = b"\x01"
_ID_SIZE: Final = 8
_NONCE_SIZE: Final = 12


class BoxNotOpened(ValueError):
    """A box is damaged, belongs elsewhere or was made with a key that is not here; the text says which."""


class Vault:
    """Encrypts with the first key, decrypts with any."""

    def __init__(self, active: bytes, others: Iterable[bytes] = ()) -> None:
        keys = [active, *others]
        if any(len(key) != KEY_SIZE for key in keys):
            raise ValueError("a key has 32 octets")
        self._active_id = key_id(active)
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}

    def seal(self, clear: bytes, place: str) -> bytes:
        """Encrypt for ``place``, a text such as ``tokens|smtp|payload``."""
        nonce = os.urandom(_NONCE_SIZE)
        head = _FORMAT + self._active_id
        return head + nonce + self._ciphers[self._active_id].encrypt(nonce, clear, head + place.encode())

    def open(self, box: bytes, place: str) -> bytes:
        """Decrypt what was sealed for ``place``. Raises :class:`BoxNotOpened`."""
        head, nonce = box[: 1 + _ID_SIZE], box[1 + _ID_SIZE : 1 + _ID_SIZE + _NONCE_SIZE]
        if head[:1] != _FORMAT or len(nonce) != _NONCE_SIZE:
            raise BoxNotOpened("not an encrypted value of this version")
        cipher = self._ciphers.get(head[1:])
        if cipher is None:
            raise BoxNotOpened("encrypted with another key")
        try:
            return cipher.decrypt(nonce, box[1 + _ID_SIZE + _NONCE_SIZE :], head + place.encode())
        except InvalidTag:
            raise BoxNotOpened("damaged, or moved from another place") from None


def key_id(key: bytes) -> bytes:
    """Return a key's public name: it tells keys apart and says nothing about them."""
    return hashlib.sha256(b"valija key id\0" + key).digest()[:_ID_SIZE]
