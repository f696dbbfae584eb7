"""Sentences for people, apart from the language they are shown in.

A :class:`Message` is an English sentence with named gaps (``str.format`` style) and what fills them. The English text is
the gettext message id; a face translates it. ``N_`` marks a sentence for extraction where none is shown yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Union


def N_(sentence: str) -> str:  # noqa: N802 - gettext's own name, known to extractors
    """Mark a sentence for the translators; give it back unchanged."""
    return sentence


@dataclass(frozen=True, slots=True)
class Message:
    """An English sentence (``msgid``) and the values of its gaps. ``str()`` is the English text."""

    msgid: str
    values: tuple[tuple[str, Gap], ...] = ()  # a gap may be filled by a sentence, too

    def __str__(self) -> str:
        return self.fill(self.msgid)

    def fill(self, translated: str, say: Callable[[Message], str] = str) -> str:
        """Put the values into the gaps of ``translated``, a translation of ``msgid``; ``say`` translates inner sentences."""
        if not self.values:
            return translated
        return translated.format(**{k: say(v) if isinstance(v, Message) else v for k, v in self.values})


Gap = Union[str, int, Message]  # noqa: UP007 - the name is used above its place


def message(msgid: str, **values: Gap) -> Message:
    """Build a :class:`Message`; call sites wrap the sentence in ``N_`` so that it is extracted."""
    return Message(msgid, tuple(sorted(values.items())))
