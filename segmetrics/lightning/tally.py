"""One dataloader's epoch in one process: its counts, and its worst images so far."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from segmetrics.counting.inputs import read
from segmetrics.metrics import ProbabilityMetrics, SegmentationMetrics
from segmetrics.probabilities.calibration import Bins
from segmetrics.recipes import statistics
from segmetrics.report import Example
from segmetrics.statistics import ImageCounts


@dataclass
class Kept:
    """One of the worst images of this process."""

    score: float
    position: int  # among its images
    example: Example


@dataclass
class Tally:
    """The counts of one dataloader's epoch in this process, and its worst images."""

    metric: SegmentationMetrics
    calibration: ProbabilityMetrics | None = None
    bins: Bins | None = None
    dice: tuple[Tensor, Tensor] | None = None
    kept: list[Kept] = field(default_factory=list)
    seen: int = 0

    def another(self) -> Tally:
        """An empty tally of the same metrics, for another dataloader."""
        other = Tally(deepcopy(self.metric), deepcopy(self.calibration))
        other.reset()
        return other

    def reset(self) -> None:
        """Forget the epoch."""
        self.metric.reset()
        if self.calibration is not None:
            self.calibration.reset()
        self.kept, self.seen, self.bins, self.dice = [], 0, None, None

    def count(self, preds: Tensor, target: Tensor) -> None:
        """Count a batch, on its device."""
        if isinstance(target, Tensor) and target.device != self.metric.device:
            self.metric.to(target.device)
            if self.calibration is not None:
                self.calibration.to(target.device)
        if self.calibration is not None:  # first: it rejects labels
            self.calibration.update(preds, target)
        self.metric.update(preds, target)

    def count_each(self, preds: Tensor, target: Tensor) -> list[float]:
        """Count a batch and return the mIoU of each image, from the same counts."""
        read(preds, target, self.metric.counting)  # checks the batch before it is split
        states = []
        for each in zip(preds.split(1), target.split(1), strict=True):
            before = self._state
            self.count(*each)
            states.append(self._state - before)
        return image_scores(torch.stack(states), self.metric) if states else []

    def is_among_the_worst(self, score: float, number: int) -> bool:
        """Whether a score belongs to the lowest ``number``; nan never does."""
        if score != score:
            return False
        return len(self.kept) < number or score < self.kept[-1].score

    def keep(self, candidate: Kept, number: int) -> None:
        """Add an image to the worst, which stay sorted: the earlier of equal scores first."""
        distinct: dict[str, Kept] = {}
        for each in sorted([*self.kept, candidate], key=lambda each: each.score):
            distinct.setdefault(each.example.name, each)
        self.kept = list(distinct.values())[:number]

    def sync(self, device: torch.device) -> Tensor:
        """The counts over all processes; the metric caches the scores computed from them."""
        self.metric.to(device)
        with self.metric.sync_context():
            counts = self.metric.counting.matrices(self._state).cpu()
            self.metric.compute()  # last, as torchmetrics unsyncs after it
        if self.calibration is not None:  # in every process: it syncs
            self.calibration.to(device).compute()
            self.bins = self.calibration.bins()
            self.dice = self.calibration._over_thresholds()
        return counts

    @property
    def _state(self) -> Tensor:
        (counts,) = self.metric.metric_state.values()
        assert isinstance(counts, Tensor)
        return counts


def image_scores(counts: Tensor, metric: SegmentationMetrics) -> list[float]:
    """The mIoU of each image as ``ImageScores`` defines it, from counts ``(N, ...)``."""
    score = next(iter(metric.recipes.values())).score
    of_classes = statistics(counts, metric.counting, of_labels=False)
    tp, fp, fn, _ = of_classes.map(lambda of_class: of_class[:, score.first :])
    images = ImageCounts(
        tp,
        fp,
        fn,
        ignored=tuple(label - score.first for label in score.ignored),
        presence="either" if metric.counting.task == "binary" else "target",
    )
    scores: list[float] = images.per_image("IoU").tolist()
    return scores
