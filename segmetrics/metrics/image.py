"""Scores of single images, which one mean over the data set hides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import integer, one_of
from segmetrics._help import explained
from segmetrics.counting import BAD_KINDS, count, raise_if_bad
from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import MetricKwargs
from segmetrics.metrics.counted import checked_names, counting_arguments, default_names
from segmetrics.metrics.rows import ImageRows, each_once, rows_of
from segmetrics.metrics.views import checked_prefix
from segmetrics.recipes import class_recipe, statistics
from segmetrics.statistics import KEYS, ImageCounts, ImageId, Presence, all_scores


@explained
class ImageScores(ImageRows):
    """IoU, Dice and accuracy over the data set, over images and over the worst of them.

    ``compute`` and ``forward`` return a flat dict of float32 scalars in [0, 1], for ``mIoU``,
    ``mDice`` and ``mAcc``. ``mIoU_D`` is over the data set, as ``MeanIoU``. ``mIoU_I`` averages the
    classes present in an image, then images. ``mIoU_C`` averages the images in which a class is
    present, then classes. Both have worst cases: ``mIoU_I_1``, ``_5``, ``_10`` average the worst
    ⌊q %⌋ of the images, at least one; ``mIoU_I_Q`` is the mean over q = 10, 20, ..., 100. A class
    that no image has, and an image without a class, stay out of averages. Wang et al., "Revisiting
    Evaluation Metrics for Semantic Segmentation", NeurIPS 2023.

    The state is three counts an image and class, a few kB an image, gathered over processes. With
    ids, an image that is repeated, as by Lightning's padding sampler, counts once; one id with
    different counts, or ids for some images only, raise ``ValueError`` in ``compute``.

    ``segmetrics.statistics`` gives intervals and compares two models.

    Args:
        presence: a class is present in an image if its target has it (``"target"``), or if its
            target or its prediction has it (``"either"``, always for ``task="binary"``).

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
        self._add_rows(self.counting.name, self.counting.cells + len(BAD_KINDS))
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
            image_ids: a name or an integer for each image, unique in the data set. Give them for
                all images or for none.
        """
        self._add(self._batch(preds, target, image_ids))

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
        """The k worst images with their scores, the worst first; fewer if fewer have a score.

        Args:
            k: the number of images.
            class_index: a class whose score decides, instead of the mean over those present.
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
        """Draw the distribution of the images' mean IoU, with the names of the five worst.

        Needs matplotlib. Values that are given are drawn as torchmetrics draws them.

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

    def _batch(
        self, preds: Tensor, target: Tensor, image_ids: Tensor | Iterable[ImageId] | None = None
    ) -> tuple[Tensor, ...]:
        counts = count(preds, target, self.counting)
        return rows_of(counts, image_ids)

    def _value(self, *states: Tensor) -> dict[str, Tensor]:
        rows, once = each_once(states[0])
        counts = self._table(rows)
        found = all_scores(counts, once.to(counts.tp.device))
        values = torch.stack(list(found.values())).float().to(self.device).unbind()
        return {self.prefix + key: value for key, value in zip(found, values, strict=True)}

    def image_counts(self) -> ImageCounts:
        """The counts of every image once, by id or in the order of updates, on the CPU.

        All processes must call this, ``per_image``, ``worst`` or ``plot``, or must have called
        ``compute`` since their last update.
        """
        return self._table(*self._rows_of_images())

    def _check_rows(self, rows: Tensor) -> None:
        raise_if_bad(self.counting.bad(rows), self.counting)

    def _table(self, rows: Tensor, ids: tuple[ImageId, ...] | None = None) -> ImageCounts:
        s = statistics(rows, self.counting, of_labels=False)
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


def _worst(values: Tensor, counts: ImageCounts, k: int) -> list[tuple[ImageId, float]]:
    """The k lowest values that are defined, each with its image."""
    order = values.argsort(stable=True)[: int((~values.isnan()).sum())]  # nan comes last
    return [(counts.labels[i], values[i].item()) for i in order[:k].tolist()]
