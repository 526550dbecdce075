"""Measures of every case and class: overlap, volumes, distances between surfaces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import isnan, nan, prod
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segmetrics import scores
from segmetrics.counting import Counting, sparse
from segmetrics.evaluate.case_tables import CaseTable
from segmetrics.evaluate.counter import MOST_DENSE, confusion_matrix
from segmetrics.evaluate.extras import Section
from segmetrics.evaluate.metadata import Groups
from segmetrics.evaluate.settings import Evaluation, Settings
from segmetrics.evaluate.spacing import spacing_of
from segmetrics.evaluate.warnings import Warnings
from segmetrics.files import LabelMap, Pair
from segmetrics.statistics import CaseScores
from segmetrics.surfaces import axes_of_size, images, measure_surfaces
from segmetrics.surfaces.distances import (
    Distances,
    Measure,
    Scalar,
    average_distance,
    hausdorff,
    surface_dice,
)
from segmetrics.surfaces.maps import Mask

Floats = NDArray[np.float64]
EmptyDistance = float | Literal["diagonal"]

#: What is kept of a case and class, in this order: pixels; the dimensions and the size of a pixel,
#: nan where it is unknown; distances.
COUNTS = ("tp", "fp", "fn")
SIZES = ("dims", "pixel_size")
DISTANCES = (
    "hd", "hd_percentile", "assd", "nsd",
    "hd_percentile_to_target", "hd_percentile_to_prediction", "hd_percentile_pooled",
    "asd_to_target", "asd_to_prediction",
)  # fmt: skip
KEPT = (*COUNTS, *SIZES, *DISTANCES)


class Unit(NamedTuple):
    """A class, or a region (a set of classes), which is scored as one mask."""

    name: str
    classes: tuple[int, ...]
    is_region: bool = False

    @property
    def mask(self) -> Mask:
        """The mask for ``measure_surfaces``."""
        return self.classes if len(self.classes) > 1 else self.classes[0]

    @staticmethod
    def all_of(settings: Settings) -> tuple[Unit, ...]:
        """The classes that are scored, and the regions."""
        names = settings.space.names
        if settings.task == "multilabel":
            return tuple(Unit(name, (1,)) for name in names)
        scored = [c for c in range(len(names)) if c not in settings.left_out]
        regions = settings.space.classes_of_regions() if settings.task == "multiclass" else {}
        return (
            *(Unit(names[c], (c,)) for c in scored),
            *(Unit(name, classes, is_region=True) for name, classes in regions.items()),
        )


@dataclass(frozen=True)
class Surfaces:
    """How surfaces are measured.

    Args:
        tolerance: of the surface Dice, one for each unit.
        percentile: of the Hausdorff distance, one for each unit.
        both_empty: the distances where neither mask has the class; nan leaves them out. For any
            number the surface Dice is 1 there.
        empty_distance: the distance where only one mask has it; ``"diagonal"`` is the image's.
    """

    tolerance: tuple[float, ...]
    percentile: tuple[float, ...]
    both_empty: float = nan
    empty_distance: EmptyDistance = float("inf")


@dataclass(frozen=True)
class Cases:
    """An ``Extra``: one row per case and class.

    Args:
        counting: how the pixels of two masks are counted.
        units: what is scored.
        zero_division: Dice and IoU where neither mask has the class.
        surfaces: how surfaces are measured; None for overlap and volumes alone.
        spacing: that of files without one: one number, or one per axis.
        groups: the group of each case, such as its patient, drawn as a whole; None draws cases.
    """

    counting: Counting
    units: tuple[Unit, ...]
    zero_division: float = nan
    surfaces: Surfaces | None = None
    spacing: tuple[float, ...] | None = None
    groups: Groups | None = None

    name = "cases"
    summed = False

    @property
    def keys(self) -> Sequence[str]:
        """Those of ``CaseTable.sections``."""
        return CaseTable.KEYS

    @property
    def scores(self) -> Sequence[str]:
        """Those that ``--fail-under`` takes: more is better."""
        return ("nsd",) if self.surfaces else ()

    def describe(self) -> object:
        """The settings that affect the arrays."""
        surfaces = None if self.surfaces is None else asdict(self.surfaces)
        if surfaces:
            surfaces = {
                name: str(value) if isinstance(value, float) else value
                for name, value in surfaces.items()
            }
        return {"units": self.units, "surfaces": surfaces, "spacing": self.spacing}

    def measure(self, preds: LabelMap, target: LabelMap, pair: Pair) -> Floats:
        """An array ``(units, KEPT)``; one unit if each class has masks of its own.

        A case without a counted pixel has nan only.
        """
        steps, known = spacing_of(target, pair.target, self.spacing)
        units = self._units(pair)
        many = self.counting.labels > MOST_DENSE
        counted = sparse.count if many else confusion_matrix
        matrix: Any = counted(preds.values, target.values, self.counting)  # all labels are known
        kept = np.full((len(units), len(KEPT)), nan)
        kept[:, len(COUNTS) : -len(DISTANCES)] = len(steps), prod(steps) if known else nan
        if matrix.sum():
            kept[:, : len(COUNTS)] = _counts(matrix, [unit.classes for _, unit in units])
            if self.surfaces is not None:
                maps = preds.values, target.values
                kept[:, -len(DISTANCES) :] = self._distances(maps, units, steps, self.surfaces)
        return kept

    def _units(self, pair: Pair) -> list[tuple[int, Unit]]:
        """The units that are scored in a pair, with their indices among all units."""
        of_class = pair.classes[0].name if pair.classes else None
        return [(i, unit) for i, unit in enumerate(self.units) if of_class in (None, unit.name)]

    def _distances(
        self,
        label_maps: tuple[NDArray[Any], NDArray[Any]],
        units: Sequence[tuple[int, Unit]],
        steps: tuple[float, ...],
        surfaces: Surfaces,
    ) -> Floats:
        preds, target = (torch.from_numpy(values)[None] for values in label_maps)
        steps = tuple(steps[axis] for axis in axes_of_size(target.shape[1:]))
        (maps,) = images(preds, target, self.counting, without_ignored=True)
        alone = surfaces.empty_distance
        if alone == "diagonal":
            alone = float(np.linalg.norm(np.multiply(maps.size, steps)))
        neither = surfaces.both_empty
        empty = [0.0 if name == "nsd" else alone for name in DISTANCES]
        agreed = nan if isnan(neither) else 1.0  # whatever distance two empty masks are given
        both_empty = [agreed if name == "nsd" else neither for name in DISTANCES]
        found = measure_surfaces(
            maps,
            [
                (unit.mask, measures(surfaces.percentile[i], surfaces.tolerance[i]))
                for i, unit in units
            ],
            empty,
            both_empty=both_empty,
            labels=self.counting.labels,
            surface="pixels",
            spacing=steps,
        )
        return np.asarray(found.T.numpy())

    def sections(
        self, values: Floats, evaluation: Evaluation, level: float | None
    ) -> Iterable[Section]:
        """Means, statistics and worst cases; one row per case and class."""
        table = CaseTable.of(self, values, evaluation.names, evaluation.warnings)
        return table.sections(evaluation, level)

    def tables(
        self, values: Floats | None, names: Sequence[str], warnings: Warnings
    ) -> list[CaseScores]:
        """The measures of classes and of regions, for comparisons."""
        if values is None:
            values = np.zeros((0, len(self.units), len(KEPT)))
        return CaseTable.of(self, values, names, warnings).both_scores()


def _counts(matrix: Any, units: Sequence[tuple[int, ...]]) -> NDArray[np.int64]:
    """True positives, false positives and false negatives of classes and of unions of classes."""
    hits, predicted, target = matrix.diagonal(), matrix.sum(-2)[:-1], matrix.sum(-1)
    first = [classes[0] for classes in units]
    counts = np.stack([hits, predicted - hits, target - hits], 1)[first]
    unions = [i for i, classes in enumerate(units) if len(classes) > 1]
    if unions:
        s = scores.of_groups(matrix, [units[i] for i in unions])
        counts[unions] = np.stack([s.tp, s.fp, s.fn], 1)
    return counts


def measures(percentile: float, tolerance: float) -> list[Measure]:
    """The measures of ``DISTANCES``."""
    return [
        hausdorff,
        partial(hausdorff, percentile=percentile),
        average_distance,
        partial(surface_dice, tolerance=tolerance),
        partial(hausdorff, percentile=percentile, directed=True),
        partial(_back, hausdorff, percentile=percentile, directed=True),
        partial(hausdorff, percentile=percentile, pooled=True),
        partial(average_distance, symmetric=False),
        partial(_back, average_distance, symmetric=False),
    ]


def _back(measure: Any, distances: Distances, **settings: Any) -> Scalar:
    """The same from target to prediction."""
    found: Scalar = measure(Distances(distances.to_preds, distances.to_target), **settings)
    return found
