"""Files with pages, made by the libraries themselves, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw

A4_100: Final = (827, 1169)  # pixels at 100 dpi


def sheet(number: int, size: tuple[int, int] = A4_100, mode: str = "RGB") -> Image.Image:
    """Return a page that says its number, with a coloured bar whose place tells it as well; number 0 is blank."""
    image = Image.new("RGB", size, "white")
    if number:
        draw = ImageDraw.Draw(image)
        draw.text((100, 80), f"Page {number}", fill="black", font_size=48)
        draw.rectangle((100, 200 + 60 * (number % 12), size[0] - 100, 240 + 60 * (number % 12)), fill=(200, 30, 30))
    image.info["dpi"] = (100, 100)
    return image.convert(mode)


def make_file(path: Path, numbers: list[int], mode: str = "RGB") -> Path:
    """Write sheets as a PDF, TIFF, JPEG or PNG file, by its name."""
    first, *rest = [sheet(number, mode=mode) for number in numbers]
    more: dict[str, Any] = {"save_all": True, "append_images": rest} if rest else {}
    if path.suffix == ".pdf":
        first.save(path, resolution=100, **more)
    elif path.suffix in (".tif", ".tiff"):
        first.save(path, compression="group4" if mode == "1" else "tiff_deflate", dpi=(100, 100), **more)
    else:
        first.save(path, dpi=(100, 100))
    return path
