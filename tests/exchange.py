"""Exchanges the code of the functions that a mutant changes, where segmetrics is imported.

What was compiled of kernels that the change may reach is forgotten: they are compiled anew.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

from numba.core.caching import NullCache
from numba.core.registry import CPUDispatcher

from mutants import Mutant


class Functions:
    """All functions that exist when this is made, by their file and code."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.of_code: dict[tuple[str, CodeType], list[FunctionType]] = {}
        self.kernels: list[CPUDispatcher] = []
        gc.unfreeze()  # what is frozen is not listed
        for found in gc.get_objects():
            if type(found) is FunctionType:
                key = found.__code__.co_filename, found.__code__
                self.of_code.setdefault(key, []).append(found)
            elif type(found) is CPUDispatcher:
                self.kernels.append(found)

    def changed(self, mutant: Mutant) -> list[tuple[FunctionType, CodeType]]:
        """The functions and the code that a change gives them; none if it is in no function."""
        file = self.checkout / mutant.file
        source = file.read_text("utf-8")
        before = compile(source, str(file), "exec", dont_inherit=True)
        after = compile(mutant.applied(source), str(file), "exec", dont_inherit=True)
        found = []
        for place, (old, new) in enumerate(_differing(before, after)):
            functions = self.of_code.get((str(file), old), [])
            # functions within a function exist only once that has run
            if old.co_freevars != new.co_freevars or not (functions or place):
                return []
            found += [(function, new) for function in functions]
        return found

    def forget(self, names: set[str]) -> None:
        """Have the kernels of these names compiled again when they are called."""
        for kernel in self.kernels:
            if kernel.py_func.__name__ in names:
                vars(kernel).pop("compile", None)  # it looks for the cache
                kernel._cache = NullCache()
                kernel._make_finalizer()()
                kernel._reset_overloads()


def _differing(before: CodeType, after: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The functions that differ between two modules, the outermost first."""
    if before.co_flags & inspect.CO_OPTIMIZED:
        yield before, after
    parts = [[c for c in code.co_consts if isinstance(c, CodeType)] for code in (before, after)]
    if len(parts[0]) == len(parts[1]):
        for old, new in zip(*parts, strict=True):
            if old != new:
                yield from _differing(old, new)
