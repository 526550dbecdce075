"""Results as one HTML page: scores, classes, confusions, images. It makes no network requests.

All content is computed here and is in the HTML; ``page.js`` sorts and filters, ``charts.js`` draws.
The page works from disk, on a phone and in print.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from segmetrics._arguments import integer, number
from segmetrics._files import replace_file
from segmetrics.labels import LabelSpace
from segmetrics.report.comparison import write_comparison
from segmetrics.report.numbers import Distribution, Result, Tile
from segmetrics.report.page import checked_path, rendered, versions
from segmetrics.report.pictures import Example, shown
from segmetrics.scores import Statistics
from segmetrics.statistics import Groups, HasImageCounts, ImageCounts, Interval

__all__ = ["Example", "Section", "write", "write_comparison", "write_sections"]


class Section(NamedTuple):
    """A table of other results on the page.

    Args:
        title: the heading.
        rows: one mapping per row, all with the same columns, of which the first names the row.
            Values are strings, integers, and floats for scores.
        notes: sentences under the table.
        figures: HTML after the table, inserted as it is.
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
    groups: Groups | None = None,
    examples: Sequence[Example] = (),
    scores: Mapping[str, float] | None = None,
    how: Mapping[str, str] | None = None,
    left_out: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
    sections: Sequence[Section] = (),
) -> Path:
    """Write a report: one self-contained HTML file that makes no network requests.

    Args:
        path: the file, in a folder that exists. An existing file is replaced atomically.
        confusion: counts ``(C, C)``, rows the target, columns the prediction, or ``(C, C + 1)``
            with abstentions in the last column; an integer type.
        labels: the classes, or their number C.
        title: the title of the page.
        images: an ``ImageScores`` or its ``image_counts()``, for the intervals and the distribution
            over images. It must have counted the same pixels.
        level: the coverage that the intervals aim at, in (0, 1).
        groups: the patient or video sequence of each image, resampled as a whole for intervals: a
            mapping from image id to group; ``None`` resamples images.
        examples: images to show, such as the worst, in this order.
        scores: more scores for the top of the page, by name.
        how: how it was counted: heading → text. The versions of segmetrics, torch and Python and
            the date are added.
        left_out: files that were not scored, each with the reason.
        warnings: sentences for the top of the page.
        sections: tables of other results, after the classes.

    Returns:
        The path.

    Raises:
        FileNotFoundError: the folder does not exist.
        ImportError: jinja2, pillow or plotly is missing.
        TypeError, ValueError: counts, classes, images and examples that do not match.

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
    path = checked_path(path)
    if not 0 < number("level", level) < 1:
        raise ValueError(f"`level` must be in (0, 1), got {level}. For 95 % pass `level=0.95`.")
    counts = None if images is None else images.image_counts()
    space = _space(labels, counts)
    confusion = _checked(confusion, space)
    if counts is not None:
        _check_same_pixels(counts, confusion)
    result = Result(confusion, space, counts, level, groups)
    distribution = None if counts is None else Distribution.of(counts, level, groups)
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
        "examples": [shown(example, space) for example in examples],
        "how": {**(how or {}), **versions()},
        "left_out": [(str(file), str(reason)) for file, reason in left_out],
        "warnings": [str(warning) for warning in warnings],
        "data": {"matrix": result.matrix_data(), "histogram": histogram},
    }
    # file names that are not valid Unicode hold surrogates, which UTF-8 cannot encode
    replace_file(
        path, rendered("report.html.jinja", content, charts=True).encode("utf-8", "replace")
    )
    return path


def write_sections(
    path: str | os.PathLike[str],
    sections: Sequence[Section],
    *,
    title: str,
    summary: Sequence[str] = (),
    scores: Mapping[str, float] | None = None,
    intervals: Mapping[str, Interval] | None = None,
    how: Mapping[str, str] | None = None,
    left_out: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
) -> Path:
    """Write a report of results that have no confusion matrix: scores and tables, one HTML file.

    Args:
        path: the file, in a folder that exists. An existing file is replaced atomically.
        sections: the tables, in this order.
        title: the title of the page.
        summary: what was scored, as a few short phrases.
        scores: the scores for the top of the page, by name, the main one first.
        intervals: the intervals of scores, by name, all of one level.
        how: how it was counted: heading → text. The versions of segmetrics, torch and Python and
            the date are added.
        left_out: files that were not scored, each with the reason.
        warnings: sentences for the top of the page.

    Returns:
        The path.

    Raises:
        FileNotFoundError: the folder does not exist.
        ImportError: jinja2, pillow or plotly is missing.

    Example:
        >>> import tempfile
        >>> from segmetrics import report
        >>> rows = [{"class": "car", "PQ": 0.71, "TP": 12}, {"class": "road", "PQ": 0.98, "TP": 3}]
        >>> path = f"{tempfile.mkdtemp()}/panoptic.html"
        >>> report.write_sections(path, [report.Section("Classes", rows)], title="Night").name
        'panoptic.html'
    """
    path = checked_path(path)
    of_scores = intervals or {}
    content = {
        "title": title,
        "summary": summary,
        "tiles": [
            Tile(name, value, of_scores[name].low, of_scores[name].high)
            if name in of_scores
            else Tile(name, value)
            for name, value in (scores or {}).items()
        ],
        "level": next((interval.level for interval in of_scores.values()), None),
        "sections": sections,
        "how": {**(how or {}), **versions()},
        "left_out": [(str(file), str(reason)) for file, reason in left_out],
        "warnings": [str(warning) for warning in warnings],
    }
    page = rendered("sections.html.jinja", content, charts=False)
    # file names that are not valid Unicode hold surrogates, which UTF-8 cannot encode
    replace_file(path, page.encode("utf-8", "replace"))
    return path


# --- Checks of the arguments ----------------------------------------------------------------------


def _space(labels: LabelSpace | int, counts: ImageCounts | None) -> LabelSpace:
    """The classes; if only their number is given, with the names of the images' counts."""
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
