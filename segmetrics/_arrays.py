"""The few operations that NumPy and torch spell differently, for code that takes arrays of both."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

Array = TypeVar("Array")


def namespace(array: object) -> Any:
    """``numpy`` or ``torch``, whichever the array is of.

    torch does not have ``__array_namespace__`` of the array API standard.
    """
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    import torch

    return torch


def where(condition: Any, array: Array, otherwise: Any) -> Array:
    """The elements of an array where a condition holds, and others elsewhere."""
    chosen: Array = namespace(array).where(condition, array, otherwise)
    return chosen


def to_float64(array: Any) -> Any:
    """The array in float64."""
    return array.astype(np.float64) if namespace(array) is np else array.double()
