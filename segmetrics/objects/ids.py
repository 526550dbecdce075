"""Instance maps: objects that are given by ids, connected or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segmetrics.counting import codes
from segmetrics.counting.settings import Counting
from segmetrics.objects import segment_pairs
from segmetrics.objects.table import IGNORED, NO_OBJECT, Classify, Ints, ObjectPairs

SideName = Literal["preds", "target"]


class IdError(ValueError):
    """Values of an instance map that have no meaning.

    Attributes:
        side: which of the two maps.
        detail: what it holds, and what to do.
    """

    def __init__(self, side: SideName, detail: str) -> None:
        super().__init__(f"`{side}` {detail}")
        self.side, self.detail = side, detail


def pairs_of_ids(
    preds: NDArray[Any],
    target: NDArray[Any],
    counting: Counting,
    row_of: Sequence[int],
    *,
    maps: bool = False,
) -> ObjectPairs:
    """The table of the objects of two instance maps: the pixels of one class and one id.

    Args:
        preds: integers ``(H, W, 1)`` or ``(D, H, W, 1)``, an id or 0 where there is no object; or
            ``(H, W, 2)`` or ``(D, H, W, 2)``, a category and an id.
        target: the same.
        counting: what categories mean, and which values do not count.
        row_of: what is the class of every label in the table, or ``NO_OBJECT``.
        maps: whether the table also has the maps of objects.

    Raises:
        IdError: a negative id, an unknown category, or an ignored value among predicted ids.
    """
    rows = np.array([IGNORED, NO_OBJECT, *row_of], np.int64)

    def of(side: SideName) -> Classify:
        def classify(values: Ints) -> tuple[Ints, Ints]:
            labels = _labels(values, counting, side)
            classes = rows[labels - IGNORED]
            _check_ids(values[classes >= 0], side)
            # categories of the same class share its ids; ids in a region are distinct by class
            _, objects = np.unique(np.stack([labels, values[:, -1]]), axis=1, return_inverse=True)
            return classes, objects.ravel()

        return classify

    return segment_pairs(preds, target, of("preds"), of("target"), maps=maps).counted()


def _labels(values: Ints, counting: Counting, side: SideName) -> Ints:
    """The label of every pixel's values, ``NO_OBJECT`` or ``IGNORED``."""
    if values.shape[1] == 1:
        return _labels_of_ids(values[:, 0], counting, side)
    given = values[:, 0]
    of_target = side == "target"
    found = (codes.target_codes if of_target else codes.preds_codes)(given, counting)
    last = counting.labels  # the code of what is ignored, or abstained from
    if (bad := given[found > last]).size:
        of_void = of_target and 255 in bad
        hint = "Pass `ignore_index=255`." if of_void else f"Categories are 0 to {last - 1}."
        raise IdError(side, f"holds the unknown category {255 if of_void else bad[0]}. {hint}")
    return np.where(found == last, IGNORED if of_target else NO_OBJECT, found).astype(np.int64)


def _labels_of_ids(ids: Ints, counting: Counting, side: SideName) -> Ints:
    """1 where there is an object, 0 where there is none; of what is ignored as ``_labels``."""
    labels: Ints = (ids != 0).astype(np.int64)
    for value in counting.ignore_index:
        if side == "preds" and value > 0 and value in ids:
            raise IdError(
                side,
                f"holds {value}, which does not count in the target: here it may be void or an "
                "object. Give void pixels the id 0, or the object another id.",
            )
        if side == "target" or value:
            labels[ids == value] = IGNORED if side == "target" else NO_OBJECT
    return labels


def _check_ids(values: Ints, side: SideName) -> None:
    """Raise for negative ids of objects."""
    negative = values[values[:, -1] < 0]
    if not len(negative):
        return
    *category, id_ = negative[0].tolist()
    if category:
        raise IdError(side, f"holds the id {id_} of category {category[0]}. Ids are not negative.")
    hint = f"`ignore_index={id_}` says that such pixels do not count."
    raise IdError(side, f"holds the id {id_}. Ids are not negative; {hint}")
