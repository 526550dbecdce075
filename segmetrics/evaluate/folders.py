"""Folders of masks are scored: pairs are found, counted by workers, and shared by processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from segmetrics import files
from segmetrics.evaluate.counter import Counter
from segmetrics.evaluate.processes import Processes
from segmetrics.evaluate.settings import Evaluation, NotScored, Settings
from segmetrics.evaluate.workers import Progress, count_all
from segmetrics.files import Match, Pair, Problem


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
            lambda: count_all(mine, counter, workers, processes.own(checkpoint), progress)
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
    pairs, problems = files.find_pairs(preds, targets, match)
    if settings.instances:
        pairs, others = files.with_instances(pairs)
        problems += others
    files.check_libraries(path for pair in pairs for path in (pair.preds, pair.target))
    return pairs, problems


def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
