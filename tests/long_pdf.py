"""A PDF of many pages, by hand."""

from __future__ import annotations

from collections.abc import Sequence


def pdf(pages: int, *, size: tuple[int, int] = (595, 842), lines: Sequence[str] = ()) -> bytes:
    """Return a PDF by hand: on each page its number, a frame, and a black square at its upper left corner; and lines."""
    words = b"BT /F 10 Tf 12 TL 60 560 Td %s ET" % b" ".join(b"(%s) Tj T*" % line.encode("ascii") for line in lines)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (pages, b" ".join(b"%d 0 R" % (4 + 2 * n) for n in range(pages))),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for n in range(pages):
        text = b"BT /F 40 Tf 100 600 Td (Page %d) Tj ET 20 20 %d %d re S 0 %d 50 50 re f" % (
            n + 1, size[0] - 40, size[1] - 40, size[1] - 50,
        )  # fmt: skip
        text += b" " + words if lines else b""
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents %d 0 R/Resources<</Font<</F 3 0 R>>>>>>"
            % (*size, 5 + 2 * n)
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(text), text))
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return out + head + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(out))
