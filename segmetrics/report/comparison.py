"""Comparisons of models as one HTML page: ranking, pairs, classes, groups, images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from typing import NamedTuple

from segmetrics._files import replace_file
from segmetrics.labels import LabelSpace
from segmetrics.report.page import checked_path, rendered, versions
from segmetrics.report.pictures import Example, Panel, shown
from segmetrics.statistics import (
    ClassDifferences,
    ClassOfModel,
    Conventions,
    ModelPair,
    Ranking,
    ScoreDifferences,
    ScoreOfModel,
    Slices,
)
from segmetrics.statistics.intervals import printed

LISTED_IMAGES = 10_000
#: Pictures in a row, at most.
COLUMNS = 5


class Cell(NamedTuple):
    """A pair in the map: the score of the row minus that of the column."""

    difference: float
    kind: str
    p: float


class Compared(NamedTuple):
    """An image with the predictions of all models, in rows of pictures."""

    name: str
    width: int
    height: int
    columns: int
    rows: list[list[Panel]]


def write_comparison(
    path: str | os.PathLike[str],
    ranking: Ranking,
    classes: ClassDifferences | None = None,
    *,
    title: str | None = None,
    scores: ScoreDifferences | None = None,
    images: Mapping[str, Mapping[str, float]] | None = None,
    groups: Mapping[str, Slices] | None = None,
    conventions: Conventions | None = None,
    examples: Sequence[Mapping[str, Example]] = (),
    labels: LabelSpace | None = None,
    how: Mapping[str, str] | None = None,
    left_out: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
) -> Path:
    """Write a comparison of models: one self-contained HTML file.

    Args:
        path: the file, in a folder that exists. An existing file is replaced atomically.
        ranking: the models, by ``statistics.ranking``.
        classes: the same models by class, by ``statistics.class_differences``; None for scores that
            are not of the pixels of classes.
        title: the title of the page.
        scores: further scores of the same models, by ``statistics.score_differences``.
        images: the score of every model by image.
        groups: the scores of subgroups by model, by ``statistics.slices``.
        conventions: the scores under every convention, by ``statistics.conventions``.
        examples: images to show, each with the prediction of every model.
        labels: the classes of the examples, with their colours.
        how: how it was counted: heading → text.
        left_out: files that were not scored, each with the reason.
        warnings: sentences for the top of the page.

    Returns:
        The path.

    Raises:
        FileNotFoundError: the folder does not exist.
        ImportError: jinja2, pillow or plotly is missing.
        ValueError: results of other models, or examples without ``labels``.

    Example:
        >>> import tempfile, torch
        >>> from segmetrics import report
        >>> from segmetrics.statistics import ImageCounts, class_differences, ranking
        >>> tp = torch.tensor([[90, 20], [80, 30], [70, 10]])
        >>> models = {"old": ImageCounts(tp, 0 * tp, 100 - tp),
        ...           "new": ImageCounts(tp + 5, 0 * tp, 95 - tp)}
        >>> path = f"{tempfile.mkdtemp()}/models.html"
        >>> report.write_comparison(path, ranking(models), class_differences(models, "old")).name
        'models.html'
    """
    path = checked_path(path)
    names = [model.name for model in ranking.models]
    for argument, others in (
        ("classes", None if classes is None else {row.model for row in classes.rows}),
        ("scores", None if scores is None else {row.model for row in scores.rows}),
        ("groups", None if groups is None else set(groups)),
        ("conventions", None if conventions is None else set(conventions.models)),
    ):
        if others is not None and others != set(names):
            raise ValueError(
                f"`{argument}` must be of the models of `ranking`, {', '.join(names)}, got "
                f"{', '.join(sorted(others))}."
            )
    if examples and labels is None:
        raise ValueError("`examples` need `labels`, the classes and their colours.")
    of_class: dict[str, dict[str, ClassOfModel]] = {}
    for row in () if classes is None else classes.rows:
        of_class.setdefault(row.name, {})[row.model] = row
    of_score: dict[str, dict[str, ScoreOfModel]] = {}
    for one in () if scores is None else scores.rows:
        of_score.setdefault(one.score, {})[one.model] = one
    mean = None if classes is None else f"m{classes.score}"
    content = {
        "title": title or f"{len(names)} models by {printed(ranking.score)}",
        "score": printed(ranking.score),
        "image_score": mean if mean and ranking.score.startswith(mean) else printed(ranking.score),
        "level": f"{100 * ranking.level:g}\u202f%",
        "names": names,
        "shares": all(model.low >= 0 and model.high <= 1 for model in ranking.models),
        "ranking": ranking,
        "significance": _significance(names, ranking.pairs),
        "classes": classes,
        "of_class": of_class,
        "of_score": of_score,
        "reference": None if scores is None else scores.reference,
        "groups": groups or {},
        "by": "" if not groups else " and ".join(next(iter(groups.values())).by),
        "images": _images(images or {}, names),
        "conventions": conventions,
        "examples": [_compared(example, labels) for example in examples if labels is not None],
        "how": {**(how or {}), **versions()},
        "left_out": [(str(file), str(reason)) for file, reason in left_out],
        "warnings": [str(warning) for warning in warnings],
    }
    page = rendered("comparison.html.jinja", content, charts=False)
    # file names that are not valid Unicode hold surrogates, which UTF-8 cannot encode
    replace_file(path, page.encode("utf-8", "replace"))
    return path


def _significance(names: Sequence[str], pairs: Sequence[ModelPair]) -> dict[str, list[Cell | None]]:
    """The map: one row and one column per model, with None on the diagonal."""
    cells = {}
    for pair in pairs:
        kinds = ("better", "worse") if pair.significant else ("", "")
        cells[pair.a, pair.b] = Cell(pair.difference, kinds[0], pair.p_holm)
        cells[pair.b, pair.a] = Cell(-pair.difference, kinds[1], pair.p_holm)
    return {row: [cells.get((row, column)) for column in names] for row in names}


def _images(
    images: Mapping[str, Mapping[str, float]], names: Sequence[str]
) -> list[tuple[str, float, list[float]]]:
    """Images with the range of their scores and the scores, the widest range first."""
    rows = []
    for image, scores in images.items():
        values = [scores[name] for name in names]
        extent = nan if any(map(isnan, values)) else max(values) - min(values)
        rows.append((image, extent, values))
    rows.sort(key=lambda row: (isnan(row[1]), -row[1]))
    return rows[:LISTED_IMAGES]


def _compared(example: Mapping[str, Example], labels: LabelSpace) -> Compared:
    """The image and its target in the first row, then the predictions, then their errors."""
    drawn = {name: shown(of_model, labels) for name, of_model in example.items()}
    first = next(iter(drawn.values()))
    # an example ends with its prediction and its errors
    predictions = [
        its.panels[-2]._replace(name=f"{name} {its.score:.3f}") for name, its in drawn.items()
    ]
    wrong = [
        its.panels[-1]._replace(name=f"{name}, {100 * its.wrong:.1f}\u202f% wrong")
        for name, its in drawn.items()
    ]
    columns = min(COLUMNS, max(2, len(drawn)))
    rows = [first.panels[:-2], predictions, wrong]
    return Compared(first.name, first.width, first.height, columns, rows)
