"""Run every measurement and write the results into BENCHMARKS.md."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    accept,
    daemon,
    exchange,
    fax,
    heavy,
    mail,
    pages,
    paper,
    plot,
    pop_gateway,
    relay,
    screens,
    sessions,
    tokens,
)
from bench.figures import Section

MEASUREMENTS = (
    tokens.tokens,
    mail.smtp,
    mail.pop3,
    accept.accept,
    relay.relay,
    pop_gateway.pop_gateway,
    exchange.exchange,
    pop_gateway.polling,
    sessions.sessions,
    heavy.scan,
    heavy.waiting,
    daemon.large_message,
    daemon.start_and_idle,
    pages.pages,
    screens.screens,
    pages.open_pages,
    paper.paper,
    fax.fax_pages,
    fax.fax_messages,
)
REPORT = Path(__file__).resolve().parent.parent / "BENCHMARKS.md"
BEGIN, END = "<!-- results: written by make bench -->", "<!-- end of results -->"


def _markdown(section: Section) -> str:
    lines = [
        f"### {section.title}",
        "",
        f"{section.how} {datetime.now(UTC):%Y-%m-%d}.",
        "",
        "| What | Valija | Peer | |",
        "|---|---|---|---|",
    ]
    lines += [f"| {r.what} | {r.ours} | {r.peer} | {r.verdict} |" for r in section.rows]
    return "\n".join(lines) + "\n"


def _sections(results: str) -> dict[str, str]:
    """Return what is written down by now, by title."""
    parts = results.split("### ")[1:]
    return {part.partition("\n")[0]: f"### {part.rstrip()}\n" for part in parts}


def main() -> None:
    """Measure what is named on the command line, or all, and write it down: the sections of the others stay as they are."""
    wanted = sys.argv[1:]
    old, measured = _sections(_parts()[1]), {}
    for measurement in MEASUREMENTS:
        if wanted and measurement.__name__ not in wanted:
            continue
        section = measurement()
        measured[section.title] = _markdown(section)
        print(measured[section.title], flush=True)
        _write(old | measured)  # so that what was measured stays if the next one fails
    if not wanted:
        _write(measured)


def _parts() -> tuple[str, str, str]:
    """Return the report's text before its results, the results, and the text after them."""
    before, _begin, rest = REPORT.read_text("utf-8").partition(BEGIN)
    results, _end, after = rest.partition(END)
    return before, results, after


def _write(written: dict[str, str]) -> None:
    before, _results, after = _parts()
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    groups = plot.read(written)
    picture = ""
    if groups:
        (REPORT.parent / plot.PICTURE).write_text(plot.draw(groups), "utf-8")
        picture = f"![Messages a second of Valija and its peers, from the tables below]({plot.PICTURE})\n\n"
    results = f"Measured on {where}; each section says when.\n\n{picture}" + "\n".join(written.values())
    REPORT.write_text(f"{before}{BEGIN}\n\n{results}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
