"""Pages whose library is not among the development dependencies: they run where it is installed."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest


def test_the_recipe_for_mmengine_runs() -> None:
    pytest.importorskip("mmengine", reason="it needs another build of OpenCV")
    page = Path(__file__).parents[1] / "docs" / "howto" / "mmengine.md"
    results = doctest.testfile(
        str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert results.attempted > 5
    assert not results.failed
