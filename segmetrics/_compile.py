"""Compilation of CPU kernels."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from numba import njit
from numba.core.compiler_lock import global_compiler_lock

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function on its first call, as a kernel that releases the GIL.

    The machine code is cached next to the source, or in the user's cache directory if the former is
    read-only. Of processes that start together one compiles, and the others load its result. If
    neither directory is writable, every process compiles. A change of the kernel's file invalidates
    the cache, but a change of kernels that it calls in other files does not: keep them in one file.
    """
    options: Any = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: Any = njit(cache=True, **options)(function)
    except RuntimeError:
        compiled = njit(**options)(function)
    else:
        compile_ = compiled.compile

        def compile_once(signature: Any) -> Any:
            with global_compiler_lock, _no_collection(), ExitStack() as stack:
                with suppress(OSError):  # the file system has no file locks
                    stack.enter_context(_lock(compiled.stats.cache_path, os.getpid()))
                return compile_(signature)

        compiled.compile = compile_once
    result: Function = compiled
    return result


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector; only one thread at a time may.

    Loading a first kernel creates so many objects that the collector runs about a hundred times.
    Next to the objects of torch and torchmetrics that takes twice as long as all the rest.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@cache
def _lock(folder: str, process: int) -> FileLock:
    """A file lock, so that one process compiles at a time; the system releases it on exit."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    return FileLock(Path(folder, "segmetrics.lock"), thread_local=False)


if hasattr(os, "register_at_fork"):
    # A fork while another thread compiles would inherit a held lock without its thread: a deadlock.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
