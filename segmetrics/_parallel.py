"""Threads that share the work of one call, over kernels that release the GIL.

An idle machine has torch's OpenMP threads awake: they spin for a while after each operation, so a
second pool would wait for the cores that they spin on. But an OpenMP team waits at its end for
every member, and on a busy machine one of them may be put to sleep for milliseconds. There helpers
of our own join while there is work left, and the caller waits for none that has not begun.

Numba's threading layers are not used: some of them abort when two threads enter them at once,
others hang after ``fork``.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from queue import SimpleQueue
from threading import Lock, Thread
from time import perf_counter, thread_time
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

#: Seconds that a call may be off the processor before the machine counts as busy, and the calls
#: after which OpenMP's threads are tried again, twice as many each time they are late again.
LATE, FIRST_PAUSE, LONGEST_PAUSE = 1e-3, 8, 64


def share(
    work: Callable[[Iterator[Job]], Result], jobs: Iterable[Job], *, at_most: int
) -> list[Result]:
    """Call ``work`` in up to as many threads as torch uses, this one among them.

    Each call gets an iterator; together they draw every job once, whoever is free the next. All
    have ended when this returns. ``work`` must not wait for another.

    Args:
        work: called once a thread; its results are listed.
        jobs: what is drawn.
        at_most: more threads are not worth waking; 1 keeps the work in this thread.
    """
    queue = deque(jobs)
    threads = min(number_of_threads(), len(queue), at_most)
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

    team = _team()
    if team is None:
        _with_helpers(run, threads - 1)
    else:
        with _watched():
            _PARALLEL(team)(_IN_THREAD(run), None, threads, 0)
    if errors:
        raise errors[0]
    return results


def run_in_threads(
    kernel: Callable[..., None],
    together: Callable[..., None],
    arguments: tuple[Any, ...],
    threads: int,
    *,
    worth: int,
) -> None:
    """Call a kernel at once in so many threads, all with the same arguments.

    Args:
        kernel: what is called.
        together: a kernel that calls it in an OpenMP team by itself: it gets the address of
            OpenMP's function, the number of threads and the arguments in one. No thread needs the
            GIL then, which takes longer than a short kernel.
        arguments: those of ``kernel``.
        threads: how many an OpenMP team has.
        worth: how many are worth waking where there is no such team.
    """
    team = _team() if threads > 1 else None
    if team is not None:
        with _watched():
            together(team, threads, arguments)
        return

    def work(calls: Iterator[int]) -> None:
        for _ in calls:
            kernel(*arguments)

    share(work, range(threads), at_most=worth)


def number_of_threads() -> int:
    """How many threads torch uses; one where it is not imported.

    Then nobody has tensors, and the command's workers count a pair each.
    """
    torch = sys.modules.get("torch")
    return 1 if torch is None else int(torch.get_num_threads())


def _draw(queue: deque[Job]) -> Iterator[Job]:
    with suppress(IndexError):  # drawn empty, by this thread or another
        while True:
            yield queue.popleft()


# --- OpenMP's threads -----------------------------------------------------------------------------


class _Pause:
    """For how many calls OpenMP's threads are left alone, by now and the next time."""

    left, length = 0, FIRST_PAUSE


def _team() -> int | None:
    """The address of OpenMP's function that calls another in all threads; None for now, or here.

    Two threads may count a pause down at once: it then lasts a call more or less.
    """
    if _Pause.left > 0:
        _Pause.left -= 1
        return None
    return _openmp(os.getpid())


@contextmanager
def _watched() -> Iterator[None]:
    """Leave OpenMP's threads alone for a while if the block has to wait for one."""
    begin, worked = perf_counter(), thread_time()
    yield
    waited = (perf_counter() - begin) - (thread_time() - worked)
    if waited > LATE:
        _Pause.left, _Pause.length = _Pause.length, min(2 * _Pause.length, LONGEST_PAUSE)
    else:
        _Pause.length = FIRST_PAUSE


@cache
def _openmp(process: int) -> int | None:
    """Where OpenMP has a function called by torch's own threads; a forked process has none."""
    if process != _IMPORTED_BY or multiprocessing.parent_process() is not None:
        return None
    try:
        parallel = ctypes.CDLL(sys.modules["torch._C"].__file__).GOMP_parallel
    except (AttributeError, OSError):
        return None
    return ctypes.cast(parallel, ctypes.c_void_p).value


_IMPORTED_BY = os.getpid()
_IN_THREAD = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_PARALLEL = ctypes.CFUNCTYPE(None, _IN_THREAD, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)


# --- Helpers of our own ---------------------------------------------------------------------------


def _with_helpers(run: Callable[[], None], helpers: int) -> None:
    """Call ``run`` here, and in helpers that come before it is done here."""
    call = _Call(run)
    calls = _calls(os.getpid(), number_of_threads() - 1)
    for _ in range(helpers):
        calls.put(call)
    run()
    call.close()


class _Call:
    """Work that helpers may join until it is closed."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._run, self._closed, self._inside = run, False, 0
        self._lock, self._empty = Lock(), Lock()
        self._empty.acquire()

    def join(self) -> None:
        """Work, unless it is too late."""
        if self._enter():
            self._run()
            self._leave()

    def _enter(self) -> bool:
        with self._lock:
            self._inside += not self._closed
            return not self._closed

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._closed and not self._inside:
                self._empty.release()

    def close(self) -> None:
        """Let nobody join any more, and wait for who has."""
        with self._lock:
            self._closed, inside = True, self._inside
        if inside:
            self._empty.acquire()


@cache
def _calls(process: int, helpers: int) -> SimpleQueue[_Call]:
    """Where this process's helpers look for work; a forked process has inherited no thread."""
    calls: SimpleQueue[_Call] = SimpleQueue()

    def help_out() -> None:
        while True:
            calls.get().join()

    for number in range(helpers):
        Thread(target=help_out, name=f"segmetrics-{number}", daemon=True).start()
    return calls
