"""Small PDFs that are more than they seem, by hand."""

from __future__ import annotations

import zlib
from typing import Final

_CATALOGUE: Final = b"<</Type/Catalog/Pages 2 0 R>>"
_ONE_PAGE: Final = b"<</Type/Pages/Count 1/Kids[3 0 R]>>"
_FORM: Final = b"/Type/XObject/Subtype/Form/BBox[0 0 595 842]"


def _pdf(*objects: bytes) -> bytes:
    out, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return out + head + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(out))


def _page(form: bool = True) -> bytes:
    resources = b"/XObject<</F 5 0 R>>" if form else b""
    return b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<<%s>>>>" % resources


def _stream(fields: bytes, octets: bytes) -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (fields, len(octets), octets)


def _deflated(octets: bytes, times: int) -> bytes:
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(octets) for _ in range(times)) + packer.flush()


def inflated() -> bytes:
    """Return a page whose few kB of drawing, packed twice, are 400 MB."""
    packed = zlib.compress(_deflated(b"0 0 m 9 9 l S  " * 70_000, 400), 9)
    return _pdf(_CATALOGUE, _ONE_PAGE, _page(form=False), _stream(b"/Filter[/FlateDecode/FlateDecode]", packed))


def circle() -> bytes:
    """Return a tree of pages that is its own branch, and says that it has a hundred million."""
    return _pdf(_CATALOGUE, b"<</Type/Pages/Count 99999999/Kids[2 0 R 2 0 R]>>")


def laughs() -> bytes:
    """Return a page that draws ten forms, each of which draws ten, eleven times."""
    nested = [
        _stream(_FORM + b"/Resources<</XObject<</F %d 0 R>>>>" % (number + 6), b"/F Do " * 10) for number in range(11)
    ]
    last = _stream(_FORM, b"re f")
    return _pdf(_CATALOGUE, _ONE_PAGE, _page(), _stream(b"", b"/F Do"), *nested, last)


def itself() -> bytes:
    """Return a page with a form that draws itself twice."""
    form = _stream(_FORM + b"/Resources<</XObject<</F 5 0 R>>>>", b"/F Do /F Do")
    return _pdf(_CATALOGUE, _ONE_PAGE, _page(), _stream(b"", b"/F Do"), form)


def many() -> bytes:
    """Return sixty thousand pages that are one."""
    pages = b"<</Type/Pages/Count 60000/Kids[%s]>>" % (b"3 0 R " * 60_000)
    return _pdf(_CATALOGUE, pages, _page(form=False), _stream(b"", b""))


BOMBS: Final = {made.__name__: made for made in (inflated, circle, laughs, itself, many)}
