"""Drawn inputs of every task: labels and scores, dtypes, layouts, dimensions, ignored values.

What the tensors of a ``Case`` mean is kept with them as NumPy label maps, read longhand, so that
a test can hold any score of the tensors against an oracle of the label maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from segmetrics import LabelSpace
from segmetrics.counting import Counting
from segmetrics.counting.settings import Task, Upsample

TASKS = ("multiclass", "binary", "multilabel")
LAYOUTS = ("contiguous", "channels-last", "transposed", "sliced", "expanded")
SCORE_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LABEL_DTYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64),
)
RANGES = {torch.bool: (0, 1)} | {
    dtype: (torch.iinfo(dtype).min, torch.iinfo(dtype).max) for dtype in LABEL_DTYPES[1:]
}


@dataclass
class Case:
    """Tensors, the arguments that define their meaning, and the label maps they represent.

    ``predicted`` and ``truth`` are int64 ``(N, ...)``, for multilabel ``(N, C, ...)``.
    """

    preds: Tensor
    target: Tensor
    arguments: dict[str, Any]
    predicted: np.ndarray
    truth: np.ndarray

    @property
    def task(self) -> str:
        return self.arguments["task"]

    @property
    def ignored(self) -> tuple[int, ...]:
        value = self.arguments["ignore_index"]
        return () if value is None else tuple(np.atleast_1d(value).tolist())

    @property
    def labels(self) -> int:
        """The number of labels of an entry."""
        return self.arguments["num_classes"] if self.task == "multiclass" else 2

    @property
    def counted(self) -> np.ndarray:
        """The entries that count."""
        return ~np.isin(self.truth, self.ignored)

    def pairs(self, index: Any = ...) -> tuple[np.ndarray, np.ndarray]:
        """Target and prediction of the counted entries, flat; an abstention is one more label."""
        counted = self.counted[index]
        predicted = self.predicted[index][counted]
        return self.truth[index][counted], np.where(
            (predicted >= 0) & (predicted < self.labels), predicted, self.labels
        )

    def channels(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The counted pairs of each multilabel channel."""
        return [self.pairs((slice(None), c)) for c in range(self.arguments["num_classes"])]


def lay_out(tensor: Tensor, layout: str) -> Tensor:
    """The same values in another memory layout; memory around a slice must not be read."""
    if layout == "channels-last" and tensor.ndim > 2:
        return tensor.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "transposed" and tensor.ndim > 1:
        return tensor.mT.contiguous().mT
    if layout == "sliced":
        garbage = torch.nan if tensor.is_floating_point() else 99
        around = torch.full([2 * size + 1 for size in tensor.shape], garbage, dtype=tensor.dtype)
        inside = around[tuple(slice(1, None, 2) for _ in tensor.shape)]
        return inside.copy_(tensor)
    if layout == "expanded":  # the values do not differ along the first dimension
        return tensor[:1].expand(tensor.shape)
    return tensor


def dtypes_for(values: np.ndarray) -> st.SearchStrategy[torch.dtype]:
    """The label dtypes that can hold these values."""
    least, most = values.min(initial=0), values.max(initial=0)
    return st.sampled_from(
        [dtype for dtype, (low, high) in RANGES.items() if low <= least and most <= high]
    )


@st.composite
def generators(draw: st.DrawFn) -> np.random.Generator:
    """A NumPy generator: many values for one drawn seed."""
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


@st.composite
def label_tensors(draw: st.DrawFn, values: np.ndarray, layout: str) -> Tensor:
    """Label maps as a tensor of any dtype that can hold them."""
    dtype = draw(dtypes_for(values))
    return lay_out(torch.from_numpy(values.astype(np.int64)).to(dtype), layout)


@st.composite
def label_spaces(draw: st.DrawFn, classes: int) -> LabelSpace:
    """Label spaces that map values of every size, several to one class, and ignore some."""
    rng = draw(generators())
    far = [254, 255, 256, 1000, 2**15 - 1, 2**15, 2**31, 2**40, 2**63 - 1, -300, -(2**63)]
    values = rng.permutation(np.array([*range(-2, 40), *far])).tolist()
    mapped, ignored = rng.integers(1, [classes + 5, 12]).tolist()
    return LabelSpace(
        [f"class {label}" for label in range(classes)],
        ignore_index=values[:ignored],
        id_to_class={v: int(rng.integers(classes)) for v in values[ignored : ignored + mapped]},
        map_preds=draw(st.booleans()),
    )


@st.composite
def ignore_settings(draw: st.DrawFn, labels: int, task: str) -> int | list[int] | None:
    """``ignore_index``: none, one or several, inside or outside the labels."""
    inside = draw(st.integers(0, labels - 1)) if task == "multiclass" else 0
    return draw(st.sampled_from([None, 255, -1, -100, inside, [255], [inside, 255], [-1, 254, 7]]))


@st.composite
def cases(
    draw: st.DrawFn,
    task: str | None = None,
    *,
    ignoring: bool = True,
    abstaining: bool = True,
    scores: bool | None = None,
) -> Case:
    """Inputs of one to five dimensions, their arguments and their meaning."""
    task = task or draw(st.sampled_from(TASKS))
    classes = draw(st.integers(1 if task == "multilabel" else 2, 5))
    labels = classes if task == "multiclass" else 2
    ignore_index = draw(ignore_settings(labels, task)) if ignoring else None
    ignored = [] if ignore_index is None else np.atleast_1d(ignore_index).tolist()
    layout, preds_layout = draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from(LAYOUTS))
    rng = draw(generators())

    space = draw(st.lists(st.integers(1, 5), max_size=3 if task == "multilabel" else 4))
    shape = [draw(st.integers(1, 3)), *([classes] if task == "multilabel" else []), *space]

    def label_map(values: list[int], layout: str) -> np.ndarray:
        drawn = rng.choice(values, shape)
        return np.broadcast_to(drawn[:1], shape) if layout == "expanded" else drawn

    present = draw(st.sets(st.integers(0, labels - 1), min_size=1))  # the other classes are absent
    truth = label_map([*present, *(ignored if draw(st.booleans()) else [])], layout)
    arguments = {"task": task, "ignore_index": ignore_index}
    if task != "binary":
        arguments["num_classes"] = classes

    if scores if scores is not None else draw(st.booleans()):
        dtype = draw(st.sampled_from(SCORE_DTYPES))
        shape = [shape[0], classes, *space] if task == "multiclass" else shape
        if task == "multiclass":
            drawn = rng.choice([-np.inf, -1.5, 0, 0.25, 3, np.inf], shape)  # with ties
            values = drawn if draw(st.booleans()) else rng.normal(size=shape)
        else:
            arguments["threshold"] = draw(st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
            arguments["from_logits"] = draw(st.booleans())
            if arguments["from_logits"]:
                values = rng.choice([-np.inf, -0.25, 0, 0.25, np.inf], shape)
            else:
                values = rng.choice([0, 0.3, 0.5, 0.7, 1, rng.random()], shape)
        if preds_layout == "expanded":
            values = np.broadcast_to(values[:1], shape)
        preds = torch.tensor(values).to(dtype)
        predicted = decided(preds, arguments)
        preds = lay_out(preds, preds_layout)
    else:
        usable = sorted(draw(st.sets(st.integers(0, labels - 1), min_size=1)))
        outside = [value for value in ignored if not 0 <= value < labels]
        predicted = label_map(
            [*usable, *(outside if abstaining and draw(st.booleans()) else [])], preds_layout
        )
        preds = draw(label_tensors(predicted, preds_layout))
        if task == "multiclass" and preds.ndim >= 4:
            arguments["input_format"] = "index"  # a dimension 1 of size C could be one-hot

    target = draw(label_tensors(truth, layout))
    if task == "binary" and len(space) and space[0] > 1:
        preds = preds.unsqueeze(1) if draw(st.booleans()) else preds
        target = target.unsqueeze(1) if draw(st.booleans()) else target
    return Case(preds, target, arguments, predicted, truth)


#: Predictions, target and settings.
Counted = tuple[Tensor, Tensor, Counting]


@st.composite
def counted_inputs(
    draw: st.DrawFn, classes_to_draw: list[int], longest: int, upsample: Upsample | None
) -> Counted:
    """Labels and scores of every dtype and layout, also bad ones, and the settings."""
    task: Task = draw(st.sampled_from(TASKS))
    of_task = {"multiclass": classes_to_draw, "binary": [1], "multilabel": [1, 3]}
    classes = draw(st.sampled_from(of_task[task]))
    labels = classes if task == "multiclass" else 2
    ignorable = {-1, 0, 1, labels - 1, labels, 7, 255, 256, -(2**63), 2**63 - 1, 2**40}
    ignorable = sorted(ignorable if task == "multiclass" else ignorable - {1})
    ignored = draw(st.sets(st.sampled_from(ignorable), max_size=3))
    space, usual = classes if task != "binary" else None, list(range(labels)) * 3
    if task == "multiclass" and draw(st.booleans()):
        space = draw(label_spaces(classes))
        ignored = ignored.difference(space.id_to_class)
        usual += [*space.id_to_class, *space.ignore_index] * 2
    counting = Counting.of(
        space,
        task=task,
        ignore_index=sorted(ignored),
        threshold=0.5 if task == "multiclass" else draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])),
        from_logits=draw(st.booleans()),
        upsample=upsample,
        input_format="index" if task == "multiclass" else None,
        per_image=draw(st.booleans()),
    )
    rng = draw(generators())
    size = draw(st.lists(st.integers(1, longest), min_size=1 if upsample else 0, max_size=3))
    other_size = [draw(st.one_of(st.just(length), st.integers(1, longest))) for length in size]
    images = draw(st.integers(0, 3))
    channels = [classes] if task == "multilabel" else []

    def labels_of(shape: list[int]) -> Tensor:
        values = rng.choice(usual + ignorable + [labels + 1, -2, 2**62], shape)
        dtype = draw(st.sampled_from(LABEL_DTYPES))
        return lay_out(torch.from_numpy(values).to(dtype), draw(st.sampled_from(LAYOUTS)))

    target = labels_of([images, *channels, *size])
    if not upsample and draw(st.booleans()):
        return labels_of([images, *channels, *size]), target, counting
    shape = [images, *([classes] if task == "multiclass" else channels)]
    shape += other_size if upsample else size
    values = rng.normal(size=shape) if counting.from_logits else rng.random(shape)
    if draw(st.booleans()):
        ties = [0.0, -0.0, 0.25, 0.5, 1.0, 1e-45, -1e-45]
        odd = [-np.inf, np.inf, np.nan, -np.nan, -3]
        values = rng.choice(ties + odd * draw(st.booleans()), shape)
    preds = torch.from_numpy(values).to(draw(st.sampled_from(SCORE_DTYPES)))
    return lay_out(preds, draw(st.sampled_from(LAYOUTS))), target, counting


def decided(scores: Tensor, arguments: dict[str, Any]) -> np.ndarray:
    """The labels of scores, in NumPy."""
    values = (scores if scores.dtype == torch.float64 else scores.float()).numpy()
    if arguments["task"] == "multiclass":
        return values.argmax(1)
    threshold = arguments["threshold"]
    if arguments["from_logits"]:
        with np.errstate(divide="ignore"):
            threshold = np.log(np.float64(threshold)) - np.log1p(-np.float64(threshold))
    return (values > values.dtype.type(threshold)).astype(np.int64)
