"""What scanners of several makers call their paper sources, colours and sides, as scanimage lists them; what is made of it."""

from __future__ import annotations

from typing import Any

import pytest

from valija.paper.process import PaperProblem
from valija.paper.scanner import ScanOptions, _arguments, _parse_options, _says_more_with, _sources

EPSON = """
  Scan Mode:
    --mode Lineart|Gray|Color [Lineart]
        Selects the scan mode (e.g., lineart, monochrome, or color).
    --resolution 75|100|150|200|300|600dpi [75]
  Geometry:
    -l 0..215.9mm [0]
    -x 0..215.9mm [215.9]
    -y 0..297.18mm [297.18]
  Optional equipment:
    --source Flatbed|Automatic Document Feeder [{source}]
    --adf-mode Simplex|Duplex [{sides}]
"""
HP = """
    --mode Lineart|Gray|Color [Color]
    --resolution 75|100|200|300dpi [75]
    --source Auto|Flatbed|ADF|Duplex [Auto]
    -x 0..215.9mm [215.9]
    -y 0..355.6mm [297.01]
"""
FUJITSU = """
    --source ADF Front|ADF Back|ADF Duplex [ADF Front]
    --mode Lineart|Halftone|Gray|Color [Lineart]
    --resolution 50..600dpi (in steps of 1) [600]
"""
BROTHER = """
    --mode Black & White|Gray[Error Diffusion]|True Gray|24bit Color[Fast] [24bit Color[Fast]]
    --resolution 100|150|200|300dpi [200]
    --source FlatBed|Automatic Document Feeder(left aligned)|Automatic Document Feeder(left aligned,Duplex) [FlatBed]
"""
CANON = """
    --source Flatbed|ADF [Flatbed]
    --duplex[=(yes|no)] [inactive]
    --button-1[=(yes|no)] [no] [hardware]
    --brightness -127..127 (in steps of 1) [0] [advanced]
    --eject [inactive]
    --mode Color|Gray [Color]
"""
SMALL = """
    --mode Color|Gray [Color]
    --resolution 75|300|600dpi [75]
"""


def asked(**changes: Any) -> ScanOptions:
    usual: dict[str, Any] = {"colour": "colour", "resolution": 200, "source": "auto", "duplex": False}
    return ScanOptions(**usual | changes)


@pytest.mark.parametrize(
    ("listed", "auto", "feeder", "both"),
    [
        (EPSON, ["Automatic Document Feeder", "Flatbed"], "Automatic Document Feeder", "Automatic Document Feeder"),
        (HP, ["ADF", "Flatbed"], "ADF", "Duplex"),
        (FUJITSU, ["ADF Front"], "ADF Front", "ADF Duplex"),
        (
            BROTHER,
            ["Automatic Document Feeder(left aligned)", "FlatBed"],
            "Automatic Document Feeder(left aligned)",
            "Automatic Document Feeder(left aligned,Duplex)",
        ),
        (CANON.replace("inactive", "no"), ["ADF", "Flatbed"], "ADF", "ADF"),
    ],
    ids=["epson", "hp", "fujitsu", "brother", "canon"],
)
def test_paper_is_taken_from_where_it_is_meant_to_be(listed: str, auto: list[str], feeder: str, both: str) -> None:
    """As found: the feeder, then the glass; both sides: never the glass."""
    known = _parse_options(listed.format(source="Automatic Document Feeder", sides="Simplex"))
    assert _sources(known, asked()) == auto
    assert _sources(known, asked(source="feeder")) == [feeder]
    for source in ("auto", "feeder"):
        assert _sources(known, asked(source=source, duplex=True)) == [both]
    arguments, _resolution = _arguments(known, asked(duplex=True), both)
    assert arguments[:2] == ["--source", both]
    switched = arguments.count("--adf-mode") + arguments.count("--duplex=yes")
    assert switched == (listed in (EPSON, CANON.replace("inactive", "no")))


@pytest.mark.parametrize(
    ("listed", "chosen_first"),
    [
        (EPSON.format(source="Flatbed", sides="inactive"), "Automatic Document Feeder"),
        (EPSON.format(source="Automatic Document Feeder", sides="Simplex"), ""),
        (CANON, "ADF"),
        (HP, ""),
        (SMALL, ""),
    ],
    ids=["epson at its glass", "epson at its feeder", "canon at its glass", "hp", "no feeder"],
)
def test_a_scanner_that_tells_of_both_sides_only_at_its_feeder_is_asked_there(listed: str, chosen_first: str) -> None:
    assert _says_more_with(_parse_options(listed)) == chosen_first


def test_what_a_scanner_cannot_is_said_and_what_comes_near_is_taken() -> None:
    known = _parse_options(SMALL)
    assert _sources(known, asked()) == [""]
    for impossible in ({"source": "feeder"}, {"duplex": True}):
        with pytest.raises(PaperProblem, match="scanner_cannot"):
            _sources(known, asked(**impossible))
    assert _arguments(known, asked(colour="mono"), "") == (["--mode", "Gray", "--resolution", "300"], 300)
    fine, _resolution = _arguments(_parse_options(FUJITSU), asked(resolution=1200), "ADF Front")
    assert fine[-2:] == ["--resolution", "600"]
    grey, _resolution = _arguments(_parse_options(BROTHER), asked(colour="grey"), "FlatBed")
    assert grey[2:4] == ["--mode", "True Gray"]
    colour, _resolution = _arguments(_parse_options(BROTHER), asked(), "FlatBed")
    assert colour[2:4] == ["--mode", "24bit Color[Fast]"]
    assert _parse_options(CANON)["brightness"].startswith("-127..127")
    large, _resolution = _arguments(_parse_options(HP), asked(), "Flatbed")
    assert large[-4:] == ["-x", "215", "-y", "297"]
