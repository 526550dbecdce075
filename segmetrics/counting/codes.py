"""What a label value means, as a small code, and how a joint histogram of codes becomes counts.

A backend turns every pixel into a code of its target and a code of its prediction and counts the
pairs: a joint histogram ``(channels, target codes, prediction codes)``. Codes below the number of
labels are the labels themselves. Everything about ignoring, abstaining and bad labels is said here
once, whatever the backend.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segmetrics.counting.inputs import BAD_KINDS, Counting

# Codes behind the labels, as offsets to their number.
IGNORED, NEGATIVE, IS_255, TOO_LARGE, TARGET_NOT_ONE_HOT = range(5)
ABSTAINED, OUTSIDE, PREDS_NOT_ONE_HOT, IMPOSSIBLE = range(4)

#: The value that stands for a pixel whose channels do not hold exactly one 1.
NOT_ONE_HOT = -(2**63)


def histogram_shape(counting: Counting) -> tuple[int, int, int]:
    """Shape of the joint histogram: channels, target codes, prediction codes."""
    return counting.channels, counting.labels + 5, counting.labels + 4


def target_codes(target: Tensor, counting: Counting, *, one_hot: bool = False) -> Tensor:
    """Codes of int64 target labels."""
    labels = counting.labels
    code = target.where(target >= 0, labels + NEGATIVE)
    code = code.where(target < labels, labels + TOO_LARGE)
    if labels <= 255:
        code = code.where(target != 255, labels + IS_255)
    for value in counting.ignore_index:
        code = code.where(target != value, labels + IGNORED)
    return code.where(target != NOT_ONE_HOT, labels + TARGET_NOT_ONE_HOT) if one_hot else code


def preds_codes(preds: Tensor, counting: Counting, *, one_hot: bool = False) -> Tensor:
    """Codes of int64 predicted labels; an ignored value outside the classes is an abstention."""
    labels = counting.labels
    code = preds.where((preds >= 0) & (preds < labels), labels + OUTSIDE)
    for value in counting.ignore_index:
        if not 0 <= value < labels:
            code = code.where(preds != value, labels + ABSTAINED)
    return code.where(preds != NOT_ONE_HOT, labels + PREDS_NOT_ONE_HOT) if one_hot else code


def fold(histogram: Tensor, counting: Counting) -> Tensor:
    """Turn joint histograms ``(..., channels, rows, columns)`` into counts ``(..., size)``.

    The counts are followed by the bad pixels in the order of ``BAD_KINDS``; a bad target counts
    under its own kind, whatever is predicted there.
    """
    labels = counting.labels
    by_target = histogram.sum((-3, -1))[..., labels:]
    by_preds = histogram[..., :labels, labels:].sum((-3, -2))
    kinds = {
        "target_negative": by_target[..., NEGATIVE],
        "target_255": by_target[..., IS_255],
        "target_too_large": by_target[..., TOO_LARGE],
        "target_not_one_hot": by_target[..., TARGET_NOT_ONE_HOT],
        "scores_impossible": by_preds[..., IMPOSSIBLE],
        "preds_outside": by_preds[..., OUTSIDE],
        "preds_not_one_hot": by_preds[..., PREDS_NOT_ONE_HOT],
    }
    cells = histogram[..., :labels, : labels + 1]
    if counting.per_image:
        hits = cells.diagonal(dim1=-2, dim2=-1)
        cells = torch.stack([hits, cells.sum(-2)[..., :labels], cells.sum(-1)], -1)
    bad = torch.stack([kinds[kind] for kind in BAD_KINDS], -1)
    return torch.cat([cells.flatten(bad.ndim - 1), bad], -1)
