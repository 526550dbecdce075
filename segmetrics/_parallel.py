"""Threads that share the work of one call, over kernels that release the GIL.

On an idle machine these are torch's OpenMP threads. They spin for a while after each operation, so
helpers of our own would compete with them for cores. But an OpenMP team waits at its end for every
member, and on a machine that data loaders keep busy one of them may be put to sleep for
milliseconds. There helpers of our own join the calling thread when the system lets them run.
No call waits for one that has not begun, and ``run_jobs`` for none at all: it runs again what a
late helper holds.

Numba's threading layers are not used: some of them abort when two threads enter them at once,
others hang after ``fork``.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from queue import SimpleQueue
from threading import Lock, Thread, local
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

#: Half milliseconds of work for which helpers are woken: where cores are busy they come late, and
#: may take this thread's core.
LONG = 4


def run_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, at_most: int
) -> list[Result]:
    """``[function(job) for job in jobs]``, by this thread and others.

    A job that another thread has begun but not finished when no other is left is run again here. So
    ``function`` must give equal results, and do nothing but give them. The late thread reads the
    job's inputs until it ends, perhaps some milliseconds after this returns: it keeps them alive,
    and its result is dropped.

    Args:
        function: called at least once a job. It must not wait for another.
        jobs: its arguments, each worth about as much work.
        at_most: how many threads are worth waking: one for each half millisecond of work. 1 or
            less keeps the work in this thread.
    """
    threads = min(number_of_threads(), len(jobs), at_most)
    if threads < 2:
        return [function(job) for job in jobs]
    done: dict[int, Result] = {}

    def work(drawn: Iterator[tuple[int, Job]]) -> None:
        for i, job in drawn:
            done.setdefault(i, function(job))

    errors = _run(work, enumerate(jobs), threads, at_most)
    if errors:
        raise errors[0]
    return [done[i] if i in done else function(job) for i, job in enumerate(jobs)]


def share(
    work: Callable[[Iterator[Job]], Result], jobs: Sequence[Job], *, at_most: int
) -> list[Result]:
    """Call ``work`` in this thread and in others, each with an iterator.

    Together they draw every job once, whoever is free the next. All that have begun have ended when
    this returns: ``run_jobs`` waits for less, where each job can have a result of its own.

    Args:
        work: called once a thread; its results are listed. It must not wait for another.
        jobs: what is drawn.
        at_most: as for ``run_jobs``.
    """
    threads = min(number_of_threads(), len(jobs), at_most)
    if threads < 2:
        return [work(iter(jobs))]
    results: list[Result] = []
    begun: list[Lock] = []
    closed: list[bool] = []

    def watched(drawn: Iterator[Job]) -> None:
        end = Lock()
        with end:
            begun.append(end)
            if not closed:
                results.append(work(drawn))

    errors = _run(watched, jobs, threads, at_most)
    closed.append(True)
    for end in begun:
        end.acquire()
    if errors:
        raise errors[0]
    return results


def number_of_threads() -> int:
    """How many threads torch uses; one where it is not imported.

    Then nobody has tensors, and the command's workers count a pair each.
    """
    torch = sys.modules.get("torch")
    return 1 if torch is None else int(torch.get_num_threads())


def _run(
    work: Callable[[Iterator[Job]], None], jobs: Iterable[Job], threads: int, at_most: int
) -> list[BaseException]:
    """Call ``work`` here and in other threads; the list of what they raise, late ones too."""
    queue, errors = deque(jobs), list[BaseException]()

    def run() -> None:
        try:
            work(_draw(queue))
        except BaseException as error:  # raised in the thread that asked
            queue.clear()
            errors.append(error)

    def run_and_stay(_: Any) -> None:
        _keep_thread()
        run()

    team = _openmp(os.getpid()) if _cores_are_free() else None
    if team is not None:
        team(_IN_THREAD(run_and_stay), None, threads, 0)
    elif at_most >= LONG:
        _with_helpers(run, threads - 1)
    else:
        run()
    return errors


def _draw(queue: deque[Job]) -> Iterator[Job]:
    with suppress(IndexError):  # drawn empty, by this thread or another
        while True:
            yield queue.popleft()


# --- OpenMP's threads -----------------------------------------------------------------------------


@cache
def _openmp(process: int) -> Callable[..., None] | None:
    """What has a function called by torch's own threads; a forked process has none."""
    if process != _IMPORTED_BY or multiprocessing.parent_process() is not None:
        return None
    try:
        return _PARALLEL(("GOMP_parallel", ctypes.CDLL(sys.modules["torch._C"].__file__)))
    except (AttributeError, OSError):
        return None


def _keep_thread() -> None:
    """Keep Python's state of this thread of OpenMP: making it for each call takes 0.1 ms."""
    if not vars(_KEPT):
        _KEPT.state = ctypes.pythonapi.PyGILState_Ensure()  # never released


_KEPT = local()
_IMPORTED_BY = os.getpid()
_IN_THREAD = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_PARALLEL = ctypes.CFUNCTYPE(None, _IN_THREAD, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)


def _cores_are_free() -> bool:
    """Whether no thread on this machine waits for a core, as Linux counts them."""
    file = _load(os.getpid())
    if file is None:
        return True
    running = os.pread(file, 64, 0).split()[3].split(b"/")[0]
    return int(running) <= _CORES


@cache
def _load(process: int) -> int | None:
    """The file that tells, of each process: a daemon closes those of its parent."""
    try:
        return os.open("/proc/loadavg", os.O_RDONLY)
    except OSError:
        return None


_CORES = os.cpu_count() or 1


# --- Helpers of our own ---------------------------------------------------------------------------


def _with_helpers(run: Callable[[], None], helpers: int) -> None:
    """Call ``run`` here, and in helpers that come before it is done here."""
    call, calls = _Call(run), _calls(os.getpid(), number_of_threads() - 1)
    for _ in range(helpers - calls.qsize()):  # who has not come to an earlier call will not to this
        calls.put(call)
    run()
    call.run = None  # who comes late must not keep the inputs alive


class _Call:
    """What helpers may join as long as it has something to run."""

    def __init__(self, run: Callable[[], None]) -> None:
        self.run: Callable[[], None] | None = run

    def join(self) -> None:
        """Work, unless it is too late."""
        run = self.run
        if run is not None:
            run()


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
