"""What the shapes and dtypes of inputs mean: the only place that interprets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from segmetrics.counting.hints import as_labels, conversion, described, integral
from segmetrics.counting.settings import BFLOAT16, Counting, Pixels

LABEL_DTYPES = frozenset(
    {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
    | {torch.uint16, torch.uint32, torch.uint64}
)
SCORE_DTYPES = frozenset({torch.float32, torch.float64, torch.float16, torch.bfloat16})


def read(preds: Tensor, target: Tensor, counting: Counting) -> Pixels:
    """Check shapes, dtypes and devices, and interpret the inputs.

    Raises:
        TypeError: an input is not a tensor, or its dtype is not supported.
        ValueError: shapes or devices do not match each other or ``num_classes``.
    """
    _check_types(preds, target, counting)
    _check_unambiguous(preds, target, counting)
    try:
        return _read(preds.detach(), target, counting)
    except ValueError as error:
        raise ValueError(f"{error}{_fitting_step(preds, target, counting)}") from None


def as_arrays(pixels: Pixels) -> Pixels:
    """Pixels on the CPU as NumPy arrays, without a copy."""
    return Pixels(_as_array(pixels.preds), _as_array(pixels.target), *pixels[2:])


def _as_array(tensor: Tensor) -> Any:
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(BFLOAT16)
    return tensor.numpy()


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


def _read_multiclass(preds: Tensor, target: Tensor, counting: Counting) -> Pixels:
    classes, format_ = counting.num_classes, counting.input_format
    if preds.dtype in SCORE_DTYPES:
        alike = preds.shape == target.shape
        _check_class_dimension("preds", preds, classes, "scores (N, C, ...)", of_pixels=alike)
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
    """Reject inputs that could be label maps as well as one-hot masks."""
    if (
        preds.ndim >= 4
        and preds.shape == target.shape
        and preds.shape[1] == counting.num_classes
        and counting.task == "multiclass"
        and counting.input_format is None
        and preds.dtype in LABEL_DTYPES
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


def _check_class_dimension(
    name: str, tensor: Tensor, classes: int, meaning: str, *, of_pixels: bool = False
) -> None:
    if tensor.ndim < 2 or tensor.shape[1] != classes:
        found = tensor.shape[1] if tensor.ndim > 1 else "no dimension 1"
        raise ValueError(
            f"`{name}` of shape {tuple(tensor.shape)} and dtype {tensor.dtype} is read as "
            f"{meaning} with C = `num_classes` = {classes}, but dimension 1 is {found}. "
            "Check `num_classes`. Labels (N, ...) are integers."
            + (" One score a pixel: pass task='binary'." if of_pixels or found == 1 else "")
        )


#: Steps that may make an input fit: code to append to its name, with its effect on the shape.
STEPS: Mapping[str, Callable[[Tensor], Tensor]] = {
    ".squeeze(1)": lambda x: x.squeeze(1),
    ".squeeze(-1)": lambda x: x.squeeze(-1),
    ".movedim(-1, 1)": lambda x: x.movedim(-1, 1),
    ".argmax(1)": lambda x: x[:, 0],
    "[None]": lambda x: x[None],
}


def _fitting_step(preds: Tensor, target: Tensor, counting: Counting) -> str:
    """A sentence with the first step on one or both inputs that makes the shapes fit, or ``""``."""
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
        if type(tensor) is not Tensor and hasattr(tensor, "full_tensor"):
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
    if preds.dtype not in LABEL_DTYPES and preds.dtype not in SCORE_DTYPES:
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
