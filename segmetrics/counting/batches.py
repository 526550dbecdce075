"""Counts batches of tensors with the backend for their device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import fields
from typing import Any, cast

import torch
from torch import Tensor

from segmetrics.counting import installed, plain
from segmetrics.counting.errors import raise_if_bad
from segmetrics.counting.inputs import as_arrays, read
from segmetrics.counting.settings import (
    BAD_KINDS,
    Counting,
    InputFormat,
    Pixels,
    Task,
    Upsample,
)


def count(preds: Tensor, target: Tensor, counting: Counting, *, check: bool = False) -> Tensor:
    """Count the pixels of a batch.

    Args:
        preds: labels or scores, as ``MeanIoU`` takes them.
        target: labels, on the same device.
        counting: what is counted.
        check: raise for bad labels on every device, which synchronizes a GPU. On the CPU they
            always raise.

    Returns:
        int64 ``(counting.cells + len(BAD_KINDS),)``, with ``counting.per_image`` one such row an
        image. ``counting.matrices``, ``.marginals`` and ``.bad`` read it.

    Raises:
        TypeError: a dtype that is not supported.
        ValueError: shapes or devices that do not match, or bad labels.
    """
    if torch.compiler.is_compiling():
        settings = [getattr(counting, field.name) for field in fields(counting)]
        counts: Tensor = _count_op(preds, target, *settings, check)
        return counts
    return _count(preds, target, counting, check)


def _count(preds: Tensor, target: Tensor, counting: Counting, check: bool) -> Tensor:
    pixels = read(preds, target, counting)
    if counting.per_image and preds.ndim == target.ndim == 2 < 1 + min(target.shape):
        _warn_of_rows(counting)
    counts = _backend(pixels)(pixels, counting)
    if check or counts.device.type == "cpu":
        raise_if_bad(counting.bad(counts), counting, pixels)
    return counts


def _warn_of_rows(counting: Counting) -> None:
    """Warn that every row is read as an image: one map (H, W) is more common than point sets."""
    if counting.task != "multilabel" and counting.input_format is None:
        warnings.warn(
            "`preds` and `target` of two dimensions are read as (N, L): every row is an image. For "
            "one image (H, W) pass `preds[None]` and `target[None]`; for point sets (N, L) "
            "`preds[:, None]` and `target[:, None]`.",
            stacklevel=2,
        )


def _backend(pixels: Pixels) -> Callable[[Pixels, Counting], Tensor]:
    """The backend for these inputs, loaded when it is first needed."""
    device, one_hot = pixels.target.device.type, "one-hot" in (pixels.preds_are, pixels.target_are)
    if device == "cuda" and not one_hot and installed("triton"):
        from segmetrics.counting import cuda

        return cuda.count
    if device == "cpu" and not one_hot and installed("numba"):
        return count_on_cpu
    return plain.count


def count_on_cpu(pixels: Pixels, counting: Counting) -> Tensor:
    """The counts of ``plain.count``, for labels and scores, by compiled kernels."""
    from segmetrics.counting import cpu

    if pixels.target.numel() and cpu.countable(counting):
        return torch.from_numpy(cpu.count(as_arrays(pixels), counting))
    return plain.count(pixels, counting)


@torch.library.custom_op("segmetrics::count", mutates_args=())
def _count_op(
    preds: Tensor,
    target: Tensor,
    task: str,
    num_classes: int,
    ignore_index: list[int],
    ids: list[int],
    classes_of_ids: list[int],
    map_preds: bool,
    threshold: float,
    from_logits: bool,
    upsample: str | None,
    input_format: str | None,
    per_image: bool,
    check: bool,
) -> Tensor:
    """Counting as one operator, and so one graph node. Takes the fields of ``Counting``."""
    counting = Counting(
        task=cast(Task, task),
        num_classes=num_classes,
        ignore_index=tuple(ignore_index),
        ids=tuple(ids),
        classes_of_ids=tuple(classes_of_ids),
        map_preds=map_preds,
        threshold=threshold,
        from_logits=from_logits,
        upsample=cast("Upsample | None", upsample),
        input_format=cast("InputFormat | None", input_format),
        per_image=per_image,
    )
    return _count(preds, target, counting, check)


@_count_op.register_fake
def _(preds: Tensor, target: Tensor, *settings: Any) -> Tensor:
    counting = Counting(*settings[:-1])
    size = counting.cells + len(BAD_KINDS)
    shape = (target.shape[0], size) if counting.per_image else (size,)
    return target.new_empty(shape, dtype=torch.int64)
