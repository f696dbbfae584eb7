"""Build hook: compiles the translations (.po) into what gettext reads (.mo)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def compile_catalogues(root: Path) -> list[Path]:
    """Write valija.mo beside each valija.po; return the files written."""
    written = []
    for po in sorted((root / "src/valija/locale").glob("*/LC_MESSAGES/*.po")):
        with po.open("rb") as source:
            catalogue = read_po(source)
        target = po.with_suffix(".mo")
        with target.open("wb") as out:
            write_mo(out, catalogue)
        written.append(target)
    return written


class CompileCatalogues(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before a wheel, an editable install or a source archive is made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; hatchling takes the files by the ``artifacts`` setting."""
        compile_catalogues(Path(self.root))
