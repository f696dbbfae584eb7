"""Is the master key the one that the store was made with? A known value, sealed with it at the first start, tells."""

from __future__ import annotations

from typing import Final

from valija.store import statements as sql
from valija.store.vault import Vault
from valija.store.work import Work, do, one

_NAME: Final = "key_check"
_CLEAR: Final = b"valija"
_PLACE: Final = f"meta|{_NAME}|value"


def has_key() -> Work[bool]:
    """Tell whether the store was made with a key."""
    return (yield from one(sql.LOAD_META, _NAME)) is not None


def check_key(vault: Vault) -> Work[None]:
    """Compare the key, or note it in a new store. Raises :class:`~valija.store.vault.BoxNotOpened` for another one."""
    row = yield from one(sql.LOAD_META, _NAME)
    if row is None:
        yield from do(sql.INSERT_META, _NAME, vault.seal(_CLEAR, _PLACE))
    else:
        vault.open(row[0], _PLACE)
