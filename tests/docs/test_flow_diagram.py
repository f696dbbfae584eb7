"""The picture of a token's life is the table of transitions."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_picture_in_the_document_is_the_present_one() -> None:
    """Run ``python tools/flow_diagram.py`` after a change of the table."""
    spec = importlib.util.spec_from_file_location("flow_diagram", ROOT / "tools" / "flow_diagram.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / "flow.md").read_text("utf-8")
    assert text == module.drawn(text)
    assert "Retrieved --> Invalid" in text
