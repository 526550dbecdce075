"""The distance between pixels: as users give it, and for one image."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmetrics._arguments import number
from segmetrics.surfaces import axes_of_size

#: One number for all axes, one an axis, or for every image of the batch one an axis.
Spacing = float | Sequence[float] | Sequence[Sequence[float]] | NDArray[np.floating] | Tensor
#: The same, checked.
Steps = float | tuple["Steps", ...]


def checked_spacing(spacing: Spacing) -> Steps:
    """A spacing as a float, floats, or floats for every image.

    A ``DataLoader`` collates tuples to a sequence of tensors, one an axis.
    """
    if isinstance(spacing, list | tuple) and any(isinstance(s, Tensor) and s.ndim for s in spacing):
        axes = [torch.as_tensor(axis) for axis in spacing]
        if len({axis.shape for axis in axes}) > 1:
            raise ValueError(
                "`spacing` as one tensor an axis needs tensors of one length, got "
                f"{[tuple(axis.shape) for axis in axes]}."
            )
        spacing = torch.stack(axes, -1)
    if isinstance(spacing, Tensor | np.ndarray):
        spacing = spacing.tolist()
    if isinstance(spacing, list | tuple):
        return tuple(checked_spacing(part) for part in spacing)
    step = number("spacing", spacing)
    if not (isfinite(step) and step > 0):
        raise ValueError(f"`spacing` must be positive and finite, got {step}.")
    return step


def metric_spacing(spacing: Spacing) -> Steps:
    """The spacing of a metric, as a float or floats."""
    steps = checked_spacing(spacing)
    if isinstance(steps, tuple) and isinstance(steps[0], tuple):
        raise ValueError(
            "`spacing` of a metric is one number or one an axis, got one for every image. "
            "Pass that to `update`."
        )
    return steps


def spacing_of_image(
    image: int, steps: Steps, size: Sequence[int], images_: int
) -> tuple[float, ...]:
    """The spacing of one image along every axis; see ``axes_of_size``."""
    axes = axes_of_size(size)
    if not isinstance(steps, tuple):
        return (steps,) * len(axes)
    of_images = any(isinstance(step, tuple) for step in steps)
    given = steps if not of_images else steps[image] if len(steps) == images_ else ()
    numbers = [s for s in (given if isinstance(given, tuple) else ()) if not isinstance(s, tuple)]
    if len(numbers) == len(size):
        numbers = [numbers[axis] for axis in axes]
    if len(numbers) != len(axes):
        raise ValueError(
            f"`spacing` must be one number, one for each of the {len(size)} axes, or that for each "
            f"of the {images_} images, got {steps}."
        )
    return tuple(numbers)
