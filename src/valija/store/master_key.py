"""Where the master key comes from, in this order: environment, systemd credential, a named file, ``master.key``.

``VALIJA_MASTER_KEY`` holds 32 octets in base64 and is removed from the environment once read. A systemd credential is
``$CREDENTIALS_DIRECTORY/valija-master-key``. Files hold 32 octets in base64, or raw. ``<state>/master.key`` is made at the
first start, and only then: a store that exists is never given a new key.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from valija.domain.errors import MasterKeyError, StoreError
from valija.domain.text import N_, Message, message
from valija.store.vault import KEY_SIZE

ENVIRONMENT_NAME: Final = "VALIJA_MASTER_KEY"
CREDENTIAL_NAME: Final = "valija-master-key"
FILE_NAME: Final = "master.key"


def load_master_key(
    state_dir: Path,
    key_file: Path | None,
    environment: MutableMapping[str, str],
    *,
    store_exists: bool,
    cure_if_missing: Message | None = None,
) -> bytes:
    """Return the master key; make one in ``state_dir`` if there is no store yet and none was given.

    Raises :class:`MasterKeyError`, which says what to do, and changes nothing then.
    """
    given = environment.pop(ENVIRONMENT_NAME, "")
    if given:
        return _parse(given.encode(), ENVIRONMENT_NAME, may_be_raw=False)
    credentials = environment.get("CREDENTIALS_DIRECTORY", "")
    if credentials and (Path(credentials) / CREDENTIAL_NAME).exists():
        return _read(Path(credentials) / CREDENTIAL_NAME, private=False)  # systemd guards it
    if key_file is not None:
        return _read(key_file, private=True)
    own = state_dir / FILE_NAME
    if own.exists():
        return _read(own, private=True)
    if store_exists:
        raise MasterKeyError(
            message(N_("The master key {file} is missing; the store is encrypted with it."), file=str(own)),
            cure_if_missing or message(N_("Put the key back from your backup. Nothing was changed.")),
        )
    return _make(own)


def _read(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as source:
            mode = stat.S_IMODE(os.fstat(source.fileno()).st_mode)
            data = source.read(4096)
    except OSError as error:
        raise MasterKeyError(
            message(N_("The master key {file} cannot be read: {why}."), file=str(path), why=error.strerror or ""),
            message(N_("Check the name and the permissions. Nothing was changed.")),
        ) from None
    if private and mode & 0o077:
        raise MasterKeyError(
            message(N_("The master key {file} can be read by others."), file=str(path)),
            message(N_("Run: chmod 600 {file}"), file=str(path)),
        )
    return _parse(data, str(path))


def _parse(data: bytes, source: str, *, may_be_raw: bool = True) -> bytes:
    if may_be_raw and len(data) == KEY_SIZE:
        return data
    try:
        key = base64.b64decode(data.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_SIZE:
        raise MasterKeyError(
            message(N_("The master key from {source} is not a key: 32 octets in base64 are needed."), source=source),
            message(N_("Put the right key there. Nothing was changed.")),
        )
    return key


def _make(path: Path) -> bytes:
    """Make a key; it has its name only once it is whole on disk, so a start that is cut short leaves none or a good one."""
    key = os.urandom(KEY_SIZE)
    unfinished = path.with_name(path.name + ".new")
    try:
        unfinished.unlink(missing_ok=True)
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(base64.b64encode(key) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        unfinished.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise directory_unusable(path.parent, error) from None
    return key


def directory_unusable(directory: Path, error: OSError) -> StoreError:
    """Return the error for a state directory where nothing can be written."""
    return StoreError(
        message(
            N_("The state directory {directory} cannot be used: {why}."),
            directory=str(directory),
            why=error.strerror or "",
        ),
        message(N_("Name another one with --state-dir, or correct its owner and permissions.")),
    )


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
