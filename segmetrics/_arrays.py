"""The few operations that differ between NumPy and torch, for code that takes both."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

Array = TypeVar("Array")


def namespace(array: object) -> Any:
    """The module of an array: ``numpy`` or ``torch``.

    torch has no ``__array_namespace__`` of the array API standard.
    """
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    import torch

    return torch


def where(condition: Any, array: Array, otherwise: Any) -> Array:
    """The elements of ``array`` where a condition holds, else of ``otherwise``."""
    chosen: Array = namespace(array).where(condition, array, otherwise)
    return chosen


def to_float64(array: Any) -> Any:
    """The array in float64."""
    return array.astype(np.float64) if namespace(array) is np else array.double()
