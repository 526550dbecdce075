"""How kernels for the CPU are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function when it is called, to run without Python's lock.

    What is compiled is kept beside the source, or in the user's cache directory if that cannot be
    written. Where neither can every process compiles anew. It is compiled again when the file of
    the kernel changes, not those of kernels that it calls: these had better be in one file.
    """
    options: Any = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: Function = njit(cache=True, **options)(function)
    except RuntimeError:
        compiled = njit(**options)(function)
    return compiled
