"""Several models on the same targets: all predictions of a target are counted together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segmetrics.evaluate.counter import Counted, Counter
from segmetrics.evaluate.folders import plan
from segmetrics.evaluate.ledger import Ledger
from segmetrics.evaluate.plausibility import implausible
from segmetrics.evaluate.settings import Evaluation, NotScored, Settings
from segmetrics.evaluate.warnings import Warnings, of_folders
from segmetrics.evaluate.workers import Progress, number_of_workers, outcomes
from segmetrics.files import Match, Pair, Problem


@dataclass(frozen=True, kw_only=True)
class SameImages:
    """Several models on the same images.

    ``left_out`` is what cannot be scored, by model; ``dropped`` are the images that are left out of
    all models because of it.
    """

    left_out: Sequence[tuple[str, Problem]]
    dropped: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Models(SameImages):
    """The evaluations of all models."""

    evaluations: Mapping[str, Evaluation]


def evaluate_models(
    targets: Path,
    folders: Mapping[str, Path],
    settings: Settings,
    *,
    match: Match | None = None,
    workers: int | None = None,
    keep_going: bool = False,
    progress: Progress = lambda done, all_, problems: None,
    check: Callable[[Sequence[Pair]], None] = lambda pairs: None,
    warnings: Warnings | None = None,
) -> Models:
    """Score the predictions of several models, each in a folder.

    Every target is read once for all models. An image counts for all of them or for none.

    Args:
        targets: folder of targets.
        folders: folders of predictions, by model.
        settings: what is counted; counts of images must be among it.
        match: how names correspond, as in ``evaluate``.
        workers: the number of workers.
        keep_going: leave out images that one model lacks, or that cannot be scored.
        progress: called as predictions are done.
        check: called with all pairs before any is counted; may raise.
        warnings: gets what looks wrong as it is found.

    Raises:
        NotScored: there are files that cannot be scored; with ``keep_going`` only if no image is
            left.
        ValueError: folders without masks.
    """
    warnings = Warnings() if warnings is None else warnings
    workers = number_of_workers(workers, settings.space.num_classes, 1)
    counter, begin = Counter(settings), time.monotonic()
    pairs, problems = _plan(targets, folders, settings, match)
    shared = set.intersection(*(set(of_model) for of_model in pairs.values()))
    every = set.union(*(set(of_model) for of_model in pairs.values()))
    if problems and not (keep_going and shared):
        raise NotScored([problem for _, problem in problems], rest=bool(shared))
    for name, folder in folders.items():
        for warning in of_folders(folder, targets):
            warnings.add(f"{name}: {warning}")
    together = [pairs[model][image] for image in sorted(shared) for model in folders]
    check(together)
    ledgers = {model: Ledger(settings) for model in folders}
    found: dict[str, dict[str, Counted | Problem]] = {}
    model_of = {pair: model for model, those in pairs.items() for pair in those.values()}
    done, wrong = 0, 0
    progress(0, len(together), 0)
    for pair, outcome in outcomes(counter, together, workers):
        of_image = found.setdefault(pair.name, {})
        of_image[model_of[pair]] = outcome
        done, wrong = done + 1, wrong + isinstance(outcome, Problem)
        progress(done, len(together), wrong)
        if len(of_image) == len(folders):
            _add(pair.name, found.pop(pair.name), pairs, ledgers, problems)
    scored = set(next(iter(ledgers.values())).names)
    if problems and not (keep_going and scored):
        raise NotScored([problem for _, problem in problems], rest=bool(scored))
    seconds = time.monotonic() - begin
    evaluations = {}
    for model, ledger in ledgers.items():
        of_model = _of_model(model, warnings)
        those = [pairs[model][image] for image in sorted(scored)]
        for warning in implausible(settings, those, ledger):
            of_model.add(warning)
        evaluations[model] = ledger.evaluation(
            those, left_out=[], warnings=of_model, seconds=seconds, workers=workers, processes=1
        )
    return Models(
        evaluations=evaluations, left_out=sorted(problems), dropped=sorted(every - scored)
    )


def _plan(
    targets: Path, folders: Mapping[str, Path], settings: Settings, match: Match | None
) -> tuple[dict[str, dict[str, Pair]], list[tuple[str, Problem]]]:
    """The pairs of every model by image, and the problems of those without a pair."""
    pairs: dict[str, dict[str, Pair]] = {}
    problems: list[tuple[str, Problem]] = []
    for model, folder in folders.items():
        found, others = plan(folder, targets, settings, match)
        pairs[model] = {pair.name: pair for pair in found}
        for problem in others:
            if problem.kind == "no prediction":
                problem = problem._replace(detail=f"{model} has no prediction, in {folder}")
            if all(problem != known for _, known in problems):  # of a target: reported once
                problems.append((model, problem))
    return pairs, problems


def _of_model(model: str, warnings: Warnings) -> Warnings:
    """Warnings with the name of the model."""
    return Warnings(lambda text: warnings.add(f"{model}: {text}"))


def _add(
    image: str,
    outcomes: Mapping[str, Counted | Problem],
    pairs: Mapping[str, Mapping[str, Pair]],
    ledgers: Mapping[str, Ledger],
    problems: list[tuple[str, Problem]],
) -> None:
    """Add the outcomes of an image to the ledgers of all models, or to none."""
    wrong = [
        (model, outcome) for model, outcome in outcomes.items() if isinstance(outcome, Problem)
    ]
    known = {problem for _, problem in problems}
    problems += [(model, problem) for model, problem in wrong if problem not in known]
    if not wrong:
        for model, outcome in outcomes.items():
            ledgers[model].add(pairs[model][image], outcome)
