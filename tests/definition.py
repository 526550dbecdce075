"""The plain torch definition, called like the function whose backend is chosen by the inputs."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from segmetrics.counting import Counting, plain, raise_if_bad
from segmetrics.counting.inputs import read
from segmetrics.functional import confusion_matrix


def plain_confusion_matrix(
    preds: Tensor, target: Tensor, num_classes: int | None = None, **arguments: Any
) -> Tensor:
    """``confusion_matrix`` as plain torch counts it."""
    counting = Counting.of(num_classes, **arguments)
    pixels = read(preds, target, counting)
    counts = plain.count(pixels, counting)
    raise_if_bad(counting.bad(counts), counting, pixels)
    return counting.matrices(counts)[..., :-1]


MATRICES = [confusion_matrix, plain_confusion_matrix]
