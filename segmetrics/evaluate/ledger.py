"""The running sum of the counts of workers and processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segmetrics.counting.sparse import SparseMatrix
from segmetrics.evaluate import iiou
from segmetrics.evaluate.counter import Array, Counted, Floats, Int64Array, Layout
from segmetrics.evaluate.processes import Processes
from segmetrics.evaluate.settings import Evaluation, Settings
from segmetrics.files import Pair, Problem

if TYPE_CHECKING:
    from segmetrics.statistics import ImageCounts

#: The least number of cells of sparse matrices that are summed at once.
FEW_CELLS = 2**20


@dataclass
class Ledger:
    """The counts so far, and the problems of files that cannot be counted."""

    settings: Settings
    names: list[str] = field(default_factory=list)
    sums: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64))
    images: list[Int64Array] = field(default_factory=list)  # tp, fp and fn (3, C)
    instances: list[Floats] = field(default_factory=list)
    extras: list[list[Array]] = field(default_factory=list)  # of each extra: a sum, or all
    problems: list[Problem] = field(default_factory=list)
    digests: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of files, by name
    sparse: list[SparseMatrix] = field(default_factory=list)  # their sum is the confusion matrix

    def __post_init__(self) -> None:
        self.layout, self._cells = Layout.of(self.settings), 0
        if not len(self.sums):
            self.sums = np.zeros(self.layout.size, np.int64)
        if not self.extras:
            self.extras = [[] for _ in self.settings.extras]

    def add(self, pair: Pair, outcome: Counted | Problem) -> None:
        """Add the outcome of a pair."""
        if isinstance(outcome, Problem):
            self.problems.append(outcome)
            return
        self.names.append(pair.name)
        self.digests[pair.name] = outcome.digests
        self.sums += outcome.sums
        if outcome.sparse is not None:
            self._add_sparse(outcome.sparse)
        if self.settings.images:
            confusion = outcome.sparse or self.layout.confusion(outcome.sums)
            hits, predicted, target = self.layout.marginals(confusion)
            self.images.append(np.stack([hits, predicted - hits, target - hits]))
        if outcome.instances is not None:
            self.instances.append(outcome.instances)
        for extra, kept, array in zip(
            self.settings.extras, self.extras, outcome.extras, strict=True
        ):
            kept.append(array)
            if extra.summed:
                kept[:] = [_sum(kept)]

    def _add_sparse(self, found: SparseMatrix) -> None:
        """Keep a matrix; matrices are summed when the latest have more cells than the sum."""
        self.sparse.append(found)
        self._cells += len(found.cells)
        if self._cells > max(FEW_CELLS, 2 * len(self.sparse[0].cells)):
            self._add_up()

    def _add_up(self) -> SparseMatrix:
        """The sum of the sparse matrices, which replaces them."""
        if len(self.sparse) != 1:
            shape = self.layout.classes, self.layout.classes + 1
            parts = [(part.cells, part.counts) for part in self.sparse]
            self.sparse = [SparseMatrix.sum_of(shape, parts)]
            self._cells = len(self.sparse[0].cells)
        return self.sparse[0]

    @property
    def confusion(self) -> Int64Array | SparseMatrix:
        """The confusion matrix of all pairs."""
        return self._add_up() if self.layout.sparse else self.layout.confusion(self.sums)

    def stored(self) -> dict[str, NDArray[Any]]:
        """The counts, for a checkpoint."""
        found = self.confusion
        sparse = {}
        if isinstance(found, SparseMatrix):
            sparse = {"cells": found.cells, "counts": found.counts}
        return {
            "sums": self.sums,
            **sparse,
            "images": np.array(self.images),
            "instances": np.array(self.instances),
            **{
                f"extra {extra.name}": np.array(arrays)
                for extra, arrays in zip(self.settings.extras, self.extras, strict=True)
            },
        }

    def restore(
        self, digests: Mapping[str, Sequence[str]], arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        """Continue from stored counts.

        Raises:
            ValueError, KeyError: it is not what was stored.
        """
        sums, images, instances = arrays["sums"], arrays["images"], arrays["instances"]
        expected = (
            len(self.sums),
            len(digests) if self.settings.images else 0,
            len(digests) if self.settings.instances else 0,
        )
        if (len(sums), len(images), len(instances)) != expected or sums.dtype != np.int64:
            raise ValueError("its counts are of other classes or files")
        if self.layout.sparse:
            shape = self.layout.classes, self.layout.classes + 1
            if len(arrays["cells"]) != len(arrays["counts"]):
                raise ValueError("its counts are not as many as their cells")
            self.sparse = [SparseMatrix(shape, arrays["cells"], arrays["counts"])]
        self.names, self.sums = list(digests), sums
        self.digests = {name: tuple(found) for name, found in digests.items()}
        self.images, self.instances = list(images), list(instances)
        for extra, kept in zip(self.settings.extras, self.extras, strict=True):
            kept[:] = arrays[f"extra {extra.name}"]
            if len(kept) != (min(1, len(digests)) if extra.summed else len(digests)):
                raise ValueError(f"its {extra.name} are of other files")

    def merged(self, processes: Processes) -> Ledger:
        """The sum of the ledgers of all processes."""
        if processes.number == 1:
            return self
        parts = processes.gather(
            (self.names, self.images, self.instances, self.problems, self.sparse, *self.extras)
        )
        names, images, instances, problems, sparse, *extras = (
            list(chain.from_iterable(part)) for part in zip(*parts, strict=True)
        )
        for extra, kept in zip(self.settings.extras, extras, strict=True):
            if extra.summed and kept:
                kept[:] = [_sum(kept)]
        sums = processes.sum(self.sums)
        return Ledger(
            self.settings, names, sums, images, instances, extras, problems, sparse=sparse
        )

    def evaluation(self, pairs: Sequence[Pair], **about: Any) -> Evaluation:
        """The results of these pairs."""
        settings, confusion = self.settings, self.confusion
        order = sorted(range(len(self.names)), key=self.names.__getitem__)
        scores_of_instances: tuple[Mapping[str, float], Mapping[str, float]] = {}, {}
        if settings.instances:
            assert not isinstance(confusion, SparseMatrix)  # of Cityscapes
            scores_of_instances = iiou.iious(self.instances, confusion, int(self.sums[-1]))
        done = set(self.names)
        return Evaluation(
            settings,
            confusion,
            self.layout.bands(self.sums) if settings.boundary else None,
            self._image_counts(order) if settings.images else None,
            *scores_of_instances,
            scored={pair.name: pair for pair in pairs if pair.name in done},
            extras={
                extra.name: kept[0] if extra.summed else np.stack([kept[i] for i in order])
                for extra, kept in zip(settings.extras, self.extras, strict=True)
            },
            **about,
        )

    def _image_counts(self, order: Sequence[int]) -> ImageCounts:
        """The counts of the images, in this order."""
        import torch

        from segmetrics.statistics import ImageCounts

        settings = self.settings
        tp, fp, fn = torch.from_numpy(np.stack([self.images[i] for i in order], 1))
        return ImageCounts(
            tp, fp, fn,
            ids=tuple(self.names[i] for i in order),
            class_names=tuple(settings.space.names),
            ignored=settings.left_out,
            presence="target" if settings.task == "multiclass" else "either",
            zero_division=settings.zero_division,
        )  # fmt: skip


def _sum(arrays: Sequence[Array]) -> Array:
    total: Array = np.sum(arrays, axis=0, dtype=arrays[0].dtype)
    return total
