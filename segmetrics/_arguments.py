"""Checks of arguments, and settings as identifiers."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from operator import index
from typing import SupportsIndex


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise unless ``value`` is one of the values that the argument ``name`` may have."""
    if value not in allowed:
        expected = ", ".join(repr(choice) for choice in allowed)
        raise ValueError(f"`{name}` must be one of {expected}, got {value!r}.")


def boolean(name: str, value: object) -> bool:
    """A bool, or ``TypeError``."""
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be a bool, got {value!r}.")
    return value


def integer(name: str, value: object, expected: str = "an int") -> int:
    """An int, or a value with ``__index__`` (NumPy's integers); no bool, no float."""
    if type(value) is int:  # a fast path, for thousands of values
        return value
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"`{name}` must be {expected}, got {value!r}.")
    return index(value)


def number(name: str, value: object, at_least: float | None = None) -> float:
    """A float, or another real number (ints, NumPy's scalars); no bool."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"`{name}` must be a number, got {value!r}.")
    result = float(value)
    if at_least is not None and not result >= at_least:
        raise ValueError(f"`{name}` must be at least {at_least:g}, got {value}.")
    return result


def identifier(*parts: object) -> str:
    """Parts joined to a unique identifier: ``-1`` becomes ``m1``."""
    text = "_".join(str(part) for part in parts)
    return text.replace("-", "m").replace(".", "p").replace("+", "P")
