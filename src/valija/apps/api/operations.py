"""The API's operations on the machine, its settings, providers and tokens."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

from valija import __version__
from valija.apps.api import models
from valija.apps.api.calls import Call
from valija.apps.api.gateway_views import show_accounts
from valija.apps.api.views import REVOCATION_TEXTS
from valija.domain.account import GrantKind, Setting
from valija.domain.errors import NotReady
from valija.domain.text import N_, message
from valija.services.events import Stopping

# --- the machine ----------------------------------------------------------------------------------------------------------


async def show_machine(call: Call) -> models.MachineView:
    m = call.machine
    tokens = [await call.token(setting) for setting in Setting]
    warnings = [call.views.text(warning) for warning in m.warnings()]
    return models.MachineView(
        version=__version__,
        started_at=m.started_at,
        sandbox=m.sandbox,
        web_address=m.web_address,
        tokens=tokens,
        mail=await show_accounts(m, call.views),
        warnings=warnings,
    )


async def open_panel(call: Call) -> models.PanelAddress:
    if call.machine.new_panel_address is None:
        raise NotReady(
            message(N_("The panel is switched off.")), message(N_("Set panel.enabled in the configuration."))
        )
    return models.PanelAddress(url=call.machine.new_panel_address())


async def list_audit(call: Call) -> list[models.AuditView]:
    records = await call.machine.store.list_audit(call.number("limit"), call.number("before") or None)
    return [call.views.audit(record) for record in records]


# --- settings and providers -------------------------------------------------------------------------------------------------


async def show_setting(call: Call) -> models.SettingView:
    value = await call.machine.settings.load(call.setting)
    return call.views.setting(call.setting, value, await call.token_report())


async def change_setting(call: Call) -> models.SettingView:
    body: models.SettingChanges = await call.body(models.SettingChanges)
    setting = call.setting
    value = await call.machine.settings.change(setting, body.changes, confirm=body.confirm, actor=call.actor)
    return call.views.setting(setting, value, await call.token_report())


async def list_providers(call: Call) -> list[models.ProviderView]:
    return [await _provider(call, r.name) for r in await call.machine.providers.all()]


async def show_provider(call: Call) -> models.ProviderView:
    return await _provider(call, call.request.path_params["name"])


async def change_provider(call: Call) -> models.ProviderView:
    body: models.ProviderChanges = await call.body(models.ProviderChanges)
    name = call.request.path_params["name"]
    await call.machine.providers.set(name, body.changes, confirm=body.confirm, actor=call.actor)
    return await _provider(call, name)


async def delete_provider(call: Call) -> models.Deleted:
    confirm = call.choice("confirm") == "true"
    await call.machine.providers.delete(call.request.path_params["name"], confirm=confirm, actor=call.actor)
    return models.Deleted()


async def _provider(call: Call, name: str) -> models.ProviderView:
    registration, profile = await call.machine.providers.load(name)
    return call.views.provider(registration, profile, await call.machine.providers.users(name))


# --- tokens -------------------------------------------------------------------------------------------------------------------


async def list_tokens(call: Call) -> list[models.TokenView]:
    return [await call.token(setting) for setting in Setting]


async def show_token(call: Call) -> models.TokenView:
    setting = call.setting
    wait, after = call.number("wait"), call.number("after_version")
    if wait:
        await _wait_for_change(call, setting, after, wait)
    return await call.token()


async def _wait_for_change(call: Call, setting: Setting, after: int, seconds: float) -> None:
    """Return when the token has a later version, or after ``seconds``."""
    async with call.machine.events.subscribe() as queue:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (await call.machine.tokens.state(setting.value)).version <= after:
                    if isinstance(await queue.get(), Stopping):
                        return


async def get_token(call: Call) -> models.TokenView:
    body: models.GetToken = await call.body(models.GetToken)
    grant = GrantKind(body.grant) if body.grant else None
    await call.machine.desk.start(call.setting, grant, call.actor)
    return await call.token()


async def paste_redirect(call: Call) -> models.TokenView:
    body: models.PastedRedirect = await call.body(models.PastedRedirect)
    await call.machine.desk.paste(call.setting, body.url, call.actor)
    return await call.token()


async def cancel_authorization(call: Call) -> models.TokenView:
    await call.machine.desk.cancel(call.setting, call.actor)
    return await call.token()


async def refresh_token(call: Call) -> models.TokenView:
    await call.machine.tokens.refresh(call.setting.value)
    return await call.token()


async def delete_token(call: Call) -> models.Deletion:
    _state, revocation = await call.machine.desk.delete(call.setting, call.actor)
    text = call.views.text(REVOCATION_TEXTS[revocation])
    return models.Deletion(token=await call.token(), revocation=cast(Any, revocation), revocation_text=text)
