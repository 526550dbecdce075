"""Scores of objects: whether lesions, cells or instances are found, and how well."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan, prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self, Unpack

from segmetrics import scores
from segmetrics._arguments import boolean, identifier, number, one_of
from segmetrics._help import explained
from segmetrics.counting import BAD_KINDS, Counting, raise_if_bad
from segmetrics.counting.inputs import read
from segmetrics.counting.settings import InputFormat, Pixels, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics import means
from segmetrics.metrics.base import Fixed, MetricKwargs, SumMetric, uncompiled
from segmetrics.metrics.counted import checked_names, counting_arguments, default_names
from segmetrics.metrics.instance_maps import check_arguments, instance_maps
from segmetrics.metrics.spacing import (
    Spacing,
    Steps,
    checked_spacing,
    metric_spacing,
    spacing_of_image,
)
from segmetrics.metrics.views import KeyedMetric, checked_prefix
from segmetrics.objects import rules as rules_
from segmetrics.objects.counts import Scheme, places, values_at
from segmetrics.objects.matching import Matching
from segmetrics.objects.rules import Penalty, Rules
from segmetrics.recipes import AggregationLevel, class_recipe, exact
from segmetrics.surfaces import bad_pixels, images, without_single_slices

#: What the inputs are: label maps, or instance maps, whose objects are given by ids.
ObjectFormat = InputFormat | Literal["instances"]
#: The rules that are arguments.
RULES = tuple(inspect.signature(Rules.of).parameters)


class FixedRule(Fixed[Any]):
    """A rule of a metric, by the name of the argument."""

    def __get__(self, metric: SumMetric, owner: type | None = None) -> Any:
        if metric is None:  # on the class
            raise AttributeError(self.name)
        return getattr(metric.rules, self.name)


class RuledMetric(KeyedMetric):
    """Scores of the objects that some rules make.

    The state is the sums of ``objects.counts``, or samplewise the images' scores as ``means`` sums
    them, followed by the bad pixels. All that decides its value is in its name.
    """

    _inputs: tuple[str, ...] = ("preds", "target", "spacing")

    rules: Rules
    matching, threshold, connectivity, min_size = (FixedRule() for _ in range(4))
    sizes, distances, tolerance, surface = (FixedRule() for _ in range(4))
    missed_distance, false_distance = FixedRule(), FixedRule()
    score_threshold = Fixed[float]()

    def __init__(
        self,
        rules: Rules,
        num_classes: int | LabelSpace | None,
        *,
        spacing: Spacing = 1.0,
        aggregation_level: AggregationLevel = "global",
        include_background: bool = False,
        zero_division: float = nan,
        both_empty: float = nan,
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
        boolean("include_background", include_background)
        if include_background and task in ("binary", "multilabel"):
            raise ValueError(
                f"`include_background` means nothing for task={task!r}, whose masks are all of "
                "foreground. Leave it out."
            )
        boolean("per_class", per_class)
        one_of("aggregation_level", aggregation_level, ("global", "samplewise"))
        keys_prefix = checked_prefix(prefix)
        ids = input_format == "instances"
        if ids:
            check_arguments(rules, task, score_threshold, from_logits, upsample)
        super().__init__(**metric_kwargs)
        try:
            recipe = class_recipe(  # says which classes count
                scores.iou,
                num_classes,
                include_background=include_background or task != "multiclass",
                ignore_index=ignore_index,
                task=task,
                threshold=score_threshold,
                from_logits=from_logits,
                upsample=upsample,
                input_format=None if input_format == "instances" else input_format,
            )
        except ValueError as error:  # elsewhere this is the threshold
            raise ValueError(str(error).replace("`threshold", "`score_threshold")) from None
        self.rules, self.counting = replace(rules, ids=ids), recipe.counting
        self.first = recipe.score.first
        self.label_space = num_classes if isinstance(num_classes, LabelSpace) else None
        self.class_names = checked_names(class_names, self.counting, self.label_space)
        self.spacing = metric_spacing(spacing)
        self.samplewise = aggregation_level == "samplewise"
        self.fill = number("zero_division", zero_division), number("both_empty", both_empty)
        self.class_keys = per_class and task != "binary"
        regions = self.label_space.classes_of_regions() if self.label_space else {}
        regions = regions if task == "multiclass" else {}
        classes = range(self.first, self.counting.num_classes)
        left_in = [c for c in classes if c not in recipe.score.ignored]
        self.scheme = Scheme(
            self.rules,
            self.counting.labels,
            channels=tuple(range(self.counting.channels)),
            classes=tuple(left_in) if task == "multiclass" else (1,),
            regions=tuple(regions.values()),
        )
        names = self.class_names or [str(c) for c in range(self.counting.num_classes)]
        self.row_names = [names[c] for c in left_in] if task != "binary" else ["foreground"]
        self.region_names = list(regions)
        self.places = places(
            self.scheme, self.row_names if self.class_keys else (), self.region_names
        )
        self.prefix = keys_prefix
        self._add_states()
        self._add_views()

    @abstractmethod
    def _add_states(self) -> None:
        """Add the states."""

    @property
    def _settings(self) -> str:
        """All that decides the sums, for the names of states."""
        steps = self.spacing if isinstance(self.spacing, tuple) else (self.spacing,)
        regions = [part for region in self.scheme.regions for part in ("region", *region)]
        return identifier(self.rules.name, *steps, self.first, *regions, self.counting.name)

    @classmethod
    def preset(
        cls, name: str, num_classes: int | LabelSpace | None = None, **arguments: Any
    ) -> Self:
        """A metric with the conventions of a challenge, which averages over images.

        - ``"brats-2023-gli"`` (also ``"brats-2023"``), ``-ssa``, ``-ped``, ``-men``, ``-met``:
          lesion-wise Dice (``object_dice``) and HD95 (``object_hd95``) of BraTS 2023, as its
          organisers describe them (BraTS-2023-Metrics, README). Lesions of the target whose
          dilations meet are one; a predicted lesion within the dilation touches it. Lesions of up
          to 50 (``-met``: 2) voxels are not counted; a missed and a false one have Dice 0 and HD95
          374. Where there is no lesion Dice is 1 and HD95 0. Voxels are 1 mm³. Pass a label space
          with the regions WT, TC and ET.
        - ``"brats-2024-gli"`` (also ``"brats-2024"``), ``-ssa``, ``-ped``, ``-met``, ``-men-rt``:
          those of BraTS 2024 (BraTS-2024-Metrics), where predicted lesions are combined and left
          out by size too, and the penalty is 337 (``-gli``), 374 (``-ssa``, ``-ped``) or the
          diagonal; ``-men-rt`` has none for false lesions. ``object_surface_dice`` is the NSD at
          1 mm, the mean of both surfaces' shares. For WT and TC (``-ped``: every region,
          ``-men-rt``: the tumour): lesions of other regions of ``-gli``, ``-ssa`` and ``-met``,
          which there are combined across tissues too, are not.
        - ``"autopet"``: false positive and false negative volume in ml of autoPET (Gatidis et al.,
          "A whole-body FDG-PET/CT dataset with manually annotated tumor lesions", 2022), for
          ``spacing`` in mm: components connected over faces and edges. Pass ``task="binary"``. Its
          Dice is ``DiceScore(task="binary", aggregation_level="samplewise")``.
        - ``"wmh-2017"``: lesion recall and F1 of the WMH Segmentation Challenge (Kuijf et al.,
          "Standardized assessment of automatic segmentation of white matter hyperintensities",
          TMI 2019). Pass ``task="binary"`` and ``ignore_index=2``, other pathology.

        Args:
            name: one of these.
            num_classes: number of classes, or a label space.
            arguments: those of the metric that are no rules about objects, such as ``spacing``,
                ``task``, ``ignore_index``, ``class_names``, ``per_class``, ``prefix``.

        Example:
            >>> import torch
            >>> from segmetrics import ObjectMetrics
            >>> lesions = ObjectMetrics.preset("wmh-2017", task="binary", ignore_index=2)
            >>> target = torch.tensor([[[1, 0, 0, 1], [1, 0, 0, 0]]])
            >>> lesions(torch.tensor([[[1, 0, 0, 0], [0, 0, 0, 0]]]), target)["object_f1"]
            tensor(0.6667)
        """
        for argument in RULES:
            if argument in arguments:
                raise TypeError(
                    f"`{argument}` is fixed by the preset {name!r}. Make `{cls.__name__}(...)` "
                    "with arguments of your own instead."
                )
        metric = cls.__new__(cls)
        defaults: dict[str, Any] = dict(rules_.DEFAULTS.get(name.split("-")[0], {}))
        everything = {"aggregation_level": "samplewise", **defaults, **arguments}
        RuledMetric.__init__(metric, rules_.preset(name), num_classes, **everything)
        return metric

    def _keys(self) -> list[str]:
        return [self.prefix + key for key in self.places]

    def _sums(self, preds: Tensor, target: Tensor, spacing: Spacing | None) -> Tensor:
        """The sums of every image ``(N, rows, columns)`` in int64, on the CPU."""
        steps = self.spacing if spacing is None else checked_spacing(spacing)
        if self.rules.ids:
            return self._sums_of_ids(preds, target, steps)
        pixels = read(preds, target, self.counting)
        size = pixels.target.shape[2:]
        found = np.zeros((len(target), *self.scheme.shape), np.int64)
        counted = self._counted_labels(pixels, steps)
        if counted is not None:
            return counted
        for i, maps in enumerate(images(preds, target, self.counting)):
            inside = (slice(None), *(slice(1, -1) for _ in maps.size))
            of_preds, of_target = (side.numpy()[inside] for side in maps.cpu())
            of_image = spacing_of_image(i, steps, size, len(target))
            found[i] = self.scheme.count(of_preds, of_target, of_image)
        return torch.from_numpy(found)

    def _counted_labels(self, pixels: Pixels, steps: Steps) -> Tensor | None:
        """The sums of every image of label maps; None where pixels have to be looked at."""
        size = pixels.target.shape[2:]
        of_labels = pixels.preds_are == pixels.target_are == "labels"
        if not of_labels or pixels.preds.shape != pixels.target.shape:
            return None
        pixels = without_single_slices(pixels)
        if pixels.target.ndim not in (4, 5):
            return None
        preds, target = (side.cpu().numpy() for side in (pixels.preds, pixels.target))
        found = np.zeros((len(target), *self.scheme.shape), np.int64)
        for i, maps in enumerate(zip(preds, target, strict=True)):
            of_image = spacing_of_image(i, steps, size, len(found))
            counted = self.scheme.count_labels(*maps, self.counting, of_image)
            if counted is None:
                return None
            found[i] = counted
        return torch.from_numpy(found)

    def _sums_of_ids(self, preds: Tensor, target: Tensor, steps: Steps) -> Tensor:
        """The sums of every image ``(N, rows, columns)`` whose objects are given by ids."""
        of_preds, of_target, size = instance_maps(preds, target, self.counting.task)
        found = np.zeros((len(of_target), *self.scheme.shape), np.int64)
        for i, maps in enumerate(zip(of_preds, of_target, strict=True)):
            of_image = spacing_of_image(i, steps, size, len(of_target))
            try:
                found[i] = self.scheme.count_ids(*maps, self.counting, of_image)
            except ValueError as error:
                raise ValueError(f"image {i} of the batch: {error}") from None
        return torch.from_numpy(found)

    def _bad(self, preds: Tensor, target: Tensor, counting: Counting) -> Tensor:
        """Bad pixels, see ``bad_pixels``; those of instance maps raise on every device."""
        if self.rules.ids:
            preds = target = torch.empty(len(target), 0)
        return bad_pixels(preds, target, counting)

    def _scores(self, sums: Tensor) -> dict[str, Tensor]:
        """The scores of sums ``(..., rows, columns)`` in float64, by key without the prefix."""
        return values_at(sums.double(), self.places, self.scheme, *self.fill)

    def plot(self, val: Any = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw a value of ``compute`` or ``forward``, or a sequence of them, as torchmetrics does.

        Needs matplotlib.
        """
        return self._plot(val, ax)

    def _reported(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores as they are handed out."""
        together = torch.stack(list(values.values())).float().to(self.device).unbind()
        return {self.prefix + key: value for key, value in zip(values, together, strict=True)}

    def __repr__(self) -> str:
        shown = super().__repr__()
        name = self.rules.preset
        return shown.replace("(", f".preset({name!r}, ", 1) if name else shown

    def _arguments(self) -> dict[str, tuple[object, object]]:
        arguments = counting_arguments(self.counting, self.label_space)
        arguments["score_threshold"] = arguments.pop("threshold")
        if self.rules.ids:
            arguments["input_format"] = ("instances", None)
        binary = self.counting.task == "binary"
        default = Rules()
        plain = {
            name: (getattr(self.rules, name), getattr(default, name))
            for name in RULES
            if not self.rules.preset
        }
        return (
            arguments
            | plain
            | {
                "spacing": (self.spacing, 1.0),
                "aggregation_level": ("samplewise" if self.samplewise else "global", "global"),
                "include_background": (
                    self.counting.task == "multiclass" and not self.first,
                    False,
                ),
                "zero_division": (self.fill[0], nan),
                "both_empty": (self.fill[1], nan),
                "per_class": (binary or self.class_keys, True),
                "prefix": (self.prefix, ""),
                "class_names": (self.class_names, default_names(self.label_space)),
            }
        )


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
