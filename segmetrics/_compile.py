"""How kernels for the CPU are compiled."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from numba import njit
from numba.core.compiler_lock import global_compiler_lock

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function when it is first called; it releases the GIL.

    What is compiled is kept next to the source, or in the user's cache directory if that cannot be
    written. Processes that start together compile it once: the others wait and load it. Where
    nothing can be kept every process compiles anew. It is compiled again when the file of the
    kernel changes, not those of kernels that it calls: these had better be in one file.
    """
    options: Any = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: Any = njit(cache=True, **options)(function)
    except RuntimeError:
        compiled = njit(**options)(function)
    else:
        compile_ = compiled.compile

        def compile_once(signature: Any) -> Any:
            with global_compiler_lock, ExitStack() as stack:
                with suppress(OSError):  # a file system without locks
                    stack.enter_context(_lock(compiled.stats.cache_path, os.getpid()))
                return compile_(signature)

        compiled.compile = compile_once
    result: Function = compiled
    return result


@cache
def _lock(folder: str, process: int) -> FileLock:
    """One process compiles at a time; one that dies gives its lock back."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    return FileLock(Path(folder, "segmetrics.lock"), thread_local=False)


if hasattr(os, "register_at_fork"):
    # A process forked while another thread compiles would wait for ever for the lock of that
    # thread, which it has not inherited.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
