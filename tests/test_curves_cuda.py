"""The Triton kernel of cells against the plain torch definition.

As in ``test_probabilities_cuda``: on a GPU, or on the CPU under Triton's interpreter, in a process
of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from segmetrics import AURC, AUROC, AveragePrecision, BestThreshold, FPRAtRecall
from segmetrics.probabilities import plain_cells
from segmetrics.probabilities.inputs import read_scores
from segmetrics.probabilities.ranking import Ranking
from test_curves import assert_counts_as_defined, ranked
from triton_kernels import (
    DEVICE,
    INTERPRETED,
    assert_passes_under_the_interpreter,
    compiles,
    resources,
    runs_kernels,
    starts_the_interpreter,
    widest_load,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of infinities


@starts_the_interpreter
def test_the_kernel_passes_these_tests_under_the_interpreter() -> None:
    assert_passes_under_the_interpreter(__file__, 3, timeout=600)


def assert_kernel_counts_as_defined(preds: Tensor, target: Tensor, ranking: Ranking) -> None:
    from segmetrics.probabilities import cuda_cells

    if INTERPRETED and preds.dtype == torch.bfloat16:  # Triton 3 reads its denormals as others
        preds = preds.where(preds.abs() >= 2.0**-126, 0)
    pixels = read_scores(preds.to(DEVICE), target.to(DEVICE), ranking)
    with pytest.MonkeyPatch.context() as patch:
        if preds.dtype not in (torch.float64, torch.float16):
            patch.delattr(plain_cells, "count")  # nothing is left to it
        counts = cuda_cells.count(pixels, ranking).cpu()
    assert_counts_as_defined(counts, read_scores(preds, target, ranking), ranking)


@runs_kernels
@settings(max_examples=25, deadline=None)
@given(ranked())
def test_every_input_counts_as_defined(drawn: tuple[Tensor, Tensor, Ranking]) -> None:
    assert_kernel_counts_as_defined(*drawn)


@runs_kernels
def test_several_blocks_count_as_defined() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(6, (2, 50, 61), generator=generator)
    logits = 4 * torch.randn((2, 6, 50, 61), generator=generator)  # channels of three blocks
    for per_image in (False, True):
        ranking = Ranking.ranking(6, from_logits=True, per_image=per_image)
        assert_kernel_counts_as_defined(logits, target, ranking)
        ranking = Ranking.ranking(6, task="multilabel", from_logits=True, per_image=per_image)
        assert_kernel_counts_as_defined(logits, (logits.roll(1) > 0).long(), ranking)


@runs_kernels
def test_values_at_the_edges_of_cells_count_as_defined() -> None:
    edges = [0.0, -0.0, 0.5, 0.5 + 2**-24, 1.0, 1 - 2**-24, 2.0**-126, 2.0**-149, 1e-30, 0.25]
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        scores = torch.tensor(edges, dtype=dtype).view(1, 1, -1)
        target = torch.ones(scores.shape, dtype=torch.int64)
        for logits in (False, True):
            ranking = Ranking.ranking(task="binary", from_logits=logits)
            assert_kernel_counts_as_defined(scores, target, ranking)


@runs_kernels
@pytest.mark.parametrize("logits", [False, True])
def test_impossible_scores_are_bad(logits: bool) -> None:
    scores = torch.tensor([[-torch.inf, -0.1, 0.3, 1.1, torch.inf, torch.nan]])
    ranking = Ranking.ranking(task="binary", from_logits=logits)
    assert_kernel_counts_as_defined(scores, torch.tensor([[0, 1, 0, 1, 0, 1]]), ranking)


@pytest.mark.parametrize("metric", [AUROC, AURC, AveragePrecision, FPRAtRecall, BestThreshold])
@pytest.mark.parametrize("arguments", [{"num_classes": 21}, {"task": "binary", "cells": 512}])
def test_update_and_forward_read_nothing_back(metric: Any, arguments: dict[str, Any]) -> None:
    scores = torch.empty(4, 21, 65, 65, device="meta")  # a device that has no data to read
    target = torch.empty(4, 65, 65, dtype=torch.int64, device="meta")
    if "task" in arguments:
        scores = scores[:, 0]
    ranked_by = metric(from_logits=True, **arguments).to("meta")
    ranked_by.update(scores, target)
    ranked_by(scores, target)


S, T = torch.zeros(2, 21, 32, 32), torch.zeros(2, 32, 32, dtype=torch.int64)
COMPILED: dict[str, tuple[Tensor, Tensor, dict[str, Any]]] = {
    "logits": (S, T, {}),
    "bf16 logits": (S.bfloat16(), T.byte(), {"cells": 512, "per_image": True}),
    "probabilities": (S, T, {"from_logits": False}),
    "right": (S, T, {"positive": "right"}),
    "bilinear": (S[..., :9, :9], T, {"upsample": "bilinear"}),
    "binary": (S[:, 0], T, {"task": "binary", "from_logits": False}),
    "fp16": (S[:, 0].half(), T, {"task": "binary"}),
}


@compiles
@pytest.mark.parametrize("name", COMPILED)
def test_the_kernel_compiles_for_hopper(hopper: None, name: str, tmp_path: Path) -> None:
    from segmetrics.probabilities import cuda_cells

    preds, target, arguments = COMPILED[name]
    classes = None if arguments.get("task") == "binary" else 21
    settings_: dict[str, Any] = {"from_logits": True, "ignore_index": 255} | arguments
    ranking = Ranking.ranking(classes, **settings_)
    rows = len(target) if ranking.per_image else 1
    counts = torch.zeros(1, rows, 1, 100, dtype=torch.int64)
    pixels = read_scores(preds, target, ranking)
    programs, given_, constants = cuda_cells.launch(counts, pixels, ranking)
    compiled = cuda_cells._rank.warmup(*given_, grid=(programs,), **constants).asm
    assert ".acq_rel" not in compiled["ptx"]
    registers, spilled = resources(compiled["cubin"], tmp_path)
    assert widest_load(compiled["ptx"]) == 16
    assert spilled <= 16
    assert registers <= 224
