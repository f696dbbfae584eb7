"""Domain values as the API's answers, in a language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final, cast

from valija.apps.api import models
from valija.apps.language import translate
from valija.domain.account import Authentication, Setting
from valija.domain.address_book import CONTACT_LABELS
from valija.domain.alert_settings import ALERT_LABELS
from valija.domain.api_token import ApiToken, has_ended
from valija.domain.device import DEVICE_LABELS
from valija.domain.errors import InvalidFields, ValijaError
from valija.domain.fax import FAX_LABELS
from valija.domain.preferences import PREFERENCE_LABELS
from valija.domain.print_job import PRINT_LABELS
from valija.domain.record import AuditAction, AuditRecord, subject_label
from valija.domain.registration import Registration
from valija.domain.scan import SCAN_LABELS
from valija.domain.settings import FIELD_LABELS, MailSettings
from valija.domain.text import N_
from valija.domain.token import Authorization
from valija.net.jose import certificate_end
from valija.oauth.catalogue import Profile
from valija.protocol.smtp_transaction import Verdict
from valija.secret import Secret
from valija.services.authorization_refusals import ProviderRefused
from valija.services.connection_test import StageReport
from valija.services.delivery import Delivered
from valija.services.login import LoginFailed
from valija.services.status import ExplainedTrouble, StatusDesk, TokenReport
from valija.store.port import StoredAudit, StoredMessage

STATE_LABELS: Final = {
    "not_retrieved": N_("Not retrieved"),
    "awaiting_authorization": N_("Waiting for authorization"),
    "retrieved": N_("Retrieved"),
    "invalid": N_("Invalid"),
}
STAGE_LABELS: Final = {
    "setting": N_("Setting"),
    "name": N_("Name"),
    "tcp": N_("Connection"),
    "tls": N_("SSL/TLS"),
    "greeting": N_("Greeting"),
    "clock": N_("Clock"),
    "token": N_("Token"),
    "scope": N_("Rights"),
    "auth": N_("Log-in"),
    "sender": N_("Sender"),
    "maildrop": N_("Mailbox"),
}
OUTCOME_LABELS: Final = {
    Verdict.ACCEPTED: N_("accepted"),
    Verdict.DEFERRED: N_("not now"),
    Verdict.FAILED: N_("refused"),
    Verdict.IN_DOUBT: N_("in doubt"),
}
ACTION_LABELS: Final = {
    "token_requested": N_("token requested"),
    "token_obtained": N_("token retrieved"),
    "token_authorization_failed": N_("token not retrieved"),
    "token_imported": N_("token taken over from another program"),
    "token_deleted": N_("token deleted"),
    "token_invalid": N_("token became invalid"),
    "token_valid_again": N_("token valid again"),
    "settings_changed": N_("setting changed"),
    "provider_changed": N_("provider changed"),
    "provider_deleted": N_("provider deleted"),
    "logged_in": N_("administrator logged in"),
    "login_refused": N_("wrong administrator's password"),
    "locked_out": N_("locked after wrong passwords"),
    "lockout_lifted": N_("lock lifted"),
    "password_changed": N_("administrator's password changed"),
    "device_added": N_("device added"),
    "device_changed": N_("device changed"),
    "device_password_made": N_("new password for a device"),
    "device_deleted": N_("device deleted"),
    "device_locked_out": N_("a device's password was guessed at, and locked for a while"),
    "learning_started": N_("learning mode started"),
    "learning_stopped": N_("learning mode stopped"),
    "mail_held": N_("mail held"),
    "mail_released": N_("mail released"),
    "mail_retried": N_("mail tried again"),
    "mail_cancelled": N_("mail cancelled"),
    "job_cancelled": N_("job cancelled"),
    "contacts_changed": N_("address book changed"),
    "api_token_made": N_("API token made"),
    "api_token_deleted": N_("API token deleted"),
}
AUTHENTICATION_LABELS: Final = {
    Authentication.NONE: N_("None"),
    Authentication.PASSWORD: N_("Password"),
    Authentication.OAUTH2: N_("OAuth 2.0"),
}
REVOCATION_TEXTS: Final = {
    "revoked": N_("It was revoked at the provider too."),
    "not_supported": N_("The provider has no revocation: it ends there by itself, or in the account's security page."),
    "in_use": N_("It was not revoked at the provider: that would end the other tokens of this mailbox too."),
    "failed": N_("It could not be revoked at the provider: remove the access on the account's security page."),
    "nothing": N_("There was none."),
}
SMTP_LABELS: Final = {"server": N_("Primary Server")}
POP_LABELS: Final = {"server": N_("POP3 Server")}
PROVIDER_LABELS: Final = {
    "kind": N_("Kind"),
    "cloud": N_("Cloud"),
    "issuer": N_("Issuer"),
    "tenant": N_("Tenant"),
    "client_id": N_("Client id"),
    "client_secret": N_("Client secret"),
    "certificate": N_("Certificate"),
    "private_key": N_("Private key"),
    "service_account": N_("Service account"),
    "grant": N_("Grant"),
    "scopes": N_("Scopes"),
}


class Views:
    """Makes answers in one language."""

    def __init__(self, language: str, status: StatusDesk) -> None:
        self.language = language
        self._status = status

    def text(self, sentence: Any) -> str:
        """Return a sentence in the language."""
        return translate(sentence, self.language)

    def trouble(self, explained: ExplainedTrouble | None) -> models.TroubleView | None:
        """Show a trouble."""
        if explained is None:
            return None
        trouble, explanation = explained.trouble, explained.explanation
        return models.TroubleView(
            reason=trouble.reason,
            meaning=self.text(explanation.meaning),
            cure=self.text(explanation.cure),
            who_acts=trouble.who_acts.value,
            server_words=trouble.server_words,
            at=trouble.at,
        )

    def raw_trouble(self, trouble: Any) -> models.TroubleView | None:
        """Show a trouble that is not yet explained."""
        return self.trouble(self._status.explain(trouble)) if trouble is not None else None

    def meaning(self, reason: str) -> str:
        """Return what a reason means; empty for what is none."""
        meaning = self._status.meaning(reason)
        return self.text(meaning) if meaning else ""

    def explained(self, reason: str) -> str:
        """Return what a reason means and what to do about it; empty for what is none."""
        known = self._status.explainer.by_reason.get(reason)
        return f"{self.text(known.meaning)} {self.text(known.cure)}".strip() if known else ""

    def authorization(self, asked: Authorization | None) -> models.AuthorizationView | None:
        """Show a permission that is being asked for, without what must stay here."""
        if asked is None:
            return None
        return models.AuthorizationView(
            id=asked.authorization_id,
            grant=asked.grant.value,
            started_at=asked.started_at,
            expires_at=asked.expires_at,
            verification_uri=asked.verification_uri,
            verification_uri_complete=asked.verification_uri_complete,
            user_code=asked.user_code,
            interval=asked.interval,
            authorization_url=asked.authorization_url,
        )

    def token(self, report: TokenReport) -> models.TokenView:
        """Show a token."""
        return models.TokenView(
            setting=report.setting.value,
            version=report.version,
            state=report.state.value,
            state_label=self.text(STATE_LABELS[report.state.value]),
            account=report.account,
            provider=report.provider,
            provider_name=report.provider_name,
            in_use=report.in_use,
            expired=report.expired,
            grant=report.grant.value if report.grant else None,
            obtained_at=report.obtained_at,
            refreshed_at=report.refreshed_at,
            expires_at=report.expires_at,
            idle_limit_at=report.idle_limit_at,
            scopes=list(report.scopes),
            authorization=self.authorization(report.authorization),
            trouble=self.trouble(report.trouble),
            unsaved=report.unsaved,
        )

    def setting(self, setting: Setting, value: MailSettings, report: TokenReport) -> models.SettingView:
        """Show a mail setting."""
        raw = {f.name: getattr(value, f.name) for f in fields(value)}
        shown = {k: v is not None if k == "password" else v for k, v in raw.items()}
        own = POP_LABELS if setting.is_pop else SMTP_LABELS
        rows = [
            models.Row(field=k, label=self.text(own.get(k, FIELD_LABELS[k])), text=self._value(k, v))
            for k, v in shown.items()
            if k != "password" or value.auth is Authentication.PASSWORD
        ]
        return models.SettingView(setting=setting.value, fields=shown, rows=rows, token_state=report.state.value)

    def _value(self, field: str, value: Any) -> str:
        if isinstance(value, Authentication):
            return self.text(AUTHENTICATION_LABELS[value])
        if isinstance(value, bool):
            return self.text(N_("on") if field == "tls" else N_("set")) if value else self.text(N_("off"))
        units = {"timeout": N_("{value} s"), "check_interval": N_("{value} min")}
        if field in units:
            return self.text(units[field]).format(value=value)
        return str(value) or "—"

    def provider(self, r: Registration, profile: Profile, users: list[Setting]) -> models.ProviderView:
        """Show a registration."""
        raw = {f.name: getattr(r, f.name) for f in fields(r) if f.name != "name"}
        shown = {k: _public(v) for k, v in raw.items()}
        rows = [
            models.Row(field=k, label=self.text(label), text=self._shown(shown[k]))
            for k, label in PROVIDER_LABELS.items()
            if shown[k] not in ("", None, False, [])
        ]
        if r.certificate:
            end = certificate_end(r.certificate)
            rows.append(models.Row(field="certificate_end", label=self.text(N_("Good until")), text=f"{end:%Y-%m-%d}"))
        needs_a_person = not (r.client_secret or r.private_key or r.service_account)
        return models.ProviderView(
            name=r.name,
            kind=r.kind,
            display_name=profile.display_name,
            client_id=r.client_id,
            fields=shown,
            rows=rows,
            notes=[self.text(note) for note in profile.notes] if needs_a_person else [],
            used_by=[s.value for s in users],
        )

    def _shown(self, value: Any) -> str:
        if value is True:
            return self.text(N_("set"))
        return " ".join(value) if isinstance(value, list) else str(value)

    def stage(self, report: StageReport) -> models.StageView:
        """Show a stage of a connection test."""
        return models.StageView(
            stage=report.stage.value,
            label=self.text(STAGE_LABELS[report.stage.value]),
            outcome=report.outcome.value,
            found=self.text(report.found),
            trouble=self.raw_trouble(report.trouble),
        )

    def delivered(self, outcome: Delivered) -> models.OutcomeView:
        """Show what became of a message for a recipient."""
        return models.OutcomeView(
            recipient=outcome.recipient,
            outcome=outcome.verdict.value,
            label=self.text(OUTCOME_LABELS[outcome.verdict]),
            server_words=outcome.server_words,
            trouble=self.raw_trouble(outcome.trouble),
        )

    def received(self, stored: StoredMessage, state_dir: Any) -> models.ReceivedView:
        """Show a received message."""
        m = stored.message
        return models.ReceivedView(
            id=stored.id,
            setting=cast(models.PopName, m.account),
            received_at=m.received_at,
            size=m.size,
            sender=m.sender,
            subject=m.subject,
            file=str(state_dir / m.file),
        )

    def audit(self, stored: StoredAudit) -> models.AuditView:
        """Show an audit record."""
        r = stored.record
        label = subject_label(r.action, r.subject)
        return models.AuditView(
            id=stored.id,
            at=r.at,
            who=r.actor.who,
            where=r.actor.where,
            presence=r.actor.presence.value,
            action=r.action.value,
            label=self.text(ACTION_LABELS[r.action.value]),
            subject=r.subject,
            concerns=self.text(label) if label else r.subject,
            details=dict(r.details),
            said="; ".join(self._detail(r, name, value) for name, value in r.details.items()),
        )

    def _detail(self, record: AuditRecord, name: str, value: str) -> str:
        if name == "fields":
            own = DEVICE_LABELS if record.action is AuditAction.DEVICE_CHANGED else OWN_LABELS.get(record.subject, {})
            value = ", ".join(self.text(own.get(f) or ALL_LABELS.get(f, f)) for f in value.split(", "))
        return f"{self.text(DETAIL_LABELS.get(name, name))}: {value}"

    def api_token(self, token: ApiToken, now: datetime) -> models.ApiTokenView:
        """Show an API token: never what the program sends."""
        return models.ApiTokenView(
            name=token.name,
            scopes=[cast(models.ScopeName, scope) for scope in token.scopes],
            created_at=token.created_at,
            expires_at=token.expires_at,
            ended=has_ended(token, now),
            created_by=token.created_by,
            last_used_at=token.last_used_at,
        )

    def problem(self, error: ValijaError | LoginFailed) -> models.Problem:
        """Show why something was refused."""
        if isinstance(error, LoginFailed):
            view = self.raw_trouble(error.trouble)
            status = {"nobody": 5, "user": 3}.get(error.trouble.who_acts.value, 4)
            meaning = view.meaning if view else ""
            return models.Problem(
                title=meaning, status=502, detail=meaning, code="login_failed", exit_status=status, trouble=view
            )
        problems = []
        if isinstance(error, InvalidFields):
            problems = [
                models.FieldProblemView(
                    field=p.field,
                    label=self.text(p.label or ALL_LABELS.get(p.field, p.field)),
                    problem=self.text(p.problem),
                )
                for p in error.problems
            ]
        detail = self.text(N_("Nothing was changed:")) if problems else self.text(error.what)
        return models.Problem(
            title=detail,
            status=error.http_status,
            detail=detail,
            code=error.code,
            cure=self.text(error.cure) if error.cure else "",
            exit_status=error.exit_status,
            problems=problems,
            trouble=self.raw_trouble(error.trouble) if isinstance(error, ProviderRefused) else None,
        )


OTHER_LABELS: Final = {
    "body": N_("Body"),
    "to": N_("Recipient"),
    "subject": N_("Subject"),
    "text": N_("Text"),
    "name": N_("Name"),
    "days": N_("Days"),
    "minutes": N_("Minutes"),
    "ids": N_("Numbers"),
    "action": N_("Action"),
    "configuration": "sasl-xoauth2.conf",
    "is_set_up": N_("Network Quick Settings"),
    "password": FIELD_LABELS["password"],  # of prints it is the one in the subject, which nobody gets wrong
}
ALL_LABELS: Final[Mapping[str, str]] = {
    **SCAN_LABELS,
    **CONTACT_LABELS,
    **FIELD_LABELS,
    **PROVIDER_LABELS,
    **PREFERENCE_LABELS,
    **DEVICE_LABELS,
    **FAX_LABELS,
    **PRINT_LABELS,
    **ALERT_LABELS,
    **OTHER_LABELS,
}
OWN_LABELS: Final[Mapping[str, Mapping[str, str]]] = {  # of records' subjects
    **{setting.value: FIELD_LABELS for setting in Setting},
    "fax": FAX_LABELS,
    "print": PRINT_LABELS,
}
DETAIL_LABELS: Final = {
    "fields": N_("Changed"),
    "name": N_("Name"),
    "names": N_("Names"),
    "minutes": N_("Minutes"),
    "scopes": N_("Scopes"),
    "expires_at": N_("Ends"),
    "reason": N_("Reason"),
}


def _public(value: Any) -> Any:
    """Return a value that may be shown: of a secret or a key only whether it is there."""
    if isinstance(value, Secret):
        return True
    if isinstance(value, str) and value.lstrip().startswith("-----BEGIN"):
        return True
    return list(value) if isinstance(value, tuple) else getattr(value, "value", value)
