"""What every statistic asks of a table with one row an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from typing_extensions import Self

from segmetrics.statistics.weighting import Statistic, Sums

ImageId = int | str


class Resampled(Protocol):
    """A table with one row an image whose scores can be computed for any resample of the images.

    ``ImageCounts`` is one. A frozen dataclass that inherits from this class has intervals,
    comparisons, rankings, slices and sample sizes once it says ``keys``, ``statistic`` and
    ``targets``; of its fields every tensor ``(N, ...)`` has one row an image, and all others but
    ``ids`` are settings.

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
        """The names of its scores."""
        ...

    def statistic(self, score: str) -> Statistic:
        """A score as a function of weights ``(B, N)`` → ``(B,)``, both float64; best a ``Sums``.

        Raises:
            ValueError: no score has that name.
        """
        ...

    def targets(self) -> Tensor:
        """What two models on the same images have in common ``(N, T)``: counts of the target."""
        ...

    def values(self, score: str) -> Tensor:
        """The score of each image alone ``(N,)`` in float64; nan where it is undefined.

        Raises:
            ValueError: no score has that name, or no single image has this score.
        """
        one = self.statistic(score)
        if not isinstance(one, Sums):
            raise ValueError(f"`score={score!r}` is a score of many images; no image has it alone.")
        return one.score(one.parts)

    def higher_is_better(self, score: str) -> bool:
        """Whether a larger score is a better one; distances and errors say no."""
        return True

    def __len__(self) -> int:
        """The number of images."""
        return len(next(iter(_by_image(self).values())))

    def images(self, keep: Tensor) -> Self:
        """The rows of some images, by index."""
        ids = None if self.ids is None else tuple(self.ids[i] for i in keep.tolist())
        parts = {name: part[keep] for name, part in _by_image(self).items()}
        return replace(self, ids=ids, **parts)  # type: ignore[type-var]

    def stacked(self, other: Self) -> Self:
        """The rows of both, without ids, since both have the same."""
        others = _by_image(other)
        parts = {name: torch.cat([part, others[name]]) for name, part in _by_image(self).items()}
        return replace(self, ids=None, **parts)  # type: ignore[type-var]

    def rows(self) -> Tensor:
        """All that is known of each image ``(N, K)``; images with equal rows are exchangeable."""
        parts = _by_image(self).values()
        return torch.cat([part.reshape(len(part), -1) for part in parts], 1)

    def signature(self) -> Mapping[str, object]:
        """What must be equal between models that are compared: classes and settings."""
        settings: Any = self
        names = {field.name for field in fields(settings)} - {"ids", *_by_image(self)}
        return {name: getattr(self, name) for name in sorted(names)}


class KeepsImages(Protocol):
    """A metric that keeps a row an image, such as ``ImageScores``."""

    def image_counts(self) -> Resampled: ...


#: What the statistics take.
PerImage = KeepsImages | Resampled


def table_of(scores: PerImage, name: str = "scores") -> Resampled:
    """The table itself, or that of a metric.

    Raises:
        TypeError: something that is neither.
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
