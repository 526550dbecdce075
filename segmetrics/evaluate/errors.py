"""``--errors``: kinds of wrong pixels, and scores near boundaries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from segmetrics.evaluate.extras import Array, Row, Section
from segmetrics.evaluate.settings import Evaluation
from segmetrics.files import LabelMap, Pair
from segmetrics.surfaces import BandCounting
from segmetrics.surfaces.bands import volumes_of
from segmetrics.surfaces.errors import FALSE, KINDS, MISSED, count_errors, count_near_boundaries

#: The width of boundary errors as a share of the diagonal (Bernhard et al.), and the widest trimap.
WIDTH, REACH = 0.01, 20
#: Widths of the trimap that are printed.
PRINTED = (1, 2, 3, 5, 10, 20)
#: The size of the curve in the report.
CURVE = (560, 180)


@dataclass(frozen=True)
class Errors:
    """An ``Extra``: pixels of every class by kind of error, and by distance from a boundary.

    Args:
        counting: how pixels are counted.
        own_masks: whether each class has its own masks.
    """

    counting: BandCounting
    own_masks: bool = False

    name = "errors"
    keys = ("errors", "trimap")
    summed = True

    def describe(self) -> object:
        """The settings that affect the counts."""
        return [self.counting.dilation_ratio, REACH]

    def measure(self, preds: LabelMap, target: LabelMap, pair: Pair) -> Array:
        """Counts ``(classes, 7 + 3 · REACH)``; for masks of one class those of its foreground."""
        of_preds, of_target = volumes_of(preds.values, target.values, self.counting)
        reach = self.counting.reach([length for length in of_target.shape if length > 1] or [1])
        kinds = count_errors(of_preds, of_target, self.counting.labels, reach)
        near = count_near_boundaries(of_preds, of_target, self.counting.labels, REACH)
        counts = np.concatenate([kinds, near.transpose(1, 0, 2).reshape(len(kinds), -1)], 1)
        return counts[1:] if self.own_masks else counts

    def sections(
        self, values: Array, evaluation: Evaluation, level: float | None
    ) -> Iterable[Section]:
        """One row per class, and one per width of the trimap."""
        names = evaluation.settings.space.names
        kept = [c for c in range(len(names)) if c not in evaluation.ignored]
        rows = [_row(names[c], values[c, :7]) for c in kept]
        yield Section(
            "errors",
            "errors",
            rows,
            columns=["name", "iou", *KINDS],
            scores={f"{kind}_error": _mean([row[kind] for row in rows]) for kind in KINDS},
            titles={f"{kind}_error": f"{kind} errors" for kind in KINDS},
            notes=[
                "Errors are shares of the union of a class in target and prediction: with its IoU "
                "they sum to 1. Boundary errors have both true positives and true negatives within "
                f"{100 * self.counting.dilation_ratio:g} % of the image's diagonal; the segment of "
                "a segment error has no true positive (Bernhard et al., 2024)."
            ],
        )
        near = values[kept, 7:].reshape(len(kept), REACH, 3)
        trimap = [_width(d, near[:, d - 1]) for d in range(1, REACH + 1)]
        yield Section(
            "trimap",
            "trimap",
            trimap,
            listed=lambda row: int(row["width"]) in PRINTED,
            notes=[
                "Trimap: only pixels within this distance of a pixel with another label in the "
                "target (Csurka et al., 2013)."
            ],
            figures=[_curve([row["mIoU"] for row in trimap])],
        )


def _row(name: str, counts: NDArray[np.int64]) -> Row:
    """The shares of the union, then the pixels they consist of."""
    union = int(counts.sum())
    shares = [int(counts[FALSE][k] + counts[MISSED][k]) for k in range(3)]
    return {
        "name": name,
        "iou": int(counts[0]) / union if union else nan,
        **{k: share / union if union else nan for k, share in zip(KINDS, shares, strict=True)},
        "right": int(counts[0]),
        **{f"false_{kind}": int(n) for kind, n in zip(KINDS, counts[FALSE], strict=True)},
        **{f"missed_{kind}": int(n) for kind, n in zip(KINDS, counts[MISSED], strict=True)},
    }


def _width(d: int, counts: NDArray[np.int64]) -> Row:
    """The scores over the trimap of one width, of counts ``(classes, 3)``."""
    right, predicted, target = counts.T
    union = (predicted + target - right).tolist()
    ious = [int(r) / u if u else nan for r, u in zip(right, union, strict=True)]
    total = int(target.sum())
    accuracy = int(right.sum()) / total if total else nan
    return {"width": str(d), "mIoU": _mean(ious), "accuracy": accuracy, "pixels": total}


def _mean(values: Sequence[float]) -> float:
    """The mean of those that are defined."""
    defined = [value for value in values if value == value]
    return sum(defined) / len(defined) if defined else nan


def _curve(values: Sequence[float]) -> str:
    """The mIoU over the width as a picture."""
    width, height = CURVE
    places = [
        f"{40 + (width - 50) * i / (len(values) - 1):.1f},{10 + (height - 40) * (1 - value):.1f}"
        for i, value in enumerate(values)
        if value == value
    ]
    ticks = "".join(
        f'<text x="34" y="{14 + (height - 40) * (1 - y):.0f}" text-anchor="end">{y:g}</text>'
        f'<path d="M40 {10 + (height - 40) * (1 - y):.0f}H{width - 10}" stroke="currentColor" '
        f'stroke-opacity="0.15"/>'
        for y in (0, 0.5, 1)
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" font-size="12" fill="currentColor" '
        f'style="max-width:{width}px" aria-label="mIoU over the width of the trimap">{ticks}'
        f'<text x="40" y="{height - 8}">1</text><text x="{width - 10}" y="{height - 8}" '
        f'text-anchor="end">{len(values)} px from a boundary</text>'
        f'<polyline points="{" ".join(places)}" fill="none" stroke="currentColor" '
        f'stroke-width="2"/></svg>'
    )
