"""Workers read and count pairs.

Threads count those that a kernel reads without the GIL, which are most. Forked processes count the
others, or threads where the system cannot fork.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter as Multiset
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar, cast

from segmetrics.evaluate.checkpoint import Checkpoint, Stored, digests
from segmetrics.evaluate.counter import Counted
from segmetrics.evaluate.memory import memory
from segmetrics.evaluate.warnings import Warnings
from segmetrics.files import MaskError, Pair, Problem, Rows, load_kernels

#: Whether workers can be forked; otherwise they are threads.
FORKS = sys.platform == "linux"
#: The most pairs that a worker takes at once, and seconds between its reports.
CHUNK, PAUSE = 8, 0.1
#: The most workers per processor. They overlap waiting for the disk; more would contend.
PER_PROCESSOR = 4
#: Tables of counts that a worker holds at once, and the approximate bytes per class of a table.
TABLES, A_CLASS = 3, 2**10


#: Counts several pairs in one call that releases the GIL; None for those that it cannot count.
CountMany = Callable[[Sequence[Pair]], Sequence[Counted | None]]


class Counts(Protocol):
    """What counts pairs, as ``Counter`` does; a thread makes its own of ``settings``."""

    def __init__(self, settings: Any) -> None: ...

    @property
    def settings(self) -> Any: ...

    def many(self) -> CountMany | None: ...

    def load(self) -> None: ...

    def parts(self, pair: Pair) -> list[Rows | None]: ...

    def count(self, pair: Pair) -> Counted: ...

    def count_rows(self, pair: Pair, rows: Rows) -> Counted: ...


#: What a worker counts: a pair, or rows of a large one.
Unit = tuple[Pair, Rows | None]
#: Called with the number of pairs done, the number of all pairs, and the problems so far.
Progress = Callable[[int, int, int], None]


class Kept(Stored, Protocol):
    """What keeps the outcomes of pairs, as ``Ledger`` does."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def problems(self) -> Sequence[Problem]: ...

    def add(self, pair: Pair, outcome: Counted | Problem) -> None: ...


AnyLedger = TypeVar("AnyLedger", bound=Kept)
Result = TypeVar("Result")


def count_all(
    pairs: Sequence[Pair],
    counter: Counts,
    ledger: AnyLedger,
    workers: int,
    checkpoint: Path | None,
    progress: Progress,
    warnings: Warnings,
) -> AnyLedger:
    """Count pairs by workers into an empty ledger, from where a checkpoint ends."""
    saved = None
    if checkpoint is not None:
        saved = Checkpoint(checkpoint, counter.settings.describe(), warnings)
        saved.load(ledger, {pair.name: pair.files for pair in pairs}, workers)
    done = set(ledger.names)
    rest = [pair for pair in pairs if pair.name not in done]
    progress(len(done), len(pairs), 0)
    try:
        for pair, outcome in outcomes(counter, rest, workers, with_digests=saved is not None):
            ledger.add(pair, outcome)
            progress(len(ledger.names) + len(ledger.problems), len(pairs), len(ledger.problems))
            if saved is not None:
                saved.save_if_due(ledger)
    finally:  # interrupted, too
        if saved is not None:
            saved.save(ledger)
    return ledger


def outcomes(
    counter: Counts, pairs: Sequence[Pair], workers: int, *, with_digests: bool = False
) -> Iterator[tuple[Pair, Counted | Problem]]:
    """Count pairs by workers, and yield outcomes as they arrive.

    Pairs of one target that follow each other go to one worker, which reads the target once.
    """
    if not with_digests and counter.many():
        pairs = yield from _many_at_once(counter, pairs, workers)
    if not pairs:
        return
    load_kernels(file for pair in pairs for file in (pair.preds, pair.target))
    counter.load()
    share = _in_processes if FORKS else _one_by_one_in_threads
    units = [(pair, rows) for pair in pairs for rows in counter.parts(pair)]
    place = {str(pair.target): i for i, pair in reversed(list(enumerate(pairs)))}
    units.sort(key=lambda unit: (place[str(unit[0].target)], unit[1].first if unit[1] else 0))
    yield from _joined(units, share(counter, units, workers, with_digests))


def number_of_workers(asked: int | None, classes: int, processes: int) -> int:
    """The number of workers of this process.

    Args:
        asked: the number that was requested; None for the number of usable processors.
        classes: how many classes are counted.
        processes: how many processes share the processors and the memory.

    Raises:
        ValueError: the counts of one worker are larger than the memory.
    """
    processors = max(1, _processors() // processes)
    table = A_CLASS * classes
    in_memory = int((memory() / processes / table - 1) / TABLES)
    if in_memory < 1:
        raise ValueError(
            f"{classes:,} classes need {(1 + TABLES) * table / 2**30:.1f} GiB for their names and "
            f"counts, this machine has {memory() / processes / 2**30:.1f} GiB. Name the values "
            "that occur in --labels FILE, by `id_to_class`: memory grows with the number of "
            "classes, not with their values."
        )
    return min(asked or processors, PER_PROCESSOR * processors, in_memory)


def keep_to_one_thread() -> None:
    """Limit torch, if it is loaded, and other libraries to one thread in a worker.

    The threads are ours: one pair each.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # where torch is imported later
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def _processors() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _joined(
    units: Sequence[Unit], outcomes: Iterable[tuple[Unit, Counted | Problem]]
) -> Iterator[tuple[Pair, Counted | Problem]]:
    """The outcomes of pairs from those of their parts, as soon as all parts are done."""
    left = Multiset((pair.name, pair.preds) for pair, rows in units if rows)
    sums: dict[tuple[str, Path], Counted] = {}
    problems: dict[tuple[str, Path], tuple[Rows, Problem]] = {}
    for (pair, rows), outcome in outcomes:
        if rows is None:
            yield pair, outcome
            continue
        name = pair.name, pair.preds
        if isinstance(outcome, Problem):
            problems[name] = min(problems.get(name, (rows, outcome)), (rows, outcome))
        elif name in sums:
            found, sparse = sums[name].digests or outcome.digests, outcome.sparse
            if sparse is not None:
                sparse += sums[name].sparse  # type: ignore[operator]  # which is one, too
            sums[name] = Counted(sums[name].sums + outcome.sums, digests=found, sparse=sparse)
        else:
            sums[name] = outcome
        left[name] -= 1
        if not left[name]:
            yield pair, problems[name][1] if name in problems else sums[name]
            sums.pop(name, None)


def _chunks(units: Sequence[Unit], number: int) -> list[range]:
    """The units that a worker takes at once, those of the same target, or rows of it, together."""
    size = max(1, min(CHUNK, len(units) // (8 * number)))
    starts = [0]
    for i in range(1, len(units)):
        (pair, rows), (before, rows_before) = units[i], units[i - 1]
        same = pair.target == before.target and rows == rows_before
        if i - starts[-1] >= size and not same:
            starts.append(i)
    return [range(*ends) for ends in zip(starts, [*starts[1:], len(units)], strict=True)]


def _in_processes(
    counter: Counts, units: Sequence[Unit], number: int, with_digests: bool
) -> Iterator[tuple[Unit, Counted | Problem]]:
    """Count pairs in forked processes, and yield outcomes as they arrive.

    Threads would wait for the GIL: decoding small masks is mostly Python code.
    """
    fork = multiprocessing.get_context("fork")
    place, chunks = fork.Value("q", 0), _chunks(units, number)
    readers: list[Connection] = []
    started = []
    try:
        for _ in range(min(number, len(units))):
            reader, writer = fork.Pipe(duplex=False)
            readers.append(reader)
            given = counter, units, with_digests, chunks, place, writer, list(readers)
            process = fork.Process(target=_send_counts, args=given, daemon=True)
            process.start()
            started.append(process)
            writer.close()
        while readers:
            for reader in cast("list[Connection]", wait(readers)):
                try:
                    outcomes = reader.recv()
                except EOFError:  # it is done
                    readers.remove(reader)
                    continue
                for index, outcome in outcomes:
                    if isinstance(outcome, Exception):
                        raise outcome
                    yield units[index], outcome
        for process in started:
            process.join()
            if process.exitcode:
                raise OSError(f"a worker died with status {process.exitcode}. Out of memory?")
    finally:
        for process in started:
            process.kill()
            process.join()


def _send_counts(
    counter: Counts,
    units: Sequence[Unit],
    with_digests: bool,
    chunks: Sequence[range],
    place: Any,
    writer: Connection,
    readers: Sequence[Connection],
) -> None:
    """Count chunks of pairs, from the place that all processes share, and send the counts.

    They are sent now and then only: each message wakes the parent, on a processor that a worker
    could use.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    for reader in readers:  # otherwise the pipes would stay open without the parent
        reader.close()
    keep_to_one_thread()  # torch's threads do not survive the fork
    gc.freeze()  # a collection would write to inherited pages, and so copy them
    unsent: list[tuple[int, Any]] = []
    sent = time.monotonic()
    with suppress(BrokenPipeError):
        while True:
            with place.get_lock():
                number = place.value
                place.value += 1
            some = chunks[number] if number < len(chunks) else range(0)
            try:
                counted = _one_by_one(counter, [units[i] for i in some], with_digests)
                unsent += zip(some, (outcome for _, outcome in counted), strict=True)
            except Exception as error:  # passed on to the caller
                unsent.append((some.start, OSError(f"{type(error).__name__}: {error}")))
            if not some or time.monotonic() >= sent + PAUSE:
                writer.send(unsent)
                unsent, sent = [], time.monotonic()
            if not some:
                return


def _one_by_one(
    counter: Counts, units: Iterable[Unit], with_digests: bool
) -> Iterator[tuple[Unit, Counted | Problem]]:
    """Count units; digests are taken first, so that a file that changes meanwhile is noticed.

    Of a pair that is counted in parts they are taken with the first.
    """
    for pair, rows in units:
        try:
            first = rows is None or rows.first == 0
            found = digests(pair.files) if with_digests and first else ()
            counted = counter.count(pair) if rows is None else counter.count_rows(pair, rows)
            yield (pair, rows), counted._replace(digests=found)
        except MaskError as error:  # noqa: PERF203  # the next one may be fine
            yield (pair, rows), error.problem


def _one_by_one_in_threads(
    counter: Counts, units: Sequence[Unit], number: int, with_digests: bool
) -> Iterator[tuple[Unit, Counted | Problem]]:
    """Count pairs in threads, and yield outcomes as they arrive."""

    def worker() -> Callable[[range], Iterator[tuple[Unit, Counted | Problem]]]:
        own = type(counter)(counter.settings)
        return lambda some: _one_by_one(own, [units[i] for i in some], with_digests)

    return _in_threads(worker, _chunks(units, number), number)


def _many_at_once(
    counter: Counts, pairs: Sequence[Pair], number: int
) -> Generator[tuple[Pair, Counted], None, list[Pair]]:
    """Count pairs in threads, many in a call, yield outcomes, and return the pairs that are left.

    A thread needs the GIL between calls only.
    """

    def worker() -> Callable[[range], list[tuple[range, Sequence[Counted | None]]]]:
        count = counter.many()
        assert count is not None
        return lambda some: [(some, count(pairs[some.start : some.stop]))]

    left = []
    for some, found in _in_threads(
        worker, _chunks([(pair, None) for pair in pairs], number), number
    ):
        for i, counted in zip(some, found, strict=True):
            if counted is None:
                left.append(pairs[i])
            else:
                yield pairs[i], counted
    return left


def _in_threads(
    worker: Callable[[], Callable[[range], Iterable[Result]]], chunks: Sequence[range], number: int
) -> Iterator[Result]:
    """Give chunks to threads, each with a worker of its own, and yield results as they arrive."""
    queue, results = deque(chunks), SimpleQueue[Result | Exception | None]()

    def drawn() -> Iterator[range]:
        with suppress(IndexError):  # drawn empty, by this thread or another
            while True:
                yield queue.popleft()

    def run() -> None:
        try:
            work = worker()
            for chunk in drawn():
                for result in work(chunk):
                    results.put(result)
            results.put(None)
        except Exception as error:  # passed on to the caller
            results.put(error)

    started = [Thread(target=run) for _ in range(min(number, len(chunks)))]
    for thread in started:
        thread.start()
    running = len(started)
    try:
        while running:
            result = results.get()
            if isinstance(result, Exception):
                raise result
            if result is None:
                running -= 1
            else:
                yield result
    finally:
        queue.clear()
        for thread in started:
            thread.join()
