"""The picture of a token's life in docs/flow.md, drawn from the one table of transitions.

``python tools/flow_diagram.py`` writes it into the document.
"""

from __future__ import annotations

import re
from pathlib import Path

from valija.domain.token import TRANSITIONS

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "flow.md"
BEGIN, END = "<!-- drawn from the table of transitions -->", "<!-- end of the picture -->"


def picture() -> str:
    """Return the state diagram in Mermaid's language: an arrow for every change of state, named by its events."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, event), transition in TRANSITIONS.items():
        for target in transition.leads_to:
            if target is not state:
                arrows.setdefault((state.__name__, target.__name__), []).append(_words(event.__name__))
    lines = ["stateDiagram-v2", "    [*] --> NotRetrieved"]
    lines += [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in sorted(arrows.items())]
    return "\n".join(lines)


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def drawn(text: str) -> str:
    """Return a document with the present picture in its place."""
    before, _begin, rest = text.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n```mermaid\n{picture()}\n```\n\n{END}{after}"


def main() -> None:
    """Draw."""
    DOCUMENT.write_text(drawn(DOCUMENT.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
