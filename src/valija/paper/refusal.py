"""What an operation on paper is, and how it says no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Progress = Callable[[int, int], None]
Operation = Callable[..., dict[str, Any]]


class Refused(Exception):
    """An operation will not deal with a file: ``reason`` is a key of the explanations."""

    def __init__(self, reason: str, words: str = "") -> None:
        super().__init__(reason, words)
        self.reason = reason
        self.words = words
