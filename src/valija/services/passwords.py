"""Passwords to hashes and back to yes or no: Argon2id (RFC 9106), away from the event loop, few at a time."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable
from typing import Final, TypeVar

from argon2 import Parameters, PasswordHasher
from argon2.exceptions import HashingError, VerificationError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from valija.domain.administrator import normalized
from valija.domain.errors import TryLater
from valija.domain.text import N_, message
from valija.secret import Secret

AT_ONCE: Final = 2  # each takes 64 MiB
T = TypeVar("T")


class Passwords:
    """Makes and checks hashes; both take the same, long time."""

    def __init__(self, parameters: Parameters = RFC_9106_LOW_MEMORY) -> None:
        self._hasher = PasswordHasher.from_parameters(parameters)
        self._nobodys = _hash_of_nothing(parameters)
        self._places = asyncio.Semaphore(AT_ONCE)

    async def hash(self, password: Secret) -> Secret:
        """Return a new hash, with its own salt."""
        return Secret(await self._aside(lambda: self._hasher.hash(_octets(password))))

    async def matches(self, stored: Secret | None, password: Secret) -> bool:
        """Tell whether ``password`` is the one of ``stored``; as slow where nothing is stored."""
        reference = self._nobodys if stored is None else stored.reveal()

        def verify() -> bool:
            try:
                return self._hasher.verify(reference, _octets(password))
            except VerifyMismatchError:
                return False

        return await self._aside(verify) and stored is not None

    def is_outdated(self, stored: Secret) -> bool:
        """Tell whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored.reveal())

    async def _aside(self, work: Callable[[], T]) -> T:
        async with self._places:
            try:
                return await asyncio.to_thread(work)
            except (HashingError, VerificationError) as error:
                raise TryLater(
                    message(N_("The password could not be checked: the machine has too little memory left.")),
                    message(N_("Try again.")),
                    diagnostics=str(error),
                ) from None


def _octets(password: Secret) -> bytes:
    return normalized(password.reveal()).encode("utf-8", "surrogatepass")


def _hash_of_nothing(parameters: Parameters) -> str:
    """Return what looks like a hash and takes as long to check, but belongs to no password."""
    salt, tag = (
        base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=")
        for length in (parameters.salt_len, parameters.hash_len)
    )
    costs = f"m={parameters.memory_cost},t={parameters.time_cost},p={parameters.parallelism}"
    return f"$argon2id$v={parameters.version}${costs}${salt}${tag}"
