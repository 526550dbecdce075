"""The command: ``segmetrics evaluate PREDICTIONS TARGETS`` scores folders of masks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

import segmetrics
from segmetrics import labels
from segmetrics.evaluate.folders import evaluate
from segmetrics.evaluate.settings import NotScored, Readings, Settings
from segmetrics.evaluate.summary import STANDARD_OUTPUT, Summary, problem_lines
from segmetrics.evaluate.workers import Progress
from segmetrics.files import CITYSCAPES, Match, Problem
from segmetrics.labels import LabelSpace

SPACES = {
    "voc": labels.VOC,
    "cityscapes": labels.CITYSCAPES,
    "cityscapes-train-ids": labels.CITYSCAPES_TRAIN_IDS,
    "ade20k": labels.ADE20K,
}
#: Colours of pixels that do not count in images in the colours of a space.
VOID = {
    "voc": labels.VOC_VOID,
    "cityscapes": labels.CITYSCAPES_VOID,
    "cityscapes-train-ids": labels.CITYSCAPES_VOID,
    "ade20k": labels.ADE20K_VOID,
}
BAD_INPUT = 2
INTERRUPTED = 130
#: Seconds between lines of progress where there is no terminal.
PAUSE = 10.0

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


INPUT, SCORES, OUTPUT, RUN = "Masks", "Scores", "Output", "Run"


@app.command("evaluate")
def evaluate_command(
    context: typer.Context,
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted masks.")],
    targets: Annotated[Path, typer.Argument(help="Folder of target masks.")],
    labels_: Annotated[
        str | None,
        typer.Option(
            "--labels", metavar="NAME|FILE", rich_help_panel=INPUT,
            help=f"What values mean: {', '.join(SPACES)}, or a YAML or JSON file.",
        ),
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=INPUT, help="Or: values are classes 0 to N − 1."),
    ] = None,
    ignore_index: Annotated[
        list[int] | None,
        typer.Option(
            metavar="I", rich_help_panel=INPUT,
            help="A value that does not count; may be given several times.",
        ),
    ] = None,
    preds_are_classes: Annotated[
        bool,
        typer.Option(
            "--preds-are-classes", rich_help_panel=INPUT,
            help="Predictions hold indices of classes; by default they hold values as targets do.",
        ),
    ] = False,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", rich_help_panel=INPUT,
            help="The mask's array in NPZ files of several; may be given several times.",
        ),
    ] = None,
    one_hot: Annotated[
        int | None,
        typer.Option(
            metavar="AXIS", rich_help_panel=INPUT,
            help="Arrays are one-hot along this axis, 0 the first, -1 the last.",
        ),
    ] = None,
    ignore_grid: Annotated[
        bool,
        typer.Option(
            "--ignore-grid", rich_help_panel=INPUT,
            help="Compare volumes as they lie, whatever their spacing, origin and orientation.",
        ),
    ] = False,
    match: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="PREDICTION TARGET", rich_help_panel=INPUT,
            help="Patterns of names in which {key} is what partners share, as in '{key}*' "
            "'{key}_gtFine_labelIds.png'. By default partners have the same path but for the "
            "suffix; of Cityscapes, its names.",
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
    json_: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", rich_help_panel=OUTPUT, help="- prints it."),
    ] = None,
    csv_: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", rich_help_panel=OUTPUT,
            help="A row a class; with --per-image FILE.images.csv, too, with a row an image.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", rich_help_panel=OUTPUT, help="A report to look at."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", rich_help_panel=OUTPUT,
            help="The images behind the masks, for the report.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=RUN, help="How many read and count. [default: processors]"
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=RUN,
            help="Save what is counted as it goes; started again, go on from there.",
        ),
    ] = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going", rich_help_panel=RUN,
            help="Leave out what cannot be scored, and list it.",
        ),
    ] = False,
) -> None:  # fmt: skip
    """Score the masks of a folder against those of another.

    Masks are PNG, TIFF, BMP, PNM, GIF, lossless WebP, NPY, NPZ, NIfTI, MHA, MHD, NRRD, MGH or
    DICOM SEG. What cannot be scored is named, with exit status 2.
    Under torchrun (torchrun --nproc-per-node 4 -m segmetrics evaluate …) processes and machines
    share the files.
    """
    torch.set_num_threads(1)  # the threads are ours: one pair each
    first = int(os.environ.get("RANK", 0)) == 0
    err = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        space = _space(labels_, num_classes, ignore_index, preds_are_classes)
        settings = Settings(
            space,
            readings=_readings(labels_, space).with_options(
                keys=tuple(key or ()), one_hot=one_hot, ignore_grid=ignore_grid
            ),
            boundary=boundary,
            images=per_image or confidence is not None or html is not None,
            instances=iiou,
        )
        _check(settings, labels_, confidence, [json_, csv_, html, checkpoint])
        with _progress(err, shown=first) as progress:
            result = evaluate(
                predictions,
                targets,
                settings,
                match=Match(*match) if match else _usual(labels_, targets),
                workers=workers,
                checkpoint=checkpoint,
                keep_going=keep_going,
                progress=progress,
            )
        if result is None:
            return
        summary = Summary.of(result, per_image=per_image, level=confidence)
        summary.print(err if STANDARD_OUTPUT in (json_, csv_) else _console())
        arguments = _arguments(context)
        if json_:
            summary.write_json(json_, arguments)
        if csv_:
            summary.write_csv(csv_)
        if html:
            summary.write_html(html, images, arguments, confidence or 0.95)
    except NotScored as error:
        if first:
            _print_problems(error.problems, err)
        raise typer.Exit(BAD_INPUT) from None
    except (ValueError, TypeError, ImportError, OSError) as error:
        if first:
            err.print(f"[bold red]error:[/] {escape(str(error))}")
        raise typer.Exit(BAD_INPUT) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


# --- Arguments ------------------------------------------------------------------------------------


def _space(
    name: str | None,
    num_classes: int | None,
    ignored: Sequence[int] | None,
    preds_are_classes: bool,
) -> LabelSpace:
    """The label space that was asked for; predictions hold values as targets do, unless said."""
    if (name is None) == (num_classes is None):
        raise ValueError(
            "say what values mean, by --labels voc|cityscapes|ade20k|FILE or by --num-classes N"
            + ("." if name is None else ", not both.")
        )
    if num_classes is not None:
        space = LabelSpace([str(label) for label in range(num_classes)])
    elif name in SPACES:
        space = SPACES[name]
    elif name is not None and not Path(name).is_file():
        raise ValueError(
            f"--labels {name}: neither a file nor one of {', '.join(SPACES)}. A file has the key "
            "`names`, see `segmetrics.labels.LabelSpace.read`."
        )
    else:
        space = LabelSpace.read(str(name))
    return replace(
        space,
        ignore_index=(*space.ignore_index, *(ignored or ())),
        map_preds=not preds_are_classes,
    )


def _readings(name: str | None, space: LabelSpace) -> Readings:
    """Colours are labels where ``--labels`` gives the classes' colours."""
    if name is None or (name not in SPACES and not labels.gives_colors(name)):
        return Readings()
    return Readings.of_colors(space, VOID.get(name, ()))


def _usual(name: str | None, targets: Path) -> Match | None:
    """Cityscapes' own names, where the targets have them."""
    if name == "cityscapes" and next(targets.glob("**/*_gtFine_labelIds.png"), None):
        return CITYSCAPES
    return None


def _check(
    settings: Settings, name: str | None, level: float | None, outputs: Sequence[Path | None]
) -> None:
    """Raise now for what would only come out when everything is counted."""
    if settings.instances and name != "cityscapes":
        raise ValueError("--iiou is defined for --labels cityscapes only.")
    if level is not None and not 0 < level < 1:
        raise ValueError(f"--confidence must be in (0, 1), got {level:g}. For 95 % give 0.95.")
    settings.counting  # noqa: B018 as it raises
    for path in outputs:
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{path}: the folder {path.parent} does not exist. Make it first.")


def _arguments(context: typer.Context) -> dict[str, object]:
    """What was asked for, by the names of the options."""
    given = {}
    for name, value in context.params.items():
        if value not in (None, False, [], ()):
            shown = str(value) if isinstance(value, Path) else value
            given[name.rstrip("_").replace("_", "-")] = shown
    return given


# --- While it runs --------------------------------------------------------------------------------


@contextmanager
def _progress(console: Console, *, shown: bool) -> Iterator[Progress]:
    """Tell how far it is: by a bar on a terminal, else by a line now and then."""
    if not shown:
        yield lambda done, number, problems: None
        return
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        BarColumn(), MofNCompleteColumn(), TextColumn("pairs"), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(), TextColumn("[red]{task.fields[problems]}"),
    )  # fmt: skip
    with Bar(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", rate="", problems="")
        clock = _Clock()

        def tell(done: int, number: int, problems: int) -> None:
            if clock.due(done, number, 0.1):
                noted = f"{problems} problems" if problems else ""
                bar.update(
                    task, completed=done, total=number, rate=f"{clock.rate(done):.0f}/s",
                    problems=noted, refresh=True,
                )  # fmt: skip

        yield tell


class _Clock:
    """When to tell how far it is, and how fast it goes."""

    def __init__(self) -> None:
        self.begin = self.last = time.monotonic()
        self.first: int | None = None

    def due(self, done: int, number: int, pause: float) -> bool:
        if self.first is None:  # a checkpoint may have brought some
            self.first, self.begin = done, time.monotonic()
        now = time.monotonic()
        if done < number and now < self.last + pause:
            return False
        self.last = now
        return True

    def rate(self, done: int) -> float:
        return (done - (self.first or 0)) / max(time.monotonic() - self.begin, 1e-9)


class _Lines:
    """Progress as plain lines."""

    def __init__(self, console: Console) -> None:
        self.console, self.clock = console, _Clock()

    def __call__(self, done: int, number: int, problems: int) -> None:
        if (
            self.clock.due(done, number, PAUSE)
            and done < number
            and (rate := self.clock.rate(done))
        ):
            left = (number - done) / rate
            noted = f", {problems} problems" if problems else ""
            self.console.print(
                f"{done:,} of {number:,} pairs, {rate:.0f}/s, {left:.0f} s left{noted}"
            )


def _console() -> Console:
    """Standard output; no terminal is too narrow for a table."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=10_000)


def _print_problems(problems: Sequence[Problem], console: Console) -> None:
    number = len(problems)
    files = "1 file cannot be scored" if number == 1 else f"{number:,} files cannot be scored"
    console.print(f"[bold red]error:[/] {files}. To score the rest: --keep-going")
    for line in problem_lines(problems):
        console.print(escape(line))
