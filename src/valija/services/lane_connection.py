"""A connection that a worker of a lane keeps from message to message."""

from __future__ import annotations

from valija.net.smtp import SmtpConnection


class KeptConnection:
    """A worker's connection; ``age``: the settings that it was opened with; ``sent``: messages over it."""

    def __init__(self) -> None:
        self.connection: SmtpConnection | None = None
        self.age = 0
        self.sent = 0

    def usable(self, age: int) -> bool:
        """Tell whether it can be used with the settings of that age."""
        return self.connection is not None and self.age == age

    async def close(self, *, politely: bool = True) -> None:
        """Let it go."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close(politely=politely)
