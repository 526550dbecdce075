"""One score under every convention for absent classes, which alone can reorder models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Literal

import torch
from torch import Tensor

from segmetrics._arguments import one_of
from segmetrics.statistics.counts import FORMULAS, HasImageCounts, ImageCounts, Presence
from segmetrics.statistics.ranks import aligned, ranks_of
from segmetrics.statistics.resampled import table_of
from segmetrics.statistics.tables import Tabular, layout

Over = Literal["pooled", "per image", "per class"]

FILLS: dict[str, float] = {"left out": nan, "0": 0.0, "1": 1.0}


@dataclass(frozen=True)
class Convention:
    """One way to compute a score, with the value and the rank of each model.

    ``over``: ``"pooled"`` scores the classes over the data set, ``"per image"`` averages over the
    classes of an image, then over images, ``"per class"`` over the images of a class, then over
    classes. ``presence``: a class is absent unless the target has it (``"target"``), or the target
    or the prediction has it (``"either"``). ``absent`` and ``empty_image`` are the scores of an
    absent class and of an image without a class: ``"left out"``, ``"0"`` or ``"1"``;
    ``empty_image`` is None if it does not apply. ``key`` is the key of this number in
    ``ImageScores``.
    """

    over: Over
    presence: Presence
    absent: str
    empty_image: str | None
    key: str | None
    values: tuple[float, ...]
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Conventions(Tabular):
    """Every convention with the scores of all models; one row a convention."""

    score: str
    models: tuple[str, ...]
    rows: tuple[Convention, ...]

    @property
    def orders(self) -> dict[tuple[str, ...], int]:
        """The number of conventions that give each order of the models, the most frequent first."""
        found: dict[tuple[str, ...], int] = {}
        for row in self.rows:
            by_rank = sorted(zip(row.ranks, self.models, strict=True))
            order = tuple(name for _, name in by_rank)
            found[order] = found.get(order, 0) + 1
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def columns(self) -> dict[str, list[Any]]:
        """One row a convention, with the score of every model, and their ranks if several."""
        names = ("over", "presence", "absent", "empty_image", "key")
        columns = {name: [getattr(row, name) for row in self.rows] for name in names}
        for m, model in enumerate(self.models):
            columns[model] = [row.values[m] for row in self.rows]
            if len(self.models) > 1:
                columns[f"{model} rank"] = [row.ranks[m] for row in self.rows]
        return columns

    def __str__(self) -> str:
        columns: dict[str, list[str]] = {
            "over": [row.over for row in self.rows],
            "present if in": [row.presence for row in self.rows],
            "absent class": [row.absent for row in self.rows],
            "empty image": [row.empty_image or "" for row in self.rows],
        }
        several = len(self.models) > 1
        for m, model in enumerate(self.models):
            columns[model] = [
                f"{row.values[m]:.3f}" + (f" ({row.ranks[m]})" if several else "")
                for row in self.rows
            ]
        columns["key"] = [row.key or "" for row in self.rows]
        text = f"mean {self.score} by convention\n{layout(columns, right=self.models)}"
        if several:
            orders = [f"{', '.join(order)}: {n}" for order, n in self.orders.items()]
            text += "\n  ".join(["\norders, and how many conventions give each", *orders])
        return text


def conventions(
    models: HasImageCounts | Mapping[str, HasImageCounts], score: str = "IoU"
) -> Conventions:
    """Compute a score under every treatment of absent classes and empty images.

    The score of an absent class is a convention, and tools differ in it. If the order of models
    depends on it, report which one was used.

    Args:
        models: the counts of one model, or of several by name, on the same images.
        score: ``"IoU"``, ``"Dice"`` or ``"Acc"``.

    Raises:
        ValueError: an unknown score, no images, or models with different images or targets.

    Source: Maier-Hein, Reinke et al., "Metrics reloaded", Nature Methods 21 (2024), on empty
    references; Wang et al., "Revisiting Evaluation Metrics for Semantic Segmentation", NeurIPS
    2023, on averages.

    Example:
        >>> import torch
        >>> from segmetrics.statistics import ImageCounts
        >>> tp, fn = torch.tensor([[9], [0]]), torch.tensor([[1], [0]])  # the second is healthy
        >>> lesions = ImageCounts(tp, 0 * tp, fn, class_names=("lesion",))
        >>> for row in conventions(lesions, "Dice").rows[6:9]:
        ...     print(f"{row.over}, empty image {row.empty_image}: {row.values[0]:.3f}")
        per image, empty image left out: 0.947
        per image, empty image 0: 0.474
        per image, empty image 1: 0.974
    """
    one_of("score", score, tuple(FORMULAS))
    if not isinstance(models, Mapping):
        models = {f"m{score}": models}
        counts = {name: table_of(those, "models") for name, those in models.items()}
    else:
        counts = aligned(models)
    kept = []
    for name, images in counts.items():
        if not isinstance(images, ImageCounts):
            raise TypeError(
                f"`models` must hold the pixel counts of images (`ImageCounts`), {name!r} is "
                f"{type(images).__name__}."
            )
        if not len(images):
            raise ValueError(f"`models` must hold images, {name!r} has none.")
        classes = [c for c in range(len(images.names)) if c not in images.ignored]
        kept.append(images.classes(classes))
    rows = []
    for over, presence, absent, empty in _all_conventions():
        values = [
            _scored(replace(images, presence=presence), score, over, absent, empty)
            for images in kept
        ]
        ranks = ranks_of(torch.tensor(values, dtype=torch.float64).nan_to_num(nan=-1.0))
        rows.append(
            Convention(
                over=over,
                presence=presence,
                absent=absent,
                empty_image=empty,
                key=_key_of(score, over, presence, absent, empty),
                values=tuple(values),
                ranks=tuple(ranks.tolist()),
            )
        )
    return Conventions(score, tuple(counts), tuple(rows))


def _all_conventions() -> Iterator[tuple[Over, Presence, str, str | None]]:
    presences: tuple[Presence, ...] = ("target", "either")
    for over in ("pooled", "per image", "per class"):
        for presence in presences:
            for absent in FILLS:
                # images are empty only if absent classes are left out
                empties = FILLS if (over, absent) == ("per image", "left out") else (None,)
                for empty in empties:
                    yield over, presence, absent, empty


def _scored(
    counts: ImageCounts, score: str, over: Over, absent: str, empty_image: str | None
) -> float:
    """The score of images under one convention."""
    if over == "pooled":
        tp, fp, fn = (part.sum(0, keepdim=True) for part in (counts.tp, counts.fp, counts.fn))
        counts = replace(counts, tp=tp, fp=fp, fn=fn, ids=None)
    values = _filled(counts.per_class(score), absent)
    if over == "per image":
        values = _filled(values.nanmean(1), empty_image or "left out")
    elif over == "per class":
        values = values.nanmean(0)
    return values.nanmean().item()


def _filled(values: Tensor, treatment: str) -> Tensor:
    return values.where(~values.isnan(), FILLS[treatment])


def _key_of(
    score: str, over: Over, presence: Presence, absent: str, empty_image: str | None
) -> str | None:
    """The key under which ``ImageScores`` reports this number."""
    if absent != "left out" or empty_image not in (None, "left out"):
        return None
    if over == "pooled":
        # a class that is only predicted scores 0, except for accuracy, which is undefined there
        return f"m{score}_D" if presence == "either" else None
    return f"m{score}_{'I' if over == 'per image' else 'C'}"
