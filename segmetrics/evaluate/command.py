"""The command: ``segmetrics evaluate PREDICTIONS TARGETS`` scores folders of masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

import segmetrics
from segmetrics.evaluate import (
    arguments,
    case_options,
    nnunet,
    object_options,
    probability_options,
    thresholds,
)
from segmetrics.evaluate.arguments import OUTPUT, RUN, SCORES
from segmetrics.evaluate.compare import compare_command
from segmetrics.evaluate.errors import WIDTH, Errors
from segmetrics.evaluate.folders import evaluate
from segmetrics.evaluate.metadata import Groups
from segmetrics.evaluate.outputs import (
    STANDARD_OUTPUT,
    check_no_input,
    check_outputs,
    print_what_can_be_printed,
    table_csv,
    write_all,
)
from segmetrics.evaluate.processes import rank_and_number
from segmetrics.evaluate.screen import BAD_INPUT, BELOW, Screen, standard_output
from segmetrics.evaluate.settings import Settings
from segmetrics.evaluate.subgroups import OF_EXTRAS, Subgroups
from segmetrics.evaluate.summary import Summary
from segmetrics.evaluate.warnings import Warnings
from segmetrics.evaluate.workers import keep_to_one_thread
from segmetrics.files import Pair
from segmetrics.surfaces import BandCounting

NO_INTERVALS = (
    "--confidence needs at least two pairs, as it resamples them. There is 1: the scores are given "
    "without intervals."
)

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Segmentation metrics: count once, score many.",
)  # fmt: skip


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"segmetrics {segmetrics.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Segmentation metrics: count once, score many."""


@app.command("evaluate")
def evaluate_command(
    context: typer.Context,
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted masks.")],
    targets: Annotated[Path, typer.Argument(help="Folder of target masks.")],
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
    region: arguments.Region = None,
    surfaces: case_options.WithSurfaces = False,
    per_case: case_options.PerCase = False,
    tolerance: case_options.Tolerance = None,
    percentile: case_options.Percentile = None,
    spacing: case_options.Spacing = None,
    both_empty: case_options.BothEmpty = None,
    empty_distance: case_options.EmptyDistanceText = None,
    boundary: Annotated[
        bool, typer.Option("--boundary", rich_help_panel=SCORES, help="Boundary IoU, too.")
    ] = False,
    per_image: Annotated[
        bool,
        typer.Option(
            "--per-image", rich_help_panel=SCORES,
            help="Scores over images and over the worst of them; --json and --csv list all images.",
        ),
    ] = False,
    confidence: Annotated[
        float | None,
        typer.Option(
            metavar="LEVEL", rich_help_panel=SCORES,
            help="Confidence intervals of this level, such as 0.95: images are resampled.",
        ),
    ] = None,
    groups: arguments.GroupsOf = None,
    iiou: Annotated[
        bool,
        typer.Option(
            "--iiou", rich_help_panel=SCORES,
            help="Cityscapes' instance-weighted IoU, from *_instanceIds.png next to the targets.",
        ),
    ] = False,
    panoptic: Annotated[
        bool,
        typer.Option(
            "--panoptic", rich_help_panel=SCORES,
            help="Panoptic quality instead, of two JSON files of COCO's format with their PNGs in "
            "folders of the same names, or of folders of Cityscapes' *_instanceIds.png; with "
            "--boundary Boundary PQ.",
        ),
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
    errors: Annotated[
        bool,
        typer.Option(
            "--errors", rich_help_panel=SCORES,
            help="Kinds of wrong pixels, too: errors at boundaries, of extent, or whole segments; "
            "and mIoU near boundaries.",
        ),
    ] = False,
    probabilities: probability_options.WithProbabilities = False,
    from_logits: probability_options.FromLogits = False,
    region_channels: probability_options.RegionChannels = False,
    by: arguments.By = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", rich_help_panel=SCORES,
            help="Exit with status 3 if a score is less than this or undefined, as in mIoU=0.7 or "
            "iou/road=0.9; may be given several times. Keys are those of --json.",
        ),
    ] = None,
    json_: arguments.Json = None,
    format_: Annotated[
        Literal["nnunet"] | None,
        typer.Option(
            "--format", rich_help_panel=OUTPUT,
            help="nnunet: --json writes what nnU-Net's own evaluation writes, its summary.json.",
        ),
    ] = None,
    csv_: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", rich_help_panel=OUTPUT,
            help="One row per class; next to it FILE.categories.csv, FILE.regions.csv and, with "
            "--per-image, FILE.images.csv, with one row per category, region and image. A name "
            "that a spreadsheet would take for a formula gets a ' in front.",
        ),
    ] = None,
    html: arguments.Html = None,
    markdown: arguments.Markdown = None,
    images: arguments.Images = None,
    workers: arguments.Workers = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=RUN,
            help="Save the counts from time to time; started again, go on from there.",
        ),
    ] = None,
    keep_going: arguments.KeepGoing = False,
) -> None:  # fmt: skip
    """Score the masks of a folder against those of another.

    Masks are PNG, TIFF, BMP, PNM, GIF, lossless WebP, NPY, NPZ, NIfTI, MHA, MHD,
    NRRD, MGH or DICOM SEG. What cannot be scored is named, with exit status 2.
    Under torchrun (torchrun --nproc-per-node 4 -m segmetrics evaluate …)
    processes and machines share the files.
    """
    keep_to_one_thread()
    print_what_can_be_printed()
    screen = Screen()
    with screen.errors():
        screen.shown = rank_and_number()[0] == 0
        if panoptic:
            from segmetrics.evaluate.panoptic import Options, panoptic_command

            options = Options(
                predictions=predictions, targets=targets, labels_=labels_, match=match,
                boundary=boundary, per_image=per_image, confidence=confidence, groups=groups,
                by=by, fail_under=fail_under or (), json_=json_, csv_=csv_, html=html,
                markdown=markdown, workers=workers, checkpoint=checkpoint, keep_going=keep_going,
            )  # fmt: skip
            panoptic_command(options, context, screen)
            return
        settings, matching = arguments.settings_of(context.params, targets)
        if iiou and region_channels:
            raise ValueError("--region-channels means nothing with --iiou.")
        settings = probability_options.of_channels(context.params, settings)
        settings = replace(
            settings,
            boundary=boundary,
            images=per_image or confidence is not None or html is not None or by is not None,
            instances=iiou,
        )
        if errors:
            settings = replace(settings, extras=(*settings.extras, _errors(settings)))
        drawn = Groups.of_intervals(groups, intervals=confidence is not None or html is not None)
        of_images = confidence is not None or by is not None
        settings = probability_options.settings_of(
            context.params, settings, drawn, per_image=of_images
        )
        _check(settings, labels_, confidence)
        if format_ == "nnunet":
            if json_ is None:
                raise ValueError("--format nnunet is what --json writes: give --json FILE, too.")
            settings = replace(settings, extras=(*settings.extras, nnunet.Nnunet.of(settings)))
        arguments.check_report(settings, html, images)
        of_objects = object_options.extras_of(context.params, settings, drawn)
        settings = replace(settings, extras=(*settings.extras, *of_objects))
        cases = case_options.CaseOptions.of(context.params).cases(settings, drawn)
        if cases is not None:
            settings = replace(settings, extras=(*settings.extras, cases))
        split = None if by is None else Subgroups.read(by)
        limits = thresholds.read(fail_under or [], settings, split, per_image=per_image)
        outputs = _outputs(
            json_, csv_, html, markdown, checkpoint,
            per_image=per_image,
            sets=_sets_of_classes(settings),
            sections=[
                *(["by"] if split else []),
                *([OF_EXTRAS] if split and settings.extras else []),
                *(key for extra in settings.extras for key in extra.keys),
            ],
        )  # fmt: skip
        check_outputs(outputs)
        warnings = Warnings(screen.warn)

        def check(pairs: Sequence[Pair]) -> None:
            files = [file for pair in pairs for file in pair.files]
            tables = [table.path for table in (split, drawn) if table]
            check_no_input(outputs, [*files, *arguments.named_file(labels_), *tables])
            if confidence is not None and len(pairs) == 1:
                warnings.add(NO_INTERVALS)
            for table in (split, drawn):
                if table:
                    table.of([pair.name for pair in pairs], warnings)

        with screen.progress() as progress:
            result = evaluate(
                predictions,
                targets,
                settings,
                match=matching,
                workers=workers,
                checkpoint=checkpoint,
                keep_going=keep_going,
                progress=progress,
                check=check,
                warnings=warnings,
            )
        if result is None:
            return
        if confidence is not None and len(result.scored) == 1:
            warnings.add(NO_INTERVALS)
        summary = Summary.of(result, per_image=per_image, level=confidence, by=split, groups=drawn)
        below = thresholds.below(limits, summary.by_key())
        console = screen.console if STANDARD_OUTPUT in outputs.values() else standard_output()
        given = arguments.arguments_of(context)
        writers: list[tuple[str, Callable[[], None]]]
        writers = [("standard output", lambda: summary.print(console))]
        if html:  # first, as its warnings belong to the JSON
            level = confidence or 0.95
            writers.append(("--html", lambda: summary.write_html(html, images, given, level)))
        if json_ and format_ == "nnunet":
            writers.append(("--json", lambda: nnunet.write(json_, result)))
        elif json_:
            writers.append(("--json", lambda: summary.write_json(json_, given)))
        if csv_:
            writers.append(("--csv", lambda: summary.write_csv(csv_)))
        if markdown:
            writers.append(("--markdown", lambda: summary.write_markdown(markdown, below)))
        if not write_all(writers, screen.error):
            raise typer.Exit(BAD_INPUT)
        if below:
            screen.error(below)
            raise typer.Exit(BELOW)


# --- Arguments ------------------------------------------------------------------------------------


def _check(settings: Settings, name: str | None, level: float | None) -> None:
    """Raise early for mistakes that would only show after counting."""
    if settings.instances and name != "cityscapes":
        raise ValueError("--iiou is defined for --labels cityscapes only.")
    if level is not None and not 0 < level < 1:
        raise ValueError(f"--confidence must be in (0, 1), got {level:g}. For 95 % give 0.95.")


def _errors(settings: Settings) -> Errors:
    counting = BandCounting(**vars(settings.counting), dilation_ratio=WIDTH)
    return Errors(counting, own_masks=settings.task == "multilabel")


def _outputs(
    json_: Path | None, csv_: Path | None, html: Path | None,
    markdown: Path | None, checkpoint: Path | None,
    *, per_image: bool, sets: Sequence[str], sections: Sequence[str],
) -> dict[str, Path]:  # fmt: skip
    """The files that will be written, by the options that name them."""
    tables = csv_ if csv_ != STANDARD_OUTPUT else None
    found: Mapping[str, Path | None] = {
        "--json": json_,
        "--csv": csv_,
        **{f"the table of {key} of --csv": tables and table_csv(tables, key) for key in sets},
        "the table of images of --csv": (
            table_csv(tables, "images") if tables and per_image else None
        ),
        **{f"the table {key} of --csv": tables and table_csv(tables, key) for key in sections},
        "--html": html,
        "--markdown": markdown,
        "--checkpoint": checkpoint,
    }
    return {option: path for option, path in found.items() if path is not None}


def _sets_of_classes(settings: Settings) -> list[str]:
    """The kinds of sets of classes that are scored."""
    space, sets = settings.space, []
    if space.categories(settings.left_out):
        sets.append("categories")
    if space.regions and settings.task == "multiclass":
        sets.append("regions")
    return sets


app.command("compare")(compare_command)
