"""``--probabilities``: predictions are maps of probabilities, or of logits.

torch is loaded on first use, see ``load``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segmetrics.evaluate.extras import Array, Row, Section
from segmetrics.evaluate.metadata import Groups, number_drawn
from segmetrics.evaluate.settings import Evaluation
from segmetrics.files import VOID, LabelMap, MaskError, Pair
from segmetrics.labels import LabelSpace

if TYPE_CHECKING:
    from torch import Tensor

    from segmetrics.evaluate.warnings import Warnings
    from segmetrics.statistics import Resampled

#: Cells of all images together, and of each where they are resampled.
TOGETHER, PER_IMAGE = 2**13, 2**9
BINS = 15
#: Scores in the order of the columns.
KEYS = ("ECE", "MCE", "ACE", "brier", "NLL", "AUROC", "AP", "FPR95", "best_dice", "best_threshold")
#: Those of bins of one confidence a pixel, of these not a single class's; and those of curves.
OF_BINS, OF_ERRORS, OF_CURVES = KEYS[:5], KEYS[3:5], KEYS[5:]
#: Of one foreground, and of all classes.
WHAT_IS_BINNED = (
    "the foreground's share against its probability",
    "the largest probability against how often its class is right, and each class's share against "
    "its probability",
)
MASKS_ARE = ("at 0.5", "of the class with the largest probability")
#: A label 1 read as a probability of 8 bits is less.
LEAST = 1.5 / 255
#: The side of a figure in the report.
SIDE = 220


@dataclass(frozen=True)
class Probabilities:
    """An ``Extra``: calibration, ranking and the best threshold of probability maps.

    Args:
        names: the foreground, or the classes that have their own masks, or those of ``space``.
        per_image: keep the tables of every image, in fewer cells, for intervals.
        logits: the maps hold logits.
        space: the classes, where a map holds the scores of all of them. There is a row for the
            confidences, the largest probabilities, and one for every class against the rest.
        left_out: classes of ``space`` that are left out of averages.
        groups: what intervals draw, the patient of each image, say; None draws images.
    """

    names: Sequence[str]
    per_image: bool
    logits: bool
    space: LabelSpace | None = None
    left_out: tuple[int, ...] = ()
    groups: Groups | None = None

    name = "probabilities"
    keys = ("probabilities", "reliability")
    scores = KEYS

    @property
    def summed(self) -> bool:
        """Without intervals the tables of all pairs are added up."""
        return not self.per_image

    @property
    def cells(self) -> int:
        """The number of cells."""
        return PER_IMAGE if self.per_image else TOGETHER

    def load(self) -> None:
        """Load torch and the kernels once, for all workers that are forked afterwards."""
        labels, scores = np.zeros((1, 1), np.int64), np.zeros((1, 1), np.float32)
        if self.space is not None:
            labels[:] = next(iter(self.space.id_to_class or [0]))
            scores = np.zeros((self.space.num_classes, 1, 1), np.float32)
            scores[0] = 1
        pixel = LabelMap(labels, scores=scores)
        self.measure(pixel, pixel, Pair("", Path(), Path()))

    def describe(self) -> object:
        """The settings that affect the tables."""
        return [BINS, self.cells, *(["logits"] if self.logits else [])]

    def measure(self, preds: LabelMap, target: LabelMap, pair: Pair) -> Array:
        """Bins, sums of errors, and cells ``(rows, K)``."""
        import torch

        if preds.scores is None:
            raise MaskError("scores", pair.preds, "no probabilities")
        scores, labels = (torch.from_numpy(x)[None] for x in (preds.scores, target.values))
        try:
            return self._rows(scores, labels).numpy()
        except ValueError as error:
            raise MaskError("scores", pair.preds, str(error)) from error

    def _rows(self, scores: Tensor, labels: Tensor) -> Tensor:
        """A row of the foreground, or one of all classes and one of each."""
        import torch

        from segmetrics.probabilities import Probabilities as Reading
        from segmetrics.probabilities import count
        from segmetrics.probabilities.ranking import Ranking, count_cells

        def bins(*, classwise: bool = False) -> Tensor:
            reading = Reading.reading(**arguments, classwise=classwise, n_bins=BINS)
            sums = reading.sums(count(scores, labels, reading))
            errors = torch.cat([part.flatten() for part in sums[1:]])
            return torch.cat([sums.table.flatten(1), errors.expand(reading.tables, -1)], 1)

        arguments: Any = {"num_classes": self.space}
        if self.space is None:
            arguments = {"task": "binary", "ignore_index": VOID}
        # files have been checked for sums, with a tolerance of their own
        arguments |= {"from_logits": self.logits, "tolerance": inf}
        ranking = Ranking.ranking(**arguments, cells=self.cells)
        cells = ranking.table(count_cells(scores, labels, ranking)).flatten(1)
        if self.space is None:
            return torch.cat([bins(), cells], 1)
        of_all = torch.cat([bins(), torch.zeros_like(cells[:1])], 1)
        return torch.cat([of_all, torch.cat([bins(classwise=True), cells], 1)])

    def sections(
        self, values: Array, evaluation: Evaluation, level: float | None
    ) -> Iterable[Section]:
        """One row per class, after one of all where a map holds all of them; and one per bin."""
        from segmetrics.probabilities.cells import edges

        values = values if self.per_image else values[None]
        bins, _, cells = self._parts(values)
        ids = tuple(evaluation.names) if self.per_image else None
        together, names = self.space is not None, self._rows_are
        logits = self.logits and not together
        rows: list[Row] = []
        for row, name in enumerate(names):
            found = _scores(*self._tables(values, ids, [row], [row]))
            missing = (OF_CURVES if row == 0 else OF_ERRORS) if together else ()
            rows.append({"name": name, **found, **dict.fromkeys(missing, nan)})
        of_all, of_classes = self._averaged
        everything = self._tables(values, ids, of_all, of_classes)
        intervals = self._intervals(everything, evaluation, level) if ids else {}
        scores = {key: _mean([rows[row][key] for row in of_classes]) for key in KEYS}
        if together:
            scores |= {key: rows[0][key] for key in OF_BINS} | {"best_threshold": nan}
        _, _, cut = edges(self.cells, from_logits=logits, halves=False)
        self._warn_of_labels(cells, evaluation.warnings)
        figures = []
        for row, name in enumerate(names):
            figures += _figures(name, bins[:, row].sum(0), cells[:, row].sum(0), cut)
        yield Section(
            "probabilities",
            "probabilities",
            rows,
            scores=scores,
            intervals=intervals,
            notes=[
                f"ECE, MCE and ACE of {BINS} bins of equal width: {WHAT_IS_BINNED[together]}. "
                f"AUROC, AP and FPR95 of {self.cells:,} cells. best_dice is the Dice of all pixels "
                f"at best_threshold; all other scores of masks are {MASKS_ARE[together]}."
            ],
            figures=figures,
        )
        yield Section(
            "reliability",
            "reliability",
            [row for c, name in enumerate(names) for row in _bins(name, bins[:, c].sum(0))],
            printed=0,
        )

    def _intervals(
        self, tables: Iterable[Resampled], evaluation: Evaluation, level: float | None
    ) -> dict[str, Any]:
        names = evaluation.names
        groups = None if self.groups is None else self.groups.of(names, evaluation.warnings)
        if level is None or number_drawn(names, groups) < 2:
            return {}
        from segmetrics.statistics import confidence_interval

        return {
            key: confidence_interval(table, key, level=level, groups=groups)
            for table in tables
            for key in table.keys()  # noqa: SIM118  # a table is no mapping
            if key in KEYS
        }

    def tables(
        self, values: Array | None, names: Sequence[str], warnings: Warnings
    ) -> list[Resampled]:
        """The bins and the cells of the images, for comparisons."""
        if values is None:
            values = np.zeros((0, len(self._rows_are), 3 * BINS + 3 + 2 * self.cells), np.int64)
        self._warn_of_labels(self._parts(values)[2], warnings)
        return self._tables(values, tuple(names), *self._averaged)

    @property
    def _rows_are(self) -> list[str]:
        """The names of the rows."""
        return [*["all classes"] * (self.space is not None), *self.names]

    @property
    def _averaged(self) -> tuple[list[int], list[int]]:
        """The rows whose calibration is averaged, and those whose curves are."""
        if self.space is None:
            return (list(range(len(self.names))),) * 2
        return [0], [c + 1 for c in range(len(self.names)) if c not in self.left_out]

    def _tables(
        self,
        values: Array,
        ids: tuple[str, ...] | None,
        of_bins: Sequence[int],
        of_curves: Sequence[int],
    ) -> list[Resampled]:
        """The bins and the cells of some rows with one entry an image."""
        from segmetrics.statistics import CalibrationCounts, CurveCounts

        bins, errors, cells = self._parts(values)
        squares, losses, infinite = (part[:, of_bins] for part in errors)
        names, several = self._rows_are, len(of_curves) > 1
        return [
            CalibrationCounts(bins[:, of_bins], squares, losses, infinite, ids),
            CurveCounts(
                cells[:, of_curves],
                ids,
                class_names=tuple(names[row] for row in of_curves) if several else (),
                from_logits=self.logits and self.space is None,
            ),
        ]

    def _warn_of_labels(self, cells: Any, warnings: Warnings) -> None:
        """Warn where files of the foreground look like label maps."""
        from segmetrics.probabilities.cells import edges

        if self.logits or self.space is not None:
            return
        both = cells.sum((0, 1))
        lowest, used = edges(self.cells, from_logits=False, halves=False).lowest, both.sum(-1)
        used = np.flatnonzero(used.numpy())
        scored = "Label maps are scored without --probabilities."
        if len(used) and lowest[used[-1]] < LEAST and both[:, 1].any():
            warnings.add(
                f"No probability is above {LEAST:.4f}. Do files hold labels, 0 and 1? {scored}"
            )
        elif len(used) and {0, self.cells - 1}.issuperset(used.tolist()):
            warnings.add(f"Every probability is 0 or 1. Do files hold masks of 0 and 255? {scored}")

    def _parts(self, values: Array) -> tuple[Any, Any, Any]:
        """Bins ``(N, C, bins, 3)``, three sums ``(N, C)`` and cells ``(N, C, cells, 2)``."""
        import torch

        of_bins = 3 * BINS
        tensor = torch.from_numpy(np.ascontiguousarray(values, np.int64))
        return (
            tensor[..., :of_bins].unflatten(-1, (BINS, 3)),
            tensor[..., of_bins : of_bins + 3].unbind(-1),
            tensor[..., of_bins + 3 :].unflatten(-1, (self.cells, 2)),
        )


def _scores(*tables: Resampled) -> dict[str, float]:
    """The scores over all images by key."""
    import torch

    found = {}
    for table in tables:
        everything = torch.ones(1, len(table), dtype=torch.float64)
        for key in (key for key in table.keys() if key in KEYS):  # noqa: SIM118
            found[key] = table.statistic(key)(everything).item()
    return {key: found[key] for key in KEYS}


def _bins(name: str, table: Any) -> list[Row]:
    """The bins of a class that hold pixels."""
    from segmetrics.probabilities.calibration import real

    rows = []
    for i, (pixels, right) in enumerate(table[:, :2].tolist()):
        if pixels:
            mean = real(table[i, 2]).item() / pixels
            rows.append(
                {
                    "name": name,
                    "bin": f"{i / BINS:.3f}-{(i + 1) / BINS:.3f}",
                    "pixels": pixels,
                    "probability": mean,
                    "foreground": right / pixels,
                }
            )
    return rows


def _mean(values: Sequence[float]) -> float:
    """The mean of those that are defined."""
    defined = [value for value in values if value == value]
    return sum(defined) / len(defined) if defined else float("nan")


# --- Figures --------------------------------------------------------------------------------------


def _figures(name: str, bins: Any, cells: Any, cut: Array) -> list[str]:
    """The reliability diagram of a class, its ROC and precision-recall curve, and the Dice score.

    ``cut`` are the thresholds behind cells, over which the Dice score is drawn.
    """
    import torch

    from segmetrics.probabilities import curves

    rows = _bins(name, bins)
    reliability = [(row["probability"], row["foreground"]) for row in rows]
    figures = [
        _figure(f"{name}: reliability", "probability", "foreground", reliability, marks=reliability)
    ]
    if not cells.any():
        return figures
    used = cells[cells.any(-1)]
    found = curves.points(used, used[:, 0])  # thresholds are not drawn
    order = range(len(found.recall) - 1, -1, -1)
    roc = [(0.0, 0.0)] + [(found.fpr[i].item(), found.recall[i].item()) for i in order]
    precision = [(found.recall[i].item(), found.precision[i].item()) for i in order]
    dice = curves.over_thresholds(used)
    best, threshold = curves.best(dice, torch.from_numpy(cut)[cells.any(-1)])
    over = list(zip(cut[cells.any(-1).numpy()].tolist(), dice.tolist(), strict=True))
    return [
        *figures,
        _figure(f"{name}: ROC", "false positive rate", "recall", roc),
        _figure(f"{name}: precision and recall", "recall", "precision", precision, guide=False),
        _figure(
            f"{name}: Dice",
            "threshold",
            "Dice",
            over,
            guide=False,
            marks=[(threshold.item(), best.item())],
        ),
    ]


def _figure(
    title: str,
    x: str,
    y: str,
    points: Sequence[tuple[float, float]],
    *,
    guide: bool = True,
    marks: Sequence[tuple[float, float]] = (),
) -> str:
    """A curve in the unit square as a picture, with points that are marked."""
    from html import escape

    left, top, side = 40, 20, SIDE - 60

    def placed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        known = [(a, b) for a, b in points if a == a and b == b]
        return [(left + side * a, top + side * (1 - b)) for a, b in known]

    places = placed(points)
    thinned = [*places[:: max(1, len(places) // 200)], *places[-1:]]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in thinned)
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in placed(marks))
    diagonal = (
        f'<path d="M{left} {top + side}L{left + side} {top}" stroke="currentColor" '
        'stroke-opacity="0.3" stroke-dasharray="4"/>'
    ) * guide
    return (
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" font-size="11" fill="currentColor" '
        f'style="max-width:{SIDE}px" aria-label="{escape(title)}">'
        f'<text x="{left}" y="12">{escape(title)}</text>'
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" '
        f'stroke="currentColor" stroke-opacity="0.3"/>{diagonal}'
        f'<text x="{left}" y="{top + side + 14}">0</text>'
        f'<text x="{left + side}" y="{top + side + 14}" text-anchor="end">1 {escape(x)}</text>'
        f'<text x="12" y="{top + side}" transform="rotate(-90 12 {top + side})">{escape(y)}</text>'
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
        f"{dots}</svg>"
    )
