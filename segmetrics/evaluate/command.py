"""The command: ``segmetrics evaluate PREDICTIONS TARGETS`` scores folders of masks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

import segmetrics
from segmetrics import labels
from segmetrics.counting.inputs import Task
from segmetrics.evaluate import nnunet
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
from segmetrics.evaluate.settings import BINARY, NotScored, Readings, Settings
from segmetrics.evaluate.summary import Summary, problem_lines
from segmetrics.evaluate.warnings import Warnings
from segmetrics.evaluate.workers import Progress, number_of_workers
from segmetrics.files import CITYSCAPES, Match, Pair, find_classes, printable
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

ERROR, WARNING = "[bold red]error:[/]", "[bold yellow]warning:[/]"
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


VALUES, FILES, SCORES, OUTPUT, RUN = "Values", "Files", "Scores", "Output", "Run"


@app.command("evaluate")
def evaluate_command(
    context: typer.Context,
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted masks.")],
    targets: Annotated[Path, typer.Argument(help="Folder of target masks.")],
    labels_: Annotated[
        str | None,
        typer.Option(
            "--labels", metavar="NAME|FILE", rich_help_panel=VALUES,
            help=f"What values mean: {', '.join(SPACES)}, or a YAML or JSON file.",
        ),
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(
            metavar="N", rich_help_panel=VALUES, help="Or: values are classes 0 to N − 1."
        ),
    ] = None,
    binary: Annotated[
        bool,
        typer.Option(
            "--binary", rich_help_panel=VALUES,
            help="Or: zero is background, anything else foreground, which is scored (0/1, 0/255).",
        ),
    ] = False,
    ignore_index: Annotated[
        list[int] | None,
        typer.Option(
            metavar="I", rich_help_panel=VALUES,
            help="A value that does not count; may be given several times.",
        ),
    ] = None,
    preds_are_classes: Annotated[
        bool,
        typer.Option(
            "--preds-are-classes", rich_help_panel=VALUES,
            help="Predictions hold indices of classes; by default they hold values as targets do.",
        ),
    ] = False,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", rich_help_panel=FILES,
            help="The mask's array in NPZ files of several; may be given several times.",
        ),
    ] = None,
    one_hot: Annotated[
        int | None,
        typer.Option(
            metavar="AXIS", rich_help_panel=FILES,
            help="Arrays are one-hot along this axis, 0 the first, -1 the last.",
        ),
    ] = None,
    ignore_grid: Annotated[
        bool,
        typer.Option(
            "--ignore-grid", rich_help_panel=FILES,
            help="Compare volumes as they lie, whatever their spacing, origin and orientation.",
        ),
    ] = False,
    match: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="PREDICTION TARGET", rich_help_panel=FILES,
            help="Patterns of names in which {key} is what partners share, as in '{key}*' "
            "'{key}_gtFine_labelIds.png'. By default partners have the same path but for the "
            "suffix; of Cityscapes, its names. With {class} in both, as in '{key}/{class}.nii.gz', "
            "each file is the mask of one class.",
        ),
    ] = None,
    no_background: Annotated[
        bool,
        typer.Option(
            "--no-background", rich_help_panel=SCORES,
            help="Leave class 0 out of means. Its pixels still count as errors of the others.",
        ),
    ] = False,
    zero_division: Annotated[
        str | None,
        typer.Option(
            metavar="0|1|nan", rich_help_panel=SCORES,
            help="Score of a class that is neither in the targets nor predicted; nan, the default, "
            "leaves it out of means.",
        ),
    ] = None,
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
    json_: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", rich_help_panel=OUTPUT, help="All results; - prints them."
        ),
    ] = None,
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
            help="A row a class; beside it FILE.categories.csv with a row a category, "
            "FILE.regions.csv with a row a region and, with --per-image, FILE.images.csv with a "
            "row an image. A name that a spreadsheet would take for a formula gets a ' in front.",
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
            min=1, rich_help_panel=RUN,
            help="How many read and count, at most 4 a processor; by default one a processor.",
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

    Masks are PNG, TIFF, BMP, PNM, GIF, lossless WebP, NPY, NPZ, NIfTI, MHA, MHD,
    NRRD, MGH or DICOM SEG. What cannot be scored is named, with exit status 2.
    Under torchrun (torchrun --nproc-per-node 4 -m segmetrics evaluate …)
    processes and machines share the files.
    """
    torch.set_num_threads(1)  # the threads are ours: one pair each
    print_what_can_be_printed()
    err, shown = Console(stderr=True, soft_wrap=True, highlight=False), True

    def tell(kind: str, text: str) -> None:
        if shown:
            err.print(f"{kind} {escape(printable(text))}")

    try:
        shown = rank_and_number()[0] == 0
        matching = Match(*match) if match else _usual(labels_, targets)
        of_classes = matching is not None and matching.has_classes
        task: Task = "binary" if binary else "multilabel" if of_classes else "multiclass"
        found = find_classes(targets, matching) if matching and of_classes and not labels_ else ()
        space = _space(labels_, num_classes, ignore_index, preds_are_classes, task, found)
        if matching and of_classes and labels_:
            matching = replace(matching, classes=space.names)
        settings = Settings(
            _with_regions(space, region or [], task),
            task=task,
            background=not no_background,
            zero_division=_zero_division(zero_division),
            readings=_readings(None if of_classes else labels_, space).with_options(
                keys=tuple(key or ()), one_hot=one_hot, ignore_grid=ignore_grid
            ),
            boundary=boundary,
            images=per_image or confidence is not None or html is not None,
            instances=iiou,
        )
        if html and of_classes:
            raise ValueError(
                "--html: the report shows label maps, and these files are masks of one class each. "
                "Leave out --html; --json and --csv have all scores."
            )
        _check(settings, labels_, confidence)
        if format_ == "nnunet":
            if json_ is None:
                raise ValueError("--format nnunet is what --json writes: give --json FILE, too.")
            settings = replace(settings, extras=(*settings.extras, nnunet.Nnunet.of(settings)))
        outputs = _outputs(
            json_, csv_, html, checkpoint,
            per_image=per_image, sets=_sets_of_classes(settings),
            sections=[key for extra in settings.extras for key in extra.keys],
        )  # fmt: skip
        check_outputs(outputs)
        _check_images(images, html)
        warnings = Warnings(lambda text: tell(WARNING, text))

        def check(pairs: Sequence[Pair]) -> None:
            files = [file for pair in pairs for file in pair.files]
            check_no_input(outputs, [*files, *_existing(labels_)])
            if confidence is not None and len(pairs) == 1:
                warnings.add(NO_INTERVALS)

        with _progress(err, shown=shown) as progress:
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
        summary = Summary.of(result, per_image=per_image, level=confidence)
        screen = err if STANDARD_OUTPUT in (json_, csv_) else _console()
        arguments = _arguments(context)
        writers: list[tuple[str, Callable[[], None]]]
        writers = [("standard output", lambda: summary.print(screen))]
        if html:  # first, as its warnings belong to the JSON
            level = confidence or 0.95
            writers.append(("--html", lambda: summary.write_html(html, images, arguments, level)))
        if json_ and format_ == "nnunet":
            writers.append(("--json", lambda: nnunet.write(json_, result)))
        elif json_:
            writers.append(("--json", lambda: summary.write_json(json_, arguments)))
        if csv_:
            writers.append(("--csv", lambda: summary.write_csv(csv_)))
        if not write_all(writers, lambda text: tell(ERROR, text)):
            raise typer.Exit(BAD_INPUT)
    except NotScored as error:
        if shown:
            _print_problems(error, err)
        raise typer.Exit(BAD_INPUT) from None
    except (ValueError, TypeError, ImportError, OSError) as error:
        tell(ERROR, str(error))
        raise typer.Exit(BAD_INPUT) from error
    except MemoryError as error:
        tell(ERROR, f"out of memory. Fewer --workers need less. {error}")
        raise typer.Exit(BAD_INPUT) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


# --- Arguments ------------------------------------------------------------------------------------


def _space(
    name: str | None,
    num_classes: int | None,
    ignored: Sequence[int] | None,
    preds_are_classes: bool,
    task: Task,
    found: Sequence[str],
) -> LabelSpace:
    """The label space that was asked for; predictions hold values as targets do, unless said.

    ``found`` are the classes of targets that are masks of one class each.
    """
    given = [
        option
        for option, is_given in (
            ("--labels", name is not None),
            ("--num-classes", num_classes is not None),
            ("--binary", task == "binary"),
            ("--match with {class}", bool(found)),
        )
        if is_given
    ]
    if len(given) != 1:
        raise ValueError(
            "say what values mean, by --labels voc|cityscapes|ade20k|FILE, by --num-classes N or "
            "by --binary" + (f", not by {' and '.join(given)} together." if given else ".")
        )
    if task != "multiclass" and (preds_are_classes or 1 in (ignored or ())):
        option = "--preds-are-classes" if preds_are_classes else "--ignore-index 1"
        raise ValueError(f"{option} means nothing for binary masks: 1 is their foreground.")
    if task == "binary" or found:
        names = found or BINARY.names
        return LabelSpace(names, ignore_index=tuple(ignored or ()))
    if num_classes is not None and num_classes < 2:
        raise ValueError(
            f"--num-classes must be at least 2, background and foreground, got {num_classes}. For "
            "one foreground class give --binary."
        )
    if num_classes is not None:
        number_of_workers(None, num_classes, 1)  # raises if there are too many classes
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
    if task == "multilabel":  # files are masks of these classes, their values have no meaning
        return LabelSpace(space.names, space.colors, tuple(ignored or ()))
    return replace(
        space,
        ignore_index=(*space.ignore_index, *(ignored or ())),
        map_preds=not preds_are_classes,
    )


def _with_regions(space: LabelSpace, regions: Sequence[str], task: Task) -> LabelSpace:
    """The space with the regions that options name, by names of classes or their indices."""
    if regions and task != "multiclass":
        raise ValueError("--region is a set of classes of label maps. Leave it out.")
    found = dict(space.regions)
    for option in regions:
        title, equals, members = option.partition("=")
        names = [member.strip() for member in members.split(",")]
        if not title or not equals or not all(names):
            raise ValueError(f"--region is NAME=CLASSES, as in WT=1,2,3, got {option!r}.")
        for i, name in enumerate(names):
            if name not in space.names:
                if not name.isdecimal() or int(name) >= space.num_classes:
                    raise ValueError(
                        f"--region {option}: {name!r} is neither a class nor the index of one, "
                        f"from 0 to {space.num_classes - 1}."
                    )
                names[i] = space.names[int(name)]
        found[title] = tuple(names)
    return replace(space, regions=found) if regions else space


def _zero_division(text: str | None) -> float:
    if text not in (None, "0", "1", "nan"):
        raise ValueError(f"--zero-division must be 0, 1 or nan, got {text}.")
    return float(text or "nan")


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


def _check(settings: Settings, name: str | None, level: float | None) -> None:
    """Raise now for what would only come out when everything is counted."""
    if settings.instances and name != "cityscapes":
        raise ValueError("--iiou is defined for --labels cityscapes only.")
    if level is not None and not 0 < level < 1:
        raise ValueError(f"--confidence must be in (0, 1), got {level:g}. For 95 % give 0.95.")
    if not settings.background and settings.task != "multiclass":
        raise ValueError("--no-background: binary masks have no class 0 in means. Leave it out.")
    if not settings.background and name in SPACES and settings.space.names[0] != "background":
        raise ValueError(
            f"--no-background leaves out class 0, which is {settings.space.names[0]!r} in "
            f"--labels {name}. It has no background."
        )
    settings.counting  # noqa: B018 as it raises


def _check_images(images: Path | None, html: Path | None) -> None:
    if images is None:
        return
    if html is None:
        raise ValueError("--images are shown in the report only: give --html FILE, too.")
    if not images.is_dir():
        what = "is no folder" if images.exists() else "does not exist"
        raise ValueError(f"--images {images} {what}. Give the folder of the images.")


def _outputs(
    json_: Path | None, csv_: Path | None, html: Path | None, checkpoint: Path | None,
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


def _existing(name: str | None) -> list[Path]:
    """The file of --labels, if it is one."""
    return [Path(name)] if name is not None and Path(name).is_file() else []


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


def _print_problems(error: NotScored, console: Console) -> None:
    number = len(error.problems)
    files = "1 file cannot be scored" if number == 1 else f"{number:,} files cannot be scored"
    rest = ". To score the rest: --keep-going" if error.rest else ", and nothing is left to score."
    console.print(f"{ERROR} {files}{rest}")
    for line in problem_lines(error.problems):
        console.print(escape(line))
