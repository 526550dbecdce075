"""Every metric refuses bad input on both backends of the CPU, and is as it was before."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from every_metric import EVERY, C, images
from segmetrics import objects, probabilities, surfaces
from segmetrics.counting import batches
from segmetrics.objects import plain as plain_objects
from segmetrics.probabilities import ranking
from segmetrics.surfaces import host, maps
from segmetrics.surfaces import plain as plain_surfaces

#: What is wrong in the last image only → what the message says of it.
BAD = {
    "a stray label": "1 pixels of `target` .*77",
    "a NaN": "1 counted pixels of `preds` .*NaN",
    "a stray prediction": "1 counted pixels of `preds`.*4",
    "a size that differs": r"12, 8\).*12, 9\)",
    "a class too many": "5",
    "an image too many": r"\(4, .*\(3, ",
    "a target of floats": "`target`.*float32",
}
OF_SCORES = (
    *("AUR", "AveragePrecision", "BestThreshold", "BrierScore", "Calibration", "Curve"),
    *("FPRAtRecall", "NegativeLog", "PrecisionRecallCurve", "ProbabilityMetrics", "ROC"),
)


def spoilt(what: str) -> tuple[Tensor, Tensor]:
    preds, target = images(3)
    place = (-1, *(target[-1] < C).nonzero()[0].tolist())
    if what == "a stray label":
        target[place] = 77
    elif what == "a NaN":
        preds[place[0], 2, place[1], place[2]] = torch.nan
    elif what == "a stray prediction":
        preds = preds.argmax(1)
        preds[place] = C
    elif what == "a size that differs":
        preds = preds[..., :-1]
    elif what == "a class too many":
        preds = torch.cat([preds, preds[:, :1]], 1)
    elif what == "an image too many":
        preds = torch.cat([preds, preds[:1]])
    else:
        target = target.float()
    return preds, target


def applies(name: str, what: str) -> bool:
    """Panoptic maps are any integers; scores are needed for a ranking, and classes too."""
    if name.startswith("Panoptic"):
        return what == "an image too many"
    return what != "a stray prediction" or not name.startswith(OF_SCORES)


def kept(metric: Any) -> list[Any]:
    """All that an update may change."""
    state = [copy.deepcopy(value) for value in metric.metric_state.values()]
    return [*state, metric.update_count, metric._computed, metric._forward_cache]


def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count as where numba is not installed."""
    for module in (batches, probabilities, ranking):
        monkeypatch.setattr(module, "installed", lambda _: False)
    monkeypatch.setattr(surfaces, "_reader", lambda _: maps.read_maps)
    monkeypatch.setattr(host, "_kernels", lambda: plain_surfaces)
    monkeypatch.setattr(objects, "_backend", lambda: plain_objects)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", EVERY)
def test_bad_input_raises_and_changes_nothing(
    name: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        without_kernels(monkeypatch)
    metric = EVERY[name]()
    metric(*images(1))
    metric.compute()
    before = kept(metric)
    for what, words in BAD.items():
        for call in (metric.update, metric):
            if applies(name, what):
                with pytest.raises((ValueError, TypeError), match=f"(?s){words}"):
                    call(*spoilt(what))
                torch.testing.assert_close(kept(metric), before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", EVERY)
def test_both_backends_have_the_same_state(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of losses in units of 2⁻²⁴ may differ by the rounding of a logarithm."""
    found = []
    for _ in range(2):
        metric = EVERY[name]()
        metric.update(*images(5))
        found.append(list(metric.metric_state.values()))
        without_kernels(monkeypatch)
    torch.testing.assert_close(*found, rtol=1e-7, atol=0)
    if not name.startswith(("Calibration", "BrierScore", "NegativeLog", "ProbabilityMetrics")):
        torch.testing.assert_close(*found, rtol=0, atol=0)
