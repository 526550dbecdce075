"""The command: ``segmetrics evaluate PREDICTIONS TARGETS`` scores folders of masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

import segmetrics
from segmetrics.evaluate import arguments, thresholds
from segmetrics.evaluate.arguments import OUTPUT, RUN, SCORES
from segmetrics.evaluate.compare import compare_command
from segmetrics.evaluate.folders import evaluate
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
from segmetrics.evaluate.subgroups import Subgroups
from segmetrics.evaluate.summary import Summary
from segmetrics.evaluate.warnings import Warnings
from segmetrics.evaluate.workers import keep_to_one_thread
from segmetrics.files import Pair

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
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CLASSES", rich_help_panel=SCORES,
            help="Score a set of classes as one mask, as in WT=1,2,3; may be given several "
            "times.",
        ),
    ] = None,
    boundary: Annotated[
        bool, typer.Option("--boundary", rich_help_panel=SCORES, help="Boundary IoU, too.")
    ] = False,
    per_image: Annotated[
        bool,
        typer.Option(
            "--per-image", rich_help_panel=SCORES,
            help="Scores over images and the worst of them; with --json and --csv of every image.",
        ),
    ] = False,
    confidence: Annotated[
        float | None,
        typer.Option(
            metavar="LEVEL", rich_help_panel=SCORES,
            help="Confidence intervals, as 0.95: images are resampled.",
        ),
    ] = None,
    iiou: Annotated[
        bool,
        typer.Option(
            "--iiou", rich_help_panel=SCORES,
            help="Cityscapes' instance-weighted IoU, from *_instanceIds.png beside the targets.",
        ),
    ] = False,
    by: arguments.By = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", rich_help_panel=SCORES,
            help="Exit with status 3 if a score, as in mIoU=0.7 or iou/road=0.9, is less or "
            "undefined; may be given several times. Keys are those of --json.",
        ),
    ] = None,
    json_: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", rich_help_panel=OUTPUT, help="All results; - prints them."
        ),
    ] = None,
    csv_: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", rich_help_panel=OUTPUT,
            help="A row a class; beside it FILE.regions.csv with a row a region and, with "
            "--per-image, FILE.images.csv with a row an image. A name that a spreadsheet would "
            "take for a formula gets a ' in front.",
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
            help="Save what is counted as it goes; started again, go on from there.",
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
        settings, matching = arguments.settings_of(context.params, targets)
        settings = replace(
            settings,
            boundary=boundary,
            images=per_image or confidence is not None or html is not None or by is not None,
            instances=iiou,
        )
        _check(settings, labels_, confidence)
        arguments.check_report(settings, html, images)
        split = None if by is None else Subgroups.read(by)
        limits = thresholds.read(fail_under or [], settings, split, per_image=per_image)
        outputs = _outputs(
            json_, csv_, html, markdown, checkpoint,
            per_image=per_image,
            regions=bool(settings.space.regions) and settings.task == "multiclass",
            sections=[
                *(["by"] if split else []),
                *(key for extra in settings.extras for key in extra.keys),
            ],
        )  # fmt: skip
        check_outputs(outputs)
        warnings = Warnings(screen.warn)

        def check(pairs: Sequence[Pair]) -> None:
            files = [file for pair in pairs for file in pair.files]
            tables = [split.path] if split else []
            check_no_input(outputs, [*files, *arguments.named_file(labels_), *tables])
            if confidence is not None and len(pairs) == 1:
                warnings.add(NO_INTERVALS)
            if split:
                split.of([pair.name for pair in pairs], warnings)

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
        summary = Summary.of(result, per_image=per_image, level=confidence, by=split)
        below = thresholds.below(limits, summary.by_key())
        console = screen.console if STANDARD_OUTPUT in outputs.values() else standard_output()
        given = arguments.arguments_of(context)
        writers: list[tuple[str, Callable[[], None]]]
        writers = [("standard output", lambda: summary.print(console))]
        if html:  # first, as its warnings belong to the JSON
            level = confidence or 0.95
            writers.append(("--html", lambda: summary.write_html(html, images, given, level)))
        if json_:
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
    """Raise now for what would only come out when everything is counted."""
    if settings.instances and name != "cityscapes":
        raise ValueError("--iiou is defined for --labels cityscapes only.")
    if level is not None and not 0 < level < 1:
        raise ValueError(f"--confidence must be in (0, 1), got {level:g}. For 95 % give 0.95.")


def _outputs(
    json_: Path | None, csv_: Path | None, html: Path | None,
    markdown: Path | None, checkpoint: Path | None,
    *, per_image: bool, regions: bool, sections: Sequence[str],
) -> dict[str, Path]:  # fmt: skip
    """The files that will be written, by the options that name them."""
    tables = csv_ if csv_ != STANDARD_OUTPUT else None
    found: Mapping[str, Path | None] = {
        "--json": json_,
        "--csv": csv_,
        "the table of regions of --csv": (
            table_csv(tables, "regions") if tables and regions else None
        ),
        "the table of images of --csv": (
            table_csv(tables, "images") if tables and per_image else None
        ),
        **{f"the table {key} of --csv": tables and table_csv(tables, key) for key in sections},
        "--html": html,
        "--markdown": markdown,
        "--checkpoint": checkpoint,
    }
    return {option: path for option, path in found.items() if path is not None}


app.command("compare")(compare_command)
