"""Threads that share one call's work, over kernels that do not hold Python's lock.

They are torch's own, which OpenMP keeps awake for a while after every operation: others would have
to wait for these. Numba's threading layers are not used: some of them abort when two threads enter
them at once, others hang after ``fork``.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def share(
    work: Callable[[Iterator[Job]], Result], jobs: Iterable[Job], *, at_most: int
) -> list[Result]:
    """Call ``work`` in as many threads as torch uses, this one among them, and list the results.

    Each call gets an iterator; together they draw every job once, whoever is free the next. Few
    or small jobs are not worth more threads than ``at_most``; 1 stays in this one. ``work`` must
    not wait for another.
    """
    queue = deque(jobs)
    threads = min(torch.get_num_threads(), len(queue), at_most)
    if threads < 2:
        return [work(_draw(queue))]
    results: list[Result] = []
    errors: list[BaseException] = []

    def run(_: Any = None) -> None:
        try:
            results.append(work(_draw(queue)))
        except BaseException as error:  # raised below, in the thread that asked
            queue.clear()
            errors.append(error)

    team = _openmp(os.getpid())
    if team is None:
        _pool(run, threads)
    else:
        _PARALLEL(team)(_IN_THREAD(run), None, threads, 0)
    if errors:
        raise errors[0]
    return results


def run_in_threads(
    kernel: Callable[..., None],
    together: Callable[..., None],
    arguments: tuple[Any, ...],
    threads: int,
) -> None:
    """Call a kernel at once in so many threads, all with the same arguments.

    ``together`` is a kernel that does so by itself: it gets the address of OpenMP's function, their
    number and the arguments in one, and no thread ever waits for Python's lock.
    """
    team = _openmp(os.getpid()) if threads > 1 else None
    if team is not None:
        together(team, threads, arguments)
        return

    def work(calls: Iterator[int]) -> None:
        for _ in calls:
            kernel(*arguments)

    share(work, range(threads), at_most=threads)


def _draw(queue: deque[Job]) -> Iterator[Job]:
    with suppress(IndexError):  # drawn empty, by this thread or another
        while True:
            yield queue.popleft()


@cache
def _openmp(process: int) -> int | None:
    """Where OpenMP has a function called by torch's own threads; a forked process has none."""
    if process != _IMPORTED_BY or multiprocessing.parent_process() is not None:
        return None
    try:
        parallel = ctypes.CDLL(torch._C.__file__).GOMP_parallel
    except (AttributeError, OSError):
        return None
    return ctypes.cast(parallel, ctypes.c_void_p).value


def _pool(run: Callable[..., None], threads: int) -> None:
    """Threads of our own."""
    pool = _executor(os.getpid(), threads - 1)
    futures = [pool.submit(run) for _ in range(threads - 1)]
    run()
    for future in futures:
        if not future.cancel():
            future.result()


@cache
def _executor(process: int, threads: int) -> ThreadPoolExecutor:
    """The threads of a process: a forked one has inherited the pool, but none of its threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix="segmetrics")


_IMPORTED_BY = os.getpid()
_IN_THREAD = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_PARALLEL = ctypes.CFUNCTYPE(None, _IN_THREAD, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
