"""The API's rows for Internet fax, and for the files that jobs keep."""

from __future__ import annotations

from typing import Final

from valija.apps.api import fax_models as models
from valija.apps.api import fax_operations as fax
from valija.apps.api import job_models
from valija.apps.api.calls import Route
from valija.domain.api_token import Scope

FAX_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/fax/settings",
        fax.show_fax_settings,
        "Show how faxes are sent and received",
        models.FaxSettingsView,
        scope=Scope.READ,
    ),
    Route(
        "PATCH",
        "/fax/settings",
        fax.change_fax_settings,
        "Change how faxes are sent and received",
        models.FaxSettingsView,
        models.FaxSettingsChanges,
        scope=Scope.SETTINGS,
    ),
    Route(
        "POST",
        "/faxes",
        fax.send_fax,
        "Send a fax: multipart/form-data with about (JSON: to, subject, text, changes) and file, again for each",
        job_models.JobHistoryView,
        scope=Scope.MAIL,
        upload=True,
        status=201,
        refusals=(400, 409),
    ),
    Route(
        "GET",
        "/jobs/{id}/files",
        fax.list_job_files,
        "List the files that a job keeps",
        list[models.JobFileView],
        scope=Scope.MAIL,
    ),
    Route(
        "GET",
        "/jobs/{id}/files/{name}",
        fax.download_job_file,
        "Download a file that a job keeps",
        None,
        scope=Scope.MAIL,
        media_type="application/octet-stream",
    ),
)
