"""Ranked pixels against scikit-learn and torchmetrics: exact where cells are, else in bounds."""

from __future__ import annotations

import os
from dataclasses import astuple, replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics import functional as torchmetrics

from segmetrics import (
    AURC,
    AUROC,
    ROC,
    AveragePrecision,
    BestThreshold,
    CurveImageScores,
    DiceScore,
    FPRAtRecall,
    LabelSpace,
    MeanIoU,
    PrecisionRecallCurve,
    ProbabilityMetrics,
)
from segmetrics.counting.inputs import as_arrays
from segmetrics.functional import (
    auroc,
    average_precision,
    best_threshold,
    fpr_at_recall,
    roc,
)
from segmetrics.functional import precision_recall_curve as functional_precision_recall
from segmetrics.probabilities import cells, plain_cells
from segmetrics.probabilities.inputs import read_scores
from segmetrics.probabilities.ranking import Ranking, _backend, _count_op, count_cells
from segmetrics.probabilities.recipes import (
    auroc_recipe,
    average_precision_recipe,
    best_recipe,
    fpr_at_recall_recipe,
)

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
EXACT = (torch.float16, torch.bfloat16)


def drawn(seed: int, dtype: torch.dtype = torch.float32, *, logits: bool = False) -> Any:
    """Scores of a model that is often right, and the truth."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(2, (2, 20, 31), generator=generator)
    scores = 2 * torch.randn(target.shape, generator=generator) + target
    return (scores if logits else scores.sigmoid()).to(dtype), target


def classes(seed: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits of five classes, and the truth with void pixels."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(5, (2, 20, 31), generator=generator)
    logits = torch.randn((2, 5, 20, 31), generator=generator)
    logits += torch.nn.functional.one_hot(target, 5).movedim(-1, 1)
    return logits.to(dtype), target.where(torch.rand(target.shape, generator=generator) > 0.1, 255)


# --- the scores of others -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logits", [False, True])
def test_a_score_is_scikit_learns_or_the_bounds_hold_it(dtype: torch.dtype, logits: bool) -> None:
    scores, target = drawn(1, dtype, logits=logits)
    y, p = target.flatten().numpy(), scores.double().flatten().numpy()
    for metric, expected in (
        (AUROC(task="binary", from_logits=logits), roc_auc_score(y, p)),
        (AUROC(task="binary", from_logits=logits, max_fpr=0.2), roc_auc_score(y, p, max_fpr=0.2)),
        (AveragePrecision(task="binary", from_logits=logits), average_precision_score(y, p)),
    ):
        value = metric(scores, target).item()
        lower, upper = (bound.item() for bound in metric.bounds())
        assert lower - 1e-6 <= expected <= upper + 1e-6
        if dtype in EXACT:
            assert value == pytest.approx(expected, abs=1e-6)
            assert lower == upper == value
        else:
            assert value == pytest.approx((lower + upper) / 2, abs=1e-6)
            assert upper - lower < 5e-3


@pytest.mark.parametrize("average", ["macro", "weighted", "none", "micro"])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_averages_are_torchmetrics(task: str, average: Any) -> None:
    logits, target = classes(2, torch.bfloat16 if task == "multilabel" else torch.float32)
    arguments: Any = {"task": task, "num_classes": 5, "num_labels": 5, "average": average}
    if task == "multilabel":
        target = (logits.roll(1, 2) > 0.5).long()
        preds = logits.double()
    else:
        preds = logits.softmax(1)
        arguments["ignore_index"] = 255
        if average == "micro":
            kept = target != 255
            preds = preds.movedim(1, -1)[kept].flatten()
            target_of_classes = torch.nn.functional.one_hot(target[kept], 5).flatten()
    for ours, theirs in (
        (auroc, torchmetrics.auroc),
        (average_precision, torchmetrics.average_precision),
    ):
        found = ours(
            logits,
            target,
            5,
            task=task,
            average=average,
            from_logits=True,
            ignore_index=255 if task == "multiclass" else None,
        )
        if task == "multiclass" and average == "micro":
            expected = theirs(preds, target_of_classes, task="binary")
        else:
            expected = theirs(preds, target, **arguments)
        tolerance = 1e-6 if task == "multilabel" else 1e-3
        torch.testing.assert_close(found, expected.float(), atol=tolerance, rtol=0)


def test_is_the_prediction_right_is_ranked_by_its_confidence() -> None:
    logits, target = classes(3)
    metric = AUROC(5, positive="right", from_logits=True, ignore_index=255)
    confidence, label = logits.softmax(1).max(1)
    kept = target != 255
    right = (label == target)[kept].numpy()
    assert metric(logits, target).item() == pytest.approx(
        roc_auc_score(right, confidence[kept].numpy()), abs=1e-4
    )


@pytest.mark.parametrize("dtype", EXACT)
def test_curves_are_scikit_learns_and_torchmetrics(dtype: torch.dtype) -> None:
    scores, target = drawn(4, dtype)
    y, p = target.flatten().numpy(), scores.double().flatten().numpy()
    fpr, recall, thresholds = ROC(task="binary")(scores, target)
    theirs = roc_curve(y, p, drop_intermediate=False)
    for found, expected in zip((fpr, recall), theirs, strict=False):
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(thresholds[1:].numpy(), theirs[2][1:], atol=1e-6)
    found = PrecisionRecallCurve(task="binary")(scores, target)
    for part, expected in zip(found, precision_recall_curve(y, p), strict=True):
        np.testing.assert_allclose(part.numpy(), expected, atol=1e-6)
    for ours, metric in ((roc, ROC), (functional_precision_recall, PrecisionRecallCurve)):
        for part, expected in zip(
            ours(scores, target, task="binary"), metric(task="binary")(scores, target), strict=True
        ):
            assert torch.equal(part, expected)
    at_95 = fpr_at_recall(scores, target, task="binary")
    assert at_95.item() == pytest.approx(fpr[(recall >= 0.95)].min().item(), abs=1e-6)


def test_curves_of_classes_are_lists() -> None:
    logits, target = classes(5)
    found = ROC(5, from_logits=True, ignore_index=255)(logits, target)
    expected = torchmetrics.roc(
        logits.softmax(1), target, task="multiclass", num_classes=5, ignore_index=255
    )
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        assert len(ours) == len(theirs) == 5
    areas = [torch.trapezoid(y, x).item() for x, y in zip(*found[:2], strict=True)]
    per_class = auroc(logits, target, 5, average="none", from_logits=True, ignore_index=255)
    assert areas == pytest.approx(per_class.tolist(), abs=1e-6)


@pytest.mark.parametrize("dtype", EXACT)
def test_thresholds_of_logits_are_their_probabilities(dtype: torch.dtype) -> None:
    scores, target = drawn(4, dtype, logits=True)
    _, _, thresholds = ROC(task="binary", from_logits=True)(scores / 8, target)
    expected = (scores / 8).unique().double().sigmoid().flip(0)
    np.testing.assert_allclose(thresholds[1:].numpy(), expected, rtol=1e-6)


# --- bounds, ties, and what floats can be ---------------------------------------------------------

PROBABILITIES = st.one_of(
    st.floats(0, 1, width=32),
    st.sampled_from([0.0, -0.0, 1.0, 0.5, 1e-45, 1e-30, 1 - 2**-24, 2**-149, 0.5 + 2**-24]),
)
LOGITS = st.one_of(
    st.floats(width=32, allow_nan=False),
    st.sampled_from([0.0, -0.0, inf, -inf, 1e-45, -1e-45, 88.0, -88.0, 3.4e38]),
)


@settings(max_examples=50)
@given(st.data(), st.booleans(), st.sampled_from([2**16, 512, 7]))
def test_the_bounds_hold_every_score(data: st.DataObject, logits: bool, cells: int) -> None:
    values = data.draw(st.lists(LOGITS if logits else PROBABILITIES, min_size=2, max_size=40))
    if data.draw(st.booleans()):
        values = [values[i % 3 % len(values)] for i in range(len(values))]  # ties
    y = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    scores, target = torch.tensor([values]), torch.tensor([y])
    arguments: Any = {"task": "binary", "from_logits": logits, "cells": cells}
    scores, target = scores[:, None], target[:, None]
    area, precision = AUROC(**arguments), AveragePrecision(**arguments)
    found = area(scores, target), precision(scores, target)
    if len(set(y)) == 1:
        assert all(value.isnan() for value in found)
        assert best_threshold(scores, target, **arguments)[1].isnan()
        assert fpr_at_recall(scores, target, **arguments).isnan()
        return
    ranks = np.unique(np.array(values, np.float32) + 0, return_inverse=True)[1]
    for metric, value, expected in zip(
        (area, precision),
        found,
        (roc_auc_score(y, ranks), average_precision_score(y, ranks)),
        strict=True,
    ):
        lower, upper = metric.bounds()
        assert lower - 1e-6 <= expected <= upper + 1e-6
        assert lower - 1e-6 <= value <= upper + 1e-6


@settings(max_examples=50)
@given(st.data(), st.booleans(), st.sampled_from(DTYPES))
def test_the_best_threshold_gives_its_score(
    data: st.DataObject, logits: bool, dtype: torch.dtype
) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    score = data.draw(st.sampled_from(["dice", "iou"]))
    scale = data.draw(st.sampled_from([0.1, 2.0, 20.0]))
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(2, (1, 5, 6), generator=generator)
    target.view(-1)[:2] = torch.tensor([0, 1])
    scores = scale * (torch.randn(target.shape, generator=generator) + target)
    scores = (scores if logits else scores.sigmoid()).to(dtype)
    arguments: Any = {"task": "binary", "from_logits": logits}
    value, threshold = best_threshold(scores, target, score=score, **arguments)
    assert threshold.dtype == torch.float64  # fp32 may round to the other side of a score
    metric = {"dice": DiceScore, "iou": MeanIoU}[score]
    at = metric(threshold=threshold.item(), **arguments)(scores, target)
    assert at.item() == pytest.approx(value.item(), abs=1e-6)
    tried = [f1_score(target.flatten(), scores.flatten() > t) for t in scores.flatten().tolist()]
    if score == "dice" and not (logits and scale == 20):  # there a probability may not tell apart
        room = 0 if dtype in EXACT else 0.05
        assert value.item() >= max(tried) - room - 1e-6


def test_of_equally_good_thresholds_the_nearest_to_one_half_is_taken() -> None:
    target = torch.tensor([[0, 0, 1, 1]])[:, None]
    for scores, expected in (
        ([0.1, 0.3, 0.7, 0.9], 0.5),
        ([0.1, 0.2, 0.3, 0.9], 0.3),
        ([0.1, 0.6, 0.7, 0.9], 0.6),
    ):
        found = best_threshold(torch.tensor([scores])[:, None], target, task="binary")
        assert found[0] == 1
        assert found[1].item() == pytest.approx(expected, rel=5e-3)


def test_cells_of_every_score_sort_as_the_scores() -> None:
    """All fp16 and bf16 numbers, and fp32 numbers from all over."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    for dtype in EXACT:
        values = bits.view(dtype)
        for logits in (True, False):
            known = values[~values.isnan() if logits else (values >= 0) & (values <= 1)]
            key, rounded = cells.keys(known, from_logits=logits)
            order = known.float().argsort(stable=True)
            steps = key[order].diff()
            assert (steps >= 0).all()
            assert torch.equal(steps == 0, known.float()[order].diff() == 0)
            assert not rounded.any()
    generator = torch.Generator().manual_seed(0)
    wide = torch.randint(-(2**31), 2**31, (10**5,), generator=generator).int().view(torch.float32)
    wide = wide[~wide.isnan()].sort().values
    assert (cells.keys(wide, from_logits=True)[0].diff() >= 0).all()
    unit = torch.cat([wide.abs().clamp(max=1), 1 - wide.abs().clamp(max=1)]).sort().values
    assert (cells.keys(unit, from_logits=False)[0].diff() >= 0).all()
    assert (cells.keys(wide, from_logits=True)[0] < cells.BAD).all()


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("logits", [False, True])
def test_the_edges_of_cells_are_those_of_their_scores(logits: bool, halves: bool) -> None:
    lowest, exact, cut = cells.edges(2**16, from_logits=logits, halves=halves)
    known = ~np.isnan(lowest)
    assert known.sum() > 15000
    assert (lowest[known] <= exact[known]).all()
    some = known & ~np.isnan(cut)
    threshold = torch.from_numpy(cut[some])
    if logits:
        threshold = (threshold / (1 - threshold)).log()
    dtype = torch.float16 if halves else torch.float32
    key, _ = cells.keys(threshold.to(dtype), from_logits=logits)
    denormal = np.flatnonzero(some) == cells.ZERO - 1  # counts as 0
    assert np.array_equal(key.numpy()[~denormal], np.flatnonzero(some)[~denormal])
    _, _, coarse = cells.edges(512, from_logits=logits, halves=halves)
    assert 0.5 in coarse
    assert np.nanmax(np.diff(coarse)) < 0.007


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("number", [2, 3, 7, 64, 101])
def test_fewer_cells_are_equally_wide_in_the_arcsine_of_the_root(
    number: int, dtype: torch.dtype
) -> None:
    logits = torch.linspace(-20, 20, 9973).to(dtype)
    for scores, from_logits in ((logits.sigmoid(), False), (logits, True)):
        merged = cells.merging(number, from_logits=from_logits, halves=dtype == torch.float16)
        found = merged[cells.keys(scores, from_logits=from_logits)[0]]
        p = (scores.double().sigmoid() if from_logits else scores.double()).numpy()
        place = np.arcsin(np.sqrt(p)) * 2 / np.pi * number
        width = 0.003 * number  # of what one key holds
        assert (found - width <= place).all()
        assert (place <= found + 1 + width).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("number", [6, 512, 1000])
def test_an_even_number_of_cells_is_symmetric(number: int, dtype: torch.dtype) -> None:
    """Where right predictions are ranked by max(p, 1 - p), both sides have the same cells."""
    p = torch.arange(1025, 2049).double() / 2048  # fp16 holds it, and 1 - p
    if dtype == torch.float32:
        p = torch.cat([p, torch.arange(2**23 + 1, 2**24, 97).double() / 2**24])
    logits = torch.logspace(-20, 4, 20000, dtype=torch.float64).to(dtype)
    logits = logits[logits > 0]
    for high, low, from_logits in ((p, 1 - p, False), (logits, -logits, True)):
        merged = cells.merging(number, from_logits=from_logits, halves=dtype == torch.float16)
        both = [merged[cells.keys(x.to(dtype), from_logits=from_logits)[0]] for x in (high, low)]
        assert (both[0] + both[1] == number - 1).all()
        assert both[0].min() == number // 2


# --- what counts ----------------------------------------------------------------------------------


@st.composite
def ranked(draw: st.DrawFn) -> tuple[Tensor, Tensor, Ranking]:
    """Scores and targets of every kind, and how they are ranked."""
    task = draw(st.sampled_from(["binary", "multilabel", "multiclass"]))
    logits, dtype = draw(st.booleans()), draw(st.sampled_from(DTYPES))
    number = None if task == "binary" else draw(st.integers(2, 6))
    right = task != "multilabel" and draw(st.booleans())
    ranking = Ranking.ranking(
        number,
        task=task,
        from_logits=logits,
        ignore_index=255,
        cells=draw(st.sampled_from([2**16, 512, 4 if right else 3])),
        positive="right" if right else "class",
        per_image=draw(st.booleans()),
        upsample=draw(st.sampled_from([None, "bilinear", "nearest"])),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from([(7,), (5, 9), (3, 4, 5)]))
    scores = 6 * torch.randn((2, number or 1, *size), generator=generator)
    match draw(st.sampled_from(["all differ", "equal", "ties", "saturated", "denormal"])):
        case "equal":
            scores[:] = scores.view(-1)[0]
        case "ties":
            scores = scores.round()
        case "saturated":
            scores *= 100
        case "denormal":
            scores *= 1e-42 if logits else 17
    if not logits:
        scores = scores.softmax(1) if task == "multiclass" else scores.sigmoid()
    if task != "multiclass" and logits:
        scores.view(-1)[:4] = torch.tensor([0.0, -0.0, inf, -inf])
    if draw(st.booleans()):
        scores.view(-1)[5] = nan
    shape = (2, *size) if task == "multiclass" else scores.shape
    target = torch.randint(number if task == "multiclass" else 2, shape, generator=generator)
    if draw(st.booleans()):
        target[:] = draw(st.sampled_from([0, 1]))  # no positive, or no negative
    target = target.where(torch.rand(shape, generator=generator) > 0.1, 255)
    if draw(st.booleans()):  # channels-last
        scores = scores.movedim(1, -1).contiguous().movedim(-1, 1)
    if ranking.upsample and draw(st.booleans()):
        scores = scores[..., : max(1, size[-1] // 2)]
    return scores.to(dtype), target, ranking


def _cells_four_ulps_higher(resolution: int) -> Tensor:
    """The cell of each cell's highest score plus four ulps: the next one, or several near 1.

    What is less than the least normal number of fp32 may be 0.
    """
    lowest = cells.edges(resolution, from_logits=False, halves=False).lowest
    known = np.where(np.isnan(lowest), 2.0, lowest)
    lowest = np.minimum.accumulate(known[::-1])[::-1]  # a cell without scores has no width
    end = np.append(lowest[1:], 2.0)
    ulps = 4 * np.spacing(end.astype(np.float32)) + np.finfo(np.float32).tiny
    higher = np.searchsorted(lowest, end + ulps) - 1
    following = np.minimum(np.arange(1, resolution + 1), resolution - 1)
    return torch.from_numpy(np.maximum(following, np.minimum(higher, resolution - 1)))


def assert_counts_as_defined(counts: Tensor, pixels: Any, ranking: Ranking) -> None:
    """Counts are those of plain torch; a softmax may differ by ulps, and so a score's cell."""
    plain = plain_cells.count(pixels, ranking)
    if ranking.task != "multiclass" or not ranking.from_logits:
        assert torch.equal(plain, counts)
        return
    tables = [ranking.table(each) for each in (plain, counts)]
    assert torch.equal(*(table.sum((-2, -1)) for table in tables))
    below, found = (table.cumsum(-2) for table in tables)
    farthest = _cells_four_ulps_higher(ranking.resolution)
    assert (found[..., farthest, :] >= below).all()  # no score is farther off,
    assert (below[..., farthest, :] >= found).all()  # though equal ones move together
    assert torch.equal(ranking.bad(plain), ranking.bad(counts))


@settings(max_examples=50)
@given(ranked())
def test_the_compiled_backend_counts_what_the_definition_counts(
    drawn: tuple[Tensor, Tensor, Ranking],
) -> None:
    scores, target, ranking = drawn
    pixels = read_scores(scores, target, ranking)
    assert_counts_as_defined(_backend(pixels, ranking), pixels, ranking)


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_lines_longer_than_a_tile_are_counted_as_defined(
    task: Any, logits: bool, dtype: torch.dtype
) -> None:
    """Kernels take at most 8,192 pixels at once: here images have two tiles and a rest."""
    generator = torch.Generator().manual_seed(8)
    number = None if task == "binary" else 3
    scores = torch.randn((2, number or 1, 17, 1021), generator=generator)
    if not logits:
        scores = scores.softmax(1) if task == "multiclass" else scores.sigmoid()
    shape = (2, 17, 1021) if task == "multiclass" else scores.shape
    target = torch.randint(3 if task == "multiclass" else 2, shape, generator=generator)
    for per_image in (False, True):
        ranking = Ranking.ranking(number, task=task, from_logits=logits, per_image=per_image)
        pixels = read_scores(scores.to(dtype), target, ranking)
        assert_counts_as_defined(_backend(pixels, ranking), pixels, ranking)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("number", [2**16, 512])
def test_scores_next_to_a_border_are_in_the_cells_of_the_definition(
    dtype: torch.dtype, logits: bool, number: int
) -> None:
    borders = torch.tensor([0.0, 2.0**-24, 0.25, 0.5, 0.75, 1.0], dtype=dtype)
    above, below = (borders.nextafter(borders.new_tensor(end)) for end in (2, -2))
    scores = torch.cat([borders, above, below])
    scores = scores if logits else scores.clamp(0, 1)
    ranking = Ranking.ranking(None, task="binary", from_logits=logits, cells=number)
    pixels = read_scores(scores[None], torch.ones(1, len(scores)).long(), ranking)
    assert torch.equal(_backend(pixels, ranking), plain_cells.count(pixels, ranking))


@settings(max_examples=30, deadline=None)
@given(ranked(), st.integers(1, 40))
def test_cut_into_blocks_the_definition_counts_the_same(
    drawn: tuple[Tensor, Tensor, Ranking], block: int
) -> None:
    scores, target, ranking = drawn
    pixels = read_scores(scores, target, ranking)
    whole = plain_cells.count(pixels, ranking)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segmetrics.counting.plain.BLOCK", block)
        counts = plain_cells.count(pixels, ranking)
    if ranking.task != "multiclass" or not ranking.upsample:  # a resized score may differ by an ulp
        assert torch.equal(counts, whole)
    else:
        assert torch.equal(ranking.bad(counts), ranking.bad(whole))


def test_copies_of_a_table_hold_any_number_of_pixels() -> None:
    cpu_cells = pytest.importorskip("segmetrics.probabilities.cpu_cells")
    ranking = Ranking.ranking(None, task="binary", cells=2)
    for number, dtype in ((2**31 - 1, np.int32), (2**31, np.int64)):
        scores, target = torch.zeros(1, 1).expand(1, number), torch.zeros(1, 1).bool()
        pixels = as_arrays(read_scores(scores, target.expand(1, number), ranking))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cpu_cells, "number_of_threads", lambda: 2)
            copies = cpu_cells.Copy.several(ranking, pixels, 2)
        assert [copy.tables.dtype for copy in copies] == [dtype] * 2


def test_many_threads_share_few_copies_of_many_tables() -> None:
    cpu_cells = pytest.importorskip("segmetrics.probabilities.cpu_cells")
    scores, target = torch.full((1, 100, 4), 0.01), torch.zeros(1, 4).long()
    for number, expected in ((None, cpu_cells.TABLES), (100, cpu_cells.COPIES)):
        task = "binary" if number is None else "multiclass"
        ranking = Ranking.ranking(number, task=task, cells=2)
        preds = scores[:, 0] if number is None else scores
        pixels = as_arrays(read_scores(preds, target, ranking))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cpu_cells, "number_of_threads", lambda: 8)
            assert len(cpu_cells.Copy.several(ranking, pixels, 8)) == expected


@pytest.mark.parametrize("per_image", [False, True])
def test_the_operator_keeps_the_rules_of_torch_library(per_image: bool) -> None:
    logits, target = classes(14)
    ranking = Ranking.ranking(5, from_logits=True, ignore_index=255, cells=64, per_image=per_image)
    arguments = logits, target, *astuple(ranking), False
    torch.library.opcheck(_count_op, arguments)
    assert torch.equal(_count_op(*arguments), count_cells(logits, target, ranking))


@settings(max_examples=20, deadline=None)
@given(ranked(), st.integers(1, 40), st.integers(1, 3), st.integers(1, 4))
def test_workers_that_share_tables_count_every_box_once(
    drawn: tuple[Tensor, Tensor, Ranking], box: int, copies: int, threads: int
) -> None:
    cpu_cells = pytest.importorskip("segmetrics.probabilities.cpu_cells")
    scores, target, ranking = drawn
    pixels = read_scores(scores, target, ranking)
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        torch.set_num_threads(threads)
        for name, value in (("BOX", box), ("COPIES", copies), ("TABLES", copies)):
            patch.setattr(cpu_cells, name, value)
        patch.setattr("segmetrics.counting.cpu.SCORES_A_THREAD", 1)
        try:
            counts = _backend(pixels, ranking)
        finally:
            torch.set_num_threads(before)
    assert_counts_as_defined(counts, pixels, ranking)


@pytest.mark.skipif("CI" not in os.environ, reason="takes some seconds; runs where CI is set")
def test_more_scores_than_int32_holds_are_counted_in_one_update() -> None:
    number = 2**31 + 2**20
    scores, target = torch.full((1, 1), 0.25), torch.ones(1, 1, dtype=torch.bool)
    ranking = Ranking.ranking(None, task="binary")
    pixels = read_scores(scores.expand(1, number), target.expand(1, number), ranking)
    table = ranking.table(_backend(pixels, ranking))
    assert (table.max().item(), table.sum().item()) == (number, number)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("impossible", [None, float("nan"), 1.5, -0.5])
def test_scores_of_several_tiles_are_counted_as_defined(
    dtype: torch.dtype, impossible: float | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(2, 97, 61, generator=generator)  # three tiles, the last of an odd length
    scores[0, 0, :3] = torch.tensor([-0.0, 0.5, 1.0])
    target = torch.randint(2, scores.shape, generator=generator, dtype=dtype)
    target[1, :5] = 255
    scores[1, 0, 0] = torch.nan  # not counted
    if impossible is not None:
        scores[1, 80, 7] = impossible
    ranking = Ranking.ranking(task="binary", ignore_index=255)
    for preds, labels in (
        (scores, target),
        (scores.mT, target.mT),
        (scores, target.mT.contiguous().mT),
    ):
        pixels = read_scores(preds, labels, ranking)
        assert_counts_as_defined(_backend(pixels, ranking), pixels, ranking)


def test_resized_scores_are_those_of_interpolate() -> None:
    logits, target = classes(6)
    small = logits[..., ::2, ::3]
    resized = torch.nn.functional.interpolate(small, target.shape[1:], mode="bilinear")
    arguments: Any = {"from_logits": True, "ignore_index": 255}
    found = auroc(small, target, 5, upsample="bilinear", **arguments)
    assert found.item() == pytest.approx(auroc(resized, target, 5, **arguments).item(), abs=1e-6)


def test_a_label_space_maps_the_target() -> None:
    space = LabelSpace(["a", "b"], id_to_class={7: 0, 11: 1}, ignore_index=(0,))
    scores = torch.tensor([[0.9, 0.6, 0.4, 0.1], [0.1, 0.4, 0.6, 0.9]])[None]
    target = torch.tensor([[7, 0, 7, 11]])
    assert AUROC(space)(scores[..., None], target[..., None]) == 1
    void = AUROC(space, average="none")
    void.update(scores[..., None], 0 * target[..., None])
    assert void.compute_scalars() == {"a": None, "b": None}


def test_many_batches_and_large_images_are_one() -> None:
    generator = torch.Generator().manual_seed(7)
    scores = torch.rand((2, 700, 900), generator=generator)
    target = torch.randint(2, scores.shape, generator=generator)
    whole, parts = AUROC(task="binary"), AUROC(task="binary")
    whole.update(scores, target)
    for image in range(2):
        parts.update(scores[image : image + 1], target[image : image + 1])
    assert torch.equal(whole._states[0], parts._states[0])
    assert whole.compute().item() == pytest.approx(
        roc_auc_score(target.flatten(), scores.flatten()), abs=1e-5
    )


@pytest.mark.parametrize("average", ["macro", "weighted", "none", "micro"])
def test_a_stack_of_counts_has_the_scores_of_each(average: Any) -> None:
    logits, target = classes(13)
    arguments: Any = {"average": average, "from_logits": True, "ignore_index": [255, 3]}
    for make in (auroc_recipe, average_precision_recipe, fpr_at_recall_recipe):
        recipe = make(5, cells=512, **arguments)
        per_image = replace(recipe.ranking, per_image=True)
        counts = count_cells(logits, target, per_image)
        expected = torch.stack([recipe.of(row) for row in counts])
        torch.testing.assert_close(recipe.of(counts), expected, equal_nan=True)
    best = best_recipe(5, cells=512, from_logits=True, ignore_index=[255, 3])
    each = [torch.stack(part) for part in zip(*map(best.best, counts), strict=True)]
    torch.testing.assert_close(list(best.best(counts)), each, equal_nan=True)


def test_scores_of_classes_are_scalars_by_name() -> None:
    arguments: Any = {"from_logits": True, "ignore_index": 255, "class_names": list("abcde")}
    for average, number in (("none", 5), ("macro", 1)):
        metric = AUROC(5, average=average, **arguments)
        found = metric(*classes(15)).reshape(-1).tolist()
        scalars = metric.compute_scalars()
        assert list(scalars.values()) == pytest.approx(found)
        assert len(scalars) == number


def test_a_single_class_has_a_score_a_class() -> None:
    scores, target = drawn(16)
    arguments: Any = {"task": "multilabel", "average": "none"}
    found = AUROC(1, **arguments)(scores[:, None], target[:, None])
    assert found.tolist() == [AUROC(task="binary")(scores, target).item()]
    assert found.shape == auroc(scores[:, None], target[:, None], 1, **arguments).shape == (1,)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("right", [False, True])
def test_of_a_single_pixel_the_risk_is_known(dtype: torch.dtype, right: bool) -> None:
    p, target = torch.tensor([[0.75]], dtype=dtype), torch.tensor([[int(right)]])
    assert AURC(task="binary")(p, target) == 1 - int(right)
    assert AURC(2)(torch.stack([1 - p, p], 1), target) == 1 - int(right)
    assert ROC(task="binary")(p, target)[2].tolist() == [1, 0.75]


# --- metrics --------------------------------------------------------------------------------------


def test_a_collection_counts_once() -> None:
    collection = MetricCollection(
        [AUROC(task="binary"), AveragePrecision(task="binary"), FPRAtRecall(task="binary")]
    )
    collection.update(*drawn(8))
    assert len(collection.compute_groups) == 1
    other = MetricCollection({"a": AUROC(5, from_logits=True), "b": AUROC(5)})
    assert len({next(iter(m.metric_state)) for m in other.values()}) == 2
    names = {Ranking.ranking(5, positive=kind).name for kind in ("class", "right")}
    assert len(names) == 2


@pytest.mark.parametrize("metric_class", [AUROC, ProbabilityMetrics])
def test_fp16_and_other_scores_are_not_mixed(metric_class: Any) -> None:
    metric, alone = metric_class(task="binary"), metric_class(task="binary")
    metric.update(*drawn(9, torch.float16))
    before = [state.clone() for state in metric._states]
    with pytest.raises(ValueError, match=r"float16 for 1240 of 2480.*`preds\.float\(\)`"):
        metric.update(*drawn(9))
    torch.testing.assert_close(list(metric._states), before, rtol=0, atol=0)
    assert metric.compute() == alone(*drawn(9, torch.float16))


@pytest.mark.parametrize("kind", [BestThreshold, ProbabilityMetrics, CurveImageScores])
def test_thresholds_are_float64_and_their_scores_float32(kind: Any) -> None:
    """float32 may round to the other side of a score, and is 1 for logits above 17."""
    target = torch.arange(40).view(1, 1, -1) % 4 == 0
    logits = torch.linspace(20, 24, 40).view(1, 1, -1)[..., torch.randperm(40)]
    logits = torch.where(target, logits + 3, logits)
    metric = kind(task="binary", from_logits=True, prefix="threshold/")
    metric.update(logits, target)
    for found in (metric.compute(), metric.to("cpu").compute(), metric(logits, target)):
        dtypes = {key.removeprefix("threshold/"): value.dtype for key, value in found.items()}
        assert dtypes.pop("best_threshold") == torch.float64
        assert set(dtypes.values()) == {torch.float32}
        at = DiceScore(task="binary", from_logits=True,
                       threshold=found["threshold/best_threshold"].item())  # fmt: skip
        assert at(logits, target) == found["threshold/best_dice"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AUROC(5, thresholds=100), "`AUROC` takes no `thresholds`: scores are counted"),
        *((lambda n=n: AUROC(5, cells=n), "`cells` must be from 2 to") for n in (1, 2**16 + 1)),
        *((lambda x=x: AUROC(5, max_fpr=x), "`max_fpr` must be in") for x in (0, 1.01)),
        *((lambda x=x: FPRAtRecall(5, recall=x), "`recall` must be in") for x in (0, 1.01)),
        (lambda: BestThreshold(5, score="mcc"), "`score` must be one of 'dice'"),
        (
            lambda: AUROC(3, task="multilabel", positive="right"),
            "means nothing for task='multilabel'",
        ),
        (lambda: AUROC(task="binary", average="none"), "means nothing where there is one curve"),
        (lambda: ROC(5).compute_scalars(), "is a curve and has no scalars"),
    ],
)
def test_what_means_nothing_is_refused(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_the_ends_of_what_arguments_may_be_are_accepted() -> None:
    scores, target = drawn(0)
    assert AUROC(task="binary", max_fpr=1)(scores, target) == auroc(scores, target, task="binary")
    highest = scores[target == 1].min()  # below which is no positive
    expected = (scores[target == 0] >= highest).float().mean()
    found = FPRAtRecall(task="binary", recall=1)(scores, target)
    assert found.item() == pytest.approx(expected.item(), abs=2e-2)
    for number in (2, 2**16):
        AUROC(5, cells=number)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.2, 1.5, -0.1, inf, -inf], "4 counted pixels .* outside \\[0, 1\\].*from_logits=True"),
        ([0.2, nan, 0.3, 1.0, 0.0], "1 counted pixels .* NaN"),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bad_scores_change_nothing(dtype: torch.dtype, scores: list[float], message: str) -> None:
    metric = AUROC(task="binary")
    metric.update(*drawn(10, dtype))
    before = metric._states[0].clone()
    with pytest.raises(ValueError, match=message):
        metric.update(torch.tensor([[scores]], dtype=dtype), torch.tensor([[[0, 1, 0, 1, 0]]]))
    with pytest.raises(TypeError, match="must hold scores"):
        metric.update(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 1]]]))
    assert torch.equal(metric._states[0], before)


def test_a_best_threshold_has_keys_of_classes() -> None:
    logits, target = classes(11)
    metric = BestThreshold(5, from_logits=True, ignore_index=(0, 255), class_names=list("abcde"))
    found = metric(logits, target)
    assert list(found) == list(metric.keys())
    assert "best_dice/a" not in found
    of_classes = [found[f"best_dice/{name}"].item() for name in "bcde"]
    assert found["best_dice"].item() == pytest.approx(np.mean(of_classes), abs=1e-6)
    p, y = logits.softmax(1)[:, 2], target
    kept = (y != 0) & (y != 255)
    at = f1_score(y[kept] == 2, p[kept] > found["best_threshold/c"].item())
    assert found["best_dice/c"].item() == pytest.approx(at, abs=1e-6)


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        (AUROC, ("false positive rate", "recall")),
        (AveragePrecision, ("recall", "precision")),
        (ROC, ("false positive rate", "recall")),
        (PrecisionRecallCurve, ("recall", "precision")),
        (BestThreshold, ("threshold", "dice")),
    ],
)
def test_curves_are_drawn(metric: Any, labels: tuple[str, str]) -> None:
    pytest.importorskip("matplotlib")
    found = metric(5, from_logits=True, ignore_index=255, class_names=list("abcde"))
    found.update(*classes(12))
    _, axes = found.plot()
    assert [line.get_label() for line in axes.get_lines()[:5]] == list("abcde")
    assert (axes.get_xlabel(), axes.get_ylabel()) == labels
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) == (metric in (AUROC, ROC))  # the guide of chance
    x, y = axes.get_lines()[0].get_data()
    assert len(x) == len(y) > 100
    if metric in (ROC, PrecisionRecallCurve):
        first, second, _ = found.compute()
        expected = (first[0], second[0]) if metric is ROC else (second[0], first[0])
        np.testing.assert_array_equal((x, y), expected)
