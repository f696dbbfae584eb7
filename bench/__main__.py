"""Run every measurement and write the results into BENCHMARKS.md."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import daemon, mail, pages, screens, tokens
from bench.figures import Section

MEASUREMENTS = (
    tokens.tokens,
    mail.smtp,
    mail.pop3,
    daemon.large_message,
    daemon.start_and_idle,
    pages.pages,
    screens.screens,
    pages.open_pages,
)
REPORT = Path(__file__).resolve().parent.parent / "BENCHMARKS.md"
BEGIN, END = "<!-- results: written by make bench -->", "<!-- end of results -->"


def _markdown(section: Section) -> str:
    lines = [f"### {section.title}", "", section.how, "", "| What | Valija | Peer | |", "|---|---|---|---|"]
    lines += [f"| {r.what} | {r.ours} | {r.peer} | {r.verdict} |" for r in section.rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is named on the command line, or all; only a whole run is written down."""
    wanted = sys.argv[1:]
    parts = []
    for measurement in MEASUREMENTS:
        if wanted and measurement.__name__ not in wanted:
            continue
        section = measurement()
        parts.append(_markdown(section))
        print(parts[-1], flush=True)
    if wanted:
        return
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    results = f"Measured {datetime.now(UTC):%Y-%m-%d} on {where}.\n\n" + "\n".join(parts)
    before, _begin, rest = REPORT.read_text("utf-8").partition(BEGIN)
    _old, _end, after = rest.partition(END)
    REPORT.write_text(f"{before}{BEGIN}\n\n{results}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
