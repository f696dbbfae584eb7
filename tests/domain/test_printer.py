"""A printer's place and what it says of itself."""

from __future__ import annotations

import pytest

from valija.domain.printer import PrinterReason, PrinterTarget, Severity, TargetKind, parse_reason, parse_target


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", PrinterTarget()),
        (" office ", PrinterTarget(TargetKind.QUEUE, "office")),
        ("Büro_2", PrinterTarget(TargetKind.QUEUE, "Büro_2")),
        ("ipp://printer.local/ipp/print", PrinterTarget(TargetKind.IPP, "ipp://printer.local/ipp/print")),
        ("ipps://[::1]:8631/", PrinterTarget(TargetKind.IPP, "ipps://[::1]:8631/")),
        ("/srv/prints", PrinterTarget(TargetKind.FOLDER, "/srv/prints")),
    ],
)
def test_a_target_is_what_it_looks_like(text: str, found: PrinterTarget) -> None:
    assert parse_target(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "http://printer/",
        "ipp://",
        "ipp://user:secret@printer/",
        "ipp://printer:70000/",
        "ipp://printer:x/",
        "ipp://[::1/",
        "ipp://printer/a b",
        "ipp://printer/\r\nX: y",
        "a b",
        "a/../b",
        "/srv/../etc",
        "-x@y",
        "x" * 300,
    ],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    assert parse_target(text) is None


def test_a_queues_name_cannot_leave_its_place_in_the_address() -> None:
    assert PrinterTarget(TargetKind.QUEUE, "a%2Fb").uri == "ipp://localhost/printers/a%252Fb"


@pytest.mark.parametrize(
    ("keyword", "found"),
    [
        ("none", None),
        ("media-empty-error", PrinterReason("media-empty", Severity.ERROR)),
        ("toner-low-warning", PrinterReason("toner-low", Severity.WARNING)),
        ("toner-low-report", PrinterReason("toner-low", Severity.REPORT)),
        ("media-jam", PrinterReason("media-jam", Severity.ERROR)),
        ("connecting-to-device", PrinterReason("connecting-to-device", Severity.REPORT)),
    ],
)
def test_a_reason_has_the_severity_that_its_ending_says(keyword: str, found: PrinterReason | None) -> None:
    assert parse_reason(keyword) == found
