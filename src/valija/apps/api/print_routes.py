"""The API's rows for e-mail print."""

from __future__ import annotations

from typing import Final

from valija.apps.api import print_models as models
from valija.apps.api import print_operations as printing
from valija.apps.api.calls import Route
from valija.domain.api_token import Scope

PRINT_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/print/settings",
        printing.show_print_settings,
        "Show where mail is printed and whose",
        models.PrintSettingsView,
        scope=Scope.READ,
    ),
    Route(
        "PATCH",
        "/print/settings",
        printing.change_print_settings,
        "Change where mail is printed and whose",
        models.PrintSettingsView,
        models.PrintSettingsChanges,
        scope=Scope.SETTINGS,
    ),
    Route(
        "GET",
        "/printer",
        printing.show_printer,
        "Ask the printer how it is: its state, what it lacks, its supplies",
        models.PrinterView,
        scope=Scope.READ,
    ),
)
