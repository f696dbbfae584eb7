"""The picture in BENCHMARKS.md, drawn from its tables: messages a second of all gateways, on a logarithmic scale."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

PICTURE: Final = Path("docs/images/benchmarks.svg")
SECTIONS: Final = {  # by title: how a row of the picture begins there, and what its group is called
    "Accepting mail": ("4 kB, ", "Accepted for good, {}"),
    "The whole way": ("4 kB, ", "The whole way, {}"),
    "POP3 for devices": ("", "POP3, {}"),
}
_ROW: Final = re.compile(r"^\| ([^|]+) \| ([\d,.]+)/s[^|]* \| ([\d,.]+)/s[^|(]*\(([^)]+)\) \|", re.M)
COLOURS: Final = {"Valija": "#0b6e4f", "email-oauth2-proxy": "#c8553d"}
WIDTH, LEFT, RIGHT, TOP = 860, 230, 110, 46
BAR, GAP, HEAD = 18, 4, 30
DECADES: Final = 4  # from 1 to 10,000
Bars = dict[str, float]


def read(results: dict[str, str]) -> dict[str, Bars]:
    """Return rates by group and gateway, from tables by their titles."""
    groups: dict[str, Bars] = {}
    for title, (begin, name) in SECTIONS.items():
        for what, ours, theirs, peer in _ROW.findall(results.get(title, "")):
            if what.startswith(begin):
                bars = groups.setdefault(name.format(what.removeprefix(begin)), {"Valija": _number(ours)})
                bars[peer.partition(",")[0]] = _number(theirs)
    return groups


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def draw(groups: dict[str, Bars]) -> str:
    """Return the picture."""
    lines, y = [], TOP
    for group, bars in groups.items():
        lines.append(_text(16, y + 18, group, "600"))
        y += HEAD
        for name, rate in bars.items():
            width = max(_x(rate) - LEFT, 3.0)
            lines.append(_text(LEFT - 10, y + 14, name, anchor="end"))
            colour = COLOURS.get(name, "#8a8d91")
            lines.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{colour}"/>')
            lines.append(_text(LEFT + width + 8, y + 14, f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"))
            y += BAR + GAP
        y += 8
    axis = []
    for decade in range(DECADES + 1):
        x = _x(10**decade)
        axis.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{y}" stroke="#e3e5e8"/>')
        axis.append(_text(x, y + 18, f"{10**decade:,}", anchor="middle", colour="#5b6067"))
    title = _text(16, 26, "Messages of 4 kB a second (POP3: sessions), on a logarithmic scale", "600")
    height = y + 34
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            'font-family="system-ui, sans-serif" font-size="13" role="img" aria-labelledby="title">',
            '<title id="title">Messages a second of Valija and its peers</title>',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            title,
            *axis,
            *lines,
            "</svg>\n",
        ]
    )


def _x(rate: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * math.log10(max(rate, 1.0)) / DECADES


def _text(x: float, y: float, text: str, weight: str = "400", anchor: str = "start", colour: str = "#1f2328") -> str:
    look = f'font-weight="{weight}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y}" {look}>{escape(text)}</text>'
