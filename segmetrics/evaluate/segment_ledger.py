"""The segments of images that workers and processes have counted by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from segmetrics.evaluate.counter import Counted, Int64Array
from segmetrics.evaluate.processes import Processes
from segmetrics.files import Pair, Problem


@dataclass
class SegmentLedger:
    """The counts of images by name, and what cannot be counted; see ``objects.panoptic``.

    Attributes:
        classes: number of categories C.
        counts: of the segments of every image ``(C, 4)``.
        problems: images that cannot be scored.
        digests: of the files of every image.
    """

    classes: int
    counts: dict[str, Int64Array] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    digests: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The images that are counted."""
        return list(self.counts)

    def add(self, pair: Pair, outcome: Counted | Problem) -> None:
        """Add the outcome of a pair."""
        if isinstance(outcome, Problem):
            self.problems.append(outcome)
            return
        self.counts[pair.name] = outcome.sums.reshape(self.classes, 4)
        self.digests[pair.name] = outcome.digests

    def stored(self) -> dict[str, Int64Array]:
        """The counts, for a checkpoint."""
        every = np.array(list(self.counts.values()), np.int64)
        return {"segments": every.reshape(-1, self.classes, 4)}

    def restore(
        self, digests: Mapping[str, Sequence[str]], arrays: Mapping[str, Int64Array]
    ) -> None:
        """Go on from what was stored.

        Raises:
            ValueError, KeyError: it is not what was stored.
        """
        segments = arrays["segments"]
        if segments.shape != (len(digests), self.classes, 4) or segments.dtype != np.int64:
            raise ValueError("its counts are of other categories or files")
        self.counts = dict(zip(digests, segments, strict=True))
        self.digests = {name: tuple(found) for name, found in digests.items()}

    def merged(self, processes: Processes) -> SegmentLedger:
        """The ledgers of all processes as one; images in the order of their names."""
        parts = processes.gather((self.counts, self.problems))
        counts = {name: one for counts, _ in parts for name, one in counts.items()}
        problems = [problem for _, problems in parts for problem in problems]
        return SegmentLedger(
            self.classes,
            dict(sorted(counts.items())),
            sorted(problems, key=lambda problem: problem.file),
        )
