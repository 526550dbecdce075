"""Which number is it? The rows on calibration and curves, against the real libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import segmetrics

PAGE = Path(__file__).parents[1] / "docs" / "which-number" / "probabilities.md"
LIBRARIES = {
    "sklearn": "sklearn.metrics",
    "torchmetrics": "torchmetrics.classification",
    "netcal": "netcal.metrics",
    "monai": "monai.metrics",
    "torch_uncertainty": "torch_uncertainty.metrics.classification",
}


def rows() -> Iterator[Any]:
    """Both cells of every row."""
    for line in PAGE.read_text().splitlines():
        cells = [re.fullmatch(r" `([^`]+)` ", cell) for cell in line.split("|")[1:3]]
        if len(cells) == 2 and all(cells):
            theirs, ours = (cell[1] for cell in cells if cell)
            yield pytest.param(theirs, ours, id=theirs)


def inputs() -> dict[str, Any]:
    """What the page calls the inputs; every score of ``p`` has a cell of its own."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (700,), generator=generator)
    p = (torch.randn(700, generator=generator) + 2 * y - 1).sigmoid().bfloat16().float()
    labels = torch.randint(3, (700,), generator=generator)
    logits = torch.randn((700, 3), generator=generator)
    logits[range(700), labels] += 1
    one_hot = torch.nn.functional.one_hot(labels, 3).T[None].float()
    found = {"p": p, "y": y, "P": logits.softmax(1), "labels": labels, "C": 3, "one_hot": one_hot}
    images = {"image": p[None], "mask": y[None]}
    return found | images | {"classes": found["P"].T[None], "truth": labels[None]}


@pytest.mark.parametrize(("theirs", "ours"), rows())
def test_a_row_holds(theirs: str, ours: str) -> None:
    name = theirs.partition(".")[0]
    try:
        library = import_module(LIBRARIES[name])
    except ImportError:
        pytest.skip(f"{name} is not installed")
    if not hasattr(library, re.findall(r"\.(\w+)\(", theirs)[0]):
        pytest.skip(f"this {name} has no such score")
    expected = eval(theirs, {name: library}, inputs())
    public = {each: getattr(segmetrics, each) for each in segmetrics.__all__}
    found = eval(ours, public, inputs())
    expected = torch.as_tensor(expected).double().squeeze()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


def test_every_library_has_rows() -> None:
    assert {row.values[0].partition(".")[0] for row in rows()} == set(LIBRARIES)
