"""The base of object metrics: the rules by which objects are found, and the sums over them."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self, Unpack

from segmetrics import scores
from segmetrics._arguments import boolean, identifier, number, one_of
from segmetrics.counting import Counting
from segmetrics.counting.inputs import read
from segmetrics.counting.settings import InputFormat, Pixels, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import Fixed, MetricKwargs, SumMetric
from segmetrics.metrics.counted import checked_names, counting_arguments, default_names
from segmetrics.metrics.instance_maps import ImageError, check_arguments, instance_maps
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
from segmetrics.objects.rules import Rules
from segmetrics.recipes import AggregationLevel, class_recipe
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
        return given(vars(metric)["rules"], self.name)


def given(rules: Rules, name: str) -> Any:
    """A rule in a form in which it can be given again."""
    value = getattr(rules, name)
    return dict(value) if name == "sizes" and value is not None else value


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
        if not pixels.preds_are == pixels.target_are == "labels":
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
                raise ImageError(i, error) from None
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
            name: (given(self.rules, name), getattr(default, name))
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
