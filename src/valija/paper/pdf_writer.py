"""PDF from page files, one after the other: a JPEG or Group 4 strip goes in as it is, and memory does not grow with pages.

PDF 1.7 (ISO 32000-1). With ``archive`` what is written follows PDF/A-2b (ISO 19005-2): its own colour profile as output
intent, metadata in XMP, nothing encrypted, nothing from outside; pages are images only, so there are no fonts to embed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final
from xml.sax.saxutils import escape

from PIL import Image, ImageCms, TiffImagePlugin

from valija.paper.sources import dpi_of

PRODUCER: Final = "Valija"
_PIECE: Final = 1 << 20
_STRIP_OFFSETS, _STRIP_SIZES, _PHOTOMETRIC = 273, 279, 262
_SPACES: Final = {"L": "/DeviceGray", "RGB": "/DeviceRGB", "1": "/DeviceGray"}


@dataclass(frozen=True, slots=True)
class _Picture:
    """An image and where its octets are in its file."""

    width: int
    height: int
    dpi: tuple[int, int]
    entries: str
    offset: int
    size: int


def write_pdf(pages: Iterable[Path], out: Path, *, title: str, at: datetime, archive: bool = False) -> int:
    """Write ``out``; return how many octets it has."""
    with out.open("wb") as file:
        writer = _Writer(file)
        for page in pages:
            writer.add_page(page)
        writer.finish(title, at, archive)
        return file.tell()


class _Writer:
    """Objects 1 (catalogue) and 2 (page tree) are written last; all others as they come."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offsets = [0, 0]
        self._pages: list[int] = []
        self._digest = hashlib.sha256()
        self._write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")

    def add_page(self, path: Path) -> None:
        with Image.open(path, formats=("JPEG", "TIFF")) as image:
            picture = _describe(image, path)
        width, height = (
            round(pixels * 72 / dpi, 2)
            for pixels, dpi in zip((picture.width, picture.height), picture.dpi, strict=True)
        )
        content = b"q %g 0 0 %g 0 0 cm /I Do Q" % (width, height)
        image_number = self._begin()
        self._write(
            f"<</Type/XObject/Subtype/Image/Width {picture.width}/Height {picture.height}"
            f"{picture.entries}/Length {picture.size}>>\nstream\n".encode()
        )
        self._copy(path, picture.offset, picture.size)
        self._write(b"\nendstream\nendobj\n")
        content_number = self._begin()
        self._stream(b"", content)
        self._pages.append(self._begin())
        self._write(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width:g} {height:g}]"
            f"/Resources<</XObject<</I {image_number} 0 R>>>>/Contents {content_number} 0 R>>\nendobj\n".encode()
        )

    def finish(self, title: str, at: datetime, archive: bool) -> None:
        more = ""
        if archive:
            profile_number = self._begin()
            self._stream(b"/N 3", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
            metadata_number = self._begin()
            self._stream(b"/Type/Metadata/Subtype/XML", _metadata(title, at).encode())
            more = (
                f"/Metadata {metadata_number} 0 R/OutputIntents[<</Type/OutputIntent/S/GTS_PDFA1"
                f"/OutputConditionIdentifier(sRGB)/Info(sRGB IEC61966-2.1)/DestOutputProfile {profile_number} 0 R>>]"
            )
        info_number = self._begin()
        moment = at.strftime("D:%Y%m%d%H%M%S+00'00'")
        self._write(
            f"<</Title<{_utf16(title)}>/Producer({PRODUCER})/CreationDate({moment})/ModDate({moment})>>\nendobj\n".encode()
        )
        self._offsets[0] = self._place()
        self._write(f"1 0 obj\n<</Type/Catalog/Pages 2 0 R{more}>>\nendobj\n".encode())
        self._offsets[1] = self._place()
        kids = " ".join(f"{number} 0 R" for number in self._pages)
        self._write(f"2 0 obj\n<</Type/Pages/Count {len(self._pages)}/Kids[{kids}]>>\nendobj\n".encode())
        start = self._place()
        count = len(self._offsets) + 1
        self._write(f"xref\n0 {count}\n0000000000 65535 f \n".encode())
        self._write(b"".join(b"%010d 00000 n \n" % offset for offset in self._offsets))
        name = self._digest.hexdigest()[:32]
        self._write(
            f"trailer\n<</Size {count}/Root 1 0 R/Info {info_number} 0 R/ID[<{name}><{name}>]>>\n"
            f"startxref\n{start}\n%%EOF\n".encode()
        )

    def _begin(self) -> int:
        self._offsets.append(self._place())
        number = len(self._offsets)
        self._write(f"{number} 0 obj\n".encode())
        return number

    def _stream(self, entries: bytes, octets: bytes) -> None:
        self._write(b"<<%s/Length %d>>\nstream\n" % (entries, len(octets)) + octets + b"\nendstream\nendobj\n")

    def _copy(self, path: Path, offset: int, size: int) -> None:
        with path.open("rb") as source:
            source.seek(offset)
            while size > 0 and (piece := source.read(min(size, _PIECE))):
                size -= len(piece)
                self._write(piece)
        if size:
            raise EOFError(path.name)

    def _write(self, octets: bytes) -> None:
        self._digest.update(octets)
        self._file.write(octets)

    def _place(self) -> int:
        return self._file.tell()


def _describe(image: Image.Image, path: Path) -> _Picture:
    space = _SPACES[image.mode]
    if image.format == "JPEG":
        entries = f"/ColorSpace{space}/BitsPerComponent 8/Filter/DCTDecode"
        return _Picture(image.width, image.height, dpi_of(image), entries, 0, path.stat().st_size)
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        raise TypeError("a page is JPEG or TIFF")
    tags = image.tag_v2
    # runs that the coder calls black are the ones of bit 1; in a TIFF whose 0 is black, that is the paper
    paper_is_one = "true" if tags[_PHOTOMETRIC] == 1 else "false"
    entries = (
        f"/ColorSpace{space}/BitsPerComponent 1/Filter/CCITTFaxDecode/DecodeParms"
        f"<</K -1/Columns {image.width}/Rows {image.height}/BlackIs1 {paper_is_one}>>"
    )
    offsets, sizes = tags[_STRIP_OFFSETS], tags[_STRIP_SIZES]
    if len(offsets) != 1:
        raise ValueError("a page has one strip")
    return _Picture(image.width, image.height, dpi_of(image), entries, offsets[0], sizes[0])


def _utf16(text: str) -> str:
    return (b"\xfe\xff" + text.encode("utf-16-be", "replace")).hex()


def _metadata(title: str, at: datetime) -> str:
    """Return XMP (ISO 16684-1) that says the same as the document's information, as PDF/A asks."""
    moment = at.strftime("%Y-%m-%dT%H:%M:%S+00:00")
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:pdf="http://ns.adobe.com/pdf/1.3/" '
        'xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/">'
        "<pdfaid:part>2</pdfaid:part><pdfaid:conformance>B</pdfaid:conformance>"
        f'<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{escape(title)}</rdf:li></rdf:Alt></dc:title>'
        f"<pdf:Producer>{PRODUCER}</pdf:Producer>"
        f"<xmp:CreateDate>{moment}</xmp:CreateDate><xmp:ModifyDate>{moment}</xmp:ModifyDate>"
        '</rdf:Description></rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
    )
