"""Codes of label values, and how a joint histogram of codes becomes counts.

A backend maps the target and the prediction of every pixel to a code each and counts the pairs: a
joint histogram ``(channels, target codes, prediction codes)``. Codes below the number of labels are
the labels themselves. What is ignored, an abstention or a bad label is defined here, once for all
backends.
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
#: Tensors or NumPy arrays: the same code takes both.
Labels = TypeVar("Labels", "Tensor", Int64Array)

# Codes above the labels, as offsets to their number; bad ones in the order of ``BAD_KINDS``.
IGNORED, NEGATIVE, IS_255, TOO_LARGE, TARGET_NOT_ONE_HOT = range(5)
ABSTAINED, IMPOSSIBLE, OUTSIDE, PREDS_NOT_ONE_HOT = range(4)

#: Tables of codes if only marginals are kept, see ``fold_tables``.
MISSED, HIT, WITH_BAD_PREDS, PREDICTED = range(4)

#: Compiled backends look up mapped values below ``NEAR`` in a table, and compare with the others,
#: at most ``MOST_FAR``.
NEAR, MOST_FAR = 2**15, 2**8

#: Sentinel of a pixel whose channels do not hold exactly one 1.
NOT_ONE_HOT = -(2**63)


def histogram_shape(counting: Counting) -> tuple[int, int, int]:
    """Shape of the joint histogram: channels, target codes, prediction codes."""
    return counting.channels, counting.labels + 5, counting.labels + 4


def tables_shape(counting: Counting) -> tuple[int, int, int]:
    """Shape of the tables of an image, see ``fold_tables``."""
    return counting.channels, 4, counting.labels + 5


def target_codes(target: Labels, counting: Counting, *, one_hot: bool = False) -> Labels:
    """Codes of int64 target labels. Labels from one-hot channels are classes and are not mapped."""
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
    """Codes of int64 predicted labels. An ignored value outside the classes is an abstention."""
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
    """Codes of mapped values: a lookup table of those from 0 on, and a list of the others."""

    near: Any
    far: tuple[int, ...]
    codes_of_far: tuple[int, ...]


@lru_cache(maxsize=64)
def table(counting: Counting, *, target: bool) -> Table | None:
    """The lookup table of target or predicted labels for compiled backends; None if not mapped."""
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
    """Whether compiled backends can look up all mapped values, see ``table``."""
    far = [value for value in counting.ids + counting.ignore_index if not 0 <= value < NEAR]
    return not counting.ids or len(far) <= MOST_FAR


def fold(histogram: Labels, counting: Counting) -> Labels:
    """Reduce joint histograms ``(..., channels, rows, columns)`` to counts ``(..., size)``.

    The counts are followed by the bad pixels in the order of ``BAD_KINDS``. A pixel with a bad
    target counts under its target's kind, whatever the prediction.
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
    """``fold`` of the tables that replace joint histograms if ``only_marginals`` are kept.

    The tables ``(..., channels, 4, codes)`` count target codes where the prediction is wrong, where
    it is right and where it is bad, then prediction codes where the target is a label.
    """
    labels = counting.labels
    missed, hit, with_bad_preds, predicted = np.moveaxis(tables, -2, 0)
    cells = np.stack([hit, predicted, hit + missed], -1)[..., :labels, :]
    bad_target = (missed + hit + with_bad_preds)[..., labels + IGNORED + 1 :].sum(-2)
    bad_preds = predicted[..., labels + ABSTAINED + 1 : labels + PREDS_NOT_ONE_HOT + 1].sum(-2)
    cells = cells.reshape(*bad_target.shape[:-1], counting.cells)
    return np.concatenate([cells, bad_target, bad_preds], -1)


def to_int64(labels: NDArray[Any]) -> Int64Array:
    """Labels as int64. Values of uint64 above the range saturate."""
    if labels.dtype == np.uint64:
        labels = np.minimum(labels, np.uint64(2**63 - 1))
    return labels.astype(np.int64, copy=False)


def _mapped(values: Labels, counting: Counting, ignored: int, otherwise: Labels) -> Labels:
    """Codes of mapped and ignored values, and ``otherwise`` for all others."""
    xp: Any = namespace(values)
    known, code_of_known = _known(counting, ignored, None if xp is np else values.device)
    place = xp.searchsorted(known, values).clip(0, len(known) - 1)
    codes: Labels = where(known[place] == values, code_of_known[place], otherwise)
    return codes


@cache  # never freed: captured CUDA graphs read it, and one copy to a device is enough
def _known(counting: Counting, ignored: int, device: torch.device | None) -> tuple[Any, Any]:
    """The mapped and ignored values in ascending order, and their codes.

    Tensors on a device, or NumPy arrays for None.
    """
    codes = dict(zip(counting.ids, counting.classes_of_ids, strict=True))
    codes.update(dict.fromkeys(counting.ignore_index, ignored))
    known, code_of_known = np.array(sorted(codes.items()), np.int64).T.copy()
    if device is None:
        return known, code_of_known
    import torch

    return torch.from_numpy(known).to(device), torch.from_numpy(code_of_known).to(device)
