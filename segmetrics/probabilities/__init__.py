"""Probabilities: scores become bins of confidences and sums of errors, in one pass.

The second of the package's tables, all of integers: how often a confidence is right, and the sums
of squared errors and log losses. ``inputs.py`` defines how scores are read as probabilities;
``plain.py`` is the definition, the other backends count the same faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, cast

import torch
from torch import Tensor

from segmetrics.counting import Counting, installed, raise_if_bad
from segmetrics.counting.errors import kinds
from segmetrics.counting.inputs import as_arrays
from segmetrics.counting.settings import InputFormat, Pixels, Task, Upsample
from segmetrics.probabilities import plain
from segmetrics.probabilities.inputs import (
    BAD_KINDS,
    Binning,
    Probabilities,
    ProbabilityArguments,
    Sums,
    read_scores,
)

__all__ = [
    "BAD_KINDS",
    "Probabilities",
    "ProbabilityArguments",
    "Sums",
    "count",
    "messages",
]


def count(preds: Tensor, target: Tensor, reading: Probabilities, *, check: bool = False) -> Tensor:
    """Count the probabilities of a batch.

    Args:
        preds: scores, see the design's table of inputs.
        target: labels, on the same device.
        reading: how scores are read, and what is counted.
        check: raise for bad pixels on every device, which makes a GPU wait. On the CPU they always
            raise.

    Returns:
        int64 ``(reading.cells + len(BAD_KINDS),)``, with ``reading.per_image`` one such row an
        image. ``reading.sums`` and ``.bad`` read it.

    Raises:
        TypeError: a dtype that cannot be read, or labels instead of scores.
        ValueError: shapes or devices that do not match, bad labels or impossible probabilities.
    """
    if torch.compiler.is_compiling():
        settings = [getattr(reading, field.name) for field in fields(reading)]
        counts: Tensor = _count_op(preds, target, *settings, check)
        return counts
    return _count(preds, target, reading, check)


def _count(preds: Tensor, target: Tensor, reading: Probabilities, check: bool) -> Tensor:
    pixels = read_scores(preds, target, reading)
    counts = _backend(pixels)(pixels, reading)
    if check or counts.device.type == "cpu":
        raise_if_bad(reading.bad(counts), reading, pixels, messages(reading))
    return counts


def messages(reading: Counting) -> dict[str, str]:
    """A sentence or two for each of ``BAD_KINDS``, to be put behind a number."""
    of_counting = kinds(reading)
    scores = "counted pixels of `preds` have"
    logits = "For logits pass `from_logits=True`."
    if reading.from_logits:
        nan = "a NaN among their logits, or infinite ones. Has the model diverged?"
    else:
        nan = "a NaN among their probabilities. Has the model diverged?"
    return {
        **{kind: of_counting[kind] for kind in BAD_KINDS if kind in of_counting},
        "scores_nan": f"{scores} {nan}",
        "scores_outside": f"{scores} probabilities outside [0, 1]. {logits} A rounding error of "
        "resized or averaged probabilities? Pass `preds.clamp(0, 1)`.",
        "scores_sum": f"{scores} probabilities that do not sum to 1 over the classes. {logits} "
        "Independent sigmoids? Pass task='multilabel'.",
    }


def _backend(pixels: Pixels) -> Callable[[Pixels, Probabilities], Tensor]:
    """The backend for these inputs, loaded when it is first needed."""
    device, as_labels = pixels.target.device.type, pixels.target_are == "labels"
    if device == "cuda" and as_labels and installed("triton"):
        from segmetrics.probabilities import cuda

        return cuda.count
    if device == "cpu" and as_labels and installed("numba"):
        return count_on_cpu
    return plain.count


def count_on_cpu(pixels: Pixels, reading: Probabilities) -> Tensor:
    """The counts of ``plain.count`` by compiled kernels, of labels and scores."""
    from segmetrics.counting.cpu import countable
    from segmetrics.probabilities import cpu

    if pixels.target.numel() and countable(reading):
        return torch.from_numpy(cpu.count(as_arrays(pixels), reading))
    return plain.count(pixels, reading)


@torch.library.custom_op("segmetrics::count_probabilities", mutates_args=())
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
    bins: int,
    binning: str,
    classwise: bool,
    temperatures: list[float],
    tolerance: float,
    check: bool,
) -> Tensor:
    """Counting as one operator, whose arguments are the fields of ``Probabilities``."""
    reading = Probabilities(
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
        bins=bins,
        binning=cast(Binning, binning),
        classwise=classwise,
        temperatures=tuple(temperatures),
        tolerance=tolerance,
    )
    return _count(preds, target, reading, check)


@_count_op.register_fake
def _(preds: Tensor, target: Tensor, *settings: Any) -> Tensor:
    reading = Probabilities(*settings[:-1])
    size = reading.cells + len(BAD_KINDS)
    shape = (target.shape[0], size) if reading.per_image else (size,)
    return target.new_empty(shape, dtype=torch.int64)
