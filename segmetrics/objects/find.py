"""The objects of two label maps by the rules, dilation included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics.counting import codes
from segmetrics.counting.settings import Counting
from segmetrics.objects import object_pairs, segment_pairs
from segmetrics.objects.rules import Rules
from segmetrics.objects.table import IGNORED, NO_OBJECT, Bools, Ints, ObjectPairs

#: Values below it are looked up in a table.
FEW = 256

#: Says which label values are, see ``counting.codes``.
CodeOf = Callable[[Ints, Counting], Ints]


def pairs_of(
    preds: NDArray[Any], target: NDArray[Any], rules: Rules, smallest: int
) -> tuple[ObjectPairs, Bools]:
    """The table of two maps' objects, and which objects of the target count.

    Args:
        preds: classes from 0 on or ``NO_OBJECT``; one class only where the rules dilate.
        target: the same, or ``IGNORED``.
        rules: what an object is.
        smallest: the smallest number of pixels of an object.
    """
    if rules.cut_first:
        preds = np.where(target == IGNORED, NO_OBJECT, preds)
    maps = rules.measures_surfaces
    if rules.dilation:
        pairs = _dilated_pairs(preds, target, rules)
    elif rules.connectivity == "edges":
        pairs = _given(_components(preds, 2), _components(target, 2), maps=maps)
    else:
        pairs = object_pairs(preds, target, connectivity=rules.connectivity, maps=maps)
    return sized(pairs, rules, smallest)


def pairs_of_labels(
    preds: NDArray[Any],
    target: NDArray[Any],
    counting: Counting,
    row_of: Sequence[int],
    rules: Rules,
) -> ObjectPairs | None:
    """The table of two maps of labels as they are given; None for rules that look at pixels.

    Where runs of pixels are found first, only their values are looked up.

    Args:
        preds: labels, integers ``(H, W)`` or ``(D, H, W)``.
        target: the same.
        counting: what labels mean.
        row_of: what is the class of every label in the table, or ``NO_OBJECT``.
        rules: what an object is.

    Raises:
        UnknownLabelError: a label without a meaning, although others are ignored.
    """
    if rules.dilation or rules.cut_first or rules.connectivity == "edges":
        return None
    rows = np.array([IGNORED, NO_OBJECT, *row_of], np.int64)
    return object_pairs(
        preds,
        target,
        connectivity=rules.connectivity,
        maps=rules.measures_surfaces,
        of_preds=lambda values: rows[_labels(values, codes.preds_codes, NO_OBJECT, counting)],
        of_target=lambda values: rows[_labels(values, codes.target_codes, IGNORED, counting)],
    )


class UnknownLabelError(ValueError):
    """A label that has no meaning."""


def _labels(values: Ints, code_of: CodeOf, other: int, counting: Counting) -> Ints:
    """Where labels, or what stands for those that are ignored or abstentions, are in ``rows``."""
    few = len(values) and values.min() >= 0 and values.max() < FEW
    places = (
        _places_of_few(code_of, other, counting)[values]
        if few
        else _places(values, code_of, other, counting)
    )
    if places.min(initial=0) < 0:
        raise UnknownLabelError
    return places


@lru_cache(8)
def _places_of_few(code_of: CodeOf, other: int, counting: Counting) -> Ints:
    return _places(np.arange(FEW), code_of, other, counting)


def _places(values: Ints, code_of: CodeOf, other: int, counting: Counting) -> Ints:
    """Where labels are in ``rows``, or -1 of those without a meaning."""
    found = code_of(values, counting)
    places: Ints = np.where(found == counting.labels, other, found).astype(np.int64) - IGNORED
    places[found > counting.labels] = -1
    return places


def sized(pairs: ObjectPairs, rules: Rules, smallest: int) -> tuple[ObjectPairs, Bools]:
    """The table without objects that are too small, and which of the target's count."""
    if rules.small_targets == "ignored":
        pairs = pairs.at_least(smallest)
        return pairs, np.ones(len(pairs.target.sizes), bool)
    if rules.small_preds:
        every = np.ones(len(pairs.target.sizes), bool)
        pairs = pairs.keep(every, pairs.preds.sizes >= smallest)
    return pairs, pairs.target.sizes >= smallest


#: The number of the object at every pixel, ``NO_OBJECT`` or ``IGNORED``; the objects' classes.
Numbered = tuple[NDArray[Any], Ints]


def _given(preds: Numbered, target: Numbered, *, maps: bool) -> ObjectPairs:
    """The table of numbered objects."""

    def classify(classes: Ints) -> Any:
        padded = np.append(classes, [IGNORED, NO_OBJECT])  # numbers -2 and -1 are its last two
        return lambda values: (padded[values[:, 0]], values[:, 0])

    numbers = preds[0][..., None], target[0][..., None]
    return segment_pairs(*numbers, classify(preds[1]), classify(target[1]), maps=maps).counted()


def _components(labels: NDArray[Any], steps: int) -> Numbered:
    """Connected components, neighbours being at most one pixel away along ``steps`` axes."""
    ndimage = _ndimage()
    structure = ndimage.generate_binary_structure(labels.ndim, min(steps, labels.ndim))
    numbers = np.minimum(labels, NO_OBJECT).astype(np.int64)
    classes: list[int] = []
    for label in np.unique(labels[labels >= 0]).tolist():
        pieces, number = ndimage.label(labels == label, structure)
        numbers[pieces > 0] = pieces[pieces > 0] - 1 + len(classes)
        classes += [label] * number
    return numbers, np.array(classes, np.int64)


def _dilated_pairs(preds: NDArray[Any], target: NDArray[Any], rules: Rules) -> ObjectPairs:
    """The table of objects that are combined where their dilations meet.

    A predicted object within the dilation of an object of the target is in a pair with it, also
    where they share no pixel.
    """
    near = _dilated_components(target >= 0, rules.dilation)
    one_class = np.zeros(near.max(initial=-1) + 1, np.int64)
    of_target = np.where(target >= 0, near, target), one_class
    of_preds = _components(preds, preds.ndim)
    if rules.combine_preds:
        combined = _dilated_components(preds >= 0, rules.dilation)
        classes = np.zeros(combined.max(initial=-1) + 1, np.int64)
        of_preds = np.where(preds >= 0, combined, preds), classes
    pairs = _given(of_preds, of_target, maps=True)
    assert pairs.target_map is not None
    assert pairs.preds_map is not None
    inside = pairs.target_map >= 0
    target_of = np.zeros(len(one_class), np.int64)
    target_of[near[inside]] = pairs.target_map[inside]
    touch = (near >= 0) & (pairs.preds_map >= 0)
    return _with_pairs(pairs, target_of[near[touch]], pairs.preds_map[touch])


def _with_pairs(pairs: ObjectPairs, target: Ints, preds: NDArray[Any]) -> ObjectPairs:
    """The table with pairs that share no pixel added."""
    number = max(len(pairs.preds.sizes), 1)
    known = pairs.pair_target * number + pairs.pair_preds
    every = np.union1d(target * number + preds, known)
    pixels = np.zeros(len(every), np.int64)
    pixels[np.searchsorted(every, known)] = pairs.pair_pixels
    return replace(
        pairs, pair_target=every // number, pair_preds=every % number, pair_pixels=pixels
    )


def _dilated_components(mask: Bools, dilation: int) -> Ints:
    """The component of the dilated mask at every pixel, from 0 on, or ``NO_OBJECT``.

    Each step reaches the neighbours that share an edge, as BraTS dilates.
    """
    ndimage = _ndimage()
    numbers = np.full(mask.shape, NO_OBJECT, np.int64)
    if not mask.any():
        return numbers
    box = tuple(
        slice(max(0, where.min() - dilation), where.max() + dilation + 1)
        for where in np.nonzero(mask)
    )
    steps = ndimage.generate_binary_structure(mask.ndim, min(2, mask.ndim))
    dilated = ndimage.binary_dilation(mask[box], steps, iterations=dilation)
    every = ndimage.generate_binary_structure(mask.ndim, mask.ndim)
    numbers[box] = ndimage.label(dilated, every)[0] - 1
    return numbers


def _ndimage() -> Any:
    """``scipy.ndimage``, imported when first needed."""
    try:
        from scipy import ndimage  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(
            "these rules dilate objects, or connect them over edges, with SciPy: "
            "`pip install scipy`."
        ) from error
    return ndimage
