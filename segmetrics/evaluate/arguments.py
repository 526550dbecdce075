"""Options that all commands share: label spaces, pairing, scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from segmetrics import labels
from segmetrics.counting.settings import Task
from segmetrics.evaluate.settings import BINARY, Readings, Settings
from segmetrics.evaluate.workers import number_of_workers
from segmetrics.files import CITYSCAPES, Match, find_classes
from segmetrics.labels import LabelSpace
from segmetrics.labels.files import regions_of_nnunet

#: Classes of a confusion matrix that a browser can show.
MOST_IN_REPORT = 4096
SPACES = {
    "voc": labels.VOC,
    "cityscapes": labels.CITYSCAPES,
    "cityscapes-train-ids": labels.CITYSCAPES_TRAIN_IDS,
    "ade20k": labels.ADE20K,
}
#: Colours of void pixels, in images that use the colours of a label space.
VOID = {
    "voc": labels.VOC_VOID,
    "cityscapes": labels.CITYSCAPES_VOID,
    "cityscapes-train-ids": labels.CITYSCAPES_VOID,
    "ade20k": labels.ADE20K_VOID,
}

VALUES, FILES, SCORES, OUTPUT, RUN = "Values", "Files", "Scores", "Output", "Run"

# fmt: off
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", metavar="NAME|FILE", rich_help_panel=VALUES,
        help=f"What values mean: {', '.join(SPACES)}, or a YAML or JSON file.",
    ),
]
NumClasses = Annotated[
    int | None,
    typer.Option(metavar="N", rich_help_panel=VALUES, help="Or: values are classes 0 to N − 1."),
]
Binary = Annotated[
    bool,
    typer.Option(
        "--binary", rich_help_panel=VALUES,
        help="Or: zero is background, anything else foreground, which is scored (0/1, 0/255).",
    ),
]
IgnoreIndex = Annotated[
    list[int] | None,
    typer.Option(
        metavar="I", rich_help_panel=VALUES,
        help="A value that does not count; may be given several times.",
    ),
]
PredsAreClasses = Annotated[
    bool,
    typer.Option(
        "--preds-are-classes", rich_help_panel=VALUES,
        help="Predictions hold class indices; by default they hold the same values as targets.",
    ),
]
Key = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", rich_help_panel=FILES,
        help="The array of the mask in NPZ files with several; may be given several times.",
    ),
]
OneHot = Annotated[
    int | None,
    typer.Option(
        metavar="AXIS", rich_help_panel=FILES,
        help="Arrays are one-hot along this axis: 0 is the first, -1 the last.",
    ),
]
IgnoreGrid = Annotated[
    bool,
    typer.Option(
        "--ignore-grid", rich_help_panel=FILES,
        help="Compare volumes as they lie, whatever their spacing, origin and orientation.",
    ),
]
MatchNames = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--match", metavar="PREDICTION TARGET", rich_help_panel=FILES,
        help="Patterns of names in which {key} is the part that a pair shares, as in '{key}*' "
        "'{key}_gtFine_labelIds.png'. By default a pair has the same path except for the suffix; "
        "Cityscapes' names are known. With {class} in both, as in '{key}/{class}.nii.gz', each "
        "file is the mask of one class.",
    ),
]
NoBackground = Annotated[
    bool,
    typer.Option(
        "--no-background", rich_help_panel=SCORES,
        help="Leave class 0 out of means. Its pixels still count as errors of the others.",
    ),
]
ZeroDivision = Annotated[
    str | None,
    typer.Option(
        metavar="0|1|nan", rich_help_panel=SCORES,
        help="Score of a class that is neither in the targets nor predicted; nan, the default, "
        "leaves it out of means.",
    ),
]
Region = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=CLASSES", rich_help_panel=SCORES,
        help="Score a set of classes as one mask, as in WT=1,2,3; may be given several "
        "times.",
    ),
]
By = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.csv:COLUMN", rich_help_panel=SCORES,
        help="Score subgroups, too: a table with the names of the images in its column `image`, or "
        "else in its first column, and the subgroup of each in COLUMN.",
    ),
]
GroupsOf = Annotated[
    str | None,
    typer.Option(
        "--groups", metavar="FILE.csv:COLUMN", rich_help_panel=SCORES,
        help="Images that belong together, such as a patient's: intervals draw whole groups.",
    ),
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json", metavar="FILE", rich_help_panel=OUTPUT, help="All results; - prints them."
    ),
]
Html = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=OUTPUT, help="The report, as one HTML page."),
]
Markdown = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", rich_help_panel=OUTPUT,
        help="A summary for the job pages of build servers; - prints it.",
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", rich_help_panel=OUTPUT,
        help="The images behind the masks, for the report.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, rich_help_panel=RUN,
        help="The number of workers, at most 4 per processor; by default one per processor.",
    ),
]
KeepGoing = Annotated[
    bool,
    typer.Option(
        "--keep-going", rich_help_panel=RUN,
        help="Leave out what cannot be scored, and list it.",
    ),
]
# fmt: on


def settings_of(given: Mapping[str, Any], targets: Path) -> tuple[Settings, Match | None]:
    """The settings, and how names correspond, from the options above.

    Args:
        given: the options of a command, by parameter.
        targets: the folder of targets.

    Raises:
        ValueError: options that contradict each other.
    """
    name, ids = given["labels_"], bool(given.get("instances"))
    binary = given["binary"] or ids
    match = Match(*given["match"]) if given["match"] else _usual(name, targets)
    of_classes = match is not None and match.has_classes
    task: Task = "binary" if binary else "multilabel" if of_classes else "multiclass"
    found = find_classes(targets, match) if match and of_classes and not name else ()
    space = _space(
        name, given["num_classes"], given["ignore_index"], given["preds_are_classes"], task, found,
        "--instances" if ids else "--binary",
    )  # fmt: skip
    if match and of_classes and name:
        match = replace(match, classes=space.names)
    settings = Settings(
        _with_regions(space, given.get("region") or [], task),
        task=task,
        ids=ids,
        background=not given["no_background"],
        zero_division=_zero_division(given["zero_division"]),
        readings=_readings(None if of_classes else name, space).with_options(
            keys=tuple(given["key"] or ()),
            one_hot=given["one_hot"],
            ignore_grid=given["ignore_grid"],
        ),
    )
    _check(settings, name)
    return settings, match


def space_of(name: str) -> LabelSpace:
    """The label space of --labels: a built-in one, or one from a file."""
    if name in SPACES:
        return SPACES[name]
    if not Path(name).is_file():
        raise ValueError(
            f"--labels {name}: neither a file nor one of {', '.join(SPACES)}. A file has the key "
            "`names`, see `segmetrics.labels.LabelSpace.read`."
        )
    return LabelSpace.read(name)


def channels_of(name: str | None, space: LabelSpace) -> dict[str, tuple[int, ...]]:
    """The classes of each region, in the order of the channels of scores.

    nnU-Net has a channel for every label of dataset.json but the background, of one value or more.
    """
    regions = space.classes_of_regions()
    known = {name: (c,) for c, name in enumerate(space.names)} | regions
    is_file = name is not None and name not in SPACES
    first = regions_of_nnunet(str(name)) if is_file else []
    return {one: known[one] for one in (*first, *regions)}


def check_report(settings: Settings, html: Path | None, images: Path | None) -> None:
    """Raise for a report that cannot show these masks, and for images without a report."""
    if images and settings.task == "multilabel":
        raise ValueError(
            "--images: the report of masks of one class each shows the masks only. Leave it out."
        )
    if html and settings.space.num_classes > MOST_IN_REPORT:
        raise ValueError(
            f"--html: the report shows a confusion matrix of up to {MOST_IN_REPORT:,} classes, got "
            f"{settings.space.num_classes:,}. Leave out --html; --json and --csv have all scores."
        )
    if images is None:
        return
    if html is None:
        raise ValueError("--images are shown in the report only: give --html FILE, too.")
    folder = Path(images)  # older versions of typer leave a string in ``context.params``
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise ValueError(f"--images {images} {what}. Give the folder of the images.")


def named_file(name: str | None) -> list[Path]:
    """The file of --labels, if it is one."""
    return [Path(name)] if name is not None and Path(name).is_file() else []


def arguments_of(context: typer.Context) -> dict[str, object]:
    """The options that were given, by name."""
    given = {}
    for name, value in context.params.items():
        if value not in (None, False, [], ()):
            shown = str(value) if isinstance(value, Path) else value
            given[name.rstrip("_").replace("_", "-")] = shown
    return given


def _space(
    name: str | None,
    num_classes: int | None,
    ignored: Sequence[int] | None,
    preds_are_classes: bool,
    task: Task,
    found: Sequence[str],
    binary: str,
) -> LabelSpace:
    """The label space of the options; predictions hold values as targets do, by default.

    ``found`` are the classes of targets that are masks of one class each, ``binary`` the option
    that makes masks binary.
    """
    given = [
        option
        for option, is_given in (
            ("--labels", name is not None),
            ("--num-classes", num_classes is not None),
            (binary, task == "binary"),
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
    else:
        space = space_of(str(name))
    if task == "multilabel":  # files are masks of these classes, their values have no meaning
        return LabelSpace(space.names, space.colors, tuple(ignored or ()))
    return replace(
        space,
        ignore_index=(*space.ignore_index, *(ignored or ())),
        map_preds=not preds_are_classes,
    )


def _with_regions(space: LabelSpace, regions: Sequence[str], task: Task) -> LabelSpace:
    """The label space with the regions of the options, by names of classes or indices."""
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
    return replace(space, regions=found)


def _zero_division(text: str | None) -> float:
    if text not in (None, "0", "1", "nan"):
        raise ValueError(f"--zero-division must be 0, 1 or nan, got {text}.")
    return float(text or "nan")


def _readings(name: str | None, space: LabelSpace) -> Readings:
    """Colours are labels if the label space has colours."""
    if name is None or (name not in SPACES and not labels.gives_colors(name)):
        return Readings()
    return Readings.of_colors(space, VOID.get(name, ()))


def _usual(name: str | None, targets: Path) -> Match | None:
    """Cityscapes' patterns of names, if the targets follow them."""
    if name == "cityscapes" and next(targets.glob("**/*_gtFine_labelIds.png"), None):
        return CITYSCAPES
    return None


def _check(settings: Settings, name: str | None) -> None:
    """Raise early for mistakes that would only show after counting."""
    if not settings.background and settings.task != "multiclass":
        raise ValueError("--no-background: binary masks have no class 0 in means. Leave it out.")
    if not settings.background and name in SPACES and settings.space.names[0] != "background":
        raise ValueError(
            f"--no-background leaves out class 0, which is {settings.space.names[0]!r} in "
            f"--labels {name}. It has no background."
        )
    settings.counting  # noqa: B018 as it raises
