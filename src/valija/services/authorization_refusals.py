"""When no token can be got: who may not ask, what the provider does not offer, what it has refused."""

from __future__ import annotations

from valija.domain.account import Actor, GrantKind, Presence
from valija.domain.errors import NotAtTheMachine, NotReady, ValijaError
from valija.domain.text import N_, Message, message
from valija.domain.trouble import Trouble, WhoActs
from valija.services.provider_client import ResolvedAccount


class ProviderRefused(ValijaError):
    """The provider did not give leave to get a token; ``trouble`` says why."""

    code = "provider_refused"
    exit_status = 4
    http_status = 502

    def __init__(self, what: Message, trouble: Trouble) -> None:
        super().__init__(what)
        self.trouble = trouble
        self.exit_status = {WhoActs.NOBODY: 5, WhoActs.USER: 3}.get(trouble.who_acts, 4)  # type: ignore[misc]


def demand_presence(actor: Actor) -> None:
    """Let nobody go on who is not at the machine. Raises :class:`NotAtTheMachine`."""
    if actor.presence is not Presence.AT_MACHINE:
        raise NotAtTheMachine(
            message(N_("The setup cannot be completed on the web page.")),
            message(N_("Get the token at the machine.")),
        )


def no_address() -> NotReady:
    """Return what is said of an address that nobody waits for."""
    return NotReady(message(N_("No address is waited for.")), message(N_("Press Get Token first.")))


def choose(resolved: ResolvedAccount, wanted: GrantKind | None) -> GrantKind:
    """Return the grant that is used: the one ``wanted``, or the provider's first. Raises :class:`NotReady`."""
    available, name = resolved.available_grants(), resolved.profile.display_name
    if wanted is not None and wanted not in available:
        raise NotReady(
            message(N_("{provider} does not offer the grant {grant}."), provider=name, grant=wanted.value),
            message(N_("Possible here: {grants}."), grants=", ".join(g.value for g in available) or "-"),
        )
    if not available:
        raise NotReady(
            message(N_("{provider} offers no way to get a token with this registration."), provider=name),
            message(N_("Set a client secret, a certificate or a service account, or another issuer.")),
        )
    return wanted or available[0]
