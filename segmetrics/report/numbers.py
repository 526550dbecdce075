"""The numbers of a report: scores with intervals, classes, confusions, images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from segmetrics import scores as formulas
from segmetrics._arguments import number
from segmetrics.labels import LabelSpace
from segmetrics.report.pictures import hex_color, share
from segmetrics.scores import Statistics
from segmetrics.statistics import KEYS_OF_IMAGES, Groups, ImageCounts, confidence_interval
from segmetrics.statistics.pairing import groups_of

LISTED_IMAGES = 10_000
LISTED_CONFUSIONS = 200  # and the three largest of every class
LABEL = 18  # characters of a class name at the heat map
ABSTAINED = "(abstained)"


class Tile(NamedTuple):
    """A score for the top of the page; its bounds are nan without an interval."""

    name: str
    value: float
    low: float = nan
    high: float = nan


class ClassRow(NamedTuple):
    """A class in the table; ``taken_for`` is the class of most of its missed pixels."""

    name: str
    color: str
    category: str
    iou: float
    dice: float
    precision: float
    recall: float
    pixels: int
    share: float
    taken_for: Confused | None


class SetRow(NamedTuple):
    """A category or a region: a set of classes, scored as one class."""

    name: str
    members: tuple[str, ...]
    iou: float
    dice: float
    pixels: int
    share: float


class Confused(NamedTuple):
    """Pixels of a class that were predicted as another, and their share of the class."""

    target: str
    prediction: str
    pixels: int
    share: float
    share_of_errors: float


@dataclass(frozen=True, eq=False)
class Result:
    """Counts ``(C, C + 1)`` of a data set, and the numbers that the page shows."""

    confusion: Tensor
    space: LabelSpace
    images: ImageCounts | None
    level: float
    groups: Groups | None

    @property
    def ignored(self) -> tuple[int, ...]:
        """Classes that are left out of averages and have no scores of their own."""
        values = self.space.ignore_index if self.space.id_to_class is None else ()
        of_images = () if self.images is None else self.images.ignored
        return tuple(c for c in range(len(self.confusion)) if c in values or c in of_images)

    @property
    def zero_division(self) -> float:
        """The score of a class that is absent everywhere."""
        return nan if self.images is None else self.images.zero_division

    @property
    def pixels(self) -> int:
        return int(self.confusion.sum())

    @property
    def abstained(self) -> int:
        return int(self.confusion[:, -1].sum())

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return [*self.space.names, *([ABSTAINED] if self.abstained else [])]

    def tiles(self, more: Mapping[str, float]) -> list[Tile]:
        """The scores over the data set, with intervals if there are counts of images."""
        groups = list(self.space.categories(left_out=self.ignored).values())
        zero_division = self.zero_division
        if self.ignored == (0,) and len(self.confusion) == 2:
            found = formulas.of_foreground(self.confusion, zero_division)
        else:
            found = formulas.usual(
                self.confusion, ignored=self.ignored, groups=groups, zero_division=zero_division
            )
        tiles = [self._tile(key, value) for key, value in found.items()]
        return tiles + [Tile(str(name), number("scores", value)) for name, value in more.items()]

    def _tile(self, key: str, value: float) -> Tile:
        title, counts, key_of_images = (
            formulas.TITLES.get(key, key),
            self.images,
            KEYS_OF_IMAGES.get(key),
        )
        if counts is not None and key == "pixel_accuracy":
            # pooled into one class, whose accuracy is the pixel accuracy
            tp, fp, fn = (part.sum(1, keepdim=True) for part in (counts.tp, counts.fp, counts.fn))
            counts, key_of_images = ImageCounts(tp, fp, fn, ids=counts.ids), "mAcc_D"
        if counts is None or _drawn(counts, self.groups) < 2 or key_of_images is None:
            return Tile(title, value)
        interval = confidence_interval(counts, key_of_images, level=self.level, groups=self.groups)
        return Tile(title, value, interval.low, interval.high)

    def classes(self) -> list[ClassRow]:
        """The scored classes, the best first, those without a score last."""
        s = Statistics.of_matrix(self.confusion)
        iou, dice, precision, recall = (
            formula(s, self.zero_division).tolist()
            for formula in (formulas.iou, formulas.dice, formulas.precision, formulas.recall)
        )
        category = {name: group for group, names in self.space.groups.items() for name in names}
        pixels, most = self.confusion.sum(1).tolist(), self._largest(1)
        rows = [
            ClassRow(
                name=name,
                color=hex_color(self.space.colors[c]),
                category=category.get(name, ""),
                iou=iou[c],
                dice=dice[c],
                precision=precision[c],
                recall=recall[c],
                pixels=pixels[c],
                share=share(pixels[c], self.pixels),
                taken_for=most[c][0] if most[c] else None,
            )
            for c, name in enumerate(self.space.names)
            if c not in self.ignored
        ]
        return sorted(rows, key=lambda row: (isnan(row.iou), -row.iou))

    def categories(self) -> list[SetRow]:
        """The categories: a pixel predicted as another class of its category is right."""
        return self._sets(self.space.categories(left_out=self.ignored))

    def regions(self) -> list[SetRow]:
        """The regions: sets of classes that may overlap, each scored as one mask."""
        return self._sets(self.space.classes_of_regions())

    def _sets(self, sets: Mapping[str, Sequence[int]]) -> list[SetRow]:
        if not sets:
            return []
        s = formulas.of_groups(self.confusion, list(sets.values()))
        columns = (
            formulas.iou(s, self.zero_division).tolist(),
            formulas.dice(s, self.zero_division).tolist(),
            (s.tp + s.fn).tolist(),
        )
        return [
            SetRow(
                name,
                tuple(self.space.names[c] for c in classes),
                iou,
                dice,
                pixels,
                share(pixels, self.pixels),
            )
            for (name, classes), iou, dice, pixels in zip(sets.items(), *columns, strict=True)
        ]

    def confusions(self) -> list[Confused]:
        """The largest confusions of all and of every class, by pixels."""
        found = [pair for pairs in self._largest(None) for pair in pairs]
        found.sort(key=lambda pair: -pair.pixels)
        of_class = {pair for pairs in self._largest(3) for pair in pairs}
        return [pair for i, pair in enumerate(found) if i < LISTED_CONFUSIONS or pair in of_class]

    def _largest(self, number: int | None) -> list[list[Confused]]:
        """For each class the classes that its pixels were mostly predicted as."""
        columns = [*self.space.names, ABSTAINED]
        wrong = self.confusion.clone()
        wrong.fill_diagonal_(0)
        totals, all_wrong = self.confusion.sum(1).tolist(), int(wrong.sum())
        largest = []
        for c, row in enumerate(wrong.tolist()):
            order = sorted((p for p, n in enumerate(row) if n), key=lambda p: -row[p])[:number]
            shares = [(row[p], row[p] / totals[c], row[p] / all_wrong) for p in order]
            largest.append(
                [Confused(columns[c], columns[p], *of) for p, of in zip(order, shares, strict=True)]
            )
        return largest

    def matrix_data(self) -> dict[str, Any]:
        """The data of the heat map."""
        return {
            "counts": self.confusion[:, : len(self.columns)].tolist(),
            "totals": self.confusion.sum(1).tolist(),
            "names": self.columns,
            "labels": _axis_labels(self.columns),
        }


@dataclass(frozen=True, eq=False)
class Distribution:
    """The scores of images: their distribution, and a list, the worst first."""

    tiles: list[Tile]
    number: int
    drawn: int
    undefined: int
    edges: list[float]
    bins: list[int]
    mean: float
    median: float
    images: list[tuple[str, float, float, str, float]]

    @staticmethod
    def of(counts: ImageCounts, level: float, groups: Groups | None) -> Distribution:
        values = counts.per_image("IoU")
        defined = values[~values.isnan()].numpy()
        bins, edges = np.histogram(defined, 40 if len(defined) >= 400 else 20, (0, 1))
        tiles = []
        for name, key in (
            ("mIoU of an image, mean", "mIoU_I"),
            ("mean of the worst 5\u202f%", "mIoU_I_5"),
        ):
            if _drawn(counts, groups) > 1:
                interval = confidence_interval(counts, key, level=level, groups=groups)
                tiles.append(Tile(name, interval.estimate, interval.low, interval.high))
        return Distribution(
            tiles=tiles,
            number=len(counts),
            drawn=_drawn(counts, groups),
            undefined=len(values) - len(defined),
            edges=[round(edge, 4) for edge in edges.tolist()],
            bins=bins.tolist(),
            mean=defined.mean().item() if len(defined) else nan,
            median=float(np.median(defined)) if len(defined) else nan,
            images=_listed(counts, values),
        )

    def histogram_data(self) -> dict[str, Any]:
        """The data of the histogram."""
        mean = None if isnan(self.mean) else self.mean
        return {"edges": self.edges, "bins": self.bins, "mean": mean}


def _drawn(counts: ImageCounts, groups: Groups | None) -> int:
    """The number of images, or of groups, that a bootstrap resamples."""
    return len(counts) if groups is None else len(set(groups_of(counts, groups)))


def _listed(counts: ImageCounts, values: Tensor) -> list[tuple[str, float, float, str, float]]:
    """The worst images with their mIoU, pixel accuracy, worst class and its IoU."""
    order = values.argsort(stable=True)[:LISTED_IMAGES]
    accuracy = formulas.ratio(counts.tp.sum(1), (counts.tp + counts.fn).sum(1))[order].tolist()
    lowest, column = counts.per_class("IoU")[order].nan_to_num(2).min(1)
    return [
        (
            str(counts.labels[i]),
            values[i].item(),
            accuracy[place],
            counts.names[c] if iou <= 1 else "",
            iou if iou <= 1 else nan,
        )
        for place, (i, c, iou) in enumerate(
            zip(order.tolist(), column.tolist(), lowest.tolist(), strict=True)
        )
    ]


def _axis_labels(names: Sequence[str]) -> list[str]:
    """Distinct names that are short enough for the axes of the heat map."""
    short = [f"{name[: LABEL - 1]}…" if len(name) > LABEL else name for name in names]
    return [
        f"{i} {label}" if not label.strip() or short.count(label) > 1 else label
        for i, label in enumerate(short)
    ]
