"""What shapes, dtypes and label values mean: the one place where an input is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, NamedTuple, TypedDict

import torch
from torch import Tensor

from segmetrics._arguments import boolean, identifier, integer, number, one_of
from segmetrics.counting.hints import as_labels, conversion, described, integral
from segmetrics.labels import LabelSpace

Task = Literal["multiclass", "binary", "multilabel"]
Upsample = Literal["bilinear", "nearest"]
InputFormat = Literal["index", "one-hot"]

LABEL_DTYPES = frozenset(
    {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
    | {torch.uint16, torch.uint32, torch.uint64}
)
SCORE_DTYPES = frozenset({torch.float32, torch.float64, torch.float16, torch.bfloat16})

#: Kinds of bad pixels, in the order in which they stand behind the counts.
BAD_KINDS = (
    "target_negative",
    "target_255",
    "target_too_large",
    "target_not_one_hot",
    "scores_impossible",
    "preds_outside",
    "preds_not_one_hot",
)


class CountingArguments(TypedDict, total=False):
    """The arguments of every region metric that decide what is counted."""

    ignore_index: int | Sequence[int] | None
    task: Task
    threshold: float
    from_logits: bool
    upsample: Upsample | None
    input_format: InputFormat | None


@dataclass(frozen=True)
class Counting:
    """Everything that decides what is counted; equal settings give equal counts.

    ``ids`` are the values of label maps that mean a class, ``classes_of_ids`` which; where there
    are none a value is its class. Made by :meth:`of`, which checks the arguments.
    """

    task: Task
    num_classes: int
    ignore_index: tuple[int, ...]
    ids: tuple[int, ...]
    classes_of_ids: tuple[int, ...]
    map_preds: bool
    threshold: float
    from_logits: bool
    upsample: Upsample | None
    input_format: InputFormat | None
    per_image: bool

    @staticmethod
    def of(
        num_classes: int | LabelSpace | None = None,
        *,
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        threshold: float = 0.5,
        from_logits: bool = False,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        per_image: bool = False,
    ) -> Counting:
        """Check the arguments of a region metric and bring them into one form."""
        one_of("task", task, ("multiclass", "binary", "multilabel"))
        one_of("upsample", upsample, (None, "bilinear", "nearest"))
        one_of("input_format", input_format, (None, "index", "one-hot"))
        boolean("from_logits", from_logits)
        threshold = number("threshold", threshold)
        if not 0 <= threshold <= 1:
            raise ValueError(
                f"`threshold` is a probability in [0, 1], got {threshold}. "
                "For logits pass `from_logits=True`: the threshold stays a probability."
            )
        if task == "multiclass":
            if threshold != 0.5:
                raise ValueError(
                    f"`threshold={threshold}` means nothing for task='multiclass', where the "
                    "largest score wins. Pass task='binary' or task='multilabel'."
                )
            from_logits = False  # the largest logit is the largest probability
        elif input_format == "one-hot":
            raise ValueError(
                f"`input_format='one-hot'` means nothing for task={task!r}, whose channels are "
                "masks already. Leave it out."
            )
        ids = _ids(num_classes, task)
        return Counting(
            task=task,
            num_classes=_class_number(num_classes, task),
            ignore_index=_ignored_values(ignore_index, num_classes, task),
            ids=tuple(ids),
            classes_of_ids=tuple(ids.values()),
            map_preds=isinstance(num_classes, LabelSpace) and num_classes.map_preds and bool(ids),
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
            per_image=per_image,
        )

    @property
    def labels(self) -> int:
        """How many labels a pixel can have: C, or 2 for binary and multilabel."""
        return self.num_classes if self.task == "multiclass" else 2

    @property
    def channels(self) -> int:
        """How many label maps there are: 1, or C for multilabel."""
        return self.num_classes if self.task == "multilabel" else 1

    @property
    def ignored_classes(self) -> tuple[int, ...]:
        """Classes that do not count: ignored values, where these are classes."""
        ignorable = self.task == "multiclass" and not self.ids
        return tuple(v for v in self.ignore_index if ignorable and 0 <= v < self.num_classes)

    @property
    def only_marginals(self) -> bool:
        """Whether hits, predicted and target pixels are all that is kept of a confusion matrix."""
        return self.per_image

    @property
    def cells(self) -> int:
        """How many counts there are, without the bad pixels behind them."""
        columns = 3 if self.only_marginals else self.labels + 1
        return self.channels * self.labels * columns

    @property
    def name(self) -> str:
        """The settings as an identifier, for the name of a state: no two share one."""
        parts: list[object] = [self.task, self.num_classes]
        if self.ignore_index:
            parts += ["ignore", *self.ignore_index]
        if self.ids:
            mapping = repr((self.ids, self.classes_of_ids)).encode()
            parts += ["preds", "too"] if self.map_preds else []
            parts += ["mapped", blake2b(mapping, digest_size=8).hexdigest()]
        if self.task != "multiclass":
            parts += ["above", self.threshold, *(["logits"] if self.from_logits else [])]
        if self.upsample:
            parts += ["upsample", self.upsample]
        if self.input_format:
            parts += ["format", self.input_format]
        return identifier(*parts)

    def matrices(self, counts: Tensor) -> Tensor:
        """The confusion matrices ``(C, C + 1)``, or ``(C, 2, 3)`` for multilabel, int64."""
        matrices = counts[: self.cells].view(self.channels, self.labels, self.labels + 1)
        return matrices if self.task == "multilabel" else matrices.squeeze(0)

    def marginals(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hits, predicted pixels and target pixels of every label, in int64.

        Each is ``(..., C)``, or ``(..., C, 2)`` for multilabel; ``...`` is N with ``per_image``.
        """
        cells = counts[..., : self.cells].unflatten(-1, (self.channels, self.labels, -1))
        cells = cells if self.task == "multilabel" else cells.squeeze(-3)
        if self.only_marginals:
            hits, predicted, target = cells.unbind(-1)
            return hits, predicted, target
        hits = cells.diagonal(dim1=-2, dim2=-1)
        return hits, cells.sum(-2)[..., : self.labels], cells.sum(-1)

    def bad(self, counts: Tensor) -> Tensor:
        """Bad pixels by kind, in the order of ``BAD_KINDS``, summed over images."""
        bad = counts[..., self.cells :]
        return bad.sum(0) if self.per_image else bad


class Pixels(NamedTuple):
    """Checked inputs as views, nothing copied; what a backend counts.

    ``target`` is ``(N, channels, *size)`` labels, or ``(N, C, *size)`` one-hot.
    ``preds`` is ``(N, channels, *size)`` labels, ``(N, C, *size)`` one-hot, or scores
    ``(N, C, *size)`` for multiclass and ``(N, channels, *size)`` otherwise, whose size differs
    from the target's only where they are to be resized.
    """

    preds: Tensor
    target: Tensor
    preds_are: Literal["labels", "one-hot", "scores"]
    target_are: Literal["labels", "one-hot"]

    def image(self, index: int) -> Pixels:
        """One image of the batch, as a batch."""
        one = slice(index, index + 1)
        return self._replace(preds=self.preds[one], target=self.target[one])

    @property
    def resized(self) -> bool:
        """Whether scores are resized while they are counted."""
        return self.preds.shape[2:] != self.target.shape[2:]


def read(preds: Tensor, target: Tensor, counting: Counting) -> Pixels:
    """Check shapes, dtypes and devices, and say what the inputs are.

    Raises:
        TypeError: an input is no tensor, or its dtype cannot be read.
        ValueError: shapes or devices do not fit each other or ``num_classes``.
    """
    _check_types(preds, target, counting)
    _check_unambiguous(preds, target, counting)
    try:
        return _read(preds.detach(), target, counting)
    except ValueError as error:
        raise ValueError(f"{error}{_fitting_step(preds, target, counting)}") from None


def _read(preds: Tensor, target: Tensor, counting: Counting) -> Pixels:
    preds_are: Literal["labels", "scores"] = "scores" if preds.dtype in SCORE_DTYPES else "labels"
    if counting.task == "multiclass":
        pixels = _read_multiclass(preds, target, counting)
    elif counting.task == "binary":
        pixels = Pixels(*_with_channel(preds, target), preds_are, "labels")
    else:
        _check_channels("preds", preds, counting.num_classes)
        _check_channels("target", target, counting.num_classes)
        pixels = Pixels(preds, target, preds_are, "labels")
    _check_sizes(pixels, preds, target, counting)
    return pixels


def _ids(num_classes: int | LabelSpace | None, task: Task) -> Mapping[int, int]:
    """Value → class, where a label space maps values."""
    if not isinstance(num_classes, LabelSpace) or num_classes.id_to_class is None:
        return {}
    if task == "multilabel":
        raise ValueError(
            "a label space with `id_to_class` means nothing for task='multilabel', whose channels "
            "are the classes. Pass one without."
        )
    return num_classes.id_to_class


def _class_number(num_classes: int | LabelSpace | None, task: Task) -> int:
    if task == "binary":
        if num_classes is not None:
            raise ValueError(
                f"`num_classes` is not given for task='binary', got {num_classes!r}. For the mean "
                "over background and object threshold the scores and pass `num_classes=2`."
            )
        return 2
    if isinstance(num_classes, LabelSpace):
        num_classes = num_classes.num_classes
    num_classes = integer("num_classes", num_classes, "an int or a LabelSpace")
    least = 1 if task == "multilabel" else 2
    if num_classes < least:
        hint = " For one foreground class pass task='binary'." if num_classes == 1 else ""
        raise ValueError(
            f"`num_classes` must be at least {least} for task={task!r}, got {num_classes}.{hint}"
        )
    return num_classes


def _ignored_values(
    ignore_index: int | Sequence[int] | None, num_classes: int | LabelSpace | None, task: Task
) -> tuple[int, ...]:
    """The ignored values: those given, and those of a label space."""
    if getattr(ignore_index, "ndim", 0):
        raise TypeError(
            "`ignore_index` must be an int or a sequence of ints, got "
            f"{type(ignore_index).__name__}. Pass `ignore_index.tolist()`."
        )
    values = ignore_index if isinstance(ignore_index, Sequence) else [ignore_index]
    values = [] if ignore_index is None else values
    given = {integer("ignore_index", value, "an int or a sequence of ints") for value in values}
    for value in given:
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"`ignore_index` must fit into int64, got {value}.")
    if isinstance(num_classes, LabelSpace):
        for value in given.intersection(num_classes.id_to_class or ()):
            raise ValueError(
                f"`ignore_index={value}` is a class of the label space. Take it out of its "
                "`id_to_class` with `dataclasses.replace`."
            )
        given.update(num_classes.ignore_index)
    if task != "multiclass" and 1 in given:
        raise ValueError(
            f"`ignore_index=1` would leave no foreground to score for task={task!r}. "
            "Mark ignored pixels by a value that is neither 0 nor 1."
        )
    return tuple(sorted(given))


def _read_multiclass(preds: Tensor, target: Tensor, counting: Counting) -> Pixels:
    classes, format_ = counting.num_classes, counting.input_format
    if preds.dtype in SCORE_DTYPES:
        _check_class_dimension("preds", preds, classes, "scores (N, C, ...)")
        if format_ != "one-hot" and target.ndim == preds.ndim and target.shape[1] == 1:
            target = target.squeeze(1)
        if format_ == "one-hot" or (format_ is None and target.ndim == preds.ndim):
            _check_class_dimension("target", target, classes, "one-hot labels (N, C, ...)")
            return Pixels(preds, target, "scores", "one-hot")
        return Pixels(preds, target.unsqueeze(1), "scores", "labels")
    if format_ == "one-hot":
        _check_class_dimension("preds", preds, classes, "one-hot labels (N, C, ...)")
        _check_class_dimension("target", target, classes, "one-hot labels (N, C, ...)")
        return Pixels(preds, target, "one-hot", "one-hot")
    if preds.ndim == target.ndim + 1 and preds.shape[1] == 1:
        preds = preds.squeeze(1)
    elif target.ndim == preds.ndim + 1 and target.shape[1] == 1:
        target = target.squeeze(1)
    return Pixels(preds.unsqueeze(1), target.unsqueeze(1), "labels", "labels")


def _check_unambiguous(preds: Tensor, target: Tensor, counting: Counting) -> None:
    """Refuse what could be label maps or one-hot."""
    integers = preds.dtype in LABEL_DTYPES and preds.shape == target.shape
    if (
        counting.task == "multiclass"
        and counting.input_format is None
        and integers
        and preds.ndim >= 4
        and preds.shape[1] == counting.num_classes
    ):
        raise ValueError(
            f"integer `preds` and `target` of shape {tuple(preds.shape)} could be labels "
            f"(N, ...) or one-hot (N, C, ...) with C = {counting.num_classes}. "
            "Say which: pass `input_format='index'` or `input_format='one-hot'`."
        )


def _with_channel(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Binary inputs as ``(N, 1, ...)``; a dimension 1 of size 1 is the channel."""

    def has_channel(tensor: Tensor) -> bool:
        return tensor.ndim > 1 and tensor.shape[1] == 1

    if preds.ndim == target.ndim:
        both = has_channel(preds) and has_channel(target)
        return (preds, target) if both else (preds.unsqueeze(1), target.unsqueeze(1))
    if preds.ndim == target.ndim + 1 and has_channel(preds):
        return preds, target.unsqueeze(1)
    if target.ndim == preds.ndim + 1 and has_channel(target):
        return preds.unsqueeze(1), target
    raise ValueError(
        "for task='binary' `preds` and `target` must be (N, ...) or (N, 1, ...), got "
        f"{tuple(preds.shape)} and {tuple(target.shape)}. Two-channel scores: pass "
        "`num_classes=2` and task='multiclass'."
    )


def _check_class_dimension(name: str, tensor: Tensor, classes: int, meaning: str) -> None:
    if tensor.ndim < 2 or tensor.shape[1] != classes:
        found = tensor.shape[1] if tensor.ndim > 1 else "no dimension 1"
        raise ValueError(
            f"`{name}` of shape {tuple(tensor.shape)} and dtype {tensor.dtype} is read as "
            f"{meaning} with C = `num_classes` = {classes}, but dimension 1 is {found}. "
            "Check `num_classes`, or pass integer labels (N, ...)."
            + (" One channel of foreground scores: pass task='binary'." if found == 1 else "")
        )


#: What may make an input fit: a step as it is written behind the input's name, on its shape.
STEPS: Mapping[str, Callable[[Tensor], Tensor]] = {
    ".squeeze(1)": lambda x: x.squeeze(1),
    ".squeeze(-1)": lambda x: x.squeeze(-1),
    ".movedim(-1, 1)": lambda x: x.movedim(-1, 1),
    ".argmax(1)": lambda x: x[:, 0],
    "[None]": lambda x: x[None],
}


def _fitting_step(preds: Tensor, target: Tensor, counting: Counting) -> str:
    """The first step on one input, or on both, that makes the shapes fit; none if there is none."""
    given = {
        name: torch.empty(x.shape, dtype=x.dtype, device="meta")
        for name, x in (("preds", preds), ("target", target))
    }

    def applicable(step: str, x: Tensor) -> bool:
        if step == ".movedim(-1, 1)":
            return x.ndim > 2 and x.shape[-1] == counting.num_classes
        if step == ".argmax(1)":
            one_hot = x.ndim > 1 and x.shape[1] == counting.num_classes
            return one_hot and x.dtype in LABEL_DTYPES and counting.input_format is None
        return step == "[None]" or x.ndim > 1

    def fits(**changed: Tensor) -> bool:
        try:
            _read(**(given | changed), counting=counting)
        except ValueError:
            return False
        return True

    for step, apply in STEPS.items():
        for names in (("target",), ("preds",), ("preds", "target")):
            if all(applicable(step, given[name]) for name in names) and fits(
                **{name: apply(given[name]) for name in names}
            ):
                return f" Pass {' and '.join(f'`{name}{step}`' for name in names)}."
    if preds.dtype in SCORE_DTYPES and fits(preds=given["preds"].long()) and integral(preds):
        return " Label maps stored as floats? Pass `preds.round().long()`."
    return ""


def _check_types(preds: Tensor, target: Tensor, counting: Counting) -> None:
    for name, tensor in (("preds", preds), ("target", target)):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"`{name}` must be a torch.Tensor, got {described(tensor)}. "
                f"{conversion(name, tensor)}"
            )
        if hasattr(tensor, "full_tensor"):
            raise TypeError(
                f"`{name}` must be a torch.Tensor of one device, got {type(tensor).__name__}. "
                f"Pass `{name}.full_tensor()`."
            )
        if tensor.ndim == 0:
            raise ValueError(f"`{name}` must have a batch dimension (N, ...), got a scalar.")
    if target.dtype not in LABEL_DTYPES:
        classes = counting.num_classes if counting.task == "multiclass" else None
        raise TypeError(
            f"`target` must hold integer or bool labels, got {target.dtype}. "
            f"{as_labels(target, classes)}"
        )
    if preds.dtype not in LABEL_DTYPES | SCORE_DTYPES:
        raise TypeError(
            f"`preds` must hold integer or bool labels, or float32, float64, float16 or bfloat16 "
            f"scores, got {preds.dtype}."
        )
    if preds.device != target.device:
        raise ValueError(
            f"`preds` and `target` must be on one device, got {preds.device} and {target.device}. "
            "Move one with `.to(device)`."
        )


def _check_channels(name: str, tensor: Tensor, classes: int) -> None:
    if tensor.ndim < 2 or tensor.shape[1] != classes:
        raise ValueError(
            f"`{name}` must be (N, C, ...) with C = `num_classes` = {classes} for "
            f"task='multilabel', got {tuple(tensor.shape)}."
        )


def _check_sizes(pixels: Pixels, preds: Tensor, target: Tensor, counting: Counting) -> None:
    images, _, *size = pixels.preds.shape
    target_images, _, *target_size = pixels.target.shape
    if (images, size) == (target_images, target_size):
        return
    shapes = f"got `preds` {tuple(preds.shape)} and `target` {tuple(target.shape)}"
    if images != target_images or len(size) != len(target_size):
        raise ValueError(
            f"`preds` must be scores (N, C, ...) or labels (N, ...) for a `target` (N, ...) with "
            f"the same N and the same number of dimensions, {shapes}."
        )
    if pixels.preds_are != "scores":
        raise ValueError(
            f"label maps must have the same size, {shapes}. "
            "Resize labels with `F.interpolate(..., mode='nearest')`, or pass scores."
        )
    if counting.upsample is None:
        raise ValueError(
            f"scores must have the target's size, {shapes}. Pass `upsample='bilinear'` to resize "
            "them to the target's size while they are counted."
        )
    if len(size) > 3:
        raise ValueError(f"`upsample` resizes 1 to 3 spatial dimensions, {shapes}.")
    if target.numel() and not preds.numel():
        raise ValueError(f"scores without a pixel cannot be resized, {shapes}.")
