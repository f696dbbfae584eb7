"""``valija run``: opens the store, starts the machine and its control API, says that it is ready, stops when asked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request

from valija import __version__
from valija.apps import logs, systemd
from valija.apps.api.application import make_application
from valija.apps.cli.client import SOCKET_NAME
from valija.apps.config import Configuration, load_configuration
from valija.apps.gateway_listeners import NAMES, POP3_NAMES, GatewayListeners
from valija.apps.http_server import CONNECTIONS_LIMIT, HttpServer, PeerCheckedProtocol, unix_socket
from valija.apps.language import translate
from valija.apps.machine import Machine, SystemClock, build
from valija.apps.web.faces import Faces
from valija.domain.account import Actor, Presence
from valija.domain.errors import ValijaError
from valija.net.tls import client_context
from valija.services.events import EventBus, SettingsChanged, Stopping
from valija.store.opening import open_store

log: Final = logging.getLogger("valija")
OTHER_DESCRIPTORS: Final = 500  # besides the listeners' connections


def run(state_dir: Path, config_file: Path | None, *, sandbox: bool, board: bool, language: str) -> int:
    """Run until SIGTERM or SIGINT; return the exit status (0, or that of the error which was printed)."""
    try:
        configuration = load_configuration(config_file)
        as_json = configuration.log.format == "json" or (configuration.log.format is None and not sys.stderr.isatty())
        logs.set_up(level=configuration.log.level, as_json=as_json)
        return _run_loop(_serve(configuration, state_dir, sandbox, board and sys.stdout.isatty(), language))
    except ValijaError as error:
        log.debug("daemon_not_started", extra={"fields": {"diagnostics": error.diagnostics}})
        sentences = [translate(sentence, language) for sentence in (error.what, error.cure) if sentence]
        sys.stderr.write("\n".join(sentences) + "\n")
        return error.exit_status


def _run_loop(main: Coroutine[Any, Any, int]) -> int:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def _serve(configuration: Configuration, state_dir: Path, sandbox: bool, board: bool, language: str) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _allow_descriptors(descriptors_wanted(configuration))
    async with AsyncExitStack() as stack:
        machine = await _start_machine(configuration, state_dir, sandbox, stack)
        control = HttpServer(
            make_application(machine, _actor_of), unix_socket(state_dir / SOCKET_NAME), PeerCheckedProtocol
        )
        await control.start()
        stack.push_async_callback(_stop_control, control, machine, state_dir / SOCKET_NAME)
        faces = await _start_faces(machine, configuration, stack, loopback_only=sandbox)
        listeners = GatewayListeners(machine, configuration, loopback_only=sandbox)
        stack.push_async_callback(listeners.stop)
        await listeners.start()
        loop.add_signal_handler(signal.SIGHUP, partial(_reload, listeners, faces))
        await stack.enter_async_context(_background(_log_events(machine.events), _watchdog()))
        _say_ready(state_dir)
        if board:
            from valija.apps.board import Board  # rich: only where there is a terminal

            await stack.enter_async_context(_background(Board(machine, language).run()))
        await stop.wait()
        systemd.notify("STOPPING=1")
        log.info("stopping")
    log.info("stopped")
    return 0


def _reload(listeners: GatewayListeners, faces: Faces) -> None:
    """Look at all certificates' files now."""
    listeners.reload()
    faces.reload()


def descriptors_wanted(configuration: Configuration) -> int:
    """Return how many descriptors there may be: no listener that is full may take those that mail and store need."""
    devices = configuration.gateway.connections * len((*NAMES, *POP3_NAMES))
    pages = CONNECTIONS_LIMIT * 2  # the panel's and the web page's
    return devices + pages + OTHER_DESCRIPTORS


def _allow_descriptors(wanted: int) -> None:
    """Allow as many descriptors as there may be connections, as far as this user can: a shell often gives 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        log.warning("few_descriptors", extra={"fields": {"allowed": hard, "wanted": wanted}})
        wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _start_faces(
    machine: Machine, configuration: Configuration, stack: AsyncExitStack, *, loopback_only: bool
) -> Faces:
    faces = Faces(machine, configuration, loopback_only=loopback_only)
    stack.push_async_callback(_stop_faces, faces, machine)
    await faces.start()
    return faces


async def _stop_faces(faces: Faces, machine: Machine) -> None:
    machine.events.publish(Stopping(machine.clock.now()))
    await faces.stop()


async def _start_machine(
    configuration: Configuration, state_dir: Path, sandbox: bool, stack: AsyncExitStack
) -> Machine:
    tls = partial(client_context, configuration.tls.ca_file)
    store = await open_store(configuration.store.url, state_dir, configuration.master_key.file, os.environ, tls)
    stack.push_async_callback(store.close)
    if not sandbox:
        machine = build(configuration, store, SystemClock(), state_dir)
    else:
        from valija.apps.sandbox.sandbox import Sandbox

        inside = await asyncio.to_thread(Sandbox, state_dir / "sandbox", configuration.sandbox)
        machine = build(configuration, store, SystemClock(), state_dir, sandbox_ca=inside.ca_file)
        stack.push_async_callback(inside.stop)
        await inside.start(machine, Path.cwd())
        await asyncio.to_thread(_write_environment, state_dir)
    stack.push_async_callback(machine.stop)
    await machine.start()
    return machine


@asynccontextmanager
async def _background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines until the context ends."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _stop_control(control: HttpServer, machine: Machine, path: Path) -> None:
    """Let requests under way end (a message on its way out, a test); those that only wait are told to."""
    machine.events.publish(Stopping(machine.clock.now()))
    await control.stop()
    await asyncio.to_thread(path.unlink, missing_ok=True)


def _say_ready(state_dir: Path) -> None:
    """Print the one line that scripts wait for, and tell systemd and the log."""
    sys.stdout.write(f"ready · valija {__version__} · {state_dir / SOCKET_NAME}\n")
    sys.stdout.flush()
    log.info("ready", extra={"fields": {"version": __version__, "state_dir": str(state_dir), "pid": os.getpid()}})
    systemd.notify("READY=1")


def _actor_of(request: Request) -> Actor:
    """Everybody on the control socket is at the machine: the kernel says who it is."""
    return Actor(who=f"uid {request.state.peer_uid}", where="cli", presence=Presence.AT_MACHINE)


async def _watchdog() -> None:
    """Tell systemd that the event loop turns, twice in the time it allows (sd_watchdog_enabled(3))."""
    micros = os.environ.get("WATCHDOG_USEC", "")
    if not micros.isdigit() or int(micros) == 0:
        return
    while True:
        systemd.notify("WATCHDOG=1")
        await asyncio.sleep(int(micros) / 2_000_000)


async def _log_events(events: EventBus) -> None:
    async with events.subscribe() as queue:
        while not isinstance(event := await queue.get(), Stopping):
            if isinstance(event, SettingsChanged):
                log.info("settings_changed", extra={"fields": {"subject": event.subject}})


def _write_environment(state_dir: Path) -> None:
    """Write what a second shell reads to find this daemon and the command."""
    programs = Path(sys.argv[0]).resolve().parent
    lines = f'export VALIJA_STATE_DIR="{state_dir}"\nexport PATH="{programs}:$PATH"\n'
    (state_dir / "env").write_text(lines, "utf-8")
