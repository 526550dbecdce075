"""The formulas take tensors and arrays of NumPy alike, and need torch for tensors only."""

from __future__ import annotations

import subprocess
import sys
import warnings
from functools import partial
from math import nan
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segmetrics import scores
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


def test_scores_of_arrays_do_not_import_torch() -> None:
    code = (
        "import sys, numpy; from segmetrics import scores\n"
        "print(scores.usual(numpy.array([[3, 1, 0], [0, 4, 2]])), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
    assert "'pixel_accuracy': 0.7," in done.stdout
