"""Hints for error messages: how to convert an input to tensors or labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def described(value: object) -> str:
    """The type of a value, with its keys or the type of its elements."""
    kind = type(value).__name__
    if isinstance(value, Mapping):
        return f"{kind} with the keys {', '.join(map(repr, value))}"
    if isinstance(value, list | tuple) and value:
        return f"{kind} of {len(value)} {type(value[0]).__name__}"
    return kind


def conversion(name: str, value: object) -> str:
    """How to get a tensor from a value of another type."""
    for attribute in ("logits", "out"):
        if isinstance(getattr(value, attribute, None), Tensor):
            return f"To score a model's output pass `{name}.{attribute}`."
    if isinstance(value, Mapping):
        tensors = [key for key, entry in value.items() if isinstance(entry, Tensor)]
        tensors.sort(key=lambda key: key not in ("out", "logits"))
        return (
            f'To score a model\'s output pass `{name}["{tensors[0]}"]`.' if tensors else "Pass one."
        )
    if isinstance(value, list | tuple) and value and hasattr(value[0], "shape"):
        return (
            "Call `update` once for each image, with `preds[i][None]` and `target[i][None]`. "
            f"If it is the output of a model with several heads, pass one: `{name}[0]`."
        )
    return f"Convert it with `torch.as_tensor({name})`."


def as_labels(target: Tensor, num_classes: int | None) -> str:
    """How to convert a floating target to labels, by its values; no ``num_classes`` for masks."""
    if not target.is_floating_point() or target.device.type == "meta":
        return "Convert label maps with `target.long()`."
    if target.isnan().any():
        return "It holds NaN, which is no label."
    masks = bool(((target >= 0) & (target <= 1)).all())
    if masks and num_classes is None:
        return "Pass `target > 0.5`."
    if masks and target.ndim > 1 and target.shape[1] == num_classes:
        total = target.double().sum(1)
        if torch.allclose(total, torch.ones_like(total), rtol=0, atol=1e-2):
            return "It holds one-hot masks or probabilities (N, C, ...): pass `target.argmax(1)`."
    if integral(target):
        return "Pass `target.round().long()`."
    if masks:
        return "It holds soft masks: pass `target > 0.5`."
    return (
        "It holds values that are no labels. If label maps were resized, resize them with "
        "`mode='nearest'`; then pass `target.long()`."
    )


def integral(values: Tensor) -> bool:
    """Whether all values are within 1e-3 of integers. Synchronizes a GPU."""
    if values.device.type == "meta":
        return False
    return bool(((values - values.round()).abs() <= 1.001e-3).all())
