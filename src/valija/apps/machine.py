"""The composition root: builds the machine's services on a store, and starts and stops its background work."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from valija.apps.config import Configuration
from valija.apps.language import translate
from valija.domain.account import POP_SETTINGS, Setting
from valija.domain.clock import Clock, SharedClock
from valija.domain.explanations import Explainer
from valija.domain.text import Message
from valija.net.data_files import read_catalogue, read_error_table, read_explainer
from valija.net.http import HttpDriver
from valija.net.ipp import Ipp
from valija.net.tls import ClientContext, client_context
from valija.services.address_book import AddressBook
from valija.services.alert_channels import Channels
from valija.services.alert_conditions import Conditions
from valija.services.alert_settings import AlertSettingsDesk
from valija.services.alerts import Alerts
from valija.services.api_access import ApiAccess
from valija.services.authorization import AuthorizationDesk
from valija.services.connection_test import ConnectionTest
from valija.services.delivery import Delivery
from valija.services.device_test import DeviceTest
from valija.services.devices import DeviceDesk
from valija.services.dispatcher import Dispatcher
from valija.services.events import EventBus
from valija.services.fax import Fax
from valija.services.fax_receiving import FaxReceiver
from valija.services.fax_sending import FaxSender
from valija.services.fax_settings import FaxSettingsDesk
from valija.services.gateway import Gateway, SmtpRoute
from valija.services.hot_folder import HotFolder
from valija.services.importing import Importer
from valija.services.intake import Intake
from valija.services.jobs import JobDesk
from valija.services.keeping_up import kept_up
from valija.services.learning import LearningDesk
from valija.services.login import Login, Troubles
from valija.services.mail_settings import MailSettingsDesk
from valija.services.mail_taking import Taking
from valija.services.neighbours import Neighbours
from valija.services.outgoing import Outgoing
from valija.services.passwords import Passwords
from valija.services.preferences import PreferencesDesk
from valija.services.print_line import PrintLine
from valija.services.print_settings import PrintSettingsDesk
from valija.services.printing import PrintDesk, Printing
from valija.services.provider_client import ProviderClient
from valija.services.providers import ProviderBook
from valija.services.queue_counts import QueueCounts
from valija.services.refresher import BackgroundRefresher
from valija.services.reports import Reporter
from valija.services.retrieval import CheckTimer, Retrieval
from valija.services.scan_settings import ScanSettingsDesk
from valija.services.scanning import ScanDesk
from valija.services.status import StatusDesk
from valija.services.status_report import StatusReport
from valija.services.status_requests import StatusRequests
from valija.services.token_manager import TokenManager
from valija.services.traffic import Traffic
from valija.store.port import Store


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the wall-clock time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let seconds pass."""
        await asyncio.sleep(seconds)


@dataclass
class Machine:
    """All services; made by :func:`build`."""

    state_dir: Path
    store: Store
    clock: Clock
    events: EventBus
    explainer: Explainer
    http: HttpDriver
    providers: ProviderBook
    tokens: TokenManager
    desk: AuthorizationDesk
    settings: MailSettingsDesk
    preferences: PreferencesDesk
    api_access: ApiAccess
    status: StatusDesk
    delivery: Delivery
    retrieval: Retrieval
    test: ConnectionTest
    refresher: BackgroundRefresher
    check_timer: CheckTimer
    gateway: Gateway
    importer: Importer
    device_test: DeviceTest
    neighbours: Neighbours
    jobs: JobDesk
    outgoing: Outgoing
    fax: Fax
    printing: Printing
    contacts: AddressBook
    scan_settings: ScanSettingsDesk
    scans: ScanDesk
    hot_folder: HotFolder
    alerts: Alerts
    status_requests: StatusRequests
    started_at: datetime
    sandbox: dict[str, str] | None = None
    web_address: str = ""
    gateway_ports: dict[str, int] = field(default_factory=dict)
    gateway_addresses: Callable[[], list[str]] = list
    gateway_authority: Path | None = None
    warnings: Callable[[], list[Message]] = list
    new_panel_address: Callable[[], str] | None = None
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    async def start(self) -> None:
        """Resume what was under way, then refresh and check in the background."""
        await self.desk.resume()
        await self.gateway.start()
        await self.fax.receiver.mail.start()
        await self.printing.desk.mail.start()
        await self.printing.line.start()
        await self.status_requests.mail.start()
        await self.jobs.start()
        works = {
            "refresher": self.refresher.run,
            "check timer": self.check_timer.run,
            "neighbours": self.neighbours.run,
            "jobs": self.jobs.run,
            "faxes": self.fax.receiver.mail.run,
            "e-mail print": self.printing.desk.mail.run,
            "printer": self.printing.line.run,
            "hot folder": self.hot_folder.run,
            "status requests": self.status_requests.mail.run,
            "alerts": self.alerts.run,
        }
        self._tasks = [asyncio.create_task(kept_up(work, name, self.clock), name=name) for name, work in works.items()]

    async def stop(self) -> None:
        """Stop the background and finish what is in the air; whoever opened the store closes it."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.jobs.stop()
        await self.gateway.stop()
        await self.desk.close()
        await self.tokens.close()
        await self.http.close()


def build(
    configuration: Configuration, store: Store, clock: Clock, state_dir: Path, *, sandbox_ca: Path | None = None
) -> Machine:
    """Build the machine. Raises :class:`~valija.domain.errors.ConfigurationError` for a CA file that cannot be used."""
    authorities = (configuration.tls.ca_file, sandbox_ca)
    tls = client_context(*authorities)
    http = HttpDriver(tls, timeout_s=configuration.provider.timeout_s)
    events, explainer = EventBus(), read_explainer()
    providers = ProviderBook(store, read_catalogue(), clock, events)
    client = ProviderClient(store, providers, http, read_error_table(), clock)
    tokens = TokenManager(store, client, clock, events, random.Random())  # noqa: S311 - spreads times, no secret
    desk = AuthorizationDesk(tokens, client, explainer, clock, redirect_port=configuration.redirect.port)
    providers.prepare_revocation = desk.prepare_revocation
    troubles = Troubles(explainer, clock)
    login = Login(tokens, troubles)
    delivery = Delivery(store, providers, login, tls, clock, local_name=local_name())
    retrieval = Retrieval(store, providers, login, tls, clock, events, state_dir)
    settings = MailSettingsDesk(store, providers, desk, clock, events)
    route = SmtpRoute(store, providers, delivery)
    shared_clock = SharedClock(clock, lambda: store.clock_shift) if store.shared else clock
    gateway = _gateway(configuration, store, state_dir, route, troubles, shared_clock, events)
    jobs = JobDesk(store, gateway, troubles, clock, events, state_dir, keep_days=configuration.jobs.keep_days)
    outgoing = Outgoing(delivery, gateway.intake, clock)
    contacts, scan_settings = AddressBook(store, clock, events), ScanSettingsDesk(store, clock, events)
    scans = ScanDesk(store, scan_settings, contacts, jobs, outgoing, clock, translate)
    taking = Taking(store, jobs, clock, events, translate, state_dir)
    fax = _fax(taking, outgoing, delivery, gateway)
    printing = _printing(taking, outgoing, tls)
    fax.receiver.print_fax = printing.desk.print_fax
    status = StatusDesk(store, providers, explainer, clock)
    alerts, status_requests = _telling(taking, outgoing, gateway, providers, status, printing, tls, configuration)
    test = ConnectionTest(delivery, retrieval, tokens, client, http, troubles, tls, clock)
    test.passed = gateway.look_again
    return Machine(
        state_dir=state_dir,
        store=store,
        clock=clock,
        events=events,
        explainer=explainer,
        http=http,
        providers=providers,
        tokens=tokens,
        desk=desk,
        settings=settings,
        preferences=PreferencesDesk(store, clock, events),
        api_access=ApiAccess(store, clock, events),
        status=status,
        delivery=delivery,
        retrieval=retrieval,
        test=test,
        refresher=BackgroundRefresher(tokens, store, clock),
        check_timer=CheckTimer(retrieval, clock, POP_SETTINGS, gateway.devices.fetches),
        gateway=gateway,
        importer=Importer(providers, settings, tokens, gateway.devices, clock),
        device_test=DeviceTest(gateway.devices, lambda: route.mailbox(Setting.SMTP.value), clock, state_dir, translate),
        neighbours=Neighbours(
            store,
            clock,
            events,
            tokens=tokens,
            devices=gateway.devices,
            learning=gateway.learning,
            dispatcher=gateway.dispatcher,
        ),
        jobs=jobs,
        outgoing=outgoing,
        fax=fax,
        printing=printing,
        contacts=contacts,
        scan_settings=scan_settings,
        scans=scans,
        hot_folder=HotFolder(store, scan_settings, scans, jobs, clock, translate),
        alerts=alerts,
        status_requests=status_requests,
        started_at=clock.now(),
    )


def _gateway(
    configuration: Configuration,
    store: Store,
    state_dir: Path,
    route: SmtpRoute,
    troubles: Troubles,
    clock: Clock,
    events: EventBus,
) -> Gateway:
    spool = store.spool_in(state_dir)
    schedule = configuration.gateway.schedule()
    dispatcher = Dispatcher(store.queue, spool, route, troubles, clock, events, schedule=schedule)
    counts = QueueCounts(store.queue, clock)
    traffic = Traffic(store.queue, counts, clock)
    dispatcher.applied = traffic.applied

    def accepted(account: str, recipients: int) -> None:
        traffic.accepted(recipients)
        dispatcher.wake(account)

    def handed_over(account: str, recipients: int) -> None:
        traffic.accepted(recipients)
        dispatcher.changed(account)

    intake = Intake(
        store.queue,
        spool,
        clock,
        host_name=local_name(),
        accepted=accepted,
        offer=dispatcher.offer,
        handed_over=handed_over,
        stopped=dispatcher.stopped,
    )
    devices = DeviceDesk(store, Passwords(), clock, events)
    dispatcher.goes_as_mailbox = devices.goes_as_mailbox
    dispatcher.report = Reporter(
        store,
        devices,
        read_explainer(),
        clock,
        translate,
        body=dispatcher.body,
        accepted=accepted,
        stopped=dispatcher.stopped,
        host_name=local_name(),
        copy_to=configuration.gateway.report_copy_to,
    ).report
    learning = LearningDesk(store, devices, clock, events)
    return Gateway(store, clock, route, devices, learning, intake, dispatcher, spool, counts, traffic)


def _fax(taking: Taking, outgoing: Outgoing, delivery: Delivery, gateway: Gateway) -> Fax:
    sender = FaxSender(taking.store, taking.jobs, outgoing, delivery, taking.clock, translate)
    receiver = FaxReceiver(taking, sender, outgoing, delivery, gateway, host_name=local_name())
    return Fax(FaxSettingsDesk(taking.store, taking.clock, taking.events), sender, receiver)


def _printing(taking: Taking, outgoing: Outgoing, tls: ClientContext) -> Printing:
    store, jobs, clock, events = taking.store, taking.jobs, taking.clock, taking.events
    line = PrintLine(store, jobs, Ipp(tls), clock, events, random.Random())  # noqa: S311 - spreads times, no secret
    return Printing(PrintSettingsDesk(store, clock, events), PrintDesk(taking, line, outgoing), line)


def _telling(
    taking: Taking,
    outgoing: Outgoing,
    gateway: Gateway,
    providers: ProviderBook,
    status: StatusDesk,
    printing: Printing,
    tls: ClientContext,
    configuration: Configuration,
) -> tuple[Alerts, StatusRequests]:
    store, clock, events, state_dir = taking.store, taking.clock, taking.events, taking.state_dir
    printer, name = printing.printer_state, local_name()
    report = StatusReport(store, gateway, status, clock, state_dir, printer)
    channels = Channels(store, outgoing, report, status.explainer, clock, translate, tls, name)
    certificates = configuration.certificates()
    conditions = Conditions(store, gateway, providers, status, clock, state_dir, name, certificates, printer)
    alerts = Alerts(store, AlertSettingsDesk(store, clock, events), conditions, channels, clock, events)
    return alerts, StatusRequests(taking, outgoing, channels, report)


def local_name() -> str:
    """Return the name for EHLO: this host's, if it is one that may be said (RFC 5321 section 4.1.4)."""
    name = socket.gethostname()
    return name if name and name.isascii() and all(c.isalnum() or c in "-." for c in name) else "localhost"
