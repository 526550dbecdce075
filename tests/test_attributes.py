"""What metrics say of themselves: which values are better, and where they end."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor

import segmetrics
from every_metric import EVERY, C, images


def scored(new: Callable[[], Any], preds: Tensor, target: Tensor) -> Any:
    metric = new()
    metric.update(preds, target)
    return metric.compute()


@pytest.mark.parametrize("name", [name for name in EVERY if name != "AUROC right"])  # nothing wrong
def test_right_predictions_have_the_better_score_of_those_that_are_one_number(name: str) -> None:
    noisy, target = images(0)
    right = torch.nn.functional.one_hot(target.where(target < C, 0), C).movedim(-1, 1)
    values = [scored(EVERY[name], preds, target) for preds in (0.996 * right + 0.001, noisy)]
    metric = EVERY[name]()
    if not isinstance(values[0], Tensor) or values[0].shape == (C, C):
        assert metric.higher_is_better is None
        return
    best, worse = (value.nanmean() for value in values)
    assert best > worse if metric.higher_is_better else best < worse
    for value in values:
        assert value[~value.isnan()].min() >= metric.plot_lower_bound
        assert value[~value.isnan()].max() <= (metric.plot_upper_bound or inf)


def test_the_bounds_of_plots_are_those_of_the_scores() -> None:
    found = {
        name: (metric.plot_lower_bound, metric.plot_upper_bound)
        for name in {name.split()[0] for name in EVERY}
        if (metric := getattr(segmetrics, name)).plot_lower_bound or metric.plot_upper_bound != 1
    }
    assert found == {
        "CohenKappa": (-1, 1),
        "MatthewsCorrCoef": (-1, 1),
        "BrierScore": (0, 2),
        "NegativeLogLikelihood": (0, None),
        "HausdorffDistance": (0, None),
        "AverageSurfaceDistance": (0, None),
        "SurfaceMetrics": (0, None),
    }
