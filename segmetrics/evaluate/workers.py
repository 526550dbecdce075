"""Workers read and count pairs: forked processes, or threads where the system cannot fork."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections import Counter as Multiset
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, cast

import torch

from segmetrics.evaluate.checkpoint import Checkpoint, signature
from segmetrics.evaluate.counter import Counted, Counter
from segmetrics.evaluate.ledger import Ledger
from segmetrics.files import MaskError, Pair, Problem, Rows

#: Where workers can be forked; elsewhere they are threads.
FORKS = sys.platform == "linux"
#: Pairs that a worker takes at once, at most, and seconds between its reports.
CHUNK, PAUSE = 8, 0.1

#: What a worker counts: a pair, or rows of a large one.
Unit = tuple[Pair, Rows | None]
#: Called with the pairs done, all pairs and the problems by now.
Progress = Callable[[int, int, int], None]


def count_all(
    pairs: Sequence[Pair],
    counter: Counter,
    workers: int,
    checkpoint: Path | None,
    progress: Progress,
) -> Ledger:
    """Count pairs by workers, from where a checkpoint ends."""
    settings = counter.settings
    ledger = Ledger(settings)
    saved, signatures = None, {}
    if checkpoint is not None:
        saved = Checkpoint(checkpoint, settings.describe())
        signatures = {pair.name: signature(pair.files) for pair in pairs}
        ledger.restore(*saved.load(signatures))
    done = set(ledger.names)
    rest = [pair for pair in pairs if pair.name not in done]
    progress(len(done), len(pairs), 0)
    try:
        share = _in_processes if FORKS else _in_threads
        units = [(pair, rows) for pair in rest for rows in counter.parts(pair)]
        for pair, outcome in _joined(units, share(counter, units, workers)):
            ledger.add(pair, outcome)
            progress(len(ledger.names) + len(ledger.problems), len(pairs), len(ledger.problems))
            if saved is not None:
                saved.save_if_due(signatures, *ledger.stored())
    finally:  # interrupted, too
        if saved is not None:
            saved.save(signatures, *ledger.stored())
    return ledger


def _joined(
    units: Sequence[Unit], outcomes: Iterable[tuple[Unit, Counted | Problem]]
) -> Iterator[tuple[Pair, Counted | Problem]]:
    """The outcomes of pairs from those of their parts, as soon as all parts are done."""
    left = Multiset(pair.name for pair, _ in units)
    sums: dict[str, Counted] = {}
    problems: dict[str, tuple[Rows | None, Problem]] = {}
    for (pair, rows), outcome in outcomes:
        name = pair.name
        if isinstance(outcome, Problem):
            problems[name] = min(problems.get(name, (rows, outcome)), (rows, outcome))
        elif name in sums:
            sums[name] = Counted(sums[name].sums + outcome.sums, None)
        else:
            sums[name] = outcome
        left[name] -= 1
        if not left[name]:
            yield pair, problems[name][1] if name in problems else sums[name]
            sums.pop(name, None)


def _in_processes(
    counter: Counter, units: Sequence[Unit], number: int
) -> Iterator[tuple[Unit, Counted | Problem]]:
    """Count pairs in forked processes, and yield what comes out as it comes.

    Threads would wait for Python's lock: of small masks much of the time is Pillow's Python.
    """
    fork = multiprocessing.get_context("fork")
    place, chunk = fork.Value("q", 0), max(1, min(CHUNK, len(units) // (8 * number)))
    readers: list[Connection] = []
    started = []
    try:
        for _ in range(min(number, len(units))):
            reader, writer = fork.Pipe(duplex=False)
            readers.append(reader)
            given = counter, units, chunk, place, writer, list(readers)
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
    counter: Counter,
    units: Sequence[Unit],
    chunk: int,
    place: Any,
    writer: Connection,
    readers: Sequence[Connection],
) -> None:
    """Count chunks of pairs, from the place that all processes share, and send the counts.

    Now and then only: who gets them is woken, and needs a processor that a worker could use.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this ends it
    for reader in readers:  # or nobody would see that who started this is gone
        reader.close()
    torch.set_num_threads(1)  # those of torch do not survive the fork
    unsent: list[tuple[int, Any]] = []
    sent = time.monotonic()
    with suppress(BrokenPipeError):
        while True:
            with place.get_lock():
                first = place.value
                place.value += chunk
            some = units[first : first + chunk]
            try:
                unsent += enumerate((outcome for _, outcome in _one_by_one(counter, some)), first)
            except Exception as error:  # told to whom waits for it
                unsent.append((first, OSError(f"{type(error).__name__}: {error}")))
            if not some or time.monotonic() >= sent + PAUSE:
                writer.send(unsent)
                unsent, sent = [], time.monotonic()
            if not some:
                return


def _one_by_one(
    counter: Counter, units: Iterable[Unit]
) -> Iterator[tuple[Unit, Counted | Problem]]:
    for pair, rows in units:
        try:
            counted = counter.count(pair) if rows is None else counter.count_rows(pair, rows)
            yield (pair, rows), counted
        except MaskError as error:  # noqa: PERF203  # the next one may be fine
            yield (pair, rows), error.problem


def _in_threads(
    counter: Counter, units: Sequence[Unit], number: int
) -> Iterator[tuple[Unit, Counted | Problem]]:
    """Count pairs in threads, and yield what comes out as it comes."""
    queue, outcomes = deque(units), SimpleQueue[tuple[Unit, Counted | Problem] | Exception]()

    def drawn() -> Iterator[Unit]:
        with suppress(IndexError):  # drawn empty, by this thread or another
            while True:
                yield queue.popleft()

    def run() -> None:
        try:
            for outcome in _one_by_one(Counter(counter.settings), drawn()):
                outcomes.put(outcome)
        except Exception as error:  # told to whom waits for it
            outcomes.put(error)

    started = [Thread(target=run) for _ in range(min(number, len(units)))]
    for thread in started:
        thread.start()
    try:
        for _ in range(len(units)):
            outcome = outcomes.get()
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome
    finally:
        queue.clear()
        for thread in started:
            thread.join()
