"""TIFF for fax, judged by libtiff's own programs, by Pillow, and by what goes in."""

from __future__ import annotations

import io
import re
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from fax_pages import coded, drawn
from valija.message.tiff_fax import (
    FaxDescription,
    FaxGeometry,
    FaxPaper,
    FaxProfile,
    FaxResolution,
    TiffFaxWriter,
    is_possible,
)
from valija.message.tiff_reading import BadTiff, TiffPage, alone, read_pages

STEADY: Final = settings(deadline=None, derandomize=True, max_examples=300)
ABOUT: Final = FaxDescription("Valija 1", datetime(2026, 11, 25, 20, 0, 5, tzinfo=UTC), "to +15551234567")
A4_FINE: Final = FaxGeometry(FaxProfile.S, FaxResolution.FINE, FaxPaper.A4)
GEOMETRIES: Final = [
    geometry
    for geometry in (FaxGeometry(p, r, s) for p in FaxProfile for r in FaxResolution for s in FaxPaper)
    if is_possible(geometry)
]


def written(geometry: FaxGeometry, pages: int) -> tuple[bytes, list[Image.Image]]:
    images = [drawn(geometry, number) for number in range(1, pages + 1)]
    writer = TiffFaxWriter(geometry, pages, ABOUT)
    data = b"".join(writer.page(coded(image, geometry.profile), geometry.height) for image in images)
    assert writer.complete
    return data, images


def read(data: bytes) -> list[TiffPage]:
    return list(read_pages(lambda at, count: data[at : at + count], len(data)))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: f"{g.profile}-{g.resolution}-{g.paper}")
def test_every_geometry_is_what_libtiff_and_pillow_read(geometry: FaxGeometry, tmp_path: Path) -> None:
    """Fields as RFC 3949 has them, no complaint, and the very same pixels."""
    data, images = written(geometry, 2)
    file = tmp_path / "fax.tif"
    file.write_bytes(data)
    told = subprocess.run(["tiffinfo", "-s", str(file)], capture_output=True, text=True, check=True)
    assert told.stderr == ""
    one_dimensional = geometry.profile is FaxProfile.S
    options = "Group 3 Options: EOL padding (4 = 0x4)" if one_dimensional else "Group 4 Options: (0 = 0x0)"
    for number, page in enumerate(told.stdout.split("=== TIFF directory ")[1:]):
        for fact in (
            "Subfile Type: multi-page document (2 = 0x2)",
            f"Image Width: {geometry.width} Image Length: {geometry.height}",
            f"Resolution: 204, {geometry.resolution.lines} pixels/inch",
            "Bits/Sample: 1",
            f"Compression Scheme: CCITT Group {3 if one_dimensional else 4}",
            "Photometric Interpretation: min-is-white",
            "FillOrder: lsb-to-msb",
            f"Page Number: {number}-2",
            "ImageDescription: to +15551234567",
            "Software: Valija 1",
            "DateTime: 2026:11:25 20:00:05",
            options,
            "1 Strips:",
        ):
            assert fact in page, (fact, page)
    with Image.open(io.BytesIO(data)) as second:
        for number, image in enumerate(images):
            second.seek(number)
            assert second.convert("1").tobytes() == image.tobytes()
    assert [page.profile for page in read(data)] == [geometry.profile] * 2


@pytest.mark.parametrize("profile", FaxProfile)
def test_libtiff_makes_pdf_and_postscript_of_it(profile: FaxProfile, tmp_path: Path) -> None:
    """The programs that fax servers use to print."""
    file = tmp_path / "fax.tif"
    file.write_bytes(written(FaxGeometry(profile, FaxResolution.FINE, FaxPaper.A4), 3)[0])
    done = subprocess.run(["tiff2pdf", "-o", str(tmp_path / "fax.pdf"), str(file)], capture_output=True, check=True)
    # libtiff 4.7 complains of the PDF that it writes itself
    assert [line for line in done.stderr.splitlines() if not line.startswith(b"TIFFWriteDirectorySec")] == []
    told = subprocess.run(["pdfinfo", str(tmp_path / "fax.pdf")], capture_output=True, text=True, check=True).stdout
    assert re.search(r"Pages: +3\n", told)
    width, height = map(float, re.findall(r"Page size: +([\d.]+) x ([\d.]+)", told)[0])
    assert abs(width / 72 - 1728 / 204) < 0.02
    assert abs(height / 72 - 297 / 25.4) < 0.02
    drawn_by = subprocess.run(["fax2ps", str(file)], capture_output=True, check=True)
    assert drawn_by.stderr == b""
    assert drawn_by.stdout.count(b"showpage") >= 3


def test_the_file_is_in_the_order_of_a_stream() -> None:
    """Little-endian, the first IFD at octet 8, each page before the next (RFC 3949 section 3)."""
    data, _images = written(A4_FINE, 3)
    assert data[:8] == b"II*\0\x08\0\0\0"
    pages = read(data)
    places = [page.strips[0][0] for page in pages]
    assert places == sorted(places)
    at, ifds = 8, []
    while at:
        ifds.append(at)
        (count,) = struct.unpack_from("<H", data, at)
        tags = [struct.unpack_from("<H", data, at + 2 + 12 * i)[0] for i in range(count)]
        assert tags == sorted(set(tags))
        (at,) = struct.unpack_from("<I", data, at + 2 + 12 * count)
        assert at % 2 == 0
    for ifd, place, following in zip(ifds, places, [*ifds[1:], len(data)], strict=True):
        assert ifd < place < following


def test_no_page_ends_with_a_return_to_control() -> None:
    """It is no part of a TIFF-F strip: each line's EOL comes before it, and no two are together."""
    bits = "".join(f"{octet:08b}"[::-1] for octet in coded(drawn(A4_FINE, 1), FaxProfile.S))
    assert bits.count("000000000001") == A4_FINE.height
    assert "000000000001" * 2 not in bits


def test_what_a_fax_cannot_be_is_refused() -> None:
    """Before an octet is written."""
    superfine = FaxGeometry(FaxProfile.S, FaxResolution.SUPERFINE, FaxPaper.A4)
    for geometry, pages in (
        (superfine, 1),
        (FaxGeometry(FaxProfile.S, FaxResolution.FINE, FaxPaper.B4), 1),
        (A4_FINE, 0),
    ):
        with pytest.raises(ValueError, match=r"profile S|pages"):
            TiffFaxWriter(geometry, pages, ABOUT)
    writer = TiffFaxWriter(A4_FINE, 1, ABOUT)
    writer.page(b"\0", 1)
    with pytest.raises(ValueError, match="a page too many"):
        writer.page(b"\0", 1)


# --- reading what others wrote --------------------------------------------------------------------------------------------


def by_hand(entries: list[tuple[int, int, int, int]], following: int = 0, order: str = "<") -> bytes:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    ifd = struct.pack(order + "H", len(entries)) + b"".join(struct.pack(order + "HHII", *entry) for entry in entries)
    return head + ifd + struct.pack(order + "I", following)


BASE: Final = [(256, 4, 1, 1728), (257, 4, 1, 10), (259, 4, 1, 3), (273, 4, 1, 0), (279, 4, 1, 4)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "ends before"),
        (b"%PDF-1.4 .....", "does not begin"),
        (b"II*\0\0\0\0\0", "no page"),
        (b"II*\0\xff\xff\xff\xff", "ends before"),
        (by_hand(BASE, following=8), "circle"),
        (by_hand([(256, 4, 1, 2**31), *BASE[1:]]), "2147483648 by 10"),
        (by_hand([(256, 4, 1, 19_000), (257, 4, 1, 19_000), *BASE[2:]]), "19000 by 19000"),
        (by_hand([(256, 4, 1, 0), *BASE[1:]]), "0 by 10"),
        (by_hand([*BASE[:4], (279, 4, 1, 2**32 - 1)]), "outside"),
        (by_hand([*BASE[:3], (273, 4, 1, 2**32 - 1), BASE[4]]), "outside"),
        (by_hand([*BASE[:3], (273, 4, 2**32 - 1, 8), BASE[4]]), "too many values"),
        (by_hand([*BASE[:3], (273, 4, 1000, 8), BASE[4]]), "ends before"),
        (by_hand([*BASE[:3], (273, 4, 2, 8), BASE[4]]), "do not fit"),
        (by_hand([(256, 2, 1, 0), *BASE[1:]]), "holds text"),
        (by_hand([(256, 99, 1, 0), *BASE[1:]]), "unknown type"),
        (by_hand(BASE[:3]), "no picture"),
        (b"II*\0\x08\0\0\0\xff\xff", "65535 fields"),
        (b"II*\0\x08\0\0\0\x00\x00\0\0\0\0", "0 fields"),
    ],
)
def test_a_hostile_file_is_refused_with_the_reason(data: bytes, why: str) -> None:
    """Loops, sizes and counts that no page has, strips that are not there."""
    with pytest.raises(BadTiff, match=why):
        read(data)


def test_a_chain_of_pages_without_end_is_refused() -> None:
    """Each at another place, all alike."""
    ifd = struct.pack("<H", len(BASE)) + b"".join(struct.pack("<HHII", *entry) for entry in BASE)
    size = len(ifd) + 4
    data = b"II*\0\x08\0\0\0" + b"".join(ifd + struct.pack("<I", 8 + size * (n + 1)) for n in range(2100))
    with pytest.raises(BadTiff, match="more than 2000 pages"):
        read(data)


def test_old_and_other_writers_are_read(tmp_path: Path) -> None:
    """Big-endian, several strips, MR, centimetres, the only strip's size left out."""
    data, images = written(A4_FINE, 1)
    source = tmp_path / "fax.tif"
    source.write_bytes(data)
    for options in (["-B", "-c", "g3:2d", "-r", "500"], ["-L", "-c", "g4", "-r", "100"], ["-B", "-c", "g3:1d:fill"]):
        target = tmp_path / "other.tif"
        subprocess.run(["tiffcp", *options, str(source), str(target)], check=True, capture_output=True)
        other = target.read_bytes()
        (page,) = read(other)
        strips = [other[offset : offset + size] for offset, size in page.strips]
        assert page.profile is not None
        with Image.open(io.BytesIO(alone(page, strips))) as second:
            assert second.convert("1").tobytes() == images[0].tobytes(), options
    (page,) = read(by_hand([*BASE[:4], (296, 3, 1, 3)]))
    assert page.strips == ((0, len(by_hand([*BASE[:4], (296, 3, 1, 3)]))),)


VALID: Final = written(A4_FINE, 1)[0]


@given(st.binary(max_size=400))
@STEADY
def test_any_octets_are_pages_or_refused(octets: bytes) -> None:
    """Nothing else comes out."""
    for data in (octets, b"II*\0\x08\0\0\0" + octets, b"MM\0*\0\0\0\x08" + octets):
        try:
            pages = read(data)
        except BadTiff:
            continue
        assert all(0 < page.width * page.height <= 120_000_000 for page in pages)


@given(st.lists(st.tuples(st.integers(0, 320), st.integers(0, 255)), max_size=6), st.integers(0, len(VALID)))
@example([], 100)
@STEADY
def test_a_spoilt_file_is_pages_or_refused(changes: list[tuple[int, int]], length: int) -> None:
    """Octets changed in the IFD, the end cut off."""
    data = bytearray(VALID[: length or None])
    for place, octet in changes:
        if place < len(data):
            data[place] = octet
    try:
        pages = read(bytes(data))
    except BadTiff:
        return
    assert all(offset + size <= len(data) for page in pages for offset, size in page.strips)
