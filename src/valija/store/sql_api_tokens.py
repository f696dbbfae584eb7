"""The rows of API tokens. See the port for the meaning."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from valija.domain.api_token import ApiToken
from valija.domain.record import AuditRecord
from valija.store import statements as sql
from valija.store.sql_rows import SealedRows, append_audit, epoch, moment
from valija.store.work import Row, Work, do, one, rows

_TABLE: Final = "api_tokens"


class ApiTokenRows(SealedRows):
    """Part of the store."""

    async def add_api_token(self, token: ApiToken, record: AuditRecord) -> bool:
        values = (token.name, token.digest, epoch(token.last_used_at), self._seal(_TABLE, token.name, token))

        def work() -> Work[bool]:
            if (yield from one(sql.ADD_API_TOKEN, *values)) is None:
                return False
            yield from append_audit(record)
            return True

        return await self._db.write(work)

    async def list_api_tokens(self) -> list[ApiToken]:
        return [self._api_token(row) for row in await self._db.read(lambda: rows(sql.LIST_API_TOKENS))]

    async def load_api_token(self, digest: str) -> ApiToken | None:
        row = await self._db.read(lambda: one(sql.LOAD_API_TOKEN, digest))
        token = None if row is None else self._api_token(row)
        # the sealed value decides: whoever can write to the file cannot give a token's row another digest
        return token if token is not None and token.digest == digest else None

    async def delete_api_token(self, name: str, record: AuditRecord) -> bool:
        def work() -> Work[bool]:
            if (yield from one(sql.DELETE_API_TOKEN, name)) is None:
                return False
            yield from append_audit(record)
            return True

        return await self._db.write(work)

    async def note_api_token_use(self, digest: str, at: datetime) -> None:
        used = epoch(at)
        await self._db.write(lambda: do(sql.NOTE_API_TOKEN_USE, used, digest, used))

    def _api_token(self, row: Row) -> ApiToken:
        name, used, box = row
        token = self._open(_TABLE, name, box, ApiToken)
        return replace(token, last_used_at=None if used is None else moment(used))
