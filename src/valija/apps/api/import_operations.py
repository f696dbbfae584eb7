"""The API's operation that takes over what another program has (only at the machine)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from valija.apps.api import models
from valija.apps.api.calls import Call
from valija.apps.api.gateway_models import MadeDeviceView
from valija.apps.api.gateway_views import show_made
from valija.apps.api.models import Answer, Body
from valija.domain.account import Setting
from valija.domain.imported import TEXT_LIMIT, FoundAccount
from valija.secret import Secret
from valija.services.importing import Plan, Taken, Wanted, is_clear, read


class ImportFile(Body):
    """A file of email-oauth2-proxy, sasl-xoauth2 or mutt, and what is wanted of it; without ``really`` nothing is done."""

    name: str = Field(default="", max_length=255)
    text: str = Field(max_length=TEXT_LIMIT, json_schema_extra={"writeOnly": True})
    configuration: str = Field(default="", max_length=TEXT_LIMIT, json_schema_extra={"writeOnly": True})
    setting: models.SettingName = "smtp"
    account: str = Field(default="", max_length=255)
    provider: str = Field(default="", max_length=63)
    server: str = Field(default="", max_length=255)
    password: str | None = Field(default=None, max_length=1000, json_schema_extra={"writeOnly": True})
    with_token: bool = True
    device: str = Field(default="", max_length=60)
    confirm: bool = False
    really: bool = False


class FoundAccountView(Answer):
    """An account of the file. ``token``: none, there, or locked by the password that its clients log in with.

    ``secret_locked``: so is the client's secret.
    """

    login: str
    kind: str
    tenant: str
    issuer: str
    client_id: str
    has_client_secret: bool
    grant: str
    scopes: list[str]
    token: str
    secret_locked: bool
    notes: list[str]


class ImportView(Answer):
    """What a file says, what would be or was done. ``changes`` are those of the setting; ``device`` has its password once.

    ``account`` is empty, and nothing is planned, while it is not said which of several is meant.
    """

    program: str
    accounts: list[FoundAccountView]
    done: bool
    account: str
    provider: str
    setting: str
    changes: dict[str, Any]
    device_name: str
    handed_over: bool
    token: models.TokenView | None
    device: MadeDeviceView | None


async def import_file(call: Call) -> ImportView:
    body: ImportFile = await call.body(ImportFile)
    importer = call.machine.importer
    found = read(body.text, name=body.name, configuration=body.configuration)
    setting = Setting(body.setting)
    password = Secret(body.password) if body.password else None
    wanted = Wanted(
        setting, body.account, body.provider, body.server, password, body.with_token, body.device, body.confirm
    )
    taken: Taken | None = None
    if body.really:
        taken = await importer.take(found, wanted, call.actor)
    plan: Plan | None = taken.plan if taken is not None else None
    if plan is None and is_clear(found, body.account):
        plan = await importer.look(found, wanted)
    return ImportView(
        program=found.program,
        accounts=[_account(call, account) for account in found.accounts],
        done=taken is not None,
        account=plan.account.login if plan is not None else "",
        provider=plan.provider if plan is not None else "",
        setting=setting.value,
        changes=dict(plan.setting) if plan is not None else {},
        device_name=body.device,
        handed_over=taken.token if taken is not None else False,
        token=await call.token(setting) if taken is not None else None,
        device=show_made(call.views, taken.device, None) if taken is not None and taken.device is not None else None,
    )


def _account(call: Call, account: FoundAccount) -> FoundAccountView:
    said = account.registration
    locked = account.sealed is not None and bool(account.sealed.refresh_token)
    return FoundAccountView(
        login=account.login,
        kind=said["kind"],
        tenant=said.get("tenant", ""),
        issuer=said.get("issuer", ""),
        client_id=said["client_id"],
        has_client_secret=account.client_secret is not None or account.is_secret_sealed,
        grant=account.grant.value,
        scopes=list(said.get("scopes", ())),
        token="there" if account.refresh_token is not None else "locked" if locked else "none",
        secret_locked=account.is_secret_sealed,
        notes=[call.views.text(note) for note in account.notes],
    )
