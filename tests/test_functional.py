"""Every function is its metric's twin: the same arguments give the same number."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import segmetrics
from segmetrics import functional
from strategies import Case, cases

AGREEMENT = {
    "aggregation_level": st.sampled_from(["global", "samplewise"]),
    "zero_division": st.sampled_from([float("nan"), 0.0, 1.0]),
}
JOINT = {**AGREEMENT, "include_background": st.booleans()}
CLASS = {**JOINT, "average": st.sampled_from(["macro", "micro", "weighted", "none", None])}
TWINS: dict[str, tuple[Any, dict[str, Any]]] = {
    "mean_iou": (segmetrics.MeanIoU, CLASS),
    "dice_score": (segmetrics.DiceScore, CLASS),
    "precision": (segmetrics.Precision, CLASS),
    "recall": (segmetrics.Recall, CLASS),
    "specificity": (segmetrics.Specificity, CLASS),
    "tversky_index": (
        segmetrics.TverskyIndex,
        {**CLASS, "alpha": st.floats(0.1, 2), "beta": st.floats(0.1, 2)},
    ),
    "fbeta_score": (segmetrics.FBetaScore, {**CLASS, "beta": st.floats(0.1, 3)}),
    "generalized_dice_score": (
        segmetrics.GeneralizedDiceScore,
        {**JOINT, "weight_type": st.sampled_from(["square", "simple", "linear"])},
    ),
    "pixel_accuracy": (segmetrics.PixelAccuracy, AGREEMENT),
    "cohen_kappa": (segmetrics.CohenKappa, AGREEMENT),
    "matthews_corrcoef": (segmetrics.MatthewsCorrCoef, AGREEMENT),
    "confusion_matrix": (
        segmetrics.ConfusionMatrix,
        {"normalize": st.sampled_from([None, "true", "pred", "all"])},
    ),
}


def test_every_function_has_a_metric() -> None:
    public = {
        name
        for name, value in vars(functional).items()
        if inspect.isfunction(value) and value.__module__ == functional.__name__
    }
    tested_with_its_metric = "panoptic_quality"
    assert {name for name in public if name[0] != "_"} == {*TWINS, tested_with_its_metric}


@pytest.mark.parametrize("name", TWINS)
@settings(max_examples=10)
@given(cases(), st.data())
def test_a_function_gives_its_metrics_number(name: str, case: Case, data: st.DataObject) -> None:
    metric_class, drawn = TWINS[name]
    arguments = {key: data.draw(strategy, key) for key, strategy in drawn.items()}
    if case.task == "binary":
        arguments.pop("average", None), arguments.pop("include_background", None)
    arguments |= case.arguments

    classes = set(range(arguments.get("num_classes", 1)))
    if case.task == "multiclass":
        classes -= set(case.ignored)
    assume(arguments.get("include_background", True) or classes - {0})
    metric = metric_class(**arguments)
    forward = metric(case.preds, case.target)
    computed = metric.compute()
    score = getattr(functional, name)(case.preds, case.target, **arguments)
    assert score.dtype == computed.dtype == forward.dtype
    torch.testing.assert_close(score, computed, equal_nan=True)
    torch.testing.assert_close(forward, computed, rtol=0, atol=0, equal_nan=True)
