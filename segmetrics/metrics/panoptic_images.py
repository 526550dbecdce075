"""Panoptic quality of single images: intervals, comparisons and the worst of them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from segmetrics._help import explained
from segmetrics.metrics.instance_maps import naming_images
from segmetrics.metrics.panoptic import PanopticQuality, check_segments
from segmetrics.metrics.rows import ImageRows, each_once, rows_of, worst_images
from segmetrics.statistics import ImageId, PanopticCounts


@explained
class PanopticImageScores(ImageRows, PanopticQuality):
    """The scores of ``PanopticQuality``, with the counts of every image kept.

    So ``segmetrics.statistics`` gives intervals of PQ, compares and ranks models, and :meth:`worst`
    names the images with the lowest. The state is a row of integers an image, gathered over
    processes. With ids, an image that is repeated, as with Lightning's padding sampler,
    counts once; one id with different counts, or ids for some images only, raise ``ValueError`` in
    ``compute``. Scores are in [0, 1].

    Inputs of ``update`` and ``forward``:
        ``preds``: integers ``(N, ..., 2)``, the category and the instance of every pixel. Instances
        of stuff have no meaning, those of things are at least 0. ``...`` is any number of spatial
        dimensions, with ``boundary`` two or three.
        ``target``: the same, of the same shape.
        ``crowd``: optionally bool ``(N, ...)``, true where the target has a region of several
        instances that are not separated, as COCO's ``iscrowd``.
        ``image_ids``: optionally one name or integer an image.

    Example:
        >>> import torch
        >>> from segmetrics import PanopticImageScores
        >>> from segmetrics.statistics import confidence_interval
        >>> images = PanopticImageScores(things=[1], stuffs=[0])
        >>> target = torch.tensor([[[1, 0], [1, 1], [0, 0]], [[1, 0], [0, 0], [0, 0]]])
        >>> preds = torch.tensor([[[1, 0], [1, 1], [0, 0]], [[0, 0], [0, 0], [0, 0]]])
        >>> images.update(preds, target, image_ids=["a.png", "b.png"])
        >>> [(name, round(pq, 3)) for name, pq in images.worst(1)]
        [('b.png', 0.333)]
        >>> print(confidence_interval(images, "PQ"))
        PQ 0.817 [0.333, 1.000] (95 %, 2 images)
    """

    _inputs = ("preds", "target", "crowd", "image_ids")

    def _add_states(self) -> None:
        self._add_rows(f"panoptic_{self._settings}", self.categories.classes * 4)

    @explained
    def update(
        self,
        preds: Tensor,
        target: Tensor,
        crowd: Tensor | None = None,
        image_ids: Tensor | Iterable[ImageId] | None = None,
    ) -> None:
        """Count the segments of a batch.

        Args:
            preds: category and instance of every pixel, integers ``(N, ..., 2)``.
            target: the same.
            crowd: bool ``(N, ...)``, where the target has a crowd.
            image_ids: a name or an integer for each image, unique in the data set, for all or none.
        """
        self._add(self._batch(preds, target, crowd, image_ids))

    def _batch(
        self,
        preds: Tensor,
        target: Tensor,
        crowd: Tensor | None = None,
        image_ids: Tensor | Iterable[ImageId] | None = None,
    ) -> tuple[Tensor, ...]:
        with naming_images(image_ids):
            counts = self._counts(preds, target, crowd)
        return rows_of(counts.flatten(1), image_ids)

    def _value(self, *states: Tensor) -> dict[str, Tensor]:
        rows, once = each_once(states[0])
        return self._reported(rows[once].sum(0).view(-1, 4))

    def _check_rows(self, rows: Tensor) -> None:
        check_segments(rows.sum(0).view(-1, 4))

    def image_counts(self) -> PanopticCounts:
        """The counts of every image once, by id or in the order of updates, on the CPU.

        Of several processes all must call this or ``worst``, or all must have called ``compute``
        since their last update.
        """
        rows, ids = self._rows_of_images()
        names = "modified", "boundary", "dilation_ratio", "allow_unknown_preds_category"
        return PanopticCounts(
            rows.view(len(rows), len(self.class_names), 4),
            self.class_names,
            self.categories.things,
            ids,
            tuple((name, self._arguments()[name][0]) for name in names),
        )

    def worst(self, k: int, score: str = "PQ") -> list[tuple[ImageId, float]]:
        """The k worst images with their scores, the worst first; fewer if fewer have a score.

        Args:
            k: the number of images.
            score: a key, such as ``"RQ_things"`` or ``"pq/<category>"``.

        Raises:
            ValueError: there is no such score.
        """
        return worst_images(self.image_counts(), k, score)
