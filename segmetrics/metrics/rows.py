"""Metrics that keep a row of integers for each image by its id, which statistics resample."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from segmetrics._arguments import integer
from segmetrics.metrics.base import uncompiled
from segmetrics.metrics.views import KeyedMetric
from segmetrics.statistics import ImageId, Resampled

#: Kinds of image ids: none, integers, or names, of which the row holds a hash.
UNNAMED, NUMBERED, NAMED = range(3)

Counts = TypeVar("Counts", bound=Resampled)


class ImageRows(KeyedMetric):
    """A metric whose state has a row of integers for every image, gathered over processes.

    With ids, an image that is repeated counts once.
    """

    def _add_rows(self, name: str, columns: int) -> None:
        """Add the states; ``name`` holds all settings that affect the rows."""
        self._columns = columns
        self.add_state(f"images_{name}", [], dist_reduce_fx="cat")
        self.add_state(f"names_{name}", [], dist_reduce_fx="cat")
        self._gathered: tuple[Tensor, ...] | None = None

    @abstractmethod
    def _check_rows(self, rows: Tensor) -> None:
        """Raise the errors that ``update`` could not raise."""

    def compute(self) -> dict[str, Tensor]:
        """The scores over all images and processes; every process must call it."""
        value: dict[str, Tensor] = super().compute()
        # kept until the next update, so that a single process may read its images
        self._gathered = self._states if self._is_synced else None
        return value

    def _rows_of_images(self) -> tuple[Tensor, tuple[ImageId, ...] | None]:
        """One row for every image, by id or in the order of updates, on the CPU."""
        computed: object = self._computed  # None after every update
        if computed is not None and self._gathered is not None:
            rows, names = self._gathered
        else:
            with self._synced():
                rows, names = self._states
        self._check(rows, names)
        rows = rows.cpu()
        ids = _ids(rows, names)
        if ids is None:
            return rows[:, 2:], None
        first = {image: i for i, image in reversed(list(enumerate(ids)))}
        keep = [first[image] for image in sorted(first)]
        return rows[keep, 2:], tuple(ids[i] for i in keep)

    def reset(self) -> None:
        """Forget all images."""
        for name in self._defaults:  # torchmetrics would clear lists that were returned
            setattr(self, name, [])
        super().reset()
        self._gathered = None

    @property
    def _states(self) -> tuple[Tensor, ...]:
        """Images as rows of id and integers ``(N, 2 + K)``, and names as JSON lines."""
        images, names = (getattr(self, name) for name in self._defaults)
        no_images = torch.zeros(0, 2 + self._columns, dtype=torch.int64, device=self.device)
        no_names = torch.zeros(0, dtype=torch.uint8, device=self.device)
        return torch.cat(images or [no_images]), torch.cat(names or [no_names])

    def _assign(self, states: Sequence[Tensor]) -> None:
        for name, state in zip(self._defaults, states, strict=True):
            setattr(self, name, [state])

    @uncompiled
    def _add(self, batch: tuple[Tensor, ...]) -> None:
        if batch[0].device != self.device:
            raise ValueError(
                f"the inputs are on {batch[0].device}, the metric is on {self.device}. "
                f"Move the metric with `.to({str(batch[0].device)!r})`."
            )
        for name, added in zip(self._defaults, batch, strict=True):
            getattr(self, name).append(added)
        if self.compute_on_cpu:
            self._move_list_states_to_cpu()

    def _sync_dist(
        self,
        dist_sync_fn: Callable[..., Any] = gather_all_tensors,
        process_group: Any | None = None,
    ) -> None:
        group = process_group or self.process_group
        self._assign([torch.cat(list(dist_sync_fn(s, group=group))) for s in self._states])

    def _check(self, *states: Tensor) -> None:
        rows, names = states
        self._check_rows(rows[:, 2:])
        kinds = torch.unique(rows[:, 0]).tolist()
        if len(kinds) > 1:
            mixture = " and ".join(("none", "integers", "strings")[kind] for kind in kinds)
            raise ValueError(
                "`image_ids` must be given for every image or for none, all strings or all "
                f"integers, got {mixture}."
            )
        order, repeated = _by_id(rows)
        differs = (rows[order][1:] != rows[order][:-1]).any(1) & repeated[1:]
        if differs.any():
            ids = _ids(rows, names) or ()
            found = sorted({str(ids[i]) for i in order[1:][differs].tolist()})
            raise ValueError(
                f"{len(found)} of `image_ids` have two different counts, {found[0]!r} the "
                "first. Is it unique in the data set? If it is, the model's prediction depends on "
                "the batch: show every image once, with `ExactDistributedSampler`."
            )


class ScoredImages(ImageRows, Generic[Counts]):
    """A metric whose images have scores of their own, by key."""

    #: The score that says which images are the worst, and what it is called.
    worst_by: str
    worst_title: str

    @abstractmethod
    def _counts(self, rows: Tensor, ids: tuple[ImageId, ...] | None = None) -> Counts:
        """What the rows of images hold, for statistics."""

    def image_counts(self) -> Counts:
        """The counts of every image once, by id or else in the order of updates, on the CPU.

        Of several processes all must call this, ``worst`` or ``plot``, or all must have called
        ``compute`` since their last update.
        """
        return self._counts(*self._rows_of_images())

    def worst(self, k: int, score: str | None = None) -> list[tuple[ImageId, float]]:
        """The k worst images with their own scores, the worst first; fewer where fewer have one.

        Args:
            k: how many.
            score: a key without the prefix; by default the one that ``plot`` draws.
        """
        return worst_images(self.image_counts(), k, score or self.worst_by)

    def plot(self, val: Any = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw how the images' own scores are distributed, the five worst named.

        Needs matplotlib. Given values are drawn as torchmetrics does.

        Args:
            val: a value of ``compute`` or ``forward``, or a sequence of them over time.
            ax: matplotlib axes to draw on, instead of a new figure.

        Returns:
            The matplotlib figure and axes.
        """
        from segmetrics.plotting import histogram

        if val is not None:
            return self._plot(val, ax)
        counts = self.image_counts()
        worst = worst_images(counts, 5, self.worst_by)
        figure, axes = histogram(counts.values(self.worst_by), worst, ax=ax)
        axes.set_xlabel(f"{self.worst_title} of an image")
        return figure, axes


def rows_of(counts: Tensor, image_ids: Tensor | Iterable[ImageId] | None) -> tuple[Tensor, Tensor]:
    """A batch's states: the images' integers ``(N, K)`` under their ids, and the names."""
    ids, names = _encoded(image_ids, len(counts), counts.device)
    return torch.cat([ids, counts], 1), names


def each_once(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The integers of rows with ids, ordered by id, and whether each is the first of its image."""
    order, repeated = _by_id(rows)
    return rows[order, 2:], ~repeated


def worst_images(counts: Resampled, k: int, score: str) -> list[tuple[ImageId, float]]:
    """The k worst images with their scores, the worst first; fewer if fewer have a score."""
    if integer("k", k) < 0:
        raise ValueError(f"`k` must be at least 0, got {k}.")
    values = counts.values(score)
    order = values.argsort(stable=True, descending=not counts.higher_is_better(score))
    images = [i for i in order.tolist() if not values[i].isnan()][:k]
    return [(i if counts.ids is None else counts.ids[i], values[i].item()) for i in images]


@uncompiled
def _encoded(
    image_ids: Tensor | Iterable[ImageId] | None, images: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Ids as ``(N, 2)`` kinds and integers, and names as JSON lines, without synchronizing."""
    kind, names = UNNAMED, b""
    if image_ids is None:
        numbers = torch.zeros(images, dtype=torch.int64, device=device)
    elif isinstance(image_ids, Tensor):
        if image_ids.is_floating_point() or image_ids.dtype == torch.bool:
            raise TypeError(f"`image_ids` must hold integers or strings, got {image_ids.dtype}.")
        kind, numbers = NUMBERED, image_ids.detach().to(torch.int64).flatten()
    else:
        listed = [image_ids] if isinstance(image_ids, str) else list(image_ids)
        if all(isinstance(name, str) for name in listed):
            lines = [json.dumps(name).encode() for name in listed]
            kind, names = NAMED, b"".join(line + b"\n" for line in lines)
            numbers = torch.tensor([_hash(line) for line in lines], dtype=torch.int64)
        else:
            expected = "all integers or all strings"
            values = [integer("image_ids", name, expected) for name in listed]
            kind, numbers = NUMBERED, torch.tensor(values, dtype=torch.int64)
    if len(numbers) != images:
        raise ValueError(
            f"`image_ids` must have one id for each of the {images} images, got {len(numbers)}."
        )
    numbers = numbers.to(device, non_blocking=device.type == "cuda")
    letters = torch.tensor(list(names), dtype=torch.uint8)
    letters = letters.to(device, non_blocking=True)
    return torch.stack([torch.full_like(numbers, kind), numbers], 1), letters


def _hash(line: bytes) -> int:
    """A 64-bit hash of a name, equal in every process, to compare names on the device."""
    return int.from_bytes(blake2b(line, digest_size=8).digest(), "big", signed=True)


def _ids(rows: Tensor, names: Tensor) -> list[ImageId] | None:
    """The ids of the rows; names are in the rows' order."""
    if not len(rows) or rows[0, 0] == UNNAMED:
        return None
    if rows[0, 0] == NUMBERED:
        numbers: list[ImageId] = rows[:, 1].tolist()
        return numbers
    return [json.loads(line) for line in bytes(names.tolist()).splitlines()]


def _by_id(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The order of rows by id, and which of the ordered rows repeat the previous id."""
    order = rows[:, 1].argsort(stable=True)
    rows = rows[order]
    repeated = torch.zeros_like(order, dtype=torch.bool)
    repeated[1:] = (rows[1:, 1] == rows[:-1, 1]) & (rows[1:, 0] != UNNAMED)
    return order, repeated
