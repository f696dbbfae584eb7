"""The API's rows for scans and the address book."""

from __future__ import annotations

from typing import Final

from valija.apps.api import scan_models as shapes
from valija.apps.api import scan_operations as scans
from valija.apps.api.calls import Choice, Number, Route
from valija.apps.api.job_models import JobHistoryView
from valija.apps.api.models import Deleted
from valija.domain.api_token import Scope

SCAN_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/scanners",
        scans.list_scanners,
        "List the scanners that are found; takes some seconds",
        list[shapes.ScannerView],
        scope=Scope.MAIL,
        refusals=(409,),
    ),
    Route(
        "POST",
        "/scans",
        scans.begin_scan,
        "Begin a scan from the scanner; the job tells how it goes",
        JobHistoryView,
        shapes.NewScan,
        scope=Scope.MAIL,
    ),
    Route(
        "POST",
        "/scans/files",
        scans.send_files,
        "Begin a scan of files: multipart/form-data with about (JSON: to, and choices) and file, again for each",
        JobHistoryView,
        scope=Scope.MAIL,
        upload=True,
    ),
    Route(
        "GET",
        "/scans/{id}/pages",
        scans.list_pages,
        "List the pages of a scan, as far as they are there",
        list[shapes.ScanPageView],
        scope=Scope.MAIL,
    ),
    Route(
        "POST",
        "/scans/{id}/pages",
        scans.change_pages,
        "Turn pages, put them into an order, leave some out",
        list[shapes.ScanPageView],
        shapes.ScanPages,
        scope=Scope.MAIL,
        refusals=(400, 404, 409),
    ),
    Route(
        "GET",
        "/scans/{id}/picture",
        scans.show_page,
        "Show the picture of a page, by its number as it came",
        None,
        scope=Scope.MAIL,
        query=(Number("page", "the page's number", 1, 100_000, default=1),),
        media_type="image/png",
    ),
    Route(
        "POST",
        "/scans/{id}/send",
        scans.send_scan,
        "Send the pages of a scan that waits for somebody to look at them",
        JobHistoryView,
        scope=Scope.MAIL,
        refusals=(400,),
    ),
    Route(
        "GET",
        "/scan-settings",
        scans.show_settings,
        "Show the machine's own choices for scans",
        shapes.ScanSettingsView,
        scope=Scope.READ,
    ),
    Route(
        "PATCH",
        "/scan-settings",
        scans.change_settings,
        "Change the machine's own choices for scans",
        shapes.ScanSettingsView,
        shapes.ScanSettingsChanges,
        scope=Scope.SETTINGS,
    ),
    Route(
        "GET",
        "/contacts",
        scans.list_contacts,
        "List the address book, the favourites first",
        list[shapes.ContactView],
        scope=Scope.MAIL,
    ),
    Route(
        "POST",
        "/contacts",
        scans.save_contact,
        "Add a contact, or change one",
        shapes.ContactView,
        shapes.ContactChanges,
        scope=Scope.MAIL,
        refusals=(400,),
    ),
    Route(
        "POST",
        "/contacts/delete",
        scans.delete_contact,
        "Delete a contact",
        Deleted,
        shapes.ContactNamed,
        scope=Scope.MAIL,
        refusals=(404,),
    ),
    Route(
        "POST",
        "/contacts/file",
        scans.take_in_contacts,
        "Take contacts from a CSV or vCard file",
        shapes.ContactsTakenIn,
        shapes.ContactFile,
        scope=Scope.MAIL,
        refusals=(400,),
    ),
    Route(
        "GET",
        "/contacts/file",
        scans.give_out_contacts,
        "Give the address book out as a file",
        shapes.ContactsGivenOut,
        scope=Scope.MAIL,
        query=(Choice("form", "csv or vcard", scans.FORMS),),
    ),
)
