"""Scores of single images: what one mean over the data set hides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import integer, one_of
from segmetrics._help import explained
from segmetrics.counting import BAD_KINDS, count, raise_if_bad
from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import (
    MetricKwargs,
    checked_names,
    counting_arguments,
    default_names,
    uncompiled,
)
from segmetrics.metrics.views import KeyedMetric, checked_prefix
from segmetrics.recipes import class_recipe, statistics
from segmetrics.statistics import KEYS, ImageCounts, ImageId, Presence, all_scores

#: What an image's id is: none, an integer, or a name, of which the row holds a hash.
UNNAMED, NUMBERED, NAMED = range(3)


@explained
class ImageScores(KeyedMetric):
    """IoU, Dice and accuracy over the data set, over images and over the worst of them.

    ``compute`` and ``forward`` return a flat dict of float32 scalars in [0, 1], for ``mIoU``,
    ``mDice`` and ``mAcc``: ``mIoU_D`` over the data set (what ``MeanIoU`` gives); ``mIoU_I`` per
    image the mean over the classes present in it, then over images; ``mIoU_C`` per class the mean
    over the images in which it is present, then over classes. Of both the worst cases:
    ``mIoU_I_1``, ``_5``, ``_10`` over the worst ⌊q %⌋ of the images, at least one; ``mIoU_I_Q`` the
    mean over q = 10, 20, ..., 100. A class present nowhere leaves the averages, an image without
    any too. Wang et al., "Revisiting Evaluation Metrics for Semantic Segmentation", NeurIPS 2023.

    The state is three counts an image and class, a few kB an image, gathered over processes. With
    ids, an image that came several times, as with Lightning's padding sampler, counts once; one id
    with different counts, or ids for some images only, raise ``ValueError`` in ``compute``.

    ``segmetrics.statistics`` gives intervals and compares two models.

    Args:
        presence: a class is present in an image if its target has it (``"target"``), or its target
            or its prediction (``"either"``, always so for ``task="binary"``).

    Returns (``compute`` and ``forward``):
        dict of float32 scalars by key; nan if no image has a class.

    Example:
        >>> import torch
        >>> from segmetrics import ImageScores
        >>> images = ImageScores(2)
        >>> target = torch.tensor([[[0, 0, 1, 1]], [[0, 0, 0, 0]]])
        >>> preds = torch.tensor([[[0, 0, 1, 1]], [[0, 1, 1, 1]]])
        >>> images.update(preds, target, image_ids=["easy.png", "hard.png"])
        >>> {key: round(value.item(), 3) for key, value in images.compute().items()
        ...  if key in ("mIoU_D", "mIoU_I", "mIoU_C", "mIoU_I_5")}
        {'mIoU_D': 0.45, 'mIoU_I': 0.625, 'mIoU_I_5': 0.25, 'mIoU_C': 0.812}
        >>> images.worst(1)
        [('hard.png', 0.25)]
    """

    _inputs = ("preds", "target", "image_ids")

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        presence: Presence = "target",
        class_names: Sequence[str] | None = None,
        prefix: str | None = None,
        ignore_index: int | Sequence[int] | None = None,
        include_background: bool = True,
        task: Task = "multiclass",
        threshold: float = 0.5,
        from_logits: bool = False,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        one_of("presence", presence, ("target", "either"))
        keys_prefix = checked_prefix(prefix)
        recipe = class_recipe(
            scores.iou,
            num_classes,
            aggregation_level="samplewise",
            include_background=include_background,
            ignore_index=ignore_index,
            task=task,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
        )
        super().__init__(**metric_kwargs)
        self.counting = recipe.counting
        self.label_space = num_classes if isinstance(num_classes, LabelSpace) else None
        self.class_names = checked_names(class_names, recipe.counting, self.label_space)
        self.first, self.ignored = recipe.score.first, recipe.score.ignored
        self.presence: Presence = "either" if task == "binary" else presence
        self.prefix = keys_prefix
        self.add_state(f"images_{self.counting.name}", [], dist_reduce_fx="cat")
        self.add_state(f"names_{self.counting.name}", [], dist_reduce_fx="cat")
        self._gathered: tuple[Tensor, ...] | None = None
        self._add_views()

    def _keys(self) -> list[str]:
        return [self.prefix + key for key in KEYS]

    @explained
    def update(
        self,
        preds: Tensor,
        target: Tensor,
        image_ids: Tensor | Iterable[ImageId] | None = None,
    ) -> None:
        """Count a batch.

        Args:
            image_ids: one name or integer an image, unique in the data set, for all images or none.
        """
        self._add(self._batch(preds, target, image_ids))

    def compute(self) -> dict[str, Tensor]:
        """The scores over all images and processes; every process must call it."""
        value: dict[str, Tensor] = super().compute()
        # kept until the next update, so that one process alone may look at single images
        self._gathered = self._states if self._is_synced else None
        return value

    def image_counts(self) -> ImageCounts:
        """The counts of every image once, by id or else in the order of updates, on the CPU.

        Of several processes all must call this, ``per_image``, ``worst`` or ``plot``, or all must
        have called ``compute`` since their last update.
        """
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
            return self._counts(rows)
        first = {image: i for i, image in reversed(list(enumerate(ids)))}
        keep = [first[image] for image in sorted(first)]
        return self._counts(rows[keep], tuple(ids[i] for i in keep))

    def per_image(self, score: str = "IoU") -> Any:
        """The scores per image and class, nan where the class is not present.

        Args:
            score: ``"IoU"``, ``"Dice"`` or ``"Acc"``.

        Returns:
            A pandas frame, images by classes; without pandas the ids and a float64 tensor
            ``(N, C)``.
        """
        counts = self.image_counts()
        per_class = counts.per_class(score)
        try:
            import pandas as pd  # type: ignore[import-untyped]
        except ImportError:
            return counts.labels, per_class
        index = pd.Index(counts.labels, name="image")
        return pd.DataFrame(per_class.numpy(), index=index, columns=list(counts.names))

    def worst(
        self, k: int, class_index: int | None = None, score: str = "IoU"
    ) -> list[tuple[ImageId, float]]:
        """The k worst images with their scores, the worst first; fewer where fewer have one.

        Args:
            k: how many.
            class_index: judge images by this class instead of the mean over those present.
            score: ``"IoU"``, ``"Dice"`` or ``"Acc"``.

        Raises:
            ValueError: there is no such class.
        """
        if integer("k", k) < 0:
            raise ValueError(f"`k` must be at least 0, got {k}.")
        counts = self.image_counts()
        if class_index is None:
            values = counts.per_image(score)
        else:
            column = integer("class_index", class_index) - self.first
            if column not in range(len(counts.names)):
                raise ValueError(
                    f"`class_index` must be a scored class, {self.first} to "
                    f"{self.first + len(counts.names) - 1}, got {class_index}."
                )
            values = counts.per_class(score)[:, column]
        return _worst(values, counts, k)

    def plot(self, val: Any = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw how the images' mean IoU is distributed, the five worst named.

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
        values = counts.per_image("IoU")
        return histogram(values, _worst(values, counts, 5), ax=ax)

    def reset(self) -> None:
        """Forget all images."""
        for name in self._defaults:  # torchmetrics would empty lists that were handed out
            setattr(self, name, [])
        super().reset()
        self._gathered = None

    @property
    def _states(self) -> tuple[Tensor, ...]:
        """Images as rows of id and counts ``(N, 2 + K)`` in int64, and names as JSON lines."""
        images, names = (getattr(self, name) for name in self._defaults)
        width = 2 + self.counting.cells + len(BAD_KINDS)
        no_images = torch.zeros(0, width, dtype=torch.int64, device=self.device)
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

    def _batch(
        self, preds: Tensor, target: Tensor, image_ids: Tensor | Iterable[ImageId] | None = None
    ) -> tuple[Tensor, ...]:
        counts = count(preds, target, self.counting)
        ids, names = _encoded(image_ids, len(counts), counts.device)
        return torch.cat([ids, counts], 1), names

    def _value(self, *states: Tensor) -> dict[str, Tensor]:
        order, repeated = _by_id(states[0])
        counts = self._counts(states[0][order])
        found = all_scores(counts, (~repeated).to(counts.tp.device))
        values = torch.stack(list(found.values())).float().to(self.device).unbind()
        return {self.prefix + key: value for key, value in zip(found, values, strict=True)}

    def _check(self, *states: Tensor) -> None:
        rows, names = states
        raise_if_bad(self.counting.bad(rows[:, 2:]), self.counting)
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
                f"{len(found)} of `image_ids` came with two different counts, {found[0]!r} the "
                "first. Is it unique in the data set? If it is, the model's prediction depends on "
                "the batch: show every image once, with `ExactDistributedSampler`."
            )

    def _counts(self, rows: Tensor, ids: tuple[ImageId, ...] | None = None) -> ImageCounts:
        s = statistics(rows[:, 2:], self.counting, of_labels=False)
        return ImageCounts(
            s.tp[:, self.first :],
            s.fp[:, self.first :],
            s.fn[:, self.first :],
            ids=ids,
            class_names=tuple(self._shown_names()),
            ignored=tuple(label - self.first for label in self.ignored),
            presence=self.presence,
        )

    def _shown_names(self) -> list[str]:
        """The names of the classes that have a column."""
        if self.counting.task == "binary":
            return self.class_names[1:] if self.class_names else ["foreground"]
        names = self.class_names or [str(label) for label in range(self.counting.num_classes)]
        return names[self.first :]

    def _arguments(self) -> dict[str, tuple[object, object]]:
        binary = self.counting.task == "binary"
        return counting_arguments(self.counting, self.label_space) | {
            "aggregation_level": (None, None),  # there is no such argument
            "presence": (self.presence, "either" if binary else "target"),
            "include_background": (not self.first, True),
            "class_names": (self.class_names, default_names(self.label_space)),
            "prefix": (self.prefix, ""),
        }


@uncompiled
def _encoded(
    image_ids: Tensor | Iterable[ImageId] | None, images: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Ids as ``(N, 2)`` kinds and integers, and names as JSON lines; a GPU is not waited for."""
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
    """64 bits of a name, the same in every process, to tell images apart on the device."""
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
    """The order of rows by id, and which rows, so ordered, repeat the id before them."""
    order = rows[:, 1].argsort(stable=True)
    rows = rows[order]
    repeated = torch.zeros_like(order, dtype=torch.bool)
    repeated[1:] = (rows[1:, 1] == rows[:-1, 1]) & (rows[1:, 0] != UNNAMED)
    return order, repeated


def _worst(values: Tensor, counts: ImageCounts, k: int) -> list[tuple[ImageId, float]]:
    """The k lowest values that are defined, each with its image."""
    order = values.argsort(stable=True)[: int((~values.isnan()).sum())]  # nan comes last
    return [(counts.labels[i], values[i].item()) for i in order[:k].tolist()]
