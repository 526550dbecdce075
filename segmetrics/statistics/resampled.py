"""The protocol of tables with one row an image, which all statistics take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from typing_extensions import Self

from segmetrics.statistics.weighting import Statistic, Sums

ImageId = int | str


class Resampled(Protocol):
    """A table with one row an image whose scores can be computed for any resample of the images.

    ``ImageCounts`` is one. A frozen dataclass that inherits from this class and defines ``keys``,
    ``statistic`` and ``targets`` has intervals, comparisons, rankings, slices and sample sizes. Its
    fields: tensors ``(N, ...)`` have one row an image; all others except ``ids`` are settings.

    Example:
        >>> from dataclasses import dataclass
        >>> from segmetrics.statistics import confidence_interval
        >>> @dataclass(frozen=True, eq=False)
        ... class FoundObjects(Resampled):
        ...     found: Tensor
        ...     total: Tensor
        ...     ids: tuple[ImageId, ...] | None = None
        ...
        ...     def keys(self):
        ...         return ("object_recall",)
        ...     def statistic(self, score):
        ...         return Sums(torch.stack([self.found, self.total], 1).double(),
        ...                     lambda sums: sums[..., 0] / sums[..., 1])
        ...     def targets(self):
        ...         return self.total.unsqueeze(1)
        >>> objects = FoundObjects(torch.tensor([3, 1, 4, 2]), torch.tensor([4, 4, 5, 2]))
        >>> print(confidence_interval(objects, "object_recall"))
        object_recall 0.667 [0.375, 0.900] (95 %, 4 images)
    """

    ids: tuple[ImageId, ...] | None

    def keys(self) -> tuple[str, ...]:
        """The names of the scores."""
        ...

    def statistic(self, score: str) -> Statistic:
        """A score as a function of weights ``(B, N)`` → ``(B,)``, both float64; best a ``Sums``.

        Raises:
            ValueError: no score has that name.
        """
        ...

    def targets(self) -> Tensor:
        """Counts of the targets ``(N, T)``, which are equal for two models on the same images."""
        ...

    def values(self, score: str) -> Tensor:
        """The score of each single image ``(N,)`` in float64; nan where undefined.

        Raises:
            ValueError: no score has that name, or no single image has this score.
        """
        one = self.statistic(score)
        if not isinstance(one, Sums):
            raise ValueError(
                f"`score={score!r}` is a score of many images; a single image has none."
            )
        return one.score(one.parts)

    def higher_is_better(self, score: str) -> bool:
        """Whether a larger score is better; not for distances and errors."""
        return True

    def is_quality(self, score: str) -> bool:
        """Whether the score says how good a model is; not of amounts, as the number of objects."""
        return True

    def __len__(self) -> int:
        """The number of images."""
        return len(next(iter(_by_image(self).values())))

    @property
    def labels(self) -> Sequence[ImageId]:
        """The ids of the images, by default numbers."""
        return range(len(self)) if self.ids is None else self.ids

    def images(self, keep: Tensor) -> Self:
        """The rows of some images, by index."""
        ids = None if self.ids is None else tuple(self.ids[i] for i in keep.tolist())
        parts = {name: part[keep] for name, part in _by_image(self).items()}
        return replace(self, ids=ids, **parts)  # type: ignore[type-var]

    def stacked(self, other: Self) -> Self:
        """The rows of both tables, without ids, which are the same in both."""
        others = _by_image(other)
        parts = {name: torch.cat([part, others[name]]) for name, part in _by_image(self).items()}
        return replace(self, ids=None, **parts)  # type: ignore[type-var]

    def rows(self) -> Tensor:
        """All numbers of each image ``(N, K)``; images with equal rows are exchangeable."""
        parts = _by_image(self).values()
        return torch.cat([part.reshape(len(part), -1) for part in parts], 1)

    def signature(self) -> Mapping[str, object]:
        """The classes and settings that must be equal between models that are compared."""
        settings: Any = self
        parts = _by_image(self)
        names = {field.name for field in fields(settings)} - {"ids", *parts}
        shapes = {f"{name}.shape[1:]": tuple(part.shape[1:]) for name, part in parts.items()}
        return {name: getattr(self, name) for name in sorted(names)} | shapes


class KeepsImages(Protocol):
    """A metric that keeps one row an image, such as ``ImageScores``."""

    def image_counts(self) -> Resampled: ...


#: The tables that statistics take.
PerImage = KeepsImages | Resampled


def table_of(scores: PerImage, name: str = "scores") -> Resampled:
    """The table itself, or the table of a metric.

    Raises:
        TypeError: the argument is neither.
    """
    found: Any = scores
    if hasattr(scores, "image_counts"):
        found = scores.image_counts()
    if not (hasattr(found, "statistic") and hasattr(found, "ids")):
        raise TypeError(
            f"`{name}` must be an `ImageScores` or another table with one row an image "
            f"(`Resampled`), got {type(scores).__name__}."
        )
    table: Resampled = found
    return table


def statistic(score: str, counts: PerImage) -> Statistic:
    """The score as a function of weights ``(B, N)`` → ``(B,)`` in float64.

    Raises:
        ValueError: no score, or no class, has that name.
    """
    return table_of(counts, "counts").statistic(score)


def _by_image(table: Any) -> dict[str, Tensor]:
    """The fields with one row an image, by name."""
    parts = {field.name: getattr(table, field.name) for field in fields(table)}
    return {name: part for name, part in parts.items() if isinstance(part, Tensor)}
