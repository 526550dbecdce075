"""Instance maps as inputs: tensors whose pixels say the ids of objects, and errors in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from segmetrics.counting.hints import conversion, described
from segmetrics.counting.inputs import LABEL_DTYPES
from segmetrics.objects.rules import Rules
from segmetrics.statistics import ImageId
from segmetrics.surfaces import axes_of_size

Array = NDArray[Any]


def check_arguments(
    rules: Rules, task: str, score_threshold: float, from_logits: bool, upsample: str | None
) -> None:
    """Raise for arguments that mean nothing for instance maps."""
    if rules.preset:
        raise ValueError(
            f"the preset {rules.preset!r} says which pixels are an object, and so takes label "
            "maps. Leave out `input_format='instances'`, or make a metric with arguments of your "
            "own."
        )
    if task == "multilabel":
        raise ValueError(
            "`input_format='instances'` is of task='binary', ids (N, H, W), or task='multiclass', "
            "categories and ids (N, H, W, 2). Got task='multilabel'."
        )
    for name, given, default in (
        ("connectivity", rules.connectivity, "full"),
        ("score_threshold", score_threshold, 0.5),
        ("from_logits", from_logits, False),
        ("upsample", upsample, None),
    ):
        if given != default:
            raise ValueError(
                f"`{name}={given!r}` means nothing for input_format='instances', whose objects are "
                "given by ids. Leave it out."
            )


def instance_maps(preds: Tensor, target: Tensor, task: str) -> tuple[Array, Array, tuple[int, ...]]:
    """Instance maps ``(N, H, W, values)`` or ``(N, D, H, W, values)``, and the size as given.

    Args:
        preds: ids ``(N, ...)`` for ``task="binary"``, else category and id ``(N, ..., 2)``. A
            dimension of size 1 is none where two others are left.
        target: the same.
        task: that of the metric.

    Raises:
        TypeError, ValueError: what is no such tensor.
    """
    for name, tensor in (("preds", preds), ("target", target)):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"`{name}` must be a torch.Tensor, got {described(tensor)}. "
                f"{conversion(name, tensor)}"
            )
        if tensor.dtype not in LABEL_DTYPES - {torch.bool}:
            raise TypeError(
                f"`{name}` must hold integers, the ids of objects, got {tensor.dtype}. Pass "
                f"`{name}.long()`, or label maps without `input_format='instances'`."
            )
    values = 1 if task == "binary" else 2
    size = tuple(target.shape[1 : target.ndim + 1 - values])
    axes = axes_of_size(size)
    fits = preds.shape == target.shape and len(axes) in (2, 3)
    if not fits or (values == 2 and target.shape[-1] != 2):
        form = "(N, H, W{0}) or (N, D, H, W{0})".format(", 2" if values == 2 else "")
        meaning = "category and id of every pixel" if values == 2 else "the id of every pixel"
        raise ValueError(
            f"`preds` and `target` must be {form} of equal shape, {meaning}, got "
            f"{tuple(preds.shape)} and {tuple(target.shape)}."
        )
    if preds.device != target.device:
        raise ValueError(
            f"`preds` and `target` must be on one device, got {preds.device} and {target.device}. "
            "Move one with `.to(device)`."
        )
    shape = len(target), *(size[axis] for axis in axes), values
    of_preds, of_target = (side.detach().cpu().numpy().reshape(shape) for side in (preds, target))
    return of_preds, of_target, size


class ImageError(ValueError):
    """What is wrong with an image of a batch; ``image`` is its index."""

    def __init__(self, image: int, detail: object) -> None:
        super().__init__(f"image {image} of the batch: {detail}")
        self.image, self.detail = image, detail


@contextmanager
def naming_images(image_ids: Tensor | Iterable[ImageId] | None) -> Iterator[None]:
    """Errors of single images name them by their ids, if they have any."""
    try:
        yield
    except ImageError as error:
        if image_ids is None:
            raise
        ids = image_ids.tolist() if isinstance(image_ids, Tensor) else list(image_ids)
        if error.image >= len(ids):  # too few, which is another error
            raise
        name = f"image {ids[error.image]!r}, {error.image} of the batch"
        raise ValueError(f"{name}: {error.detail}") from None
