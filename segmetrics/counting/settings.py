"""What is counted: the settings of a count, and its checked inputs. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import inf, log
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from segmetrics._arguments import boolean, identifier, integer, number, one_of
from segmetrics._help import spells
from segmetrics.labels import LabelSpace

if TYPE_CHECKING:
    from torch import Tensor

Task = Literal["multiclass", "binary", "multilabel"]
Upsample = Literal["bilinear", "nearest"]
InputFormat = Literal["index", "one-hot"]

#: Tensors or NumPy arrays: the same code takes both.
Counts = TypeVar("Counts", "Tensor", NDArray[np.int64])

#: The dtype that stands for bfloat16, which NumPy lacks: two opaque bytes.
BFLOAT16 = np.dtype("V2")

#: Kinds of bad pixels, in the order in which their numbers follow the counts.
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

    ``ids`` are the values of label maps that are mapped, ``classes_of_ids`` the class of each;
    without them a value is its class. Made by :meth:`of`, which checks the arguments.
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
    @spells
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
        """Check and normalise the arguments of a region metric."""
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
        counting = Counting(
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
        if not ids and set(range(counting.labels)) <= set(counting.ignore_index):
            raise ValueError(
                f"no class is left to score: `ignore_index={list(counting.ignore_index)}` ignores "
                f"all {counting.labels} labels of the target."
            )
        return counting

    @property
    def labels(self) -> int:
        """The number of labels of a pixel: C, or 2 for binary and multilabel."""
        return self.num_classes if self.task == "multiclass" else 2

    @property
    def channels(self) -> int:
        """The number of label maps: 1, or C for multilabel."""
        return self.num_classes if self.task == "multilabel" else 1

    @property
    def ignored_classes(self) -> tuple[int, ...]:
        """Classes that do not count: ignored values, where these are classes."""
        ignorable = self.task == "multiclass" and not self.ids
        return tuple(v for v in self.ignore_index if ignorable and 0 <= v < self.num_classes)

    @property
    def only_marginals(self) -> bool:
        """Whether only the diagonal and the marginals of the confusion matrix are kept."""
        return self.per_image

    @property
    def cells(self) -> int:
        """The number of counts, without the bad pixels that follow them."""
        columns = 3 if self.only_marginals else self.labels + 1
        return self.channels * self.labels * columns

    @property
    def cut(self) -> float:
        """The score above which a pixel of binary and multilabel is positive."""
        if not self.from_logits:
            return self.threshold
        if self.threshold in (0, 1):
            return inf if self.threshold else -inf
        return log(self.threshold / (1 - self.threshold))

    @property
    def name(self) -> str:
        """The settings as a unique identifier, for the name of a state."""
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

    def matrices(self, counts: Counts) -> Counts:
        """The confusion matrices ``(..., C, C + 1)``, or ``(..., C, 2, 3)`` for multilabel, int64.

        ``...`` are leading dimensions of the counts.
        """
        shape = (*counts.shape[:-1], self.channels, self.labels, self.labels + 1)
        matrices = counts[..., : self.cells].reshape(shape)
        return matrices if self.task == "multilabel" else matrices[..., 0, :, :]

    def marginals(self, counts: Counts) -> tuple[Counts, Counts, Counts]:
        """Hits, predicted pixels and target pixels of every label, in int64.

        Each is ``(..., C)``, or ``(..., C, 2)`` for multilabel; ``...`` is N with ``per_image``.
        """
        columns = self.cells // (self.channels * self.labels)
        shape = (*counts.shape[:-1], self.channels, self.labels, columns)
        cells = counts[..., : self.cells].reshape(shape)
        cells = cells if self.task == "multilabel" else cells[..., 0, :, :]
        if self.only_marginals:
            return cells[..., 0], cells[..., 1], cells[..., 2]
        hits = cells.diagonal(0, -2, -1)
        return hits, cells.sum(-2)[..., : self.labels], cells.sum(-1)

    def bad(self, counts: Counts) -> Counts:
        """Bad pixels by kind, in the order of ``BAD_KINDS``, summed over images."""
        bad = counts[..., self.cells :]
        return bad.sum(0) if self.per_image else bad


class Pixels(NamedTuple):
    """Checked inputs as views without a copy; what a backend counts.

    Tensors, or NumPy arrays for ``cpu.py``, in which ``BFLOAT16`` marks bfloat16.

    ``target`` is ``(N, channels, *size)`` labels, or ``(N, C, *size)`` one-hot.
    ``preds`` is ``(N, channels, *size)`` labels, ``(N, C, *size)`` one-hot, or scores
    ``(N, C, *size)`` for multiclass and ``(N, channels, *size)`` otherwise, whose size differs
    from the target's only if they are to be resized.
    """

    preds: Any
    target: Any
    preds_are: Literal["labels", "one-hot", "scores"]
    target_are: Literal["labels", "one-hot"]

    def image(self, index: int) -> Pixels:
        """One image of the batch, as a batch."""
        one = slice(index, index + 1)
        return self._replace(preds=self.preds[one], target=self.target[one])

    @property
    def resized(self) -> bool:
        """Whether scores are resized while they are counted."""
        return tuple(self.preds.shape[2:]) != tuple(self.target.shape[2:])


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
                f"`num_classes` is not given for task='binary', got {num_classes!r}. Leave it out. "
                "For the mean over background and object threshold the scores and pass "
                "`num_classes=2` without `task`."
            )
        return 2
    if isinstance(num_classes, LabelSpace):
        num_classes = num_classes.num_classes
    if num_classes is None:
        raise TypeError(
            f"`num_classes` must be an int or a LabelSpace for task={task!r}, got None. For one "
            "foreground class pass task='binary'."
        )
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
