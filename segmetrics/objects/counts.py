"""Label maps of an image to integers per class, and scores off their sums.

What metrics, tables of images and the command share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import nan, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics._arrays import where
from segmetrics.counting.settings import Counting
from segmetrics.objects import distances, relabelled
from segmetrics.objects.find import UnknownLabelError, pairs_of, pairs_of_labels, sized
from segmetrics.objects.ids import pairs_of_ids
from segmetrics.objects.matching import matched
from segmetrics.objects.rules import Rules
from segmetrics.objects.scores import SCORES, SUMMED, Image, Sums, at_thresholds
from segmetrics.objects.table import IGNORED, NO_OBJECT, Bools, Ints, ObjectPairs, Side

#: Scores that are shares of the objects that there are: 0/0 is ``zero_division``.
SHARES = (
    "object_precision",
    "object_recall",
    "object_f1",
    "object_dice",
    "object_iou",
    "object_surface_dice",
    "aggregated_jaccard",
)


@dataclass(frozen=True)
class Scheme:
    """Which objects are summed in which row.

    Attributes:
        rules: what an object is, and when it is found.
        labels: number of labels in a map.
        channels: the maps that are looked at.
        classes: the labels with a row for each of these.
        regions: the labels of every region, which has a row behind them.
    """

    rules: Rules
    labels: int
    channels: tuple[int, ...]
    classes: tuple[int, ...]
    regions: tuple[tuple[int, ...], ...] = ()

    @property
    def of_classes(self) -> int:
        """The number of rows of classes; those of regions follow."""
        return len(self.channels) * len(self.classes)

    @property
    def shape(self) -> tuple[int, int]:
        """The rows, with the objects of each."""
        return self.of_classes + len(self.regions), len(columns_of(self.rules))

    def count(self, preds: NDArray[Any], target: NDArray[Any], spacing: Sequence[float]) -> Ints:
        """The sums of an image ``(rows, columns)``.

        Args:
            preds: maps ``(channels, H, W)`` or ``(channels, D, H, W)`` of labels from 0 on, or
                ``NO_OBJECT``.
            target: the same, or ``IGNORED``.
            spacing: of the pixels along every axis.
        """
        parts = [
            sums_of(preds[c], target[c], view, spacing, self.rules)
            for c in self.channels
            for view in self._views()
        ]
        return np.concatenate(parts)

    def count_labels(
        self,
        preds: NDArray[Any],
        target: NDArray[Any],
        counting: Counting,
        spacing: Sequence[float],
    ) -> Ints | None:
        """``count`` of labels as they are given, or None where rules or labels do not allow it.

        Args:
            preds: labels ``(channels, H, W)`` or ``(channels, D, H, W)`` of any integer type.
            target: the same.
            counting: what labels mean.
            spacing: of the pixels along every axis.
        """
        parts, smallest = [], self.rules.smallest(spacing)
        for c in self.channels:
            for view in self._views():
                try:
                    pairs = pairs_of_labels(preds[c], target[c], counting, view, self.rules)
                except UnknownLabelError:
                    return None
                if pairs is None:
                    return None
                found = sized(pairs, self.rules, smallest)
                parts.append(_sums_of_pairs(*found, max(view) + 1, spacing, self.rules))
        return np.concatenate(parts)

    def count_ids(
        self,
        preds: NDArray[Any],
        target: NDArray[Any],
        counting: Counting,
        spacing: Sequence[float],
    ) -> Ints:
        """The sums ``(rows, columns)`` of an image whose objects are given by ids.

        Args:
            preds: an instance map ``(H, W, values)`` or ``(D, H, W, values)``, see ``ids``.
            target: the same.
            counting: what its categories mean.
            spacing: of the pixels along every axis.

        Raises:
            IdError: values without a meaning.
        """
        rules, parts = self.rules, []
        for view in self._views():
            pairs = pairs_of_ids(preds, target, counting, view, maps=rules.measures_surfaces)
            found = sized(pairs, rules, rules.smallest(spacing))
            parts.append(_sums_of_pairs(*found, max(view) + 1, spacing, rules))
        return np.concatenate(parts)

    def _views(self) -> Iterator[tuple[int, ...]]:
        """The row of each label, or ``NO_OBJECT``, of all rows that are counted together.

        Dilated objects of several classes overlap: then each class is looked at by itself.
        """
        groups = [(c,) for c in self.classes] if self.rules.dilation else [self.classes]
        rows = [{label: row for row, label in enumerate(group)} for group in groups]
        rows += [dict.fromkeys(region, 0) for region in self.regions]
        for row_of in rows:
            yield tuple(row_of.get(label, NO_OBJECT) for label in range(self.labels))


def sums_of(
    preds: NDArray[Any],
    target: NDArray[Any],
    row_of: Sequence[int],
    spacing: Sequence[float],
    rules: Rules,
) -> Ints:
    """The sums of one map ``(rows, columns)``, where every label has a row, or ``NO_OBJECT``."""
    rows = np.array([IGNORED, NO_OBJECT, *row_of], np.int32)
    of_preds, of_target = (relabelled(side, rows) for side in (preds, target))
    found = pairs_of(of_preds, of_target, rules, rules.smallest(spacing))
    return _sums_of_pairs(*found, max(row_of) + 1, spacing, rules)


def _sums_of_pairs(
    pairs: ObjectPairs, counted: Bools, rows: int, spacing: Sequence[float], rules: Rules
) -> Ints:
    """The sums of a table whose classes are rows."""
    image = Image(
        matched(pairs, rules.matching, rules.least, counted),
        rows,
        prod(spacing) / rules.volume_unit,
        rules.strata_in_pixels(spacing),
        rules.thresholds,
        rules.count_false,
    )
    sums = _summed(image)
    if rules.measures_surfaces:
        sums |= distances.distances(image, rules, spacing)
    return np.stack([sums[name] for name in columns_of(rules)], -1)


def _summed(image: Image) -> dict[str, Ints]:
    return {name: values for part in SUMMED for name, values in part(image).items()}


@cache
def columns_of(rules: Rules) -> tuple[str, ...]:
    """The names of the sums."""
    none = np.zeros(0, np.int64)
    side = Side(none, none, none, none)
    pairs = ObjectPairs(side, side, none, none, none, 0)
    image = Image(matched(pairs), 0, 1.0, dict.fromkeys(rules.strata, 0.0), rules.thresholds)
    return (*_summed(image), *(distances.COLUMNS if rules.measures_surfaces else ()))


# --- Scores ---------------------------------------------------------------------------------------


def scores_of(rules: Rules) -> dict[str, Callable[[Sums], Any]]:
    """The scores by key."""
    scores = dict(SCORES)
    if rules.distances:
        scores["object_hd95"] = distances.hd95
    if rules.tolerance is not None:
        scores["object_surface_dice"] = distances.surface_dice
    return scores | at_thresholds(rules.thresholds)


def read(
    sums: Any, rules: Rules, *, zero_division: float = nan, both_empty: float = nan
) -> dict[str, Any]:
    """The scores of sums ``(..., columns)`` in float64, a NumPy array or a tensor, by key.

    Args:
        sums: of an image, a class, a data set, or a resample.
        rules: those that it was summed by.
        zero_division: what a share of objects is where there are none; the recall of a size that no
            object has stays nan.
        both_empty: the value of a distance without objects.

    Without a pixel that counts, as of a wholly ignored image, all scores are nan.
    """
    s = dict(zip(columns_of(rules), (sums[..., i] for i in range(sums.shape[-1])), strict=True))
    formulas = scores_of(rules)
    for name in rules.strata:
        formulas[f"object_recall/{name}"] = _recall_of(name)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {key: formula(s) for key, formula in formulas.items()}
    shares = (*SHARES, *at_thresholds(rules.thresholds))
    fill = {**dict.fromkeys(shares, zero_division), "object_hd95": both_empty}
    counted = s["pixels"] > 0
    return {
        key: where(counted, _filled(value, fill.get(key, nan)), nan)
        for key, value in values.items()
    }


def _recall_of(stratum: str) -> Callable[[Sums], Any]:
    return lambda s: s[f"found/{stratum}"] / s[f"target/{stratum}"]


def _filled(values: Any, value: float) -> Any:
    """Values with another one for nan."""
    return where(values == values, values, value)


#: The scores of every class and region; the others are of all classes together.
OF_CLASSES = (
    "object_precision",
    "object_recall",
    "object_f1",
    "object_dice",
    "object_hd95",
    "object_surface_dice",
    "missed_objects",
    "false_objects",
)
#: A score and its row; ``None`` is all classes together.
Place = tuple[str, int | None]


def places(scheme: Scheme, names: Sequence[str], regions: Sequence[str]) -> dict[str, Place]:
    """The score and the row of every key.

    Args:
        scheme: what is summed.
        names: of the rows of classes, which have keys of their own; empty for none.
        regions: names of the regions.
    """
    rules = scheme.rules
    scores = scores_of(rules)
    found: dict[str, Place] = {key: (key, None) for key in scores}
    found |= {key: (key, None) for key in (f"object_recall/{name}" for name in rules.strata)}
    of_classes = [key for key in OF_CLASSES if key in scores]
    for key in of_classes:
        for row, name in enumerate(names):
            if f"{key}/{name}" in found:
                raise ValueError(
                    f"a class and a size are both named {name!r}. Rename one, with `class_names` "
                    "or `sizes`, or pass `per_class=False`."
                )
            found[f"{key}/{name}"] = key, row
    for key in of_classes:
        for row, name in enumerate(regions, scheme.of_classes):
            found[f"{key}_region/{name}"] = key, row
    return found


def values_at(
    sums: Any, where: Mapping[str, Place], scheme: Scheme, zero_division: float, both_empty: float
) -> dict[str, Any]:
    """The scores ``(...)`` of sums ``(..., rows, columns)`` by key."""
    values = {"zero_division": zero_division, "both_empty": both_empty}
    of_rows = read(sums, scheme.rules, **values)
    of_all = read(sums[..., : scheme.of_classes, :].sum(-2), scheme.rules, **values)
    return {
        key: of_all[score] if row is None else of_rows[score][..., row]
        for key, (score, row) in where.items()
    }
