"""Scores resized while they are counted mean what ``F.interpolate`` makes of them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from definition import MATRICES
from segmetrics.counting import Counting, plain
from segmetrics.counting.inputs import read
from strategies import LAYOUTS, SCORE_DTYPES, lay_out

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def interpolated(scores: Tensor, size: tuple[int, ...], upsample: str) -> Tensor:
    """The oracle: torch's own resized scores, in fp32 (fp64 for fp64)."""
    if upsample == "nearest":
        # by places, since torch places fp64 pixels differently for different memory layouts
        places = torch.arange(scores[0, 0].numel(), dtype=torch.float32)
        places = F.interpolate(places.view(1, 1, *scores.shape[2:]), size, mode="nearest")
        return scores.flatten(2)[:, :, places.long().flatten()].view(*scores.shape[:2], *size)
    precise = scores if scores.dtype == torch.float64 else scores.float()
    return F.interpolate(precise, size, mode=LINEAR[len(size)], align_corners=False)


def sizes(
    rng: np.random.Generator, dims: int, pixels: int = 30_000
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The scores' size, small or large, and the target's."""
    longest = pixels ** (1 / dims)
    size = np.exp(rng.uniform(0, np.log(longest), dims)).round().astype(int)
    return tuple(size.tolist()), tuple(rng.integers(1, int(longest), dims).tolist())


@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
def test_resized_labels_are_those_of_interpolate(upsample: str) -> None:
    rng = np.random.default_rng(0)
    pixels, differing = 0, [0] * len(MATRICES)
    while pixels < 1_200_000:
        dims = int(rng.integers(1, 4))
        dtype, layout = SCORE_DTYPES[rng.integers(4)], LAYOUTS[rng.integers(4)]
        classes, images = int(rng.integers(2, 6)), int(rng.integers(1, 3))
        size, target_size = sizes(rng, dims)
        scores = torch.from_numpy(rng.normal(size=(images, classes, *size))).to(dtype)
        labels = interpolated(scores, target_size, upsample).max(1).indices
        # against the labels themselves a wrong pixel is off the diagonal
        for backend, confusion_matrix in enumerate(MATRICES):
            matrix = confusion_matrix(lay_out(scores, layout), labels, classes, upsample=upsample)
            differing[backend] += labels.numel() - int(matrix.trace())
        pixels += labels.numel()
    assert max(differing) <= pixels / 1e6


@pytest.mark.parametrize("confusion_matrix", MATRICES)
@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_binary_and_multilabel_scores_are_resized_before_the_threshold(
    task: str, dims: int, upsample: str, confusion_matrix: Any
) -> None:
    rng = np.random.default_rng(dims)
    channels = 1 if task == "binary" else 4
    arguments: dict[str, Any] = {"task": task, "threshold": 0.3, "upsample": upsample}
    if task == "multilabel":
        arguments["num_classes"] = channels
    for _ in range(5):
        size, target_size = sizes(rng, dims, 2000)
        scores = torch.from_numpy(rng.random((2, channels, *size))).float()
        positive = interpolated(scores, target_size, upsample) > 0.3
        matrix = confusion_matrix(scores, positive, **arguments).view(-1, 2, 2)
        assert not matrix[:, 0, 1].any()
        assert not matrix[:, 1, 0].any()
        if task == "binary" and dims > 1:  # without the channel's dimension
            matrix = confusion_matrix(scores[:, 0], positive[:, 0], **arguments)
            assert matrix.trace() == positive.numel()


@pytest.mark.parametrize("confusion_matrix", MATRICES)
def test_scores_of_the_targets_size_are_taken_as_they_are(confusion_matrix: Any) -> None:
    scores = torch.tensor([[[torch.inf, 0.0, 2.0], [1.0, torch.inf, -torch.inf]]])
    target = torch.tensor([[0, 1, 0]])
    for upsample in ("bilinear", "nearest"):
        assert confusion_matrix(scores, target, 2, upsample=upsample).trace() == 3


@pytest.mark.parametrize("confusion_matrix", MATRICES)
def test_labels_are_counted_by_a_metric_that_resizes_scores(confusion_matrix: Any) -> None:
    labels = torch.tensor([[0, 1, 1]])
    assert confusion_matrix(labels, labels, 2, upsample="bilinear").trace() == 3


@pytest.mark.parametrize("confusion_matrix", MATRICES)
def test_resizing_brings_nan_as_far_as_interpolate_does(confusion_matrix: Any) -> None:
    rng = np.random.default_rng(0)
    for size, target_size in (((6, 7), (11, 7)), ((6, 7), (6, 20)), ((9,), (4,)), ((5, 5), (9, 2))):
        scores = torch.from_numpy(rng.normal(size=(1, 3, *size)))
        scores[0, 1].view(-1)[rng.integers(scores[0, 1].numel())] = torch.nan
        bad = interpolated(scores, target_size, "bilinear").isnan().any(1)
        target = torch.zeros(bad.shape, dtype=torch.long)
        if bad.any():
            with pytest.raises(ValueError, match=f"^{bad.sum()} counted pixels .* NaN"):
                confusion_matrix(scores, target, 3, upsample="bilinear")
        void = target.where(~bad, 255)
        matrix = confusion_matrix(scores, void, 3, upsample="bilinear", ignore_index=255)
        assert matrix.sum() == (~bad).sum()


class LargestStorage(TorchDispatchMode):
    """Watches torch: the bytes of the largest tensor that an operator makes."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read = {t.untyped_storage().data_ptr() for t in tree_leaves(args) if isinstance(t, Tensor)}
        for made in tree_leaves(out):
            if isinstance(made, Tensor) and made.untyped_storage().data_ptr() not in read:
                self.bytes = max(self.bytes, made.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize("size", [(33, 33), (260, 260), (520, 1)])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_plain_torch_resizes_block_by_block(task: Any, size: tuple[int, int]) -> None:
    scores = torch.rand(2, 21, *size).half()
    target = torch.zeros(2, 520, 520, dtype=torch.uint8)
    if task == "multilabel":
        target = target.unsqueeze(1).expand(-1, 21, -1, -1)
    counting = Counting.of(21, task=task, upsample="bilinear")
    with LargestStorage() as largest:
        counts = plain.count(read(scores, target, counting), counting)
    assert counts.sum() == target.numel()
    assert largest.bytes <= 8 * plain.BLOCK  # int64 codes of a block


@pytest.mark.parametrize("layout", LAYOUTS)
def test_plain_torch_reads_inputs_block_by_block_where_they_lie(layout: str) -> None:
    scores = lay_out(torch.zeros(3, 5, 1024, 1024, dtype=torch.bfloat16), layout)
    target = lay_out(torch.zeros(3, 1024, 1024, dtype=torch.uint8), layout)
    counting = Counting.of(5)
    with LargestStorage() as largest:
        counts = plain.count(read(scores, target, counting), counting)
    assert counts[0] == target.numel()
    assert largest.bytes <= 8 * plain.BLOCK


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_of_any_size_give_the_same_counts(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    inputs = []
    for dims, task, upsample in product(
        (1, 2, 3), ("multiclass", "binary", "multilabel"), (None, "bilinear", "nearest")
    ):
        channels, classes = (1, None) if task == "binary" else (3, 3)
        size = tuple(rng.integers(2, 7, dims).tolist())
        low = tuple(rng.integers(2, 9, dims).tolist()) if upsample else size
        preds = torch.from_numpy(rng.random((2, channels, *low)))
        target_shape = (2, 3, *size) if task == "multilabel" else (2, *size)
        target = torch.from_numpy(rng.choice([0, 1, 255], target_shape))
        counting = Counting.of(classes, task=task, upsample=upsample, ignore_index=255)
        inputs.append((read(preds, target, counting), counting))
    whole = [plain.count(*pair) for pair in inputs]
    monkeypatch.setattr(plain, "BLOCK", block)
    for pair, expected in zip(inputs, whole, strict=True):
        assert torch.equal(plain.count(*pair), expected)
