"""What a label value means, as a small code, and how a joint histogram of codes becomes counts.

A backend turns every pixel into a code of its target and a code of its prediction and counts the
pairs: a joint histogram ``(channels, target codes, prediction codes)``. Codes below the number of
labels are the labels themselves. Everything about ignoring, abstaining and bad labels is said here
once, whatever the backend.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from segmetrics._arrays import namespace, where
from segmetrics.counting.settings import Counting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Int64Array = NDArray[np.int64]
#: Tensors, or arrays of NumPy: both go through the same lines.
Labels = TypeVar("Labels", "Tensor", Int64Array)

# Codes behind the labels, as offsets to their number; bad ones in the order of ``BAD_KINDS``.
IGNORED, NEGATIVE, IS_255, TOO_LARGE, TARGET_NOT_ONE_HOT = range(5)
ABSTAINED, IMPOSSIBLE, OUTSIDE, PREDS_NOT_ONE_HOT = range(4)

#: Tables of codes where only marginals are kept, see ``fold_tables``.
MISSED, HIT, BESIDE_BAD, PREDICTED = range(4)

#: Mapped values below it are looked up in a table; compiled backends search for the others, if
#: there are at most so many.
NEAR, MOST_FAR = 2**15, 2**8

#: The value that stands for a pixel whose channels do not hold exactly one 1.
NOT_ONE_HOT = -(2**63)


def histogram_shape(counting: Counting) -> tuple[int, int, int]:
    """Shape of the joint histogram: channels, target codes, prediction codes."""
    return counting.channels, counting.labels + 5, counting.labels + 4


def tables_shape(counting: Counting) -> tuple[int, int, int]:
    """Shape of the tables of an image, see ``fold_tables``."""
    return counting.channels, 4, counting.labels + 5


def target_codes(target: Labels, counting: Counting, *, one_hot: bool = False) -> Labels:
    """Codes of int64 target labels; those read from one-hot channels are classes already."""
    labels = counting.labels
    too_large: Labels = namespace(target).full_like(target, labels + TOO_LARGE)
    bad = where(target >= 0, too_large, labels + NEGATIVE)
    bad = where(target != 255, bad, labels + IS_255)
    if counting.ids and not one_hot:
        return _mapped(target, counting, labels + IGNORED, bad)
    code = where((target >= 0) & (target < labels), target, bad)
    for value in counting.ignored_classes if one_hot else counting.ignore_index:
        code = where(target != value, code, labels + IGNORED)
    return where(target != NOT_ONE_HOT, code, labels + TARGET_NOT_ONE_HOT) if one_hot else code


def preds_codes(preds: Labels, counting: Counting, *, one_hot: bool = False) -> Labels:
    """Codes of int64 predicted labels; an ignored value that is no class is an abstention."""
    labels = counting.labels
    bad: Labels = namespace(preds).full_like(preds, labels + OUTSIDE)
    if counting.map_preds and not one_hot:
        return _mapped(preds, counting, labels + ABSTAINED, bad)
    code = where((preds >= 0) & (preds < labels), preds, bad)
    for value in counting.ignore_index:
        if not 0 <= value < labels:
            code = where(preds != value, code, labels + ABSTAINED)
    return where(preds != NOT_ONE_HOT, code, labels + PREDS_NOT_ONE_HOT) if one_hot else code


class Table(NamedTuple):
    """Codes of values that are mapped: of those from 0 on, and of known ones that lie elsewhere."""

    near: Any
    far: tuple[int, ...]
    codes_of_far: tuple[int, ...]


@lru_cache(maxsize=64)
def table(counting: Counting, *, target: bool) -> Table | None:
    """Where compiled backends look up labels of the target, or predicted ones; None if nowhere."""
    if not (counting.ids and (target or counting.map_preds)):
        return None
    code_of = target_codes if target else preds_codes
    known = {255, *counting.ids, *counting.ignore_index}
    near = np.arange(1 + max(value for value in known if value < NEAR))
    far = tuple(sorted(value for value in known if not 0 <= value < len(near)))
    codes_of_far = code_of(np.array(far, np.int64), counting).tolist()
    return Table(code_of(near, counting).astype(np.int32), far, tuple(codes_of_far))


@lru_cache(maxsize=64)
def tabular(counting: Counting) -> bool:
    """Whether compiled backends can look up values where any are mapped, see ``table``."""
    far = [value for value in counting.ids + counting.ignore_index if not 0 <= value < NEAR]
    return not counting.ids or len(far) <= MOST_FAR


def fold(histogram: Labels, counting: Counting) -> Labels:
    """Turn joint histograms ``(..., channels, rows, columns)`` into counts ``(..., size)``.

    The counts are followed by the bad pixels in the order of ``BAD_KINDS``; a bad target counts
    under its own kind, whatever is predicted there. Small arrays of NumPy are folded sooner.
    """
    xp, labels = namespace(histogram), counting.labels
    cells = histogram[..., :labels, : labels + ABSTAINED + 1]
    if counting.only_marginals:
        hits = xp.diagonal(cells, 0, -2, -1)
        cells = xp.stack([hits, cells.sum(-2)[..., :labels], cells.sum(-1)], -1)
    bad_target = histogram[..., labels + IGNORED + 1 :, :].sum((-3, -1))
    bad_preds = histogram[..., :labels, labels + ABSTAINED + 1 :].sum((-3, -2))
    cells = cells.reshape(*bad_target.shape[:-1], counting.cells)
    folded: Labels = xp.concatenate([cells, bad_target, bad_preds], -1)
    return folded


def fold_tables(tables: NDArray[np.int64], counting: Counting) -> NDArray[np.int64]:
    """``fold`` of what is left of joint histograms where ``only_marginals`` are wanted.

    The tables ``(..., channels, 4, codes)`` hold, by their codes, targets that the prediction
    missed, that it hit, and beside which it is bad; then predictions where targets are labels.
    """
    labels = counting.labels
    missed, hit, beside_bad, predicted = np.moveaxis(tables, -2, 0)
    cells = np.stack([hit, predicted, hit + missed], -1)[..., :labels, :]
    bad_target = (missed + hit + beside_bad)[..., labels + IGNORED + 1 :].sum(-2)
    bad_preds = predicted[..., labels + ABSTAINED + 1 : labels + PREDS_NOT_ONE_HOT + 1].sum(-2)
    cells = cells.reshape(*bad_target.shape[:-1], counting.cells)
    return np.concatenate([cells, bad_target, bad_preds], -1)


def to_int64(labels: NDArray[Any]) -> Int64Array:
    """Labels in int64; what uint64 holds beyond becomes the largest int64, not a negative."""
    if labels.dtype == np.uint64:
        labels = np.minimum(labels, np.uint64(2**63 - 1))
    return labels.astype(np.int64, copy=False)


def _mapped(values: Labels, counting: Counting, ignored: int, otherwise: Labels) -> Labels:
    """Codes of values that are mapped or ignored, and of all the others."""
    xp: Any = namespace(values)
    known, code_of_known = _known(counting, ignored, None if xp is np else values.device)
    place = xp.searchsorted(known, values).clip(0, len(known) - 1)
    codes: Labels = where(known[place] == values, code_of_known[place], otherwise)
    return codes


@cache  # for ever: captured CUDA graphs read it, and nothing is copied to a device twice
def _known(counting: Counting, ignored: int, device: torch.device | None) -> tuple[Any, Any]:
    """The values that are mapped or ignored in rising order, and their codes.

    Tensors on a device, or for None arrays of NumPy.
    """
    codes = dict(zip(counting.ids, counting.classes_of_ids, strict=True))
    codes.update(dict.fromkeys(counting.ignore_index, ignored))
    known, code_of_known = np.array(sorted(codes.items()), np.int64).T.copy()
    if device is None:
        return known, code_of_known
    import torch

    return torch.from_numpy(known).to(device), torch.from_numpy(code_of_known).to(device)
