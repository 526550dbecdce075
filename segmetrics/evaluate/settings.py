"""The settings of an evaluation, and its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics.counting import Counting
from segmetrics.counting.settings import Task
from segmetrics.counting.sparse import SparseMatrix
from segmetrics.evaluate.extras import Array, Extra
from segmetrics.evaluate.regions import Regions
from segmetrics.evaluate.warnings import Warnings
from segmetrics.files import VOID, Pair, Problem, Reading, to_binary
from segmetrics.labels import Color, LabelSpace
from segmetrics.scores import Statistics

if TYPE_CHECKING:
    from segmetrics.statistics import ImageCounts

#: The label space of binary masks.
BINARY = LabelSpace(["background", "foreground"], ignore_index=VOID)


class Readings(NamedTuple):
    """How predictions and targets are read."""

    preds: Reading = Reading()
    target: Reading = Reading()

    @staticmethod
    def of_colors(space: LabelSpace, void: Sequence[Color] = ()) -> Readings:
        """The same reading with the colours of a label space, for colour images.

        A colour stands for a value that its class has in masks; in predictions that hold indices of
        classes, for the index. One that two classes share stands for neither.

        Args:
            space: the label space.
            void: colours of pixels that do not count.
        """
        values = {c: value for value, c in (space.id_to_class or {}).items()}
        times = Counter(space.colors)
        of_class = [(color, c) for c, color in enumerate(space.colors) if times[color] == 1]
        shared = [(color, None) for color, number in times.items() if number > 1]
        of_target = [(color, values.get(c, c)) for color, c in of_class]
        of_void = [(color, space.ignore_index[-1]) for color in void if color not in space.colors]
        of_preds = of_target if space.map_preds else of_class
        others = *of_void, *shared
        return Readings(Reading((*of_preds, *others)), Reading((*of_target, *others)))

    def with_options(self, **options: Any) -> Readings:
        """The same with other fields of ``Reading``."""
        return Readings(*(replace(reading, **options) for reading in self))


@dataclass(frozen=True)
class Settings:
    """What is counted.

    Args:
        space: the classes and what values mean; ``map_preds`` says whether predictions hold values
            of the masks or indices of classes.
        task: ``"multiclass"``: masks are label maps. ``"binary"``: zero is background, anything
            else foreground, and the foreground is scored. ``"multilabel"``: each class of a pair
            has its own binary mask, or each region a channel of the prediction.
        background: whether class 0 counts in means.
        zero_division: score of a class that is neither in the targets nor predicted; nan leaves it
            out of means.
        boundary: count the bands along the contours, too.
        images: keep the counts of every image.
        instances: count Cityscapes' instances, too.
        ids: masks hold the ids of objects, 0 where there is none; the task is binary.
        regions: the classes in targets of each region, where predictions have a channel each.
        readings: how predictions and targets are read.
        extras: further measurements of every pair.
    """

    space: LabelSpace
    task: Task = "multiclass"
    background: bool = True
    zero_division: float = nan
    boundary: bool = False
    images: bool = False
    instances: bool = False
    ids: bool = False
    regions: Regions | None = None
    readings: Readings = field(default_factory=Readings)
    extras: tuple[Extra, ...] = ()

    @cached_property
    def counting(self) -> Counting:
        """How the pixels of two masks are counted."""
        space = self.space if self.task == "multiclass" else BINARY
        return Counting.of(space, input_format="index")

    @property
    def left_out(self) -> tuple[int, ...]:
        """Classes that are left out of averages."""
        if self.task == "multilabel":
            return ()
        only_foreground = self.task == "binary" or not self.background
        return tuple(sorted({*self.counting.ignored_classes, *([0] if only_foreground else [])}))

    def labels(self, values: NDArray[Any]) -> NDArray[Any]:
        """The meaning of the values of a mask."""
        multiclass = self.task == "multiclass"
        return values if multiclass else to_binary(values, self.space.ignore_index)

    def describe(self) -> dict[str, object]:
        """The settings that affect the counts, in JSON."""
        counting = self.counting
        return {
            "task": self.task,
            "classes": list(self.space.names),
            "ignore_index": list(self.space.ignore_index),
            "id_to_class": [list(counting.ids), list(counting.classes_of_ids)],
            "map_preds": counting.map_preds,
            "boundary": self.boundary,
            "counts of images": self.images,
            "iiou": self.instances,
            "instance ids": self.ids,
            "keys": list(self.readings.target.keys),
            "one-hot axis": self.readings.target.one_hot,
            "ignore grid": self.readings.target.ignore_grid,
            "probabilities": self.readings.preds.probabilities,
            "logits": self.readings.preds.logits,
            **(self.regions.describe() if self.regions else {}),
            **{extra.name: extra.describe() for extra in self.extras},
        }


class NotScored(Exception):
    """Files that cannot be scored, in the order of their names; ``rest``: whether others can."""

    def __init__(self, problems: Sequence[Problem], *, rest: bool) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems, self.rest = sorted(problems, key=lambda problem: problem.file), rest


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The counts ``(C, C + 1)`` of an evaluation, and all other results.

    Where each class has its own masks the counts are ``(C, 2, 3)``; of many classes they are
    sparse. ``bands`` are hits, predicted and target pixels of the classes in their bands
    ``(C, 3)``; ``iiou`` and ``iiou_category`` scores by name; ``scored`` the pairs by name;
    ``extras`` what else was measured, by name; ``warnings`` what looks wrong although it can be
    scored.
    """

    settings: Settings
    confusion: NDArray[np.int64] | SparseMatrix
    bands: NDArray[np.int64] | None
    images: ImageCounts | None
    iiou: Mapping[str, float]
    iiou_category: Mapping[str, float]
    scored: Mapping[str, Pair]
    extras: Mapping[str, Array]
    left_out: Sequence[Problem]
    warnings: Warnings
    seconds: float
    workers: int
    processes: int

    @property
    def statistics(self) -> Statistics:
        """The classes' counts."""
        s = Statistics.of_matrix(self.confusion)
        return s.map(lambda counts: counts[:, 1]) if self.confusion.ndim == 3 else s

    @property
    def band_statistics(self) -> Statistics | None:
        """The counts of the classes in their bands, if they were counted."""
        return None if self.bands is None else Statistics.of(*self.bands.T)

    @property
    def names(self) -> list[str]:
        """The names of the pairs, in the order of the counts of images and of extras."""
        return sorted(self.scored)

    @property
    def ignored(self) -> tuple[int, ...]:
        """Classes that are left out of averages."""
        return self.settings.left_out

    @property
    def categories(self) -> Mapping[str, tuple[int, ...]]:
        """The categories that are scored, and their classes."""
        return self.settings.space.categories(left_out=self.ignored)

    @property
    def pixels(self) -> int:
        """The number of counted pixels."""
        return int(self.confusion.sum())
