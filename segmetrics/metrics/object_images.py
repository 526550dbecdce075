"""Scores of the objects of single images: intervals, comparisons and the worst of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from segmetrics._arguments import identifier
from segmetrics._help import explained
from segmetrics.counting import BAD_KINDS, raise_if_bad
from segmetrics.metrics.base import uncompiled
from segmetrics.metrics.instance_maps import naming_images
from segmetrics.metrics.objects import ObjectMetrics
from segmetrics.metrics.rows import ImageRows, each_once, rows_of, worst_images
from segmetrics.metrics.spacing import Spacing
from segmetrics.recipes import exact
from segmetrics.statistics import ImageId, ObjectCounts


@explained
class ObjectImageScores(ImageRows, ObjectMetrics):
    """The scores of ``ObjectMetrics``, with the sums over the objects of every image.

    So ``segmetrics.statistics`` gives intervals of object F1 or missed objects, compares and ranks
    models, and :meth:`worst` names the images with the worst. The state is a row of integers an
    image, gathered over processes. With ids, an image that is repeated, as with Lightning's
    padding sampler, counts once; one id with different counts, or ids for some images only, raise
    ``ValueError`` in ``compute``.

    ``ObjectImageScores.preset("brats-2023", ...)`` is that of ``ObjectMetrics``.

    Inputs of ``update`` and ``forward``:
        ``preds``: integer or bool labels ``(N, H, W)``, or scores ``(N, C, H, W)`` in fp32, fp64,
        fp16 or bf16; volumes have D in front of H. Binary: ``(N, H, W)`` or ``(N, 1, H, W)``.
        Multilabel: ``(N, C, H, W)``.
        ``target``: integer or bool labels ``(N, H, W)``, or with scores one-hot ``(N, C, H, W)``.
        With ``input_format="instances"`` both are instance maps, see ``ObjectMetrics``.
        ``spacing``: optionally that of this batch, for all images or one row an image.
        ``image_ids``: optionally one name or integer an image.

    Returns (``compute`` and ``forward``):
        dict of float32 scalars by key; nan without objects.

    Example:
        >>> import torch
        >>> from segmetrics import ObjectImageScores
        >>> from segmetrics.statistics import confidence_interval
        >>> objects = ObjectImageScores(2)
        >>> target = torch.tensor([[[1, 0, 1]], [[1, 0, 0]], [[1, 1, 1]]])
        >>> preds = torch.tensor([[[1, 0, 0]], [[0, 0, 1]], [[1, 0, 1]]])
        >>> objects.update(preds, target, image_ids=["a", "b", "c"])
        >>> objects.worst(1)
        [('b', 0.0)]
        >>> print(confidence_interval(objects, "object_recall"))
        object_recall 0.500 [0.000, 1.000] (95 %, 3 images)
    """

    _inputs = ("preds", "target", "spacing", "image_ids")

    def _add_states(self) -> None:
        kind = identifier("objects", *(self.fill if self.samplewise else ()))
        self._add_rows(f"{kind}_{self._settings}", prod(self.scheme.shape) + len(BAD_KINDS))

    @explained
    def update(
        self,
        preds: Tensor,
        target: Tensor,
        spacing: Spacing | None = None,
        image_ids: Tensor | Iterable[ImageId] | None = None,
    ) -> None:
        """Add a batch of images ``(N, H, W)`` or volumes ``(N, D, H, W)``.

        Args:
            spacing: distance between pixels in physical units: one number, one an axis, or one an
                axis for every image, ``(N, 2)`` or ``(N, 3)``. ``None`` takes the metric's own.
            image_ids: a name or an integer for each image, unique in the data set, for all or none.
        """
        self._add(self._batch(preds, target, spacing, image_ids))

    @uncompiled
    def _batch(
        self,
        preds: Tensor,
        target: Tensor,
        spacing: Spacing | None = None,
        image_ids: Tensor | Iterable[ImageId] | None = None,
    ) -> tuple[Tensor, ...]:
        counting = replace(self.counting, per_image=True)
        bad = self._bad(preds, target, counting)
        with naming_images(image_ids):
            found = self._sums(preds, target, spacing).flatten(1).to(bad.device)
        return rows_of(torch.cat([found, bad], 1), image_ids)

    def _value(self, *states: Tensor) -> dict[str, Tensor]:
        rows, once = each_once(states[0])
        return self._reported(self._table(exact(rows)).scores(exact(once)))

    def _check_rows(self, rows: Tensor) -> None:
        raise_if_bad(rows[:, -len(BAD_KINDS) :].sum(0), self.counting)

    def image_counts(self) -> ObjectCounts:
        """The sums of every image once, by id or in the order of updates, on the CPU.

        Of several processes all must call this or ``worst``, or all must have called ``compute``
        since their last update.
        """
        return self._table(*self._rows_of_images())

    def worst(self, k: int, score: str = "object_f1") -> list[tuple[ImageId, float]]:
        """The k worst images with their scores, the worst first; fewer if fewer have a score.

        Args:
            k: the number of images.
            score: a key, such as ``"missed_objects"`` or ``"object_dice/<class>"``.

        Raises:
            ValueError: there is no such score.
        """
        return worst_images(self.image_counts(), k, score)

    def _table(self, rows: Tensor, ids: tuple[ImageId, ...] | None = None) -> ObjectCounts:
        return ObjectCounts(
            rows[:, : -len(BAD_KINDS)].view(-1, *self.scheme.shape),
            self.scheme,
            ids,
            class_names=tuple(self.row_names) if self.class_keys else (),
            region_names=tuple(self.region_names),
            samplewise=self.samplewise,
            zero_division=self.fill[0],
            both_empty=self.fill[1],
        )
