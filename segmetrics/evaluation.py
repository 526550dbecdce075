"""Scoring files of masks: workers decode and count pairs, machines share them.

The counts are exact integers whatever the order, so neither the number of workers nor that of
machines changes a bit of them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from itertools import chain
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from segmetrics import _instances, masks
from segmetrics._checkpoint import Checkpoint, signature
from segmetrics.counting import Counting, count
from segmetrics.counting.codes import IGNORED, OUTSIDE, fold, preds_codes, target_codes
from segmetrics.counting.cpu import ValuePairs
from segmetrics.counting.cpu_readers import known_values
from segmetrics.distributed import sum_over_processes
from segmetrics.labels import LabelSpace
from segmetrics.masks import Mask, MaskError, Match, Pair, Problem
from segmetrics.scores import Statistics
from segmetrics.statistics import ImageCounts
from segmetrics.surfaces import BandCounting, images

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]
Result = TypeVar("Result")

#: Where workers can be forked; elsewhere they are threads.
FORKS = sys.platform == "linux"
#: Pairs that a worker takes at once, at most, and seconds between its reports.
CHUNK, PAUSE = 8, 0.1

#: Called with the pairs done, all pairs and the problems by now.
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Settings:
    """What is counted.

    Args:
        space: the classes and what values mean; ``map_preds`` says whether predictions hold values
            of the masks or indices of classes.
        boundary: count the bands along the contours, too.
        images: keep the counts of every image.
        instances: count Cityscapes' instances, too.
    """

    space: LabelSpace
    boundary: bool = False
    images: bool = False
    instances: bool = False

    @cached_property
    def counting(self) -> Counting:
        """How pixels are counted."""
        return Counting.of(self.space, input_format="index")

    def describe(self) -> dict[str, object]:
        """All that decides the counts, in JSON."""
        counting = self.counting
        return {
            "classes": list(self.space.names),
            "ignore_index": list(counting.ignore_index),
            "id_to_class": [list(counting.ids), list(counting.classes_of_ids)],
            "map_preds": counting.map_preds,
            "boundary": self.boundary,
            "counts of images": self.images,
            "iiou": self.instances,
        }


class NotScored(Exception):
    """Files that cannot be scored."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = list(problems)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was counted: the counts ``(C, C + 1)``, and what else was asked for.

    ``bands`` are hits, predicted and target pixels of the classes in their bands ``(C, 3)``;
    ``iiou`` and ``iiou_category`` scores by name; ``scored`` the pairs by name.
    """

    settings: Settings
    confusion: Tensor
    bands: Tensor | None
    images: ImageCounts | None
    iiou: Mapping[str, float]
    iiou_category: Mapping[str, float]
    scored: Mapping[str, Pair]
    left_out: Sequence[Problem]
    seconds: float
    workers: int
    processes: int

    @property
    def statistics(self) -> Statistics:
        """The classes' counts."""
        return Statistics.of_matrix(self.confusion)

    @property
    def band_statistics(self) -> Statistics | None:
        """The classes' counts in their bands, if they were counted."""
        return None if self.bands is None else Statistics.of(*self.bands.unbind(1))

    @property
    def ignored(self) -> tuple[int, ...]:
        """Classes that are left out of averages."""
        return self.settings.counting.ignored_classes

    @property
    def categories(self) -> Mapping[str, tuple[int, ...]]:
        """The categories that are scored, and their classes."""
        return self.settings.space.categories(left_out=self.ignored)

    @property
    def pixels(self) -> int:
        """How many pixels were counted."""
        return int(self.confusion.sum())


def evaluate(
    preds: Path,
    targets: Path,
    settings: Settings,
    *,
    match: Match | None = None,
    workers: int | None = None,
    checkpoint: Path | None = None,
    keep_going: bool = False,
    progress: Progress = lambda done, all_, problems: None,
) -> Evaluation | None:
    """Score the masks of two folders.

    Under ``torchrun`` processes share the pairs, and the first of them gets the result.

    Args:
        preds: folder of predictions, or one file.
        targets: folder of targets, or one file.
        settings: what is counted.
        match: how names correspond, by default by path without suffix.
        workers: how many read and count; by default as many as there are processors to use.
        checkpoint: file to save what has been counted, and to go on from.
        keep_going: leave out what cannot be scored.
        progress: called as pairs are done.

    Returns:
        The counts; None in processes other than the first.

    Raises:
        NotScored: there are files that cannot be scored; with ``keep_going`` only if no other is.
        ValueError: folders without masks, or a checkpoint of something else.
    """
    with Processes() as processes:
        counter = Counter(settings)
        begin = time.monotonic()
        pairs, problems = processes.together(lambda: _plan(preds, targets, settings, match))
        processes.check_equal([pair.name for pair in pairs] + [file for _, file, _ in problems])
        if problems and not (keep_going and pairs):
            raise NotScored(problems)
        workers = workers or max(1, _processors() // processes.on_this_machine)
        mine = pairs[processes.rank :: processes.number]
        ledger = processes.together(
            lambda: _count_all(mine, counter, workers, processes.own(checkpoint), progress)
        )
        everything = ledger.merged(processes)
        problems += everything.problems
        if problems and not (keep_going and everything.names):
            raise NotScored(problems)
        if processes.rank:
            return None
        return everything.evaluation(
            pairs,
            left_out=sorted(problems, key=lambda problem: problem.file),
            seconds=time.monotonic() - begin,
            workers=workers,
            processes=processes.number,
        )


def _plan(
    preds: Path, targets: Path, settings: Settings, match: Match | None
) -> tuple[list[Pair], list[Problem]]:
    pairs, problems = masks.find_pairs(preds, targets, match)
    if settings.instances:
        pairs, others = masks.with_instances(pairs)
        problems += others
    return pairs, problems


def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# --- Counting pairs -------------------------------------------------------------------------------


class Counted(NamedTuple):
    """The counts of a pair: sums, see ``Layout``, and weighted instances."""

    sums: Longs
    instances: Floats | None


@dataclass(frozen=True)
class Layout:
    """Where what stands in the sums: the confusion matrix, the bands, and stray predictions."""

    classes: int

    @property
    def size(self) -> int:
        """How many sums there are."""
        return self.classes * (self.classes + 4) + 1

    def confusion(self, sums: Longs) -> Longs:
        """The counts ``(C, C + 1)``."""
        return sums[: self.classes * (self.classes + 1)].reshape(self.classes, -1)

    def bands(self, sums: Longs) -> Longs:
        """Hits, predicted and target pixels in the bands ``(C, 3)``."""
        return sums[self.classes * (self.classes + 1) : -1].reshape(self.classes, -1)


class Counter:
    """Reads and counts pairs, one after the other, in tables that it keeps."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.counting = settings, settings.counting
        self.layout = Layout(settings.space.num_classes)
        self.in_bands = BandCounting(**vars(self.counting))
        values = known_values(self.counting, of_bytes=True)
        self.bytes = None if values is None else ValuePairs(self.counting, values)
        self.buffers = masks.Buffer(), masks.Buffer(), masks.Buffer()
        if self.bytes is not None:
            pixel = np.zeros(1, np.uint8)
            self._confusion_of_bytes(pixel, pixel, self.bytes)  # loads the kernels

    def count(self, pair: Pair) -> Counted:
        """Count a pair.

        Raises:
            MaskError: it cannot be scored.
        """
        of_preds, of_target, _ = self.buffers
        preds, target = masks.read(pair.preds, of_preds), masks.read(pair.target, of_target)
        if preds.shape != target.shape:
            raise MaskError(
                "sizes", pair.preds, f"{_size(preds)}, its target {pair.target} is {_size(target)}"
            )
        sums = np.zeros(self.layout.size, np.int64)
        self.layout.confusion(sums)[:] = self._confusion(preds, target, pair)
        if self.settings.boundary:
            self.layout.bands(sums)[:] = self._bands(preds, target)
        if pair.instances is None:
            return Counted(sums, None)
        weighted, sums[-1] = self._instances(preds, target, pair)
        return Counted(sums, weighted)

    def _confusion(self, preds: Mask, target: Mask, pair: Pair) -> Longs:
        of_bytes = preds.dtype == target.dtype == np.uint8 and preds.size < 2**31
        if of_bytes and self.bytes is not None:
            counts = self._confusion_of_bytes(preds, target, self.bytes)
        else:
            counts = _confusion(preds, target, self.counting)
        if counts is None:
            raise _unknown_labels(preds, target, pair, self.counting)
        return counts

    def _confusion_of_bytes(self, preds: Mask, target: Mask, pairs: ValuePairs) -> Longs | None:
        """The counts ``(C, C + 1)``, or None where there are unknown labels."""
        pairs.add(target.ravel(), preds.ravel())
        histogram = pairs.take()
        counts = torch.from_numpy(fold(histogram[None], self.counting))
        if histogram.sum() < target.size or self.counting.bad(counts).any():
            return None
        return np.asarray(self.counting.matrices(counts).numpy())

    def _bands(self, preds: Mask, target: Mask) -> Longs:
        (maps,) = images(*_tensors(preds, target), self.in_bands)
        return np.asarray(self.in_bands.count(maps).view(-1, 3).numpy())

    def _instances(self, preds: Mask, target: Mask, pair: Pair) -> tuple[Floats, int]:
        assert pair.instances is not None
        instances = masks.read(pair.instances, self.buffers[2])
        if instances.shape != target.shape:
            detail = f"{_size(instances)}, {pair.target} is {_size(target)}"
            raise MaskError("sizes", pair.instances, detail)
        if not self.counting.map_preds:
            preds = _ids_of_classes(preds, self.counting)
        try:
            return _instances.count(preds, target, instances)
        except ValueError as error:
            raise MaskError("labels", pair.instances, str(error)) from error


def _confusion(preds: Mask, target: Mask, counting: Counting) -> Longs | None:
    try:
        counts = count(*_tensors(preds, target), counting)
    except ValueError:  # shapes and dtypes are known to be right
        return None
    return np.asarray(counting.matrices(counts).numpy())


def _tensors(preds: Mask, target: Mask) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(preds)[None], torch.from_numpy(target)[None]


def _ids_of_classes(preds: Mask, counting: Counting) -> Mask:
    """Label ids of predicted classes, 0 for abstentions."""
    id_of = np.zeros(counting.labels + 1, np.uint8)
    id_of[list(counting.classes_of_ids)] = counting.ids
    return id_of[np.where((preds >= 0) & (preds < counting.labels), preds, counting.labels)]


def _unknown_labels(preds: Mask, target: Mask, pair: Pair, counting: Counting) -> MaskError:
    """Which labels are neither a class nor ignored, in the target or else in the prediction."""
    codes = target_codes(torch.from_numpy(target.astype(np.int64)), counting).numpy()
    unknown, path = codes > counting.labels + IGNORED, pair.target
    if not unknown.any():
        found = preds_codes(torch.from_numpy(preds.astype(np.int64)), counting).numpy()
        unknown, path = (found == counting.labels + OUTSIDE) & (codes < counting.labels), pair.preds
    assert unknown.any()
    values, pixels = np.unique(
        (target if path == pair.target else preds)[unknown], return_counts=True
    )
    shown = ", ".join(f"{v} ({n:,} pixels)" for v, n in zip(values[:5], pixels[:5], strict=True))
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return MaskError("labels", path, f"neither a class nor ignored: {shown}{more}")


def _size(mask: Mask) -> str:
    return "×".join(map(str, mask.shape))


def _count_all(
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
        for pair, outcome in share(counter, rest, workers):
            ledger.add(pair, outcome)
            progress(len(ledger.names) + len(ledger.problems), len(pairs), len(ledger.problems))
            if saved is not None:
                saved.save_if_due(signatures, *ledger.stored())
    finally:  # interrupted, too
        if saved is not None:
            saved.save(signatures, *ledger.stored())
    return ledger


def _in_processes(
    counter: Counter, pairs: Sequence[Pair], number: int
) -> Iterator[tuple[Pair, Counted | Problem]]:
    """Count pairs in forked processes, and yield what comes out as it comes.

    Threads would wait for Python's lock: of small masks much of the time is Pillow's Python.
    """
    fork = multiprocessing.get_context("fork")
    place, chunk = fork.Value("q", 0), max(1, min(CHUNK, len(pairs) // (8 * number)))
    readers: list[Connection] = []
    started = []
    try:
        for _ in range(min(number, len(pairs))):
            reader, writer = fork.Pipe(duplex=False)
            readers.append(reader)
            given = counter, pairs, chunk, place, writer, list(readers)
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
                    yield pairs[index], outcome
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
    pairs: Sequence[Pair],
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
            some = pairs[first : first + chunk]
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
    counter: Counter, pairs: Iterable[Pair]
) -> Iterator[tuple[Pair, Counted | Problem]]:
    for pair in pairs:
        try:
            yield pair, counter.count(pair)
        except MaskError as error:  # noqa: PERF203  # the next one may be fine
            yield pair, error.problem


def _in_threads(
    counter: Counter, pairs: Sequence[Pair], number: int
) -> Iterator[tuple[Pair, Counted | Problem]]:
    """Count pairs in threads, and yield what comes out as it comes."""
    queue, outcomes = deque(pairs), SimpleQueue[tuple[Pair, Counted | Problem] | Exception]()

    def drawn() -> Iterator[Pair]:
        with suppress(IndexError):  # drawn empty, by this thread or another
            while True:
                yield queue.popleft()

    def run() -> None:
        try:
            for outcome in _one_by_one(Counter(counter.settings), drawn()):
                outcomes.put(outcome)
        except Exception as error:  # told to whom waits for it
            outcomes.put(error)

    started = [Thread(target=run) for _ in range(min(number, len(pairs)))]
    for thread in started:
        thread.start()
    try:
        for _ in range(len(pairs)):
            outcome = outcomes.get()
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome
    finally:
        queue.clear()
        for thread in started:
            thread.join()


@dataclass
class Ledger:
    """What has been counted by now, and what cannot be."""

    settings: Settings
    names: list[str] = field(default_factory=list)
    sums: Longs = field(default_factory=lambda: np.zeros(0, np.int64))
    images: list[Longs] = field(default_factory=list)  # tp, fp and fn (3, C)
    instances: list[Floats] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layout = Layout(self.settings.space.num_classes)
        if not len(self.sums):
            self.sums = np.zeros(self.layout.size, np.int64)

    def add(self, pair: Pair, outcome: Counted | Problem) -> None:
        """Add what came out for a pair."""
        if isinstance(outcome, Problem):
            self.problems.append(outcome)
            return
        self.names.append(pair.name)
        self.sums += outcome.sums
        if self.settings.images:
            confusion = self.layout.confusion(outcome.sums)
            hits, predicted = confusion.diagonal(), confusion[:, :-1].sum(0)
            self.images.append(np.stack([hits, predicted - hits, confusion.sum(1) - hits]))
        if outcome.instances is not None:
            self.instances.append(outcome.instances)

    def stored(self) -> tuple[list[str], dict[str, NDArray[Any]]]:
        """Names and arrays, for a checkpoint."""
        return self.names, {
            "sums": self.sums,
            "images": np.array(self.images),
            "instances": np.array(self.instances),
        }

    def restore(self, names: list[str], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what was stored."""
        if names:
            self.names, self.sums = names, arrays["sums"]
            self.images, self.instances = list(arrays["images"]), list(arrays["instances"])

    def merged(self, processes: Processes) -> Ledger:
        """The ledgers of all processes as one."""
        if processes.number == 1:
            return self
        (sums,) = sum_over_processes([torch.from_numpy(self.sums)])
        parts = processes.gather((self.names, self.images, self.instances, self.problems))
        names, images, instances, problems = (
            list(chain.from_iterable(part)) for part in zip(*parts, strict=True)
        )
        return Ledger(self.settings, names, sums.numpy(), images, instances, problems)

    def evaluation(self, pairs: Sequence[Pair], **about: Any) -> Evaluation:
        """What is reported of these pairs."""
        space, counting = self.settings.space, self.settings.counting
        confusion, images = self.layout.confusion(self.sums), None
        if self.settings.images:
            order = sorted(range(len(self.names)), key=self.names.__getitem__)
            tp, fp, fn = torch.from_numpy(np.stack([self.images[i] for i in order], 1))
            ids, names = tuple(self.names[i] for i in order), tuple(space.names)
            ignored = counting.ignored_classes
            images = ImageCounts(tp, fp, fn, ids=ids, class_names=names, ignored=ignored)
        iiou: tuple[Mapping[str, float], Mapping[str, float]] = {}, {}
        if self.settings.instances:
            iiou = _instances.iious(self.instances, confusion, int(self.sums[-1]))
        bands = torch.from_numpy(self.layout.bands(self.sums)) if self.settings.boundary else None
        done = set(self.names)
        return Evaluation(
            self.settings,
            torch.from_numpy(confusion),
            bands,
            images,
            *iiou,
            scored={pair.name: pair for pair in pairs if pair.name in done},
            **about,
        )


# --- Several processes ----------------------------------------------------------------------------


class Processes:
    """The processes that ``torchrun`` started, or this one alone; a context.

    An error in one of them ends all.
    """

    def __init__(self) -> None:
        self.rank, self.number = (
            int(os.environ.get("RANK", 0)),
            int(os.environ.get("WORLD_SIZE", 1)),
        )
        self.on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", self.number))

    def __enter__(self) -> Processes:
        if self.number > 1:
            # they wait for the slowest; one that dies is told by its closed connection
            dist.init_process_group("gloo", timeout=timedelta(days=30))
        return self

    def __exit__(self, *error: object) -> None:
        if self.number > 1:
            dist.destroy_process_group()

    def gather(self, item: Result) -> list[Result]:
        """What all processes gave, in all of them."""
        if self.number == 1:
            return [item]
        items: list[Any] = [None] * self.number
        dist.all_gather_object(items, item)
        return items

    def together(self, work: Callable[[], Result]) -> Result:
        """Do something in every process; raises in all of them if it did in one."""
        if self.number == 1:
            return work()
        try:
            result, error = work(), None
        except Exception as raised:  # told to all below
            result, error = None, raised
        messages = self.gather(None if error is None else f"process {self.rank}: {error}")
        if error is not None:
            raise error
        for message in messages:
            if message is not None:
                raise ValueError(message)
        return result  # type: ignore[return-value]  # no error came

    def check_equal(self, names: list[str]) -> None:
        """Raise unless all processes see the same files."""
        seen = self.gather(names)
        for rank, others in enumerate(seen):
            if differing := sorted(set(others) ^ set(seen[0])):
                raise ValueError(
                    f"process {rank} sees other files than process 0, {differing[0]} and "
                    f"{len(differing) - 1} more. All machines must have the same folders."
                )

    def own(self, path: Path | None) -> Path | None:
        """A file of this process."""
        if path is None or self.number == 1:
            return path
        return path.with_name(f"{path.name}.{self.rank}-of-{self.number}")
