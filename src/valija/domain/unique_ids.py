"""Unique-ids of POP3 (RFC 1939 section 7) at servers that give one to several messages of a maildrop. Pure.

Taken at their word, they would have one message kept and the others deleted unread. So each after the first gets a name of our
own, and all of them are deleted at the server together, or none: the one that stayed would look like the one that is here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

Numbered = Sequence[tuple[int, str]]


def told_apart(listed: Numbered) -> Numbered:
    """Return message numbers with names that differ; a space, which no unique-id has, makes them."""
    if len({unique_id for _number, unique_id in listed}) == len(listed):
        return listed
    seen: Counter[str] = Counter()
    found = []
    for number, unique_id in listed:
        seen[unique_id] += 1
        found.append((number, unique_id if seen[unique_id] == 1 else f"{unique_id} {seen[unique_id]}"))
    return found


def may_go(listed: Numbered, kept: Collection[int]) -> list[int]:
    """Return which of the messages that are kept may be deleted at the server: those whose namesakes are kept, too."""
    namesakes: defaultdict[str, set[int]] = defaultdict(set)
    for number, unique_id in listed:
        namesakes[unique_id].add(number)
    numbers = set(kept)
    return [number for number, unique_id in listed if number in numbers and namesakes[unique_id] <= numbers]
