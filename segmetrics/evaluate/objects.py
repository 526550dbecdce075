"""Objects of every pair: what ``segmetrics evaluate --objects`` measures and shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segmetrics.counting import Counting
from segmetrics.evaluate.extras import Row, Section
from segmetrics.evaluate.metadata import Groups, number_drawn
from segmetrics.evaluate.settings import BINARY, Evaluation, Settings
from segmetrics.evaluate.spacing import spacing_of
from segmetrics.evaluate.warnings import Warnings
from segmetrics.files import LabelMap, MaskError, Pair
from segmetrics.labels import LabelSpace
from segmetrics.objects.counts import Scheme, read
from segmetrics.objects.ids import IdError
from segmetrics.objects.rules import DEFAULTS, Rules
from segmetrics.objects.scores import at_thresholds
from segmetrics.surfaces import axes_of_size

if TYPE_CHECKING:
    from segmetrics.statistics import ObjectCounts

Ints = NDArray[np.int64]

#: The scores of a class, a region, or all classes together, in the order of columns.
OF_ROW = (
    "target_objects",
    "predicted_objects",
    "missed_objects",
    "false_objects",
    "object_precision",
    "object_recall",
    "object_f1",
    "object_dice",
    "object_iou",
    "object_hd95",
    "object_surface_dice",
    "false_negative_volume",
    "false_positive_volume",
)
#: Those of an image.
OF_IMAGE = ("target_objects", "predicted_objects", "missed_objects", "false_objects", "object_f1",
            "object_dice")  # fmt: skip
#: Their names in tables.
TITLES = {
    "target_objects": "objects",
    "predicted_objects": "predicted",
    "missed_objects": "missed",
    "false_objects": "false",
    "object_precision": "object precision",
    "object_recall": "object recall",
    "object_f1": "object F1",
    "object_dice": "object Dice",
    "object_iou": "object IoU",
    "object_hd95": "object HD95",
    "object_surface_dice": "object surface Dice",
    "false_negative_volume": "missed volume",
    "false_positive_volume": "false volume",
}
#: The hint for values that are no ids.
OF_IDS = (
    "With --instances a mask holds 0 where there is no object, and a positive id for each. A value "
    "of pixels that do not count is named by --ignore-index."
)
#: Images that are printed and whose objects are shown in the report.
SHOWN = 5


@dataclass(frozen=True)
class Objects:
    """An ``Extra``: the sums over the objects of every pair.

    Args:
        settings: what values mean.
        rules: what an object is, and when it is found.
        spacing: that of files without one: one number, or one per axis.
        groups: the group of each image, such as its patient, drawn as a whole; None draws images.
    """

    settings: Settings
    rules: Rules
    spacing: tuple[float, ...] | None = None
    groups: Groups | None = None

    name = "objects"
    keys = ("objects", "objects_images")
    summed = False

    @property
    def scores(self) -> Sequence[str]:
        """Those that ``--fail-under`` takes: more is better."""
        of_rows = [key for key in OF_ROW if key.startswith("object_") and key != "object_hd95"]
        return [*of_rows, *at_thresholds(self.rules.thresholds)]

    def describe(self) -> object:
        """The settings that affect the sums."""
        values = {name: str(value) for name, value in asdict(self.rules).items()}
        values["spacing"] = str(self.spacing)
        return {**values, "regions": [list(classes) for _, classes in self._regions]}

    def measure(self, preds: LabelMap, target: LabelMap, pair: Pair) -> Ints:
        """The sums ``(rows, columns)``; one row if each class has masks of its own."""
        if not self.rules.ids:
            size, spacing = self._size(target, pair.target)
            of_preds, of_target = (side.values.reshape(1, *size) for side in (preds, target))
            counting = self.settings.counting
            counted = self._of_pair.count_labels(of_preds, of_target, counting, spacing)
            if counted is not None:
                return counted
            return self._of_pair.count(*self.maps(preds, target, pair.target))
        of_preds, of_target, spacing = self.instance_maps(preds, target, pair.target)
        try:
            return self._of_pair.count_ids(of_preds, of_target, self.of_ids, spacing)
        except IdError as error:
            path = pair.preds if error.side == "preds" else pair.target
            raise MaskError("labels", path, error.detail, OF_IDS) from error

    def instance_maps(
        self, preds: LabelMap, target: LabelMap, path: Path
    ) -> tuple[NDArray[Any], NDArray[Any], list[float]]:
        """The ids of a pair ``(H, W, 1)`` or ``(D, H, W, 1)``, and the spacing of the pixels."""
        assert preds.ids is not None
        assert target.ids is not None
        size, spacing = self._size(target, path)
        return preds.ids.reshape(*size, 1), target.ids.reshape(*size, 1), spacing

    def maps(self, preds: LabelMap, target: LabelMap, path: Path) -> tuple[Ints, Ints, list[float]]:
        """The labels of a pair ``(1, H, W)`` or ``(1, D, H, W)``, and the spacing of the pixels.

        ``path`` is that of the target.

        Raises:
            MaskError: an impossible spacing, or another than the given one.
        """
        from segmetrics.surfaces.bands import label_maps

        size, spacing = self._size(target, path)
        maps = label_maps(
            preds.values.reshape(size), target.values.reshape(size), self.settings.counting
        )
        inside = (slice(None), *(slice(1, -1) for _ in size))
        return maps.preds[inside], maps.target[inside], spacing

    def _size(self, target: LabelMap, path: Path) -> tuple[list[int], list[float]]:
        """The size of an image, and the spacing of its pixels."""
        shape = target.values.shape
        steps, _ = spacing_of(target, path, self.spacing)
        axes = axes_of_size(shape)
        return [shape[axis] for axis in axes], [steps[axis] for axis in axes]

    def sections(
        self, values: Ints, evaluation: Evaluation, level: float | None
    ) -> Iterable[Section]:
        """One row per class and region, and one per image, those with the most errors first."""
        from segmetrics.evaluate.object_pictures import Pictures

        classes = self._scheme.of_classes
        of_all = values[:, :classes].sum(1)
        rows = [self._row("all classes", of_all)] if classes > 1 else []
        rows += [self._row(name, values[:, i]) for i, name in enumerate(self._row_names)]
        over_all = self._values(of_all)
        scores = {key: over_all[key] for key in self._printed(over_all)}
        further = {f"object_recall/{size}": f"object recall, {size}" for size in self.rules.strata}
        further |= _titles_at(self.rules.thresholds)
        yield Section(
            "objects", "Objects", rows, columns=["name", *self._columns], scores=scores,
            intervals=self._intervals(values, evaluation, level, scores),
            titles=TITLES | further, notes=[self._note()],
        )  # fmt: skip
        of_images = self._of_images(values, evaluation.names)
        worst = [row for row in of_images if _wrong(row)][:SHOWN]
        yield Section(
            "objects_images", "Images with the most missed and false objects", of_images,
            printed=SHOWN, titles=TITLES,
            figures=Pictures(self, evaluation, [row["image"] for row in worst]),
        )  # fmt: skip

    def tables(
        self, values: Ints | None, names: Sequence[str], warnings: Warnings
    ) -> tuple[ObjectCounts]:
        """The sums of the images, for intervals and comparisons."""
        import torch

        from segmetrics.statistics import ObjectCounts

        scheme, (zero_division, both_empty) = self._scheme, self._fill
        if values is None:
            values = np.zeros((0, *scheme.shape), np.int64)
        rows, of_classes = tuple(self._row_names), scheme.of_classes
        of_sizes = set(self.rules.strata).intersection(rows)  # these have the keys already
        counts = ObjectCounts(
            torch.from_numpy(values), scheme, tuple(names),
            rows[:of_classes] if of_classes > 1 and not of_sizes else (), rows[of_classes:],
            samplewise=self._samplewise, zero_division=zero_division, both_empty=both_empty,
        )  # fmt: skip
        return (counts,)

    @cached_property
    def of_ids(self) -> Counting:
        """What ids mean: those that do not count are said by the space, not by binary masks."""
        space = LabelSpace(BINARY.names, ignore_index=self.settings.space.ignore_index)
        return Counting.of(space, input_format="index")

    # --- What is looked at ------------------------------------------------------------------------

    @property
    def _of_pair(self) -> Scheme:
        """The scheme of a pair, or of one class of it."""
        classes = tuple(c for c, _ in self.classes)
        regions = tuple(classes for _, classes in self._regions)
        return Scheme(self.rules, self.settings.counting.labels, (0,), classes, regions)

    @property
    def _scheme(self) -> Scheme:
        """The scheme of all classes of a pair."""
        if self.settings.task != "multilabel":
            return self._of_pair
        return Scheme(self.rules, 2, tuple(range(self.settings.space.num_classes)), (1,))

    @property
    def classes(self) -> list[tuple[int, str]]:
        """The classes that have objects: all except class 0 and ignored ones."""
        if self.settings.task != "multiclass":
            return [(1, "foreground")]
        ignored = self.settings.counting.ignored_classes
        names = enumerate(self.settings.space.names)
        return [(c, name) for c, name in names if c and c not in ignored]

    @property
    def _row_names(self) -> list[str]:
        """The names of the rows: of classes, then of regions."""
        if self.settings.task == "multilabel":
            return list(self.settings.space.names)
        return [name for _, name in self.classes] + [name for name, _ in self._regions]

    @property
    def _regions(self) -> list[tuple[str, tuple[int, ...]]]:
        space = self.settings.space
        return (
            list(space.classes_of_regions().items()) if self.settings.task == "multiclass" else []
        )

    @property
    def _samplewise(self) -> bool:
        """Whether scores are means over images, as in challenges."""
        return self.rules.preset is not None

    @property
    def _fill(self) -> tuple[float, float]:
        """The values of a share that is 0/0, and of a distance without objects."""
        of_preset = DEFAULTS.get((self.rules.preset or "").split("-")[0], {})
        zero_division = of_preset.get("zero_division", self.settings.zero_division)
        return zero_division, of_preset.get("both_empty", nan)

    # --- What is shown ----------------------------------------------------------------------------

    def _values(self, sums: Ints) -> dict[str, float]:
        """The scores of the sums of images ``(N, columns)``, or of presets their means."""
        if not self._samplewise:
            return {key: float(value) for key, value in self._read(sums.sum(0)).items()}
        return {key: _mean(values) for key, values in self._read(sums).items()}

    def _read(self, sums: Ints) -> dict[str, Any]:
        zero_division, both_empty = self._fill
        return read(
            sums.astype(np.float64), self.rules, zero_division=zero_division, both_empty=both_empty
        )

    def _row(self, name: str, sums: Ints) -> Row:
        """A row of a class, a region or all classes, from the images' sums."""
        values = self._values(sums)
        keys = [key for key in OF_ROW if key in values]
        numbers: Row = {key: values[key] for key in keys}
        if not self._samplewise:
            numbers |= {key: _whole(n) for key, n in numbers.items() if key.endswith("_objects")}
        return {"name": name, **numbers}

    @property
    def _columns(self) -> list[str]:
        """The columns of a row that are printed."""
        measured = {
            "object_hd95": self.rules.distances,
            "object_surface_dice": self.rules.tolerance is not None,
            "object_iou": False,
            "false_negative_volume": self.rules.volume_unit != 1,
            "false_positive_volume": self.rules.volume_unit != 1,
        }
        return [key for key in OF_ROW if measured.get(key, True)]

    def _printed(self, values: Mapping[str, float]) -> list[str]:
        """The keys of the table of scores, without sizes that no object has."""
        sizes = [f"object_recall/{name}" for name in self.rules.strata]
        every = [key for key in self._columns if not key.endswith("_objects")]
        thresholds = at_thresholds(self.rules.thresholds)
        return [*every, *thresholds, *(key for key in sizes if not isnan(values[key]))]

    def _of_images(self, sums: Ints, names: Sequence[str]) -> list[Row]:
        found = self._read(sums[:, : self._scheme.of_classes].sum(1))
        rows: list[Row] = []
        for i, name in enumerate(names):
            numbers = {key: float(found[key][i]) for key in OF_IMAGE}
            whole = {key: _whole(n) for key, n in numbers.items() if key.endswith("_objects")}
            rows.append({"image": name, **numbers, **whole})
        return sorted(rows, key=lambda row: (-_wrong(row), row["image"]))

    def _intervals(
        self, sums: Ints, evaluation: Evaluation, level: float | None, scores: Iterable[str]
    ) -> dict[str, Any]:
        names = evaluation.names
        groups = None if self.groups is None else self.groups.of(names, evaluation.warnings)
        if level is None or number_drawn(names, groups) < 2:
            return {}
        from segmetrics.statistics import confidence_interval

        (counts,) = self.tables(sums, names, evaluation.warnings)
        return {key: confidence_interval(counts, key, level=level, groups=groups) for key in scores}

    def _note(self) -> str:
        """The definition of objects and of matches, in sentences."""
        if self.rules.preset:
            return f"Objects as in {self.rules.preset}; scores are means over images."
        neighbours = {"full": "8 (in volumes 26)", "faces": "4 (in volumes 6)"}
        by = neighbours.get(self.rules.connectivity, "")
        least = f" of at least {self.rules.min_size:g} pixels" if self.rules.min_size else ""
        threshold = self.rules.least
        if self.rules.matching == "iou":
            found = (
                f"matched one to one above an IoU of {0.5 if threshold is None else threshold:g}"
            )
        elif threshold is None:
            found = "found where any pixel of its class overlaps"
        else:
            found = f"found where its class covers more than {threshold:g} of it"
        what = (
            "the pixels of one id"
            if self.rules.ids
            else f"connected pixels of one class, {by} neighbours"
        )
        return f"An object is {what}{least}; {found}."


def _titles_at(thresholds: Sequence[float]) -> dict[str, str]:
    """The names of scores at several thresholds."""
    names = {"object_f1_iou": "object F1", "object_accuracy_iou": "object accuracy"}
    every = {key: f"{name}, mean over IoUs" for key, name in names.items()}
    of_one = {f"{key}/{t:g}": f"{names[key]}, IoU {t:g}" for key in names for t in thresholds}
    return every | of_one if thresholds else {}


def _mean(values: Any) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else nan


def _whole(number: float) -> float:
    """A number of objects as an integer; nan where no pixel counts."""
    return number if isnan(number) else int(number)


def _wrong(row: Row) -> float:
    """The missed and false objects of an image, 0 where no pixel counts."""
    number = row["missed_objects"] + row["false_objects"]
    return 0 if isnan(number) else float(number)
