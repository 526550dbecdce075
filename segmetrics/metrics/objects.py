"""Scores of objects: whether lesions, cells or instances are found, and how well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan, prod
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics._arguments import identifier
from segmetrics._help import explained
from segmetrics.counting import BAD_KINDS, raise_if_bad
from segmetrics.counting.settings import Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics import means
from segmetrics.metrics.base import MetricKwargs, uncompiled
from segmetrics.metrics.ruled import ObjectFormat, RuledMetric
from segmetrics.metrics.spacing import (
    Spacing,
)
from segmetrics.objects.matching import Matching
from segmetrics.objects.rules import Penalty, Rules
from segmetrics.recipes import AggregationLevel, exact


@explained
class ObjectMetrics(RuledMetric):
    """Precision, recall and F1 of objects, their Dice, missed and false objects.

    An object is a connected component of one class: a lesion, a cell, an instance. ``compute`` and
    ``forward`` return a flat dict of float32 scalars:

    - ``object_precision``: right / predicted objects, ``object_recall``: found / target objects,
      ``object_f1``: ``2PR / (P + R)``; in [0, 1].
    - ``object_dice``, ``object_iou``: the mean over the target's objects of their Dice or IoU with
      the union of the predicted objects that touch them, 0 if missed; each predicted object that
      touches none is one more 0. In [0, 1].
    - ``missed_objects``, ``false_objects``, ``target_objects``, ``predicted_objects``: numbers.
    - ``false_negative_volume``, ``false_positive_volume``: size of the missed and the false
      objects, in pixels or in the units of ``spacing``.
    - ``object_hd95``, ``object_surface_dice``: where ``distances`` or ``tolerance`` ask for them.
    - ``aggregated_jaccard`` in [0, 1]: Kumar et al., "A dataset and a technique for generalized
      nuclear segmentation for computational pathology", TMI 2017.
    - ``variation_of_information`` in bits (Meila, "Comparing clusterings by the variation of
      information", 2003) and ``adapted_rand_error`` in [0, 1] (Arganda-Carreras et al., 2015): of
      each class, means over images. All that is no object is one more object; of the target it is
      left out of the adapted Rand error.
    - ``object_recall/small``, ``/medium``, ``/large``: by the size of the target's object.

    Objects are summed over images and classes. Precision, recall, F1, Dice, distances, missed and
    false objects are also there for every class (``object_f1/<class>``) and for every region of a
    label space (``object_f1_region/<region>``), whose objects are those of the union.

    Components are found on the full maps; then pixels whose target is ignored are taken off both.
    Masks on a GPU are copied to the CPU, for which ``update`` waits.

    Args:
        matching: ``"overlap"``: an object of the target is found if predicted pixels of its class,
            all together, cover more than ``threshold`` of it; a predicted object is right if the
            target's objects of its class cover more than ``threshold`` of it. ``"iou"``: one to
            one, by descending IoU above ``threshold``.
        threshold: in [0, 1); ``None``: any pixel for ``"overlap"``, an IoU of 0.5 for ``"iou"``. Of
            ``"iou"`` also several, rising, such as ``[0.5, 0.75, 0.9]``: then there are F1 and
            accuracy, TP / (TP + FP + FN), at each (``object_f1_iou/0.75``,
            ``object_accuracy_iou/0.75``) and their means over them (``object_f1_iou``,
            ``object_accuracy_iou``); all other scores are those of the first.
        connectivity: ``"full"``: pixels that share a corner are connected (8 neighbours, 26 in
            volumes), or ``"faces"`` (4 and 6).
        min_size: objects of the target that are smaller become ignored pixels, smaller predicted
            ones are dropped; in pixels, or in the units of ``spacing`` (mm², mm³).
        sizes: edges between the sizes that the recall is given for, in the units of ``min_size``:
            one (small, large), two (small, medium, large), or names, each with the smallest size it
            holds, such as ``{"tiny": 0, "small": 10, "large": 100}``. ``None``: 32² and 96² pixels
            for images, as COCO has them, and nan for volumes.
        distances: whether the mean HD95 of the objects is measured: of each that is found, with
            the predicted objects that touch it.
        tolerance: of the surface Dice of the objects, at least 0, in the units of ``spacing``;
            ``None`` measures none. It is 0 for missed and false objects.
        surface: ``"pixels"`` or ``"elements"``, see ``HausdorffDistance``.
        missed_distance: HD95 of an object that is missed: a number, ``"diagonal"`` for that of the
            image, or ``nan`` to leave it out.
        false_distance: HD95 of a predicted object that touches none, likewise.
        spacing: distance between pixels in physical units, positive: one number for all axes, or
            one an axis.
        aggregation_level: ``"global"`` sums objects over the data set, ``"samplewise"`` scores each
            image and averages over images.
        include_background: whether class 0 has objects too. Not given for ``task="binary"`` and
            ``"multilabel"``.
        zero_division: score where there is no object to divide by: a recall without an object in
            the target, a Dice without any. nan stays out of averages. The recall of a size that no
            object has is nan.
        both_empty: HD95 where there is no object, ``nan`` by default.
        score_threshold: for binary and multilabel, the probability in [0, 1] above which a score is
            positive; a probability for logits too.
        input_format: ``"instances"``: objects are given by ids instead of being connected
            components. Otherwise ``None``, ``"index"`` or ``"one-hot"``, as in other metrics.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"`` (each channel a binary mask; masks
            may overlap).

    Inputs of ``update`` and ``forward``:
        ``preds``: integer or bool labels ``(N, H, W)``, or scores ``(N, C, H, W)`` in fp32, fp64,
        fp16 or bf16; volumes have D in front of H. Binary: ``(N, H, W)`` or ``(N, 1, H, W)``.
        Multilabel: ``(N, C, H, W)``.
        ``target``: integer or bool labels ``(N, H, W)``, or with scores one-hot ``(N, C, H, W)``.
        With ``input_format="instances"`` both are integers ``(N, H, W, 2)``, category and id of
        every pixel; for ``task="binary"`` ids ``(N, H, W)``, 0 where there is no object. The pixels
        of one class and one id are one object. Values that are ignored say void in the target.
        ``spacing``: optionally that of this batch, for all images or one row an image.

    Returns (``compute`` and ``forward``):
        dict of float32 scalars by key; nan without objects.

    Example:
        >>> import torch
        >>> from segmetrics import ObjectMetrics
        >>> target = torch.tensor([[[1, 1, 0, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]])
        >>> preds = torch.tensor([[[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 1]]])
        >>> objects = ObjectMetrics(2)
        >>> objects.update(preds, target)
        >>> {key: round(value.item(), 3) for key, value in objects.compute().items()
        ...  if key in ("object_precision", "object_recall", "object_f1", "object_dice")}
        {'object_precision': 0.5, 'object_recall': 0.5, 'object_f1': 0.5, 'object_dice': 0.286}
    """

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        matching: Matching = "overlap",
        threshold: float | Sequence[float] | None = None,
        connectivity: Literal["full", "faces"] = "full",
        min_size: float = 0.0,
        sizes: Sequence[float] | Mapping[str, float] | None = None,
        distances: bool = False,
        tolerance: float | None = None,
        surface: Literal["pixels", "elements"] = "pixels",
        missed_distance: Penalty = "diagonal",
        false_distance: Penalty = "diagonal",
        both_empty: float = nan,
        spacing: Spacing = 1.0,
        aggregation_level: AggregationLevel = "global",
        include_background: bool = False,
        zero_division: float = nan,
        per_class: bool = True,
        prefix: str | None = None,
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        score_threshold: float = 0.5,
        from_logits: bool = False,
        upsample: Upsample | None = None,
        input_format: ObjectFormat | None = None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        rules = Rules.of(
            matching=matching,
            threshold=threshold,
            connectivity=connectivity,
            min_size=min_size,
            sizes=sizes,
            distances=distances,
            tolerance=tolerance,
            surface=surface,
            missed_distance=missed_distance,
            false_distance=false_distance,
        )
        super().__init__(
            rules,
            num_classes,
            spacing=spacing,
            aggregation_level=aggregation_level,
            include_background=include_background,
            zero_division=zero_division,
            both_empty=both_empty,
            per_class=per_class,
            prefix=prefix,
            ignore_index=ignore_index,
            task=task,
            score_threshold=score_threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
            class_names=class_names,
            **metric_kwargs,
        )

    def _add_states(self) -> None:
        if self.samplewise:
            size = means.size((len(self.places),), means.OF_DISTANCES)
            kind = identifier("means", *self.fill, "classes" if self.class_keys else "")
        else:
            kind, size = "objects", prod(self.scheme.shape)
        self._add_sum(f"{kind}_{self._settings}", size + len(BAD_KINDS))

    @explained
    def update(self, preds: Tensor, target: Tensor, spacing: Spacing | None = None) -> None:
        """Add a batch of images ``(N, H, W)`` or volumes ``(N, D, H, W)``.

        Args:
            spacing: distance between pixels in physical units: one number, one an axis, or one an
                axis for every image, ``(N, 2)`` or ``(N, 3)``. ``None`` takes the metric's own.
        """
        self._add(self._batch(preds, target, spacing))

    @uncompiled
    def _batch(
        self, preds: Tensor, target: Tensor, spacing: Spacing | None = None
    ) -> tuple[Tensor, ...]:
        found = self._sums(preds, target, spacing)
        if self.samplewise:
            values = torch.stack(list(self._scores(found).values()), -1)
            state = means.summed(values, means.OF_DISTANCES)
            means.check(state, (len(self.places),))
        else:
            state = found.sum(0).flatten()
        bad = self._bad(preds, target, self.counting)
        return (torch.cat([state.to(bad.device), bad]),)

    def _value(self, *states: Tensor) -> dict[str, Tensor]:
        state = exact(states[0][: -len(BAD_KINDS)])
        if not self.samplewise:
            return self._reported(self._scores(state.view(self.scheme.shape)))
        values = means.mean(state, (len(self.places),), means.OF_DISTANCES)
        return self._reported(dict(zip(self.places, values.unbind(), strict=True)))

    def _check(self, *states: Tensor) -> None:
        raise_if_bad(states[0][-len(BAD_KINDS) :], self.counting)
        if self.samplewise:
            means.check(states[0][: -len(BAD_KINDS)], (len(self.places),))
