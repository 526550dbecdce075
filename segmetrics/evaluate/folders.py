"""Scoring of folders of masks: pairing, counting by workers, sharing among processes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from segmetrics import files
from segmetrics.evaluate.counter import Counter
from segmetrics.evaluate.ledger import Ledger
from segmetrics.evaluate.plausibility import implausible
from segmetrics.evaluate.processes import Processes
from segmetrics.evaluate.settings import Evaluation, NotScored, Settings
from segmetrics.evaluate.warnings import Warnings, of_folders
from segmetrics.evaluate.workers import Progress, count_all, number_of_workers
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
    check: Callable[[Sequence[Pair]], None] = lambda pairs: None,
    warnings: Warnings | None = None,
) -> Evaluation | None:
    """Score the masks of two folders.

    Under ``torchrun`` processes share the pairs, and the first of them gets the result.

    Args:
        preds: folder of predictions, or one file.
        targets: folder of targets, or one file.
        settings: what is counted.
        match: how names correspond, by default by path without suffix.
        workers: the number of workers; by default that of the usable processors.
        checkpoint: the file that the counts are saved to, and loaded from.
        keep_going: leave out what cannot be scored.
        progress: called as pairs are done.
        check: called with the pairs before any is counted; may raise.
        warnings: gets what looks wrong as it is found.

    Returns:
        The counts; None in processes other than the first.

    Raises:
        NotScored: there are files that cannot be scored; with ``keep_going`` only if none can.
        ValueError: folders without masks, or a checkpoint of something else.
    """
    warnings = Warnings() if warnings is None else warnings
    with Processes() as processes:
        workers = number_of_workers(workers, settings.space.num_classes, processes.on_this_machine)
        counter = Counter(settings)
        begin = time.monotonic()
        pairs, problems = processes.together(lambda: plan(preds, targets, settings, match))
        processes.check_equal(
            [pair.name for pair in pairs] + [problem.file for problem in problems]
        )
        if checkpoint is not None:  # which may be in one of the folders
            problems = [problem for problem in problems if not is_checkpoint(problem, checkpoint)]
        if problems and not (keep_going and pairs):
            raise NotScored(problems, rest=bool(pairs))
        for warning in of_folders(preds, targets):
            warnings.add(warning)
        processes.together(lambda: check(pairs))
        mine = pairs[processes.rank :: processes.number]
        own = processes.own(checkpoint)
        ledger = processes.together(
            lambda: count_all(mine, counter, Ledger(settings), workers, own, progress, warnings)
        )
        everything = ledger.merged(processes)
        for others in processes.gather(list(warnings)):
            for warning in others:
                warnings.add(warning)
        problems += everything.problems
        if problems and not (keep_going and everything.names):
            raise NotScored(problems, rest=bool(everything.names))
        done = set(everything.names)
        scored = [pair for pair in pairs if pair.name in done]
        for warning in implausible(settings, scored, everything):
            warnings.add(warning)
        if processes.rank:
            return None
        return everything.evaluation(
            pairs,
            left_out=sorted(problems, key=lambda problem: problem.file),
            warnings=warnings,
            seconds=time.monotonic() - begin,
            workers=workers,
            processes=processes.number,
        )


def plan(
    preds: Path, targets: Path, settings: Settings, match: Match | None
) -> tuple[list[Pair], list[Problem]]:
    """The pairs of two folders, and the problems of files that have none."""
    pairs, problems = files.find_pairs(preds, targets, match)
    if settings.instances:
        pairs, others = files.with_instances(pairs)
        problems += others
    files.load_readers(path for pair in pairs for path in (pair.preds, pair.target))
    return pairs, problems


def is_checkpoint(problem: Problem, checkpoint: Path) -> bool:
    """Whether a file that is not a mask is the checkpoint, of this or another process."""
    file = Path(problem.file)
    name = re.sub(r"\.\d+-of-\d+$", "", file.name)
    return problem.kind == "format" and file.with_name(name).resolve() == checkpoint.resolve()
