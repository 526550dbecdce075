"""The command ``segmetrics compare TARGETS NAME=FOLDER NAME=FOLDER ...``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segmetrics.evaluate import arguments, case_options, object_options, probability_options
from segmetrics.evaluate.arguments import OUTPUT, SCORES
from segmetrics.evaluate.extras import Extra
from segmetrics.evaluate.metadata import Groups, number_drawn
from segmetrics.evaluate.outputs import (
    STANDARD_OUTPUT,
    check_no_input,
    check_outputs,
    print_what_can_be_printed,
    table_csv,
    write_all,
)
from segmetrics.evaluate.screen import BAD_INPUT, Screen, standard_output
from segmetrics.evaluate.subgroups import Subgroups
from segmetrics.evaluate.warnings import Warnings
from segmetrics.evaluate.workers import Progress
from segmetrics.files import Pair

if TYPE_CHECKING:
    from segmetrics.evaluate.comparison import Comparison

#: The options, by parameter, that --panoptic goes with.
WITH_PANOPTIC = (
    "targets", "models", "labels_", "match", "score", "boundary", "confidence", "groups", "by",
    "json_", "csv_", "html", "markdown", "workers", "keep_going",
)  # fmt: skip
#: Called with all pairs before any is counted; may raise.
Check = Callable[[Sequence[Pair]], None]
#: Counts all models, and returns a function that makes a comparison of them.
Counting = Callable[[Check, Progress, Warnings], Callable[..., "Comparison"]]


def compare_command(
    context: typer.Context,
    targets: Annotated[
        Path, typer.Argument(help="Folder of target masks, or with --panoptic a JSON file.")
    ],
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=FOLDER",
            help="Folders of predicted masks, or with --panoptic JSON files, two or more.",
        ),
    ],
    labels_: arguments.Labels = None,
    num_classes: arguments.NumClasses = None,
    binary: arguments.Binary = False,
    ignore_index: arguments.IgnoreIndex = None,
    preds_are_classes: arguments.PredsAreClasses = False,
    key: arguments.Key = None,
    one_hot: arguments.OneHot = None,
    ignore_grid: arguments.IgnoreGrid = False,
    match: arguments.MatchNames = None,
    no_background: arguments.NoBackground = False,
    zero_division: arguments.ZeroDivision = None,
    score: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", rich_help_panel=SCORES,
            help="What is compared: mIoU (the default), mDice, mIoU_I, mIoU_I_10, iou/road ...; "
            "with --binary iou (the default), dice, recall; with --objects object_f1, "
            "object_dice/lesion ..., with --surfaces hd95, nsd/liver ..., with --probabilities "
            "ECE, AUROC ..., with --panoptic PQ (the default), RQ, PQ_things, pq/car ...",
        ),
    ] = None,
    region: arguments.Region = None,
    surfaces: case_options.WithSurfaces = False,
    tolerance: case_options.Tolerance = None,
    percentile: case_options.Percentile = None,
    spacing: case_options.Spacing = None,
    both_empty: case_options.BothEmpty = None,
    empty_distance: case_options.EmptyDistanceText = None,
    probabilities: probability_options.WithProbabilities = False,
    from_logits: probability_options.FromLogits = False,
    region_channels: probability_options.RegionChannels = False,
    panoptic: Annotated[
        bool,
        typer.Option(
            "--panoptic", rich_help_panel=SCORES,
            help="Panoptic quality instead, of JSON files of COCO's format with their PNGs in "
            "folders of the same names, or of folders of Cityscapes' *_instanceIds.png.",
        ),
    ] = False,
    boundary: Annotated[
        bool,
        typer.Option("--boundary", rich_help_panel=SCORES, help="Boundary PQ, with --panoptic."),
    ] = False,
    objects: object_options.WithObjects = False,
    instances: object_options.Instances = False,
    object_preset: object_options.Preset = None,
    object_matching: object_options.ObjectMatching = None,
    object_threshold: object_options.Threshold = None,
    connectivity: object_options.Connected = None,
    min_size: object_options.MinSize = None,
    object_sizes: object_options.ObjectSizes = None,
    object_distances: object_options.Distances = False,
    confidence: Annotated[
        float,
        typer.Option(
            metavar="LEVEL", rich_help_panel=SCORES,
            help="Level of the intervals; tests have the significance level 1 − LEVEL.",
        ),
    ] = 0.95,
    groups: arguments.GroupsOf = None,
    by: arguments.By = None,
    json_: arguments.Json = None,
    csv_: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", rich_help_panel=OUTPUT,
            help="One row per model; next to it FILE.pairs.csv, FILE.classes.csv, FILE.images.csv, "
            "FILE.conventions.csv, with --by FILE.groups.csv, and with --objects, --surfaces, "
            "--probabilities or --panoptic FILE.scores.csv.",
        ),
    ] = None,
    html: arguments.Html = None,
    markdown: arguments.Markdown = None,
    images: arguments.Images = None,
    workers: arguments.Workers = None,
    keep_going: arguments.KeepGoing = False,
) -> None:  # fmt: skip
    """Compare models on the same targets: which is better, and how certain that is.

    All models are scored on the same images. An image that one model lacks is
    named, with exit status 2; with --keep-going all models leave it out.
    """
    print_what_can_be_printed()
    screen = Screen()
    with screen.errors():
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise ValueError("compare runs as one process: its workers use all processors.")
        folders = _folders(models)
        of = _of_segments if panoptic else _of_pixels
        count, with_scores = of(context, targets, folders)
        if not 0 < confidence < 1:
            raise ValueError(f"--confidence must be in (0, 1), got {confidence:g}.")
        split = None if by is None else Subgroups.read(by)
        drawn = None if groups is None else Groups.read(groups)
        further = [key for key, given in (("groups", by), ("scores", with_scores)) if given]
        outputs = _outputs(json_, csv_, html, markdown, further)
        check_outputs(outputs)
        warnings = Warnings(screen.warn)

        def check(pairs: Sequence[Pair]) -> None:
            files = [file for pair in pairs for file in pair.files]
            tables = [column.path for column in (split, drawn) if column is not None]
            named = [targets, *folders.values(), *arguments.named_file(labels_)]
            check_no_input(outputs, [*files, *named, *tables])
            found = sorted({pair.name for pair in pairs})
            if len(found) < 2:
                raise ValueError("compare needs at least two images, as it resamples them.")
            if split:
                split.of(found, warnings)
            if drawn and number_drawn(found, drawn.of(found, Warnings())) < 2:
                raise ValueError(f"--groups {groups}: all images are of one group.")

        with screen.progress() as progress:
            compared = count(check, progress, warnings)
        comparison = compared(level=confidence, warnings=warnings, by=split, groups=drawn)
        comparison.tables  # noqa: B018 as it raises, and warns
        console = screen.console if STANDARD_OUTPUT in outputs.values() else standard_output()
        given = arguments.arguments_of(context)
        writers: list[tuple[str, Callable[[], None]]]
        writers = [("standard output", lambda: comparison.print(console))]
        if html:
            writers.append(("--html", lambda: comparison.write_html(html, images, given)))
        if json_:
            writers.append(("--json", lambda: comparison.write_json(json_, given)))
        if csv_:
            writers.append(("--csv", lambda: comparison.write_csv(csv_)))
        if markdown:
            writers.append(("--markdown", lambda: comparison.write_markdown(markdown)))
        if not write_all(writers, screen.error):
            raise typer.Exit(BAD_INPUT)


def _of_pixels(
    context: typer.Context, targets: Path, folders: Mapping[str, Path]
) -> tuple[Counting, bool]:
    """The function that counts pixels, and whether there are further scores."""
    from segmetrics.evaluate.model_scores import score_key
    from segmetrics.evaluate.models import evaluate_models
    from segmetrics.evaluate.pixel_comparison import PixelComparison

    given = context.params
    if given["boundary"]:
        raise ValueError("--boundary applies to panoptic quality here: give --panoptic, too.")
    settings, matching = arguments.settings_of(given, targets)
    settings = probability_options.of_channels(given, settings)
    settings = probability_options.settings_of(given, settings, None, per_image=True)
    cases = case_options.CaseOptions.of(given).cases(settings, None)
    extras: tuple[Extra, ...] = settings.extras
    extras += object_options.extras_of(given, settings, None)
    extras += () if cases is None else (cases,)
    settings = replace(settings, images=True, extras=extras)
    score = score_key(given["score"] or "mIoU", settings)
    arguments.check_report(settings, given["html"], given["images"])

    def count(check: Check, progress: Progress, warnings: Warnings) -> Callable[..., Comparison]:
        models = evaluate_models(
            targets,
            folders,
            settings,
            match=matching,
            workers=given["workers"],
            keep_going=given["keep_going"],
            progress=progress,
            check=check,
            warnings=warnings,
        )
        return partial(PixelComparison, models=models, score=score)

    return count, bool(extras)


def _of_segments(
    context: typer.Context, targets: Path, files: Mapping[str, Path]
) -> tuple[Counting, bool]:
    """The function that counts segments of panoptic masks, and True: there are further scores."""
    from segmetrics.evaluate.panoptic import check_options
    from segmetrics.evaluate.panoptic_comparison import PanopticComparison, count_models

    check_options(context, WITH_PANOPTIC)
    given = context.params
    score = given["score"] or "PQ"

    def count(check: Check, progress: Progress, warnings: Warnings) -> Callable[..., Comparison]:
        models = count_models(
            targets,
            files,
            given["labels_"],
            score,
            boundary=given["boundary"],
            match=given["match"],
            workers=given["workers"],
            keep_going=given["keep_going"],
            progress=progress,
            check=check,
            warnings=warnings,
        )
        return partial(PanopticComparison, models=models, score=score)

    return count, True


def _folders(models: Sequence[str]) -> dict[str, Path]:
    """The folders of predictions by the names of the models."""
    folders: dict[str, Path] = {}
    for model in models:
        name, equals, folder = model.partition("=")
        if not name or not equals or not folder:
            raise ValueError(f"a model is NAME=FOLDER, as in unet=predictions/unet, got {model!r}.")
        if name in folders:
            raise ValueError(f"two models are called {name!r}. Give each a name of its own.")
        for other, path in folders.items():
            if Path(folder).exists() and path.exists() and path.samefile(folder):
                raise ValueError(f"{other} and {name} are the same, {folder}.")
        folders[name] = Path(folder)
    if len(folders) < 2:
        raise ValueError(
            "compare needs two models or more, each as NAME=FOLDER. For one: segmetrics evaluate."
        )
    return folders


def _outputs(
    json_: Path | None, csv_: Path | None, html: Path | None, markdown: Path | None,
    further: Sequence[str],
) -> dict[str, Path]:  # fmt: skip
    """The files that will be written, by the options that name them.

    ``further`` are the tables that depend on options.
    """
    from segmetrics.evaluate.comparison import FURTHER, TABLES

    tables = csv_ if csv_ != STANDARD_OUTPUT else None
    written = [key for key in TABLES[1:] if key in further or key not in FURTHER]
    found: Mapping[str, Path | None] = {
        "--json": json_,
        "--csv": csv_,
        **{f"the table of {key} of --csv": tables and table_csv(tables, key) for key in written},
        "--html": html,
        "--markdown": markdown,
    }
    return {option: path for option, path in found.items() if path is not None}
