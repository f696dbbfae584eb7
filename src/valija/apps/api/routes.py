"""The one table of the API: what it serves, and what its description says."""

from __future__ import annotations

from typing import Final

from valija.apps.api import mail_operations as mail
from valija.apps.api import models
from valija.apps.api import operations as on
from valija.apps.api.calls import Route

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/machine", on.show_machine, "Show the machine and its tokens", models.MachineView),
    Route("POST", "/panel", on.open_panel, "Get an address that opens the panel once", models.PanelAddress),
    Route("GET", "/settings/{setting}", on.show_setting, "Show a mail setting", models.SettingView),
    Route(
        "PATCH",
        "/settings/{setting}",
        on.change_setting,
        "Change fields of a mail setting",
        models.SettingView,
        models.Changes,
    ),
    Route(
        "POST",
        "/settings/{setting}/test",
        mail.test_setting,
        "Test a setting's connection, stage by stage",
        models.TestReport,
    ),
    Route(
        "POST",
        "/settings/{setting}/receive",
        mail.receive_mail,
        "Fetch new mail of a POP setting",
        models.ReceiveReport,
    ),
    Route("GET", "/providers", on.list_providers, "List the client registrations", list[models.ProviderView]),
    Route("GET", "/providers/{name}", on.show_provider, "Show a client registration", models.ProviderView),
    Route(
        "PUT",
        "/providers/{name}",
        on.change_provider,
        "Add or change a registration",
        models.ProviderView,
        models.Changes,
    ),
    Route(
        "DELETE",
        "/providers/{name}",
        on.delete_provider,
        "Delete a registration and its tokens",
        dict[str, bool],
        query=(("confirm", "true agrees to the deletion of tokens"),),
    ),
    Route("GET", "/tokens", on.list_tokens, "Show all tokens", list[models.TokenView]),
    Route(
        "GET",
        "/tokens/{setting}",
        on.show_token,
        "Show a token; wait until it changes",
        models.TokenView,
        query=(("wait", "seconds to wait, 0-25"), ("after_version", "wait for a later version than this")),
    ),
    Route(
        "DELETE", "/tokens/{setting}", on.delete_token, "Delete a token and revoke it at the provider", models.Deletion
    ),
    Route("POST", "/tokens/{setting}/refresh", on.refresh_token, "Refresh a token now", models.TokenView),
    Route(
        "POST",
        "/tokens/{setting}/authorization",
        on.get_token,
        "Get a token: ask the provider for leave (only at the machine)",
        models.TokenView,
        models.GetToken,
    ),
    Route(
        "DELETE",
        "/tokens/{setting}/authorization",
        on.cancel_authorization,
        "Stop waiting for authorization",
        models.TokenView,
    ),
    Route(
        "POST",
        "/tokens/{setting}/authorization/redirect",
        on.paste_redirect,
        "Hand in the address that the browser was sent to",
        models.TokenView,
        models.PastedRedirect,
    ),
    Route(
        "POST",
        "/messages",
        mail.send_message,
        "Send files by e-mail: multipart/form-data with about (JSON: to, subject, text) and file, again for each",
        models.SendReport,
        upload=True,
    ),
    Route(
        "GET",
        "/received",
        mail.list_received,
        "List received mail",
        list[models.ReceivedView],
        query=(("setting", "only of this POP setting"), ("limit", "how many at the most, 1-500")),
    ),
    Route(
        "GET",
        "/received/{id}",
        mail.download_received,
        "Download a received message",
        None,
        media_type="message/rfc822",
    ),
    Route(
        "GET",
        "/audit",
        on.list_audit,
        "Show who did what, latest first",
        list[models.AuditView],
        query=(("limit", "how many at the most, 1-500"), ("before", "only records before this id")),
    ),
    Route(
        "GET",
        "/events",
        mail.stream_events,
        "Follow what happens (server-sent events)",
        None,
        media_type="text/event-stream",
    ),
)
