"""``segmetrics evaluate PREDICTIONS TARGETS --panoptic``: panoptic quality of files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import typer

from segmetrics import files
from segmetrics.evaluate import arguments, thresholds
from segmetrics.evaluate.folders import is_checkpoint
from segmetrics.evaluate.metadata import Groups
from segmetrics.evaluate.outputs import (
    STANDARD_OUTPUT,
    check_no_input,
    check_outputs,
    table_csv,
    write_all,
)
from segmetrics.evaluate.panoptic_pictures import pictures
from segmetrics.evaluate.panoptic_results import Results
from segmetrics.evaluate.processes import Processes
from segmetrics.evaluate.screen import BAD_INPUT, BELOW, Screen, standard_output
from segmetrics.evaluate.segment_ledger import SegmentLedger
from segmetrics.evaluate.segments import (
    Coco,
    Format,
    InstanceIds,
    SegmentCounter,
    SegmentSettings,
)
from segmetrics.evaluate.settings import NotScored
from segmetrics.evaluate.subgroups import Subgroups
from segmetrics.evaluate.warnings import Warnings
from segmetrics.evaluate.workers import Progress, count_all, number_of_workers
from segmetrics.files import Match, Pair, Problem
from segmetrics.files.panoptic import read_coco
from segmetrics.objects.panoptic import panoptic_scores

#: Cityscapes' names of targets and of their predictions.
CITYSCAPES = Match("{key}*", "{key}_gtFine_instanceIds.png")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of ``segmetrics evaluate`` that --panoptic goes with, by parameter."""

    predictions: Path
    targets: Path
    labels_: str | None
    match: tuple[str, str] | None
    boundary: bool
    per_image: bool
    confidence: float | None
    groups: str | None
    by: str | None
    fail_under: Sequence[str]
    json_: Path | None
    csv_: Path | None
    html: Path | None
    markdown: Path | None
    workers: int | None
    checkpoint: Path | None
    keep_going: bool


def panoptic_command(given: Options, context: typer.Context, screen: Screen) -> None:
    """Score panoptic masks by the options of ``segmetrics evaluate``.

    Raises:
        ValueError: options that mean nothing here, or invalid files.
        NotScored: there are images that cannot be scored.
    """
    _check(given, context)
    limits = thresholds.limits_of(given.fail_under)
    level = given.confidence
    drawn = Groups.of_intervals(given.groups, intervals=level is not None or given.html is not None)
    split = None if given.by is None else Subgroups.read(given.by)
    outputs = _outputs(given)
    check_outputs(outputs)
    warnings, tables = Warnings(screen.warn), [table for table in (split, drawn) if table]
    keep_going, checkpoint = given.keep_going, given.checkpoint
    with Processes() as processes, screen.progress() as progress:

        def planned() -> tuple[Format, list[Pair], list[Problem]]:
            format_, pairs, problems = plan(
                given.predictions, given.targets, given.labels_, given.match
            )
            _check_keys(limits, format_, split)
            given_files = (given.predictions, given.targets, *arguments.named_file(given.labels_))
            inputs = [*given_files, *(file for pair in pairs for file in pair.files)]
            check_no_input(outputs, [*inputs, *(table.path for table in tables)])
            for table in tables:
                table.of([pair.name for pair in pairs], warnings)
            return format_, pairs, problems

        format_, pairs, problems = processes.together(planned)
        processes.check_equal([pair.name for pair in pairs])
        if checkpoint is not None:  # one in the folders is none of their files
            problems = [problem for problem in problems if not is_checkpoint(problem, checkpoint)]
        if problems and not (keep_going and pairs):
            raise NotScored(problems, rest=bool(pairs))
        settings = SegmentSettings(format_, given.boundary)
        counted = count(
            pairs, settings, given.workers, progress,
            processes=processes, checkpoint=checkpoint, warnings=warnings,
        )  # fmt: skip
        problems += counted.problems
        if problems and not (keep_going and counted.names):
            raise NotScored(problems, rest=bool(counted.names))
        if processes.rank:
            return
    results = Results(
        np.stack(list(counted.counts.values())),
        counted.names,
        format_.names,
        format_.things,
        settings.boundary,
        problems,
        given.confidence,
        given.per_image,
        arguments.arguments_of(context),
        warnings,
        split,
        drawn,
    )
    of_names = {pair.name: pair for pair in pairs}
    below = thresholds.below(limits, results.scores)
    console = screen.console if STANDARD_OUTPUT in outputs.values() else standard_output()
    writers: list[tuple[str, Callable[[], None]]]
    writers = [("standard output", lambda: results.print(console))]
    for option, write in (
        ("--html", lambda path: results.write_html(path, partial(pictures, settings, of_names))),
        ("--json", results.write_json),
        ("--csv", results.write_csv),
        ("--markdown", lambda path: results.write_markdown(path, below)),
    ):
        if option in outputs:
            writers.append((option, lambda write=write, path=outputs[option]: write(path)))  # type: ignore[misc]
    if not write_all(writers, screen.error):
        raise typer.Exit(BAD_INPUT)
    if below:
        screen.error(below)
        raise typer.Exit(BELOW)


def plan(
    preds: Path, targets: Path, name: str | None, match: tuple[str, str] | None
) -> tuple[Format, list[Pair], list[Problem]]:
    """The format of segments, the pairs of images, and the problems of those without a pair."""
    if targets.suffix == ".json" or preds.suffix == ".json":
        if name or match:
            option = "--labels" if name else "--match"
            raise ValueError(
                f"{option} means nothing for JSON, which names categories and images. Leave it out."
            )
        return _plan_coco(preds, targets)
    if name is None:
        raise ValueError(
            "--panoptic reads two JSON files of COCO's format, whose PNGs lie in folders of the "
            "same names, or two folders of Cityscapes' masks of instance ids with --labels "
            "cityscapes, or a file with `things`."
        )
    space = arguments.space_of(name)
    if not space.things:
        raise ValueError(
            f"--labels {name} has no things, the classes whose instances count one by one. A file "
            "has the key `things`, a list of names."
        )
    pairs, problems = files.find_pairs(preds, targets, Match(*match) if match else _usual(targets))
    files.load_readers(path for pair in pairs for path in (pair.preds, pair.target))
    return InstanceIds(space), pairs, problems


def _plan_coco(preds: Path, targets: Path) -> tuple[Format, list[Pair], list[Problem]]:
    for path in (preds, targets):
        if path.suffix != ".json" or not path.is_file():
            what = "is no JSON file" if path.exists() else "does not exist"
            raise ValueError(f"{path} {what}; the other is one. Give two.")
    categories, of_targets = read_coco(targets)
    _, of_preds = read_coco(preds)
    if not categories:
        raise ValueError(f"{targets} has no `categories`, which say what are things.")
    known = {category.id for category in categories}
    for annotation in of_preds.values():
        for id_, category in annotation.categories.items():
            if category not in known:
                raise ValueError(
                    f"{preds}: image {annotation.image} has the segment {id_} of the category "
                    f"{category}, which {targets} does not have."
                )
    categories.sort(key=lambda category: not category.isthing)
    pairs, problems = [], []
    for image in [*of_targets, *(image for image in of_preds if image not in of_targets)]:
        if image not in of_preds:
            detail = f"image {image} is not in {preds}"
            problems.append(Problem("no prediction", str(of_targets[image].path), detail))
        elif image not in of_targets:
            detail = f"image {image} is not in {targets}"
            problems.append(Problem("no target", str(of_preds[image].path), detail))
        else:
            pairs.append(Pair(image, of_preds[image].path, of_targets[image].path))
    format_ = Coco(
        [category.name for category in categories],
        sum(category.isthing for category in categories),
        {category.id: i for i, category in enumerate(categories)},
        of_preds,
        of_targets,
        (preds, targets),
    )
    return format_, pairs, problems


def count(
    pairs: Sequence[Pair],
    settings: SegmentSettings,
    workers: int | None,
    progress: Progress,
    *,
    processes: Processes | None = None,
    checkpoint: Path | None = None,
    warnings: Warnings | None = None,
) -> SegmentLedger:
    """Count pairs by the workers of all processes; images are in the order of their names."""
    processes = Processes() if processes is None else processes
    warnings = Warnings() if warnings is None else warnings
    classes = len(settings.format.names)
    number = number_of_workers(workers, classes, processes.on_this_machine)
    mine, own = pairs[processes.rank :: processes.number], processes.own(checkpoint)
    counter, empty = SegmentCounter(settings), SegmentLedger(classes)
    ledger = processes.together(
        lambda: count_all(mine, counter, empty, number, own, progress, warnings)
    )
    for others in processes.gather(list(warnings)):
        for warning in others:
            warnings.add(warning)
    return ledger.merged(processes)


def _usual(targets: Path) -> Match | None:
    """Cityscapes' patterns of names, if the targets follow them."""
    return CITYSCAPES if next(targets.glob("**/*_gtFine_instanceIds.png"), None) else None


def check_options(context: typer.Context, allowed: Collection[str]) -> None:
    """Raise for options, by parameter, that --panoptic does not go with."""
    for name in context.params:
        source = context.get_parameter_source(name)
        is_given = source is not None and source.name != "DEFAULT"
        if is_given and name not in allowed and name != "panoptic":
            option = f"--{name.strip('_').replace('_', '-')}"
            raise ValueError(f"{option} does not go with --panoptic. Leave it out.")


def _check(given: Options, context: typer.Context) -> None:
    check_options(context, [field.name for field in fields(given)])
    level = given.confidence
    if level is not None and not 0 < level < 1:
        raise ValueError(f"--confidence must be in (0, 1), got {level:g}. For 95 % give 0.95.")


def _check_keys(limits: Mapping[str, float], format_: Format, by: Subgroups | None) -> None:
    """Raise for limits of unknown scores."""
    if limits:
        nothing = np.zeros((len(format_.names), 4))
        known = [*panoptic_scores(nothing, format_.names, format_.things)]
        thresholds.check_keys(limits, known + (by.keys("PQ") if by else []))


def _outputs(given: Options) -> dict[str, Path]:
    """The files that will be written, by the options that name them."""
    found = {
        "--json": given.json_,
        "--csv": given.csv_,
        "--html": given.html,
        "--markdown": given.markdown,
        "--checkpoint": given.checkpoint,
    }
    if given.csv_ is not None and given.csv_ != STANDARD_OUTPUT:
        for key, written in (("images", given.per_image), ("by", given.by)):
            if written:
                found[f"the table of {key} of --csv"] = table_csv(given.csv_, key)
    return {option: path for option, path in found.items() if path is not None}
