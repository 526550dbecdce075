"""Panoptic quality: how well things and stuff are found and outlined."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from math import hypot, inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Unpack

from segmetrics._arguments import boolean, identifier, integer, number
from segmetrics._help import explained
from segmetrics._parallel import share
from segmetrics.counting.hints import conversion, described
from segmetrics.counting.inputs import LABEL_DTYPES
from segmetrics.labels import LabelSpace
from segmetrics.metrics import means
from segmetrics.metrics.base import MetricKwargs, uncompiled
from segmetrics.metrics.instance_maps import ImageError
from segmetrics.metrics.views import KeyedMetric, checked_prefix
from segmetrics.objects import segment_and_band_pairs, segment_pairs
from segmetrics.objects.panoptic import TP, Categories, matched_counts, panoptic_scores
from segmetrics.recipes import exact

Array = NDArray[Any]

#: Batches of fewer pixels are not worth another thread.
FEWEST = 2**19


@explained
class PanopticQuality(KeyedMetric):
    """Panoptic quality, and what it is the product of: segmentation and recognition quality.

    Kirillov et al., "Panoptic Segmentation", CVPR 2019. Segments of one category match if their IoU
    is above 0.5: of each category ``SQ`` is the mean IoU of matched segments, ``RQ`` =
    TP / (TP + FP / 2 + FN / 2) is the F1 score of the segments, and ``PQ = SQ · RQ``. ``compute``
    and ``forward`` return a flat dict of float32 scalars in [0, 1]: ``PQ``, ``SQ``, ``RQ``, their
    means over categories; ``PQ_things``, ``PQ_stuff`` and so on, those over things and over stuff;
    and ``pq/<category>``. A category without a segment is nan and leaves the means.

    A pixel whose target category is neither a thing nor stuff is void: it leaves the unions, and a
    predicted segment that lies mostly on void, or on crowds of its category, is no false alarm, as
    in panopticapi. The numbers are those of torchmetrics' ``PanopticQuality``.

    The segments of an image are counted on the CPU: ``update`` copies masks from a GPU and waits.

    Args:
        things: the categories whose instances count one by one, as values of ``preds`` and
            ``target``; or a ``LabelSpace`` with ``things``, which brings names, ignored values and
            how values are mapped.
        stuffs: the categories whose pixels are one segment. Not given with a label space.
        modified: Porzi et al., "Seamless Scene Segmentation", CVPR 2019: the quality of stuff is
            its IoU, matched or not. There are only the keys ``PQ`` and ``pq/<category>``.
        boundary: Boundary PQ of Cheng et al., "Boundary IoU", CVPR 2021: the IoU of two segments is
            the smaller of that and the IoU of the bands along their contours.
        dilation_ratio: width of the bands as a share of the image's diagonal, greater than 0.
        allow_unknown_preds_category: whether predicted categories that are neither thing nor stuff
            are void, as in the target: they leave the unions, and a segment mostly on them is not
            missed, as in torchmetrics. Otherwise they raise ``ValueError``.
        class_names: names of the categories for keys and ``repr``: category → name, or a sequence
            in the order of keys: things, then stuff, each rising. By default those of a label
            space, else the numbers.
        per_class: whether there are keys for every category.

    Inputs of ``update`` and ``forward``:
        ``preds``: integers ``(N, ..., 2)``, the category and the instance of every pixel. Instances
        of stuff have no meaning, those of things are at least 0. ``...`` is any number of spatial
        dimensions, with ``boundary`` two or three.
        ``target``: the same, of the same shape.
        ``crowd``: optionally bool ``(N, ...)``, true where the target has a region of several
        instances that are not separated, as COCO's ``iscrowd``.

    Returns (``compute`` and ``forward``):
        dict of float32 scalars by key; nan without segments.

    Raises:
        TypeError: an unknown argument or one of the wrong type, or a dtype that holds no integers.
        ValueError: an argument out of range, shapes or devices that do not match, an unknown
            predicted category, a thing without an id. A metric stays as it was.

    Example:
        >>> import torch
        >>> from segmetrics import PanopticQuality
        >>> target = torch.tensor([[[1, 0], [1, 0], [1, 1], [7, 0], [7, 0], [7, 0]]])
        >>> preds = torch.tensor([[[1, 0], [1, 0], [7, 0], [7, 0], [7, 0], [7, 0]]])
        >>> panoptic = PanopticQuality(things=[1], stuffs=[7], class_names={1: "car", 7: "road"})
        >>> panoptic.update(preds, target)
        >>> {key: round(value.item(), 3) for key, value in panoptic.compute().items()
        ...  if key in ("PQ", "PQ_things", "PQ_stuff", "pq/car")}
        {'PQ': 0.708, 'PQ_things': 0.667, 'PQ_stuff': 0.75, 'pq/car': 0.667}
    """

    _inputs: tuple[str, ...] = ("preds", "target", "crowd")

    def __init__(
        self,
        things: Collection[int] | LabelSpace,
        stuffs: Collection[int] | None = None,
        *,
        modified: bool = False,
        boundary: bool = False,
        dilation_ratio: float = 0.02,
        allow_unknown_preds_category: bool = False,
        class_names: Mapping[int, str] | Sequence[str] | None = None,
        per_class: bool = True,
        prefix: str | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        super().__init__(**metric_kwargs)
        self.modified, self.boundary = boolean("modified", modified), boolean("boundary", boundary)
        self.dilation_ratio = number("dilation_ratio", dilation_ratio)
        if not 0 < self.dilation_ratio < inf:
            raise ValueError(
                f"`dilation_ratio` must be greater than 0 and finite, got {dilation_ratio}."
            )
        allow = boolean("allow_unknown_preds_category", allow_unknown_preds_category)
        self.class_keys = boolean("per_class", per_class)
        self.prefix = checked_prefix(prefix)
        self.space = things if isinstance(things, LabelSpace) else None
        if isinstance(things, LabelSpace):
            if stuffs is not None:
                raise ValueError(
                    "`stuffs` is not given with a label space, whose other classes are stuff."
                )
            self.categories, default = _of_label_space(things, allow)
        else:
            self.categories, default = _of_categories(things, stuffs, allow)
        self.class_names = _names(class_names, default)
        colors = [self.space.colors[c] for c in self.space.things_first()] if self.space else None
        self.label_space = LabelSpace(self.class_names, colors)
        self._add_states()
        self._add_views()

    def _add_states(self) -> None:
        self._add_sum(f"panoptic_{self._settings}", self.categories.classes * 4)

    @explained
    def update(self, preds: Tensor, target: Tensor, crowd: Tensor | None = None) -> None:
        """Count the segments of a batch.

        Args:
            preds: category and instance of every pixel, integers ``(N, ..., 2)``.
            target: the same.
            crowd: bool ``(N, ...)``, where the target has a crowd.
        """
        self._add(self._batch(preds, target, crowd))

    def _batch(
        self, preds: Tensor, target: Tensor, crowd: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        return (self._counts(preds, target, crowd).sum(0).flatten(),)

    def _value(self, *states: Tensor) -> dict[str, Tensor]:
        return self._reported(states[0].view(-1, 4))

    def _check(self, *states: Tensor) -> None:
        check_segments(states[0].view(-1, 4))

    @property
    def _settings(self) -> str:
        c = self.categories
        mapping = blake2b(repr((c.target, c.preds)).encode(), digest_size=8).hexdigest()
        unknown = ("unknown",) if c.allow_unknown else ()
        band: tuple[object, ...] = ("boundary", self.dilation_ratio) if self.boundary else ()
        modified = ("modified",) if self.modified else ()
        return identifier(c.things, c.classes, mapping, *unknown, *band, *modified)

    def _keys(self) -> list[str]:
        zeros = torch.zeros(self.categories.classes, 4, dtype=torch.float64)
        return [self.prefix + key for key in self._scores(zeros)]

    def _scores(self, counts: Tensor) -> dict[str, Tensor]:
        """The scores of counts ``(..., C, 4)``, by key without the prefix."""
        found = panoptic_scores(
            counts, self.class_names, self.categories.things, modified=self.modified
        )
        return {key: x for key, x in found.items() if self.class_keys or "/" not in key}

    def _reported(self, counts: Tensor) -> dict[str, Tensor]:
        """The scores of int64 counts as they are handed out."""
        found = self._scores(exact(counts).double())
        values = torch.stack(list(found.values())).float().to(self.device).unbind()
        return {self.prefix + key: value for key, value in zip(found, values, strict=True)}

    @uncompiled
    def _counts(self, preds: Tensor, target: Tensor, crowd: Tensor | None) -> Tensor:
        """The counts of every image ``(N, C, 4)``, int64 on the device of the inputs."""
        _check_inputs(preds, target, crowd, self.boundary)
        sides = [side.detach().cpu().numpy() for side in (preds, target)]
        if crowd is not None:
            crowds = crowd.cpu().numpy()[..., None].astype(sides[1].dtype)
            sides[1] = np.concatenate([sides[1], crowds], -1)
        counts = np.zeros((len(target), self.categories.classes, 4), np.int64)

        def work(images: Iterator[int]) -> None:
            for i in images:
                counts[i] = self._count(i, sides[0][i], sides[1][i])

        threads = len(target) if target.numel() >= FEWEST else 1
        share(work, range(len(target)), at_most=threads)
        return torch.from_numpy(counts).to(target.device)

    def _count(self, image: int, preds: Array, target: Array) -> Array:
        """The counts of an image ``(C, 4)``."""
        if preds.ndim not in (3, 4):  # points, or more than three spatial dimensions
            preds, target = (side.reshape(1, -1, side.shape[-1]) for side in (preds, target))
        of = preds, target, self.categories.of_preds, self.categories.of_target
        try:
            if self.boundary:
                diagonal = hypot(*target.shape[:-1])
                reach = max(1, round(self.dilation_ratio * diagonal))
                pairs, bands = segment_and_band_pairs(*of, reach)
            else:
                pairs, bands = segment_pairs(*of), None
        except ValueError as error:
            raise ImageError(image, error) from None
        modified_from = self.categories.things if self.modified else None
        classes = self.categories.classes
        return matched_counts(pairs, classes, modified_from=modified_from, bands=bands)

    def _arguments(self) -> dict[str, tuple[object, object]]:
        space, c = self.space, self.categories
        given = [category for category, _ in c.target]
        default = (
            tuple(space.names[i] for i in space.things_first()) if space else tuple(map(str, given))
        )
        return {
            "things": (space or given[: c.things], ()),
            "stuffs": ([] if space else given[c.things :], []),
            "modified": (self.modified, False),
            "boundary": (self.boundary, False),
            "dilation_ratio": (self.dilation_ratio, 0.02),
            "allow_unknown_preds_category": (c.allow_unknown, False),
            "class_names": (self.class_names, default),
            "per_class": (self.class_keys, True),
            "prefix": (self.prefix, ""),
        }

    def plot(
        self, val: dict[str, Tensor] | Sequence[dict[str, Tensor]] | None = None, ax: Any = None
    ) -> tuple[Any, Any]:
        """Draw the quality of the categories as sorted bars, the mean as a line.

        Values over time are drawn as torchmetrics draws them. Needs matplotlib. Like ``compute``,
        every process must call it, unless a value is given.

        Args:
            val: a value of ``compute`` or ``forward``, or a sequence of them over time; by default
                that of the current state.
            ax: matplotlib axes to draw on, instead of a new figure.

        Returns:
            The matplotlib figure and axes.
        """
        return self._plot_classes(val, ax, of_classes="pq/", mean="PQ", title="PQ")


def check_segments(counts: Tensor) -> None:
    """Raise if the sum of the IoU ``(..., 4)`` may have overflowed."""
    if (most := int(counts[..., TP].max())) > means.MOST_IMAGES:
        raise ValueError(
            f"the IoU of {most} matched segments may have overflowed: a metric sums those of at "
            f"most {means.MOST_IMAGES} of a category. Use one for each part of the data set."
        )


def _of_categories(
    things: Collection[int], stuffs: Collection[int] | None, allow: bool
) -> tuple[Categories, dict[int, str]]:
    """The categories as given, and their names."""
    sets = []
    for name, given in (("things", things), ("stuffs", () if stuffs is None else stuffs)):
        if not isinstance(given, Collection):
            raise TypeError(f"`{name}` must be a collection of integers, got {given!r}.")
        sets.append(sorted({integer(name, c, "a collection of integers") for c in given}))
    if both := set(sets[0]).intersection(sets[1]):
        raise ValueError(f"{min(both)} is in `things` and in `stuffs`: it can be in one only.")
    every = [category for part in sets for category in part]
    if not every:
        raise ValueError("`things` and `stuffs` must name at least one category, got none.")
    for category in every:
        if not -(2**63) <= category < 2**63:
            raise ValueError(f"categories must fit into int64, got {category}.")
    table = tuple((category, c) for c, category in enumerate(every))
    categories = Categories(table, table, len(sets[0]), len(every), allow)
    return categories, {category: str(category) for category in every}


def _of_label_space(space: LabelSpace, allow: bool) -> tuple[Categories, dict[int, str]]:
    """The categories of a label space, with its names and its mapping of values."""
    if not space.things:
        raise ValueError(
            "the label space has no `things`. Name the classes whose instances count one by one: "
            "`dataclasses.replace(space, things=[...])`."
        )
    order = space.things_first()
    place = {c: i for i, c in enumerate(order)}
    ids = space.id_to_class or {c: c for c in order}
    target = tuple((value, place[c]) for value, c in ids.items())
    preds = target if space.map_preds or not space.id_to_class else tuple(place.items())
    things = sum(c in space.things for c in order)
    categories = Categories(target, preds, things, len(order), allow)
    return categories, {c: space.names[c] for c in order}


def _names(
    given: Mapping[int, str] | Sequence[str] | None, default: Mapping[int, str]
) -> tuple[str, ...]:
    """The names of the categories in the order of keys."""
    if given is None:
        return tuple(default.values())
    if isinstance(given, Mapping):
        if set(given) != set(default):
            raise ValueError(
                f"`class_names` must name the categories {list(default)}, got {list(given)}."
            )
        given = [given[category] for category in default]
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"`class_names` must be a sequence of strings, got {given!r}.")
    if not len(given) == len(set(given)) == len(default):
        raise ValueError(
            f"`class_names` must be {len(default)} different names, got {list(given)}."
        )
    return tuple(given)


def _check_inputs(preds: Tensor, target: Tensor, crowd: Tensor | None, boundary: bool) -> None:
    for name, tensor in (("preds", preds), ("target", target)):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"`{name}` must be a torch.Tensor, got {described(tensor)}. "
                f"{conversion(name, tensor)}"
            )
        if tensor.dtype not in LABEL_DTYPES - {torch.bool}:
            raise TypeError(
                f"`{name}` must hold integers, the category and the instance of every pixel, got "
                f"{tensor.dtype}. Pass `{name}.long()`."
            )
    if preds.shape != target.shape or preds.ndim < 3 or preds.shape[-1] != 2:
        stack = "torch.stack([categories, instances], -1)"
        raise ValueError(
            "`preds` and `target` must be (N, ..., 2) of equal shape, the category and the "
            f"instance of every pixel, got {tuple(preds.shape)} and {tuple(target.shape)}. Pass "
            f"`{stack}`."
        )
    if boundary and preds.ndim not in (4, 5):
        raise ValueError(
            "`boundary=True` needs two or three spatial dimensions, (N, H, W, 2) or "
            f"(N, D, H, W, 2), got {tuple(preds.shape)}."
        )
    if crowd is not None and (
        not isinstance(crowd, Tensor)
        or crowd.dtype != torch.bool
        or crowd.shape != target.shape[:-1]
    ):
        got = f"{crowd.dtype} {tuple(crowd.shape)}" if isinstance(crowd, Tensor) else repr(crowd)
        raise ValueError(f"`crowd` must be bool {tuple(target.shape[:-1])}, got {got}.")
    devices = {tensor.device for tensor in (preds, target, crowd) if tensor is not None}
    if len(devices) > 1:
        raise ValueError(
            f"`preds` and `target` must be on one device, got {preds.device} and {target.device}. "
            "Move one with `.to(device)`."
        )
