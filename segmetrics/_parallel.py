"""Threads that share one call's work, over kernels that do not hold Python's lock.

Numba's own threading layers are not used: some of them abort when two threads enter them at once,
others hang after ``fork``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import TypeVar

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
    threads = torch.get_num_threads()
    helpers = min(threads, len(queue), at_most) - 1
    if helpers < 1:
        return [work(_draw(queue))]
    pool = _pool(os.getpid(), threads - 1)
    futures = [pool.submit(lambda: work(_draw(queue))) for _ in range(helpers)]
    try:
        results = [work(_draw(queue))]
    finally:
        queue.clear()
        started = [future for future in futures if not future.cancel()]
    return results + [future.result() for future in started]


def _draw(queue: deque[Job]) -> Iterator[Job]:
    with suppress(IndexError):  # drawn empty, by this thread or another
        while True:
            yield queue.popleft()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The threads of a process: a forked one has inherited the pool, but none of its threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix="segmetrics")
