"""A result as one page: scores, classes, confusions, images. It asks the network for nothing.

Everything that the page shows is computed here and stands in its HTML; ``report.js`` sorts,
filters and draws. The page opens from a disk, on a phone and on paper.
"""

from __future__ import annotations

import os
import platform
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from math import isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmetrics import scores as formulas
from segmetrics._arguments import integer, number
from segmetrics._files import replace_file
from segmetrics.labels import LabelSpace
from segmetrics.overlays import GREY, Labels, Picture, colored, errors
from segmetrics.scores import Statistics
from segmetrics.statistics import (
    KEYS_OF_IMAGES,
    HasImageCounts,
    ImageCounts,
    confidence_interval,
)

SIDE = 640  # pixels of the longer side of a picture
LISTED_IMAGES = 10_000
LISTED_CONFUSIONS = 200  # and the three largest of every class
LABEL = 18  # characters of a class beside the heat map
ABSTAINED = "(abstained)"


@dataclass(frozen=True, eq=False)
class Example:
    """An image to look at: its target, its prediction and, where there is one, itself.

    Args:
        name: what stands below it.
        score: its mIoU, in [0, 1].
        target: class indices ``(H, W)``, any integer type; what is outside [0, C) is ignored.
        preds: class indices ``(H, W)``; what is outside [0, C) is abstained.
        image: the image itself, uint8 RGB ``(H, W, 3)``, or ``None``.

    Raises:
        TypeError: a score that is no number.
        ValueError: types or sizes that do not fit.

    Example:
        >>> import numpy as np
        >>> target, preds = np.array([[0, 1, -1]]), np.array([[0, 0, 0]])
        >>> Example("night_07.png", 0.25, target, preds).image is None
        True
    """

    name: str
    score: float
    target: Labels
    preds: Labels
    image: Picture | None = None

    def __post_init__(self) -> None:
        number("score", self.score)
        shapes = [self.target.shape, self.preds.shape]
        for name, labels in (("target", self.target), ("preds", self.preds)):
            if labels.dtype.kind not in "iu" or labels.ndim != 2 or not labels.size:
                raise ValueError(
                    f"`{name}` of {self.name!r} must be integers (H, W), got {labels.dtype} "
                    f"{labels.shape}."
                )
        if self.image is not None:
            shapes.append(self.image.shape[:2])
            if self.image.dtype != np.uint8 or self.image.shape[2:] != (3,):
                raise ValueError(
                    f"`image` of {self.name!r} must be uint8 RGB (H, W, 3), got {self.image.dtype} "
                    f"{self.image.shape}."
                )
        if len(set(shapes)) > 1:
            raise ValueError(
                f"`target`, `preds` and `image` of {self.name!r} must have one size, got "
                f"{', '.join(map(str, shapes))}."
            )


class Section(NamedTuple):
    """A table of other results on the page.

    Args:
        title: its heading.
        rows: one mapping a row, all with the same columns, of which the first names the row: texts,
            whole numbers, and scores.
        notes: sentences under the heading.
        figures: HTML behind the table; it is shown as it is.
    """

    title: str
    rows: Sequence[Mapping[str, object]]
    notes: Sequence[str] = ()
    figures: Sequence[str] = ()


def write(
    path: str | os.PathLike[str],
    confusion: Tensor,
    labels: LabelSpace | int,
    *,
    title: str = "Segmentation scores",
    images: HasImageCounts | None = None,
    level: float = 0.95,
    examples: Sequence[Example] = (),
    scores: Mapping[str, float] | None = None,
    how: Mapping[str, str] | None = None,
    left_out: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
    sections: Sequence[Section] = (),
) -> Path:
    """Write a report: one HTML file that needs no other and asks the network for nothing.

    Args:
        path: where; its folder must exist. A file there is replaced, at once and as a whole.
        confusion: counts ``(C, C)``, rows the target, columns the prediction, or ``(C, C + 1)``
            with what was abstained from in the last column; an integer type.
        labels: the classes, or their number C.
        title: stands above the page.
        images: an ``ImageScores`` or its ``image_counts()``, for the intervals and the distribution
            over images. It must have counted the same pixels.
        level: the coverage that the intervals aim at, in (0, 1).
        examples: images to look at, the worst ones say, in the order to show them.
        scores: more scores for the head of the page, by name.
        how: how it was counted: what to write under which heading. The versions of segmetrics,
            torch and Python and the date come by themselves.
        left_out: files that were not scored, each with the reason.
        warnings: sentences shown at the head of the page.
        sections: tables of other results, shown behind the classes.

    Returns:
        The path.

    Raises:
        FileNotFoundError: the folder does not exist.
        ImportError: jinja2, pillow or plotly is missing.
        TypeError, ValueError: counts, classes, images and examples that do not fit each other.

    Example:
        >>> import tempfile, torch
        >>> from segmetrics import ConfusionMatrix, report
        >>> from segmetrics.labels import LabelSpace
        >>> space = LabelSpace(["road", "car"], ignore_index=255)
        >>> matrix = ConfusionMatrix(space)
        >>> matrix.update(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[0, 0, 1]]]))
        >>> folder = tempfile.mkdtemp()
        >>> report.write(f"{folder}/report.html", matrix.compute(), space, title="Night").name
        'report.html'
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`path`: the folder {path.parent} does not exist. Make it first.")
    if path.is_dir():
        raise IsADirectoryError(f"`path` must be a file, {path} is a folder.")
    if not 0 < number("level", level) < 1:
        raise ValueError(f"`level` must be in (0, 1), got {level}. For 95 % pass `level=0.95`.")
    counts = None if images is None else images.image_counts()
    space = _space(labels, counts)
    confusion = _checked(confusion, space)
    if counts is not None:
        _check_same_pixels(counts, confusion)
    result = _Result(confusion, space, counts, level)
    distribution = None if counts is None else _Distribution.of(counts, level)
    histogram = None if distribution is None else distribution.histogram_data()
    content = {
        "title": title,
        "tiles": result.tiles(scores or {}),
        "result": result,
        "classes": result.classes(),
        "categories": result.categories(),
        "regions": result.regions(),
        "sections": sections,
        "confusions": result.confusions(),
        "distribution": distribution,
        "examples": [_shown(example, space) for example in examples],
        "how": {**(how or {}), **_versions()},
        "left_out": [(str(file), str(reason)) for file, reason in left_out],
        "warnings": [str(warning) for warning in warnings],
        "data": {"matrix": result.matrix_data(), "histogram": histogram},
    }
    # file names that are no Unicode have characters which UTF-8 has not
    replace_file(path, _rendered(content).encode("utf-8", "replace"))
    return path


# --- Checks of the arguments ----------------------------------------------------------------------


def _space(labels: LabelSpace | int, counts: ImageCounts | None) -> LabelSpace:
    """The classes; where there is but their number, under the names of the images' counts."""
    if not isinstance(labels, LabelSpace):
        classes = integer("labels", labels, "a LabelSpace or the number of classes")
        if classes < 1:
            raise ValueError(f"`labels` must be at least one class, got {classes}.")
        named = counts is not None and len(counts.names) == classes
        names = counts.names if named and counts else tuple(map(str, range(classes)))
        labels = LabelSpace(names)
    if counts is not None and counts.tp.shape[1] != labels.num_classes:
        raise ValueError(
            f"`images` must count the {labels.num_classes} classes of `labels`, got "
            f"{counts.tp.shape[1]}. `include_background=False` leaves one out: count it, too."
        )
    return labels


def _checked(confusion: Tensor, space: LabelSpace) -> Tensor:
    """The counts ``(C, C + 1)`` in int64 on the CPU."""
    if not isinstance(confusion, Tensor):
        raise TypeError(f"`confusion` must be a tensor, got {type(confusion).__name__}.")
    if confusion.is_floating_point() or confusion.is_complex() or confusion.dtype == torch.bool:
        raise TypeError(
            f"`confusion` must hold counts in an integer type, got {confusion.dtype}. Pass what "
            "`ConfusionMatrix` without `normalize` computes."
        )
    classes = space.num_classes
    if confusion.shape not in ((classes, classes), (classes, classes + 1)):
        raise ValueError(
            f"`confusion` must be (C, C) or (C, C + 1) for the {classes} classes of `labels`, got "
            f"{tuple(confusion.shape)}."
        )
    confusion = confusion.detach().cpu().long()
    if (confusion < 0).any():
        raise ValueError(f"`confusion` must hold counts, got {confusion.min().item()} among them.")
    return torch.nn.functional.pad(confusion, (0, classes + 1 - confusion.shape[1]))


def _check_same_pixels(counts: ImageCounts, confusion: Tensor) -> None:
    s = Statistics.of_matrix(confusion)
    for name, of_images, of_all in (
        ("right", counts.tp, s.tp),
        ("wrongly predicted", counts.fp, s.fp),
        ("missed", counts.fn, s.fn),
    ):
        differs = (of_images.sum(0) != of_all).nonzero().flatten().tolist()
        if differs:
            c = differs[0]
            raise ValueError(
                f"`images` and `confusion` must count the same pixels, but of class {c} "
                f"{of_images[:, c].sum()} and {of_all[c]} pixels are {name}. Were they updated "
                "with the same batches? Did a sampler repeat images?"
            )


# --- Numbers --------------------------------------------------------------------------------------


class Tile(NamedTuple):
    """A score for the head of the page; nan bounds where it has no interval."""

    name: str
    value: float
    low: float = nan
    high: float = nan


class ClassRow(NamedTuple):
    """A class in the table; ``taken_for`` is what most of its missed pixels were taken for."""

    name: str
    color: str
    category: str
    iou: float
    dice: float
    precision: float
    recall: float
    pixels: int
    share: float
    taken_for: Confused | None


class SetRow(NamedTuple):
    """A category or a region: a set of classes, scored as if it were one class."""

    name: str
    members: tuple[str, ...]
    iou: float
    dice: float
    pixels: int
    share: float


class Confused(NamedTuple):
    """Pixels of a class that were taken for another one, and their share of all that it has."""

    target: str
    prediction: str
    pixels: int
    share: float
    share_of_errors: float


@dataclass(frozen=True, eq=False)
class _Result:
    """Counts ``(C, C + 1)`` of a data set, and what the page says of them."""

    confusion: Tensor
    space: LabelSpace
    images: ImageCounts | None
    level: float

    @property
    def ignored(self) -> tuple[int, ...]:
        """Classes that are left out of averages and have no scores of their own."""
        values = self.space.ignore_index if self.space.id_to_class is None else ()
        of_images = () if self.images is None else self.images.ignored
        return tuple(c for c in range(len(self.confusion)) if c in values or c in of_images)

    @property
    def zero_division(self) -> float:
        """Score of a class that is nowhere."""
        return nan if self.images is None else self.images.zero_division

    @property
    def pixels(self) -> int:
        return int(self.confusion.sum())

    @property
    def abstained(self) -> int:
        return int(self.confusion[:, -1].sum())

    @property
    def columns(self) -> list[str]:
        """What the columns stand for."""
        return [*self.space.names, *([ABSTAINED] if self.abstained else [])]

    def tiles(self, more: Mapping[str, float]) -> list[Tile]:
        """The scores over the data set, with intervals where there are counts of images."""
        groups = list(self.space.categories(left_out=self.ignored).values())
        zero_division = self.zero_division
        if self.ignored == (0,) and len(self.confusion) == 2:
            found = formulas.of_foreground(self.confusion, zero_division)
        else:
            found = formulas.usual(
                self.confusion, ignored=self.ignored, groups=groups, zero_division=zero_division
            )
        tiles = [self._tile(key, value) for key, value in found.items()]
        return tiles + [Tile(str(name), number("scores", value)) for name, value in more.items()]

    def _tile(self, key: str, value: float) -> Tile:
        title, counts, key_of_images = (
            formulas.TITLES.get(key, key),
            self.images,
            KEYS_OF_IMAGES.get(key),
        )
        if counts is not None and key == "pixel_accuracy":
            # all classes pooled into one, whose accuracy is that of the pixels
            tp, fp, fn = (part.sum(1, keepdim=True) for part in (counts.tp, counts.fp, counts.fn))
            counts, key_of_images = ImageCounts(tp, fp, fn, ids=counts.ids), "mAcc_D"
        if counts is None or len(counts) < 2 or key_of_images is None:
            return Tile(title, value)
        interval = confidence_interval(counts, key_of_images, level=self.level)
        return Tile(title, value, interval.low, interval.high)

    def classes(self) -> list[ClassRow]:
        """The classes that are scored, the best first, those without a score last."""
        s = Statistics.of_matrix(self.confusion)
        iou, dice, precision, recall = (
            formula(s, self.zero_division).tolist()
            for formula in (formulas.iou, formulas.dice, formulas.precision, formulas.recall)
        )
        category = {name: group for group, names in self.space.groups.items() for name in names}
        pixels, most = self.confusion.sum(1).tolist(), self._largest(1)
        rows = [
            ClassRow(
                name=name,
                color=_hex(self.space.colors[c]),
                category=category.get(name, ""),
                iou=iou[c],
                dice=dice[c],
                precision=precision[c],
                recall=recall[c],
                pixels=pixels[c],
                share=_share(pixels[c], self.pixels),
                taken_for=most[c][0] if most[c] else None,
            )
            for c, name in enumerate(self.space.names)
            if c not in self.ignored
        ]
        return sorted(rows, key=lambda row: (isnan(row.iou), -row.iou))

    def categories(self) -> list[SetRow]:
        """The groups of classes: a pixel taken for another class of its group is right."""
        return self._sets(self.space.categories(left_out=self.ignored))

    def regions(self) -> list[SetRow]:
        """The regions: sets of classes that may overlap, each scored as one mask."""
        return self._sets(self.space.classes_of_regions())

    def _sets(self, sets: Mapping[str, Sequence[int]]) -> list[SetRow]:
        if not sets:
            return []
        s = formulas.of_groups(self.confusion, list(sets.values()))
        columns = (
            formulas.iou(s, self.zero_division).tolist(),
            formulas.dice(s, self.zero_division).tolist(),
            (s.tp + s.fn).tolist(),
        )
        return [
            SetRow(
                name,
                tuple(self.space.names[c] for c in classes),
                iou,
                dice,
                pixels,
                _share(pixels, self.pixels),
            )
            for (name, classes), iou, dice, pixels in zip(sets.items(), *columns, strict=True)
        ]

    def confusions(self) -> list[Confused]:
        """The largest confusions of all and of every class, by pixels."""
        found = [pair for pairs in self._largest(None) for pair in pairs]
        found.sort(key=lambda pair: -pair.pixels)
        of_class = {pair for pairs in self._largest(3) for pair in pairs}
        return [pair for i, pair in enumerate(found) if i < LISTED_CONFUSIONS or pair in of_class]

    def _largest(self, number: int | None) -> list[list[Confused]]:
        """Of every class the classes that it was mostly taken for, with at least one pixel."""
        columns = [*self.space.names, ABSTAINED]
        wrong = self.confusion.clone()
        wrong.fill_diagonal_(0)
        totals, all_wrong = self.confusion.sum(1).tolist(), int(wrong.sum())
        largest = []
        for c, row in enumerate(wrong.tolist()):
            order = sorted((p for p, n in enumerate(row) if n), key=lambda p: -row[p])[:number]
            shares = [(row[p], row[p] / totals[c], row[p] / all_wrong) for p in order]
            largest.append(
                [Confused(columns[c], columns[p], *of) for p, of in zip(order, shares, strict=True)]
            )
        return largest

    def matrix_data(self) -> dict[str, Any]:
        """What the heat map is drawn from."""
        return {
            "counts": self.confusion[:, : len(self.columns)].tolist(),
            "totals": self.confusion.sum(1).tolist(),
            "names": self.columns,
            "labels": _axis_labels(self.columns),
        }


@dataclass(frozen=True, eq=False)
class _Distribution:
    """The images' scores: how they are spread, and each of them, the worst first."""

    tiles: list[Tile]
    number: int
    undefined: int
    edges: list[float]
    bins: list[int]
    mean: float
    median: float
    images: list[tuple[str, float, float, str, float]]

    @staticmethod
    def of(counts: ImageCounts, level: float) -> _Distribution:
        values = counts.per_image("IoU")
        defined = values[~values.isnan()].numpy()
        bins, edges = np.histogram(defined, 40 if len(defined) >= 400 else 20, (0, 1))
        tiles = []
        for name, key in (
            ("mIoU of an image, mean", "mIoU_I"),
            ("mean of the worst 5\u202f%", "mIoU_I_5"),
        ):
            if len(counts) > 1:
                interval = confidence_interval(counts, key, level=level)
                tiles.append(Tile(name, interval.estimate, interval.low, interval.high))
        return _Distribution(
            tiles=tiles,
            number=len(counts),
            undefined=len(values) - len(defined),
            edges=[round(edge, 4) for edge in edges.tolist()],
            bins=bins.tolist(),
            mean=defined.mean().item() if len(defined) else nan,
            median=float(np.median(defined)) if len(defined) else nan,
            images=_listed(counts, values),
        )

    def histogram_data(self) -> dict[str, Any]:
        """What the histogram is drawn from."""
        mean = None if isnan(self.mean) else self.mean
        return {"edges": self.edges, "bins": self.bins, "mean": mean}


def _listed(counts: ImageCounts, values: Tensor) -> list[tuple[str, float, float, str, float]]:
    """The worst images with their mIoU, pixel accuracy, worst class and its IoU."""
    order = values.argsort(stable=True)[:LISTED_IMAGES]
    accuracy = formulas.ratio(counts.tp.sum(1), (counts.tp + counts.fn).sum(1))[order].tolist()
    lowest, column = counts.per_class("IoU")[order].nan_to_num(2).min(1)
    return [
        (
            str(counts.labels[i]),
            values[i].item(),
            accuracy[place],
            counts.names[c] if iou <= 1 else "",
            iou if iou <= 1 else nan,
        )
        for place, (i, c, iou) in enumerate(
            zip(order.tolist(), column.tolist(), lowest.tolist(), strict=True)
        )
    ]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else nan


def _axis_labels(names: Sequence[str]) -> list[str]:
    """Names short enough to stand beside the heat map, each different from the others."""
    short = [f"{name[: LABEL - 1]}…" if len(name) > LABEL else name for name in names]
    return [
        f"{i} {label}" if not label.strip() or short.count(label) > 1 else label
        for i, label in enumerate(short)
    ]


def _versions() -> dict[str, str]:
    from segmetrics import __version__

    return {
        "segmetrics": __version__,
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "Written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"),
    }


# --- Pictures -------------------------------------------------------------------------------------


class Panel(NamedTuple):
    """One picture of an example; label maps are enlarged without smoothing."""

    name: str
    uri: str
    labels: bool


@dataclass(frozen=True, eq=False)
class _Shown:
    """An example as the page shows it; the legend has each class with its colour and IoU."""

    name: str
    score: float
    wrong: float
    width: int
    height: int
    panels: list[Panel]
    legend: list[tuple[str, str, float]]


def _shown(example: Example, space: LabelSpace) -> _Shown:
    target, preds = example.target, example.preds
    ignored = (target < 0) | (target >= space.num_classes)
    legend, wrong = _legend(preds, target, ignored, space)

    height, width = target.shape
    scale = min(1, SIDE / max(height, width))
    small = max(1, round(height * scale)), max(1, round(width * scale))
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(small, (height, width), strict=True)
    )
    nearest = np.ix_(rows, columns)
    target, preds, ignored = target[nearest], preds[nearest], ignored[nearest]
    image = None if example.image is None else _resized(example.image, small)

    panels = [] if image is None else [Panel("Image", _uri(image, lossless=False), False)]
    panels += [
        Panel("Target", _uri(colored(target, space), lossless=True), True),
        Panel("Prediction", _uri(colored(preds, space), lossless=True), True),
        Panel(
            "Errors",
            _uri(errors(preds, target, ignored, image), lossless=image is None),
            image is None,
        ),
    ]
    return _Shown(example.name, example.score, wrong, small[1], small[0], panels, legend)


def _legend(
    preds: Labels, target: Labels, ignored: NDArray[np.bool_], space: LabelSpace
) -> tuple[list[tuple[str, str, float]], float]:
    """The classes in target or prediction, the largest first, and the share of wrong pixels."""
    counted = ~ignored
    preds, target = preds[counted], target[counted]
    legend = []
    for c in np.union1d(preds, target).tolist():
        in_preds, in_target = preds == c, target == c
        union = int((in_preds | in_target).sum())
        if 0 <= c < space.num_classes:
            iou = int((in_preds & in_target).sum()) / union
            legend.append((union, space.names[c], _hex(space.colors[c]), iou))
    legend.sort(key=lambda entry: -entry[0])
    shown = [entry[1:] for entry in legend]
    if ignored.any() or (preds < 0).any() or (preds >= space.num_classes).any():
        shown.append(("no class", _hex(GREY), nan))
    return shown, _share(int((preds != target).sum()), target.size)


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _resized(image: Picture, size: tuple[int, int]) -> Picture:
    """The image with a new height and width."""
    from PIL import Image

    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8)


def _uri(picture: Picture, lossless: bool) -> str:
    """The picture within a URI."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", lossless=lossless, quality=80)
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}"


# --- The page -------------------------------------------------------------------------------------


def _rendered(content: Mapping[str, Any]) -> str:
    """The page. Only what the digests name may run in it, and nothing may be asked for."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(
            "a report needs jinja2, pillow and plotly. Install them with "
            "`pip install segmetrics[report]`."
        ) from error
    environment = Environment(
        loader=PackageLoader("segmetrics.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
    )
    environment.filters.update(score=_score, count=_count, percent=_percent, value=_value)
    here = Path(__file__).parent
    scripts = [get_plotlyjs(), (here / "report.js").read_text("utf-8")]
    return environment.get_template("report.html.jinja").render(
        content,
        style=Markup((here / "report.css").read_text("utf-8")),
        scripts=[Markup(script) for script in scripts],
        digests=[b64encode(sha256(script.encode()).digest()).decode() for script in scripts],
    )


def _score(value: float) -> str:
    return "–" if isnan(value) else f"{value:.3f}"


def _count(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def _percent(share: float) -> str:
    if isnan(share):
        return "–"
    return "< 0.1\u202f%" if 0 < share < 0.0005 else f"{100 * share:.1f}\u202f%"


def _value(value: float) -> str:
    """What a column is sorted by; nothing where there is no score."""
    return "" if isnan(value) else f"{value:.6g}"
