"""The tree of settings, as the machine's printed manual has it: labels, addresses, and which mail setting a screen shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from valija.domain.account import Setting
from valija.domain.text import N_


@dataclass(frozen=True, slots=True)
class Screen:
    """A leaf of the tree: ``slug`` is its address below /settings, ``path`` the labels from the first level down."""

    slug: str
    path: tuple[str, ...]
    setting: Setting

    @property
    def base(self) -> str:
        """Return the screen's address."""
        return f"/settings/{self.slug}"


_SYSTEM: Final = N_("System Settings")
_NETWORK: Final = N_("Network Settings")
_CONTROL: Final = N_("System Control")
_ALERT: Final = N_("E-mail Alert and Status")

SCREENS: Final = (
    Screen("network-services-smtp", (_SYSTEM, _NETWORK, N_("Service Settings"), N_("SMTP")), Setting.SMTP),
    Screen("network-quick", (_NETWORK, N_("Quick Settings")), Setting.SMTP),
    Screen("alert-smtp", (_CONTROL, _ALERT, N_("SMTP Settings")), Setting.SMTP),
    Screen("alert-status", (_CONTROL, _ALERT, N_("E-mail Status")), Setting.EMAIL_STATUS),
    Screen(
        "image-send-internet-fax",
        (N_("Image Send Settings"), N_("Internet Fax Settings"), N_("Server Settings")),
        Setting.INTERNET_FAX,
    ),
    Screen("printer-email-print", (N_("Printer Settings"), N_("E-mail Print Settings")), Setting.EMAIL_PRINT),
    Screen("initial-network-quick", (N_("Initial Installation Settings"), N_("Network Quick Settings")), Setting.SMTP),
)
# the guided path: its token step is a screen of its own, which the tree does not show
FIRST_START: Final = Screen(
    "first-start", (N_("Initial Installation Settings"), N_("Network Quick Settings")), Setting.SMTP
)
BY_SLUG: Final = {screen.slug: screen for screen in (*SCREENS, FIRST_START)}
ROOT_LABEL: Final = N_("Settings (Administrator)")


def tree() -> list[dict[str, object]]:
    """Return the tree as nested nodes (label, href, nodes); a branch leads to its first leaf."""
    roots: list[dict[str, object]] = []
    for screen in SCREENS:
        nodes = roots
        for depth, label in enumerate(screen.path):
            node = next((n for n in nodes if n["label"] == label), None)
            if node is None:
                node = {"label": label, "href": screen.base, "nodes": [], "leaf": depth == len(screen.path) - 1}
                nodes.append(node)
            inner = node["nodes"]
            if not isinstance(inner, list):
                raise TypeError("a node's nodes are a list")
            nodes = inner
    return roots
