"""The panel and the web page: how fast pages come at a steady rate, what many open pages cost."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench.figures import Row, Section, cpu_seconds, goal, memory_kb
from bench.machines import machine
from bench.page_clients import Client, call_machine, hang_up, visitors
from driver import Daemon

RATE, SECONDS = 50, 20
SMTP, FAX = "/settings/network-services-smtp", "/settings/image-send-internet-fax"
MIX = ("/", "/status", SMTP, "/settings", FAX, "/settings/providers", "/settings/machine", "/settings/audit", "/send")
GOAL_MS = 50
OPEN, WATCH_S = 200, 30
TOLD_WITHIN_S = 30
GOAL_CPU = 1.0


def pages() -> Section:
    """Pages at a steady rate."""
    with tempfile.TemporaryDirectory() as directory, machine(Path(directory), sandbox=True) as served:
        served.set_smtp()
        served.set_pop()
        served.get_token("smtp", "ana@sandbox.test")
        rows = asyncio.run(_pages(served))
    how = (
        f"{RATE} requests a second for {SECONDS} s, begun on time whether or not the one before is done, over {len(MIX)} pages "
        "at the panel (loopback) and at the web page (HTTPS) by turns, on kept connections, logged in; a machine with its "
        "sandbox, two settings and a token. Times are from the moment that a request was due to the last octet."
    )
    return Section("Pages", how, rows)


async def _pages(served: Daemon) -> tuple[Row, ...]:
    panel, web = await visitors(served)
    for client in (panel, web):
        for path in MIX:
            await client.get(path)
    assert served.process is not None
    cpu, begun = cpu_seconds(served.process.pid), time.perf_counter()
    tasks = []
    for number in range(RATE * SECONDS):
        due = begun + number / RATE
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        client, path = (panel, web)[number % 2], MIX[number // 2 % len(MIX)]
        tasks.append(asyncio.create_task(_timed(client, path, due)))
    times = sorted(await asyncio.gather(*tasks))
    cpu, seconds = cpu_seconds(served.process.pid) - cpu, time.perf_counter() - begun
    await panel.close()
    await web.close()
    cut = statistics.quantiles(times, n=100)
    p95 = cut[94] * 1000
    return (
        Row("a page, median", f"{cut[49] * 1000:.1f} ms"),
        Row("a page, 95 of 100 within", f"{p95:.1f} ms", "", goal(f"under {GOAL_MS} ms", p95 < GOAL_MS)),
        Row("a page, 99 of 100 within", f"{cut[98] * 1000:.1f} ms"),
        Row("the slowest page", f"{times[-1] * 1000:.1f} ms", "", f"{len(times):,} pages, all answered"),
        Row("CPU of a page", f"{cpu / len(times) * 1000:.1f} ms", "", f"{cpu / seconds:.0%} of a core at this rate"),
    )


async def _timed(client: Client, path: str, due: float) -> float:
    answer = await client.get(path)
    assert answer.status == 200, (path, answer.status)
    return time.perf_counter() - due


def open_pages() -> Section:
    """Many open pages that nothing happens on."""
    with tempfile.TemporaryDirectory() as directory, machine(Path(directory), sandbox=False) as served:
        served.ok("provider", "set", "google", "--client-id", "nobody")
        rows = asyncio.run(_open_pages(served))
    how = (
        f"Event streams of {OPEN} pages, half of them at the panel (loopback), half at the web page (HTTPS), of plain clients "
        f"in another process; opened over 20 s, as the machine's signs of life are, then watched for {WATCH_S} s. No sandbox."
    )
    return Section("Open pages", how, rows)


async def _open_pages(served: Daemon) -> tuple[Row, ...]:
    assert served.process is not None
    pid = served.process.pid
    panel, web = await visitors(served)
    for client in (panel, web):  # what the first ones need, all later ones have
        streams = [await client.follow(SMTP + "/events") for _page in range(10)]
        await asyncio.gather(*(hang_up(writer) for _reader, writer in streams))
    idle = await _watch(pid)
    opened, grown = [], []
    for client in (panel, web):
        before = memory_kb(pid, "VmRSS")
        for _page in range(OPEN // 2):
            opened.append(await client.follow(SMTP + "/events"))
            await asyncio.sleep(20 / OPEN)
        grown.append((memory_kb(pid, "VmRSS") - before) / (OPEN // 2))
    busy = await _watch(pid)
    last = await _told(served, opened)
    await asyncio.gather(*(hang_up(writer) for _reader, writer in opened))
    await panel.close()
    await web.close()
    return (
        Row(
            f"CPU with {OPEN} open pages",
            f"{busy:.2f} % of a core",
            "",
            goal(f"under {GOAL_CPU:.0f} %", busy < GOAL_CPU),
        ),
        Row("the same with none", f"{idle:.2f} % of a core"),
        Row("memory of an open page at the panel (VmRSS)", f"{grown[0]:.0f} kB"),
        Row("memory of an open page at the web page, with TLS", f"{grown[1]:.0f} kB"),
        Row(f"from a change until all {OPEN} pages have it", f"{last * 1000:.0f} ms", "", "each page is made anew"),
    )


async def _watch(pid: int) -> float:
    """Return a process's CPU as per cent of a core."""
    cpu, begun = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(WATCH_S)
    return (cpu_seconds(pid) - cpu) / (time.perf_counter() - begun) * 100


async def _told(served: Daemon, opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> float:
    """Change a setting; return the seconds until every page has heard of it."""
    begun = time.perf_counter()
    change = {"changes": {"auth": "oauth2", "provider": "google", "account": "luis@example.com"}}
    changed = asyncio.to_thread(call_machine, served, "PATCH", "/v1/settings/smtp", change)
    async with asyncio.timeout(TOLD_WITHIN_S):
        await asyncio.gather(changed, *(reader.readuntil(b"luis") for reader, _writer in opened))
    return time.perf_counter() - begun
