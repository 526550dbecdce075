"""The formulas take tensors and arrays of NumPy alike, and need torch for tensors only."""

from __future__ import annotations

import subprocess
import sys
import warnings
from functools import partial
from itertools import product
from math import nan
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

from segmetrics import BoundaryF1Score, BoundaryIoU, HausdorffDistance, MeanIoU, scores
from segmetrics.counting import count
from segmetrics.recipes import class_recipe, exact, f_beta_formula, group_recipe, tversky_formula
from segmetrics.scores import Score, Statistics

OF_CLASSES = (
    scores.iou, scores.dice, scores.precision, scores.recall, scores.specificity,
    partial(scores.tversky, alpha=0.3, beta=0.6), partial(scores.f_beta, beta=2.0),
)  # fmt: skip
JOINT = (
    scores.pixel_accuracy, scores.cohen_kappa, scores.matthews_corrcoef,
    *(partial(scores.generalized_dice, weight_type=w) for w in ("square", "simple", "linear")),
)  # fmt: skip


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Confusion matrices ``(..., C, C + 1)``, many of whose classes are nowhere."""
    lead = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    classes = draw(st.integers(1, 5))
    cells = st.sampled_from([0, 0, 1, 5, 10**9])
    size = int(np.prod(lead)) * classes * (classes + 1)
    counts = draw(st.lists(cells, min_size=size, max_size=size))
    return np.array(counts, np.int64).reshape(*lead, classes, classes + 1)


def same(array: Any, tensor: torch.Tensor, rtol: float = 1e-14) -> None:
    """Both are of one shape and dtype, and equal but for the order of sums."""
    array, expected = np.asarray(array), tensor.numpy()
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(array, expected, rtol, 1e-14)


@given(matrices(), st.sampled_from([nan, 0.0, 1.0]), st.data())
def test_arrays_and_tensors_give_the_same_scores(
    matrix: np.ndarray[Any, Any], zero_division: float, data: Any
) -> None:
    of_array, of_tensor = Statistics.of_matrix(matrix), Statistics.of_matrix(torch.tensor(matrix))
    classes = matrix.shape[-2]
    first = data.draw(st.integers(0, min(1, classes - 1)))
    ignored = data.draw(st.sampled_from([(), (classes - 1,)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy's, of 0 / 0
        for array, tensor in zip(of_array, of_tensor, strict=True):
            same(array, tensor, 0)
        for formula in OF_CLASSES:
            same(formula(of_array, zero_division), formula(of_tensor, zero_division), 0)
            for average in ("macro", "micro", "weighted", "none"):
                score = Score(formula, average, zero_division, first, ignored)
                same(score.of(of_array), score.of(of_tensor))
        for formula in JOINT:
            score = Score(formula, "joint", zero_division)
            same(score.of(of_array), score.of(of_tensor), 1e-9)


@given(matrices(), st.data())
def test_arrays_and_tensors_give_the_same_groups_and_shares(
    matrix: np.ndarray[Any, Any], data: Any
) -> None:
    members = st.lists(st.integers(0, matrix.shape[-2] - 1), min_size=1, unique=True)
    groups = data.draw(st.lists(members, min_size=1, max_size=3))
    tensor = torch.tensor(matrix)
    both = scores.of_groups(matrix, groups), scores.of_groups(tensor, groups)
    for array, of_tensor in zip(*both, strict=True):
        same(array, of_tensor, 0)
    for normalize in (None, "true", "pred", "all"):
        same(scores.normalized(matrix, normalize), scores.normalized(tensor, normalize), 0)
    if matrix.ndim == 2:
        found, expected = scores.usual(matrix, groups=groups), scores.usual(tensor, groups=groups)
        assert found == pytest.approx(expected, rel=1e-14, nan_ok=True)


def shares(hits: float, predicted: float, target: float) -> dict[str, float]:
    """Longhand: the scores of one class."""
    return {
        "iou": hits / (predicted + target - hits),
        "dice": 2 * hits / (predicted + target),
        "precision": hits / predicted,
        "recall": hits / target,
    }


def test_the_counts_of_a_set_of_classes_are_those_of_its_mask() -> None:
    rng = np.random.default_rng(0)
    target, preds = rng.integers(0, 4, 500), rng.integers(0, 5, 500)  # 4 is an abstention
    matrix = np.zeros((4, 5), np.int64)
    np.add.at(matrix, (target, preds), 1)
    groups = [[0], [1, 3], [0, 1, 2, 3]]
    found = scores.of_groups(matrix, groups)
    for i, group in enumerate(groups):
        there, said = np.isin(target, group), np.isin(preds, group)
        expected = (there & said, ~there & said, there & ~said, ~there & ~said)
        assert [int(part[i]) for part in found] == [mask.sum() for mask in expected]


def test_the_usual_scores_are_those_of_their_formulas() -> None:
    matrix = np.array([[5, 1, 0, 2], [2, 7, 1, 0], [0, 4, 3, 1]])  # the last column: abstentions
    iou, dice, recall = [5 / 10, 7 / 15, 3 / 9], [10 / 15, 14 / 22, 6 / 12], [5 / 8, 7 / 10, 3 / 8]
    grouped = [5 / 10, 15 / 19]  # of class 0, and of 1 and 2 together
    expected = {
        "mIoU": np.mean(iou),
        "mDice": np.mean(dice),
        "pixel_accuracy": 15 / 26,
        "mean_accuracy": np.mean(recall),
        "fw_iou": np.average(iou, weights=[8, 10, 8]),
    }
    assert scores.usual(matrix) == pytest.approx(expected)
    of_classes = {name: value for name, value in expected.items() if name != "pixel_accuracy"}
    assert scores.of_classes(Statistics.of_matrix(matrix)) == pytest.approx(of_classes)
    with_groups = scores.usual(matrix, groups=[(0,), (1, 2)])
    assert with_groups == pytest.approx(expected | {"mIoU_category": np.mean(grouped)})
    without = {
        "mIoU": np.mean(iou[:2]),
        "mDice": np.mean(dice[:2]),
        "pixel_accuracy": 15 / 26,  # no average over classes
        "mean_accuracy": np.mean(recall[:2]),
        "fw_iou": np.average(iou[:2], weights=[8, 10]),
    }
    assert scores.usual(matrix, ignored=(2,)) == pytest.approx(without)


def test_agreement_is_scikit_learns_with_one_more_label_for_abstentions() -> None:
    matrix = np.array([[5, 1, 0, 2], [2, 7, 1, 0], [0, 4, 3, 1]])
    rows, columns = (place.repeat(matrix.ravel()) for place in np.indices((3, 4)).reshape(2, -1))
    s = Statistics.of_matrix(matrix)
    assert scores.cohen_kappa(s) == pytest.approx(cohen_kappa_score(rows, columns))
    assert scores.matthews_corrcoef(s) == pytest.approx(matthews_corrcoef(rows, columns))


def test_a_recipe_knows_the_shape_of_its_scores() -> None:
    target, preds = torch.tensor([[0, 1, 3, 3, 1]]), torch.tensor([[0, 1, 1, 3, 0]])
    groups, of_groups = [(0,), (1, 2), (2, 3)], torch.tensor([1 / 2, 1 / 3, 1 / 2])
    for average, background in product(("none", "macro"), (True, False)):
        recipe = class_recipe(
            scores.iou, 4, average=average, include_background=background, ignore_index=[2]
        )
        counts = count(preds, target, recipe.counting)
        assert recipe.of(counts).shape == recipe.shape
        assert recipe.shape == ((3 + background,) if average == "none" else ())
        recipe = group_recipe(recipe, groups)
        found = recipe.of(counts).float()
        assert found.shape == recipe.shape
        torch.testing.assert_close(found, of_groups if average == "none" else of_groups.mean())


def test_a_foregrounds_scores_are_those_of_class_1() -> None:
    expected = shares(6, 9, 12) | {"pixel_accuracy": 26 / 35}
    found = scores.of_foreground(np.array([[20, 3, 0], [4, 6, 2]]))
    assert found == pytest.approx(expected, rel=1e-12)


def test_undefined_scores_of_a_data_set_are_zero_division() -> None:
    of_two = np.array([[4, 0, 0], [0, 0, 0]])
    found = scores.of_foreground(of_two, 0.25)
    assert found == dict.fromkeys(scores.OF_FOREGROUND, 0.25) | {"pixel_accuracy": 1}
    assert scores.of_foreground(of_two)["iou"] != scores.of_foreground(of_two)["iou"]  # nan
    expected = {"mIoU": 0.625, "mDice": 0.625, "mean_accuracy": 0.625, "fw_iou": 1.0}
    assert scores.of_classes(Statistics.of_matrix(of_two), 0.25) == expected
    found = scores.usual(of_two, groups=[(0,), (1,)], zero_division=0.25)
    assert found == expected | {"pixel_accuracy": 1.0, "mIoU_category": 0.625}


def test_scores_of_other_settings_have_other_names() -> None:
    tversky = partial(scores.tversky, alpha=0.3, beta=0.6)
    several = [
        *(Score(formula, "macro") for formula in (*OF_CLASSES, partial(tversky, beta=0.7))),
        *(Score(scores.iou, average) for average in ("micro", "weighted", "none")),
        *(Score(scores.iou, "macro", value) for value in (0.0, 1.0)),
        *(Score(scores.iou, "macro", nan, first, of) for first, of in ((1, ()), (0, (1,)))),
        Score(scores.iou, "macro", ignored=(1, 2)),
    ]
    names = [score.name for score in several]
    assert len(set(names)) == len(several)
    assert all(name.isidentifier() for name in names)
    assert names == [
        Score(s.formula, s.average, s.zero_division, s.first, s.ignored).name for s in several
    ]


def test_weights_of_errors_are_0_or_more() -> None:
    s = Statistics.of_matrix(np.array([[5, 3, 0], [1, 2, 0]]))
    for beta, expected in ((0, 5 / 6), (0.5, 1.25 * 5 / (1.25 * 5 + 0.25 * 3 + 1))):
        assert f_beta_formula(beta)(s, nan)[0] == pytest.approx(expected)
    for alpha, beta, expected in ((0, 0.5, 5 / 6.5), (0.5, 0, 5 / 5.5), (0.5, 0.25, 5 / 6.25)):
        assert tversky_formula(alpha, beta)(s, nan)[0] == pytest.approx(expected)
    for wrong in (lambda: f_beta_formula(-0.1), lambda: tversky_formula(0.5, -0.1)):
        with pytest.raises(ValueError, match="`beta`"):
            wrong()
    with pytest.raises(ValueError, match="`alpha`"):
        tversky_formula(-0.1, 0.5)


@pytest.mark.parametrize("metric", [MeanIoU, BoundaryIoU, BoundaryF1Score, HausdorffDistance])
def test_a_binary_metric_shows_no_average(metric: Any) -> None:
    assert repr(metric(task="binary")) == f"{metric.__name__}(task='binary')"


def test_zero_division_of_averaged_images_is_at_most_1() -> None:
    images: Any = {"aggregation_level": "samplewise"}
    for value in (-1, 1, nan):
        class_recipe(scores.iou, 3, zero_division=value, **images)
    for value in (-1.5, 1.5):
        class_recipe(scores.iou, 3, zero_division=value)
        with pytest.raises(ValueError, match=rf"must be nan or in \[-1, 1\] .* got {value}"):
            class_recipe(scores.iou, 3, zero_division=value, **images)


def test_counts_stay_on_a_device_that_has_float64() -> None:
    assert exact(torch.zeros(2, 3, device="meta")).is_meta


def test_scores_of_arrays_do_not_import_torch() -> None:
    code = (
        "import sys, numpy; from segmetrics import scores\n"
        "print(scores.usual(numpy.array([[3, 1, 0], [0, 4, 2]])), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
    assert "'pixel_accuracy': 0.7," in done.stdout
