"""``--format nnunet``: the ``summary.json`` that nnU-Net v2's own evaluation writes.

Its structure and its numbers are those of ``nnunetv2.evaluation.evaluate_predictions``: programs
that read that file, such as ``nnUNetv2_find_best_configuration``, keep working.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics import scores
from segmetrics.counting import Counting
from segmetrics.evaluate.counter import confusion_matrix
from segmetrics.evaluate.extras import Section
from segmetrics.evaluate.settings import Evaluation, Settings
from segmetrics.evaluate.writing import opened
from segmetrics.files import LabelMap, Pair, valid

Metrics = dict[str, float]


@dataclass(frozen=True)
class Nnunet:
    """An ``Extra``: the counts of every case and label or region.

    Args:
        counting: how the pixels of two masks are counted.
        units: the classes of each label or region, by its key in the file: ``"1"``, ``"(1, 2)"``.
    """

    counting: Counting
    units: Mapping[str, tuple[int, ...]]

    name = "nnunet"
    keys = ()
    summed = False

    @staticmethod
    def of(settings: Settings) -> Nnunet:
        """The regions and classes that nnU-Net scores: those with names, without background.

        Raises:
            ValueError: nnU-Net has no such masks.
        """
        if settings.task == "multilabel":
            raise ValueError(
                "--format nnunet is a file of label maps, and these are masks of one class each. "
                "Leave it out."
            )
        if settings.task == "binary":
            return Nnunet(settings.counting, {"1": (1,)})
        space, values = settings.space, _values(settings)
        regions = space.classes_of_regions()
        if all(len(classes) == 1 for classes in regions.values()):
            regions = {}  # nnU-Net takes a list of one value for a label
        units: dict[str, tuple[int, ...]] = {}
        for c, name in enumerate(space.names):
            # nnU-Net's regions are made of labels that have no names
            part_only = regions and name == _key(values[c])
            if 0 not in values[c] and c not in settings.counting.ignored_classes and not part_only:
                units[_key(values[c])] = (c,)
        for classes in regions.values():
            of_region = tuple(value for c in classes for value in values[c])
            if set(of_region) != {0}:
                units[str(of_region)] = classes
        return Nnunet(settings.counting, units)

    def describe(self) -> object:
        """The settings that affect the arrays."""
        return {key: list(classes) for key, classes in self.units.items()}

    def measure(self, preds: LabelMap, target: LabelMap, pair: Pair) -> NDArray[np.int64]:
        """True and false positives, false and true negatives: int64 ``(units, 4)``."""
        matrix = confusion_matrix(preds.values, target.values, self.counting)
        assert matrix is not None  # all labels are known
        s = scores.of_groups(matrix, list(self.units.values()))
        return np.stack([s.tp, s.fp, s.fn, s.tn], 1)

    def sections(
        self, values: NDArray[np.int64], evaluation: Evaluation, level: float | None
    ) -> Iterable[Section]:
        """None: ``write`` writes a file of its own."""
        return ()


def write(path: Path, evaluation: Evaluation) -> None:
    """Write ``summary.json``; ``-`` is standard output.

    An undefined score is ``NaN``, as in nnU-Net: that of a case whose target and prediction both
    lack the label. Means over cases leave it out; the mean over labels does not.
    """
    with opened(path) as file:  # in the form of batchgenerators' save_json
        json.dump(summary(evaluation), file, sort_keys=True, indent=4)


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """The result of nnU-Net's ``compute_metrics_on_folder``, with labels and regions as strings."""
    (extra,) = (extra for extra in evaluation.settings.extras if isinstance(extra, Nnunet))
    counts = evaluation.extras[extra.name]
    pairs = [evaluation.scored[name] for name in evaluation.names]
    metrics = [dict(zip(extra.units, map(_metrics, rows), strict=True)) for rows in counts.tolist()]
    cases = [
        {
            "prediction_file": valid(str(pair.preds)),
            "reference_file": valid(str(pair.target)),
            "metrics": of_case,
        }
        for pair, of_case in zip(pairs, metrics, strict=True)
    ]
    cases.sort(key=lambda case: str(case["prediction_file"]))  # there by file, not by case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a label that no case has
        mean = {
            key: _mean([of_case[key] for of_case in metrics], np.nanmean) for key in extra.units
        }
        foreground = _mean(list(mean.values()), np.mean)
    return {"metric_per_case": cases, "mean": mean, "foreground_mean": foreground}


def _metrics(counts: Sequence[int]) -> Metrics:
    """The numbers of a case and label by nnU-Net's names."""
    tp, fp, fn, tn = counts
    defined = tp + fp + fn > 0
    return {
        "Dice": 2 * tp / (2 * tp + fp + fn) if defined else nan,
        "IoU": tp / (tp + fp + fn) if defined else nan,
        "FP": fp,
        "TP": tp,
        "FN": fn,
        "TN": tn,
        "n_pred": fp + tp,
        "n_ref": fn + tp,
    }


def _mean(rows: Sequence[Metrics], mean: Any) -> Metrics:
    return {name: float(mean([row[name] for row in rows])) for name in rows[0]}


def _values(settings: Settings) -> list[tuple[int, ...]]:
    """The mask values of each class."""
    space = settings.space
    mapped = space.id_to_class or {c: c for c in range(space.num_classes)}
    return [tuple(v for v, of in mapped.items() if of == c) for c in range(space.num_classes)]


def _key(values: tuple[int, ...]) -> str:
    """The key of a class: its value, or with several values that of a region."""
    return str(values[0]) if len(values) == 1 else str(values)
