"""The reports of ``segmetrics evaluate --html``: of label maps, and of masks of one class each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from segmetrics import report, scores
from segmetrics.counting.sparse import SparseMatrix
from segmetrics.evaluate import circumstances, examples, images
from segmetrics.evaluate.extras import Row
from segmetrics.evaluate.mask_pictures import worst_masks
from segmetrics.evaluate.metadata import number_drawn
from segmetrics.evaluate.summary import KEYS_OVER_ALL, Summary
from segmetrics.evaluate.writing import counted, shown
from segmetrics.files import valid
from segmetrics.scores import TITLES


def write(
    summary: Summary,
    path: Path,
    folder: Path | None,
    arguments: Mapping[str, object],
    level: float,
) -> None:
    """Write the report of label maps; see ``Summary.write_html``."""
    result, confusion = summary.result, summary.result.confusion
    names = [row["case"] for s in summary.sections if s.key == "worst_cases" for row in s.rows]
    found = list(examples.worst(result, folder, names))  # may add warnings
    own = {*scores.USUAL, "mIoU_category"}
    more = {
        TITLES.get(key, key): value
        for key, value in summary.scores.items()
        if key in KEYS_OVER_ALL and key not in own
    }
    more |= {title: summary.scores[key] for key, title in summary.titles_of_sections().items()}
    report.write(
        path,
        torch.from_numpy(confusion.dense() if isinstance(confusion, SparseMatrix) else confusion),
        result.settings.space,
        images=result.images,
        level=level,
        groups=summary.groups,
        examples=found,
        scores=more,
        sections=_sections(summary),
        **_circumstances(summary, arguments),
    )


def write_of_masks(
    summary: Summary, path: Path, arguments: Mapping[str, object], level: float
) -> None:
    """Write the report of masks of one class each, which have no confusion matrix."""
    result, counts = summary.result, summary.result.images
    assert counts is not None
    of_images = examples.worst_first(result)
    figures = worst_masks(result, list(of_images)[: examples.EXAMPLES])  # may add warnings
    intervals = summary.intervals
    if not intervals and number_drawn(result.names, summary.groups) > 1:
        intervals = images.intervals(counts, summary.scores, (), level, summary.groups)
    titles = {**TITLES, **summary.titles_of_sections()}
    report.write_sections(
        path,
        [
            report.Section("Classes", _titled(summary.classes, "class")),
            *_sections(summary),
            report.Section(
                "Images",
                [{"image": valid(name), "mIoU": score} for name, score in of_images.items()],
                ["The worst image first, and its masks with the most wrong pixels."],
                figures,
            ),
        ],
        title="Segmentation scores",
        summary=[
            counted(len(summary.classes), "class"),
            counted(len(result.scored), "image"),
            f"{result.pixels:,} pixels counted",
        ],
        scores={titles.get(key, key): value for key, value in summary.scores.items()},
        intervals={titles.get(key, key): interval for key, interval in intervals.items()},
        **_circumstances(summary, arguments),
    )


def _circumstances(summary: Summary, arguments: Mapping[str, object]) -> dict[str, Any]:
    result = summary.result
    return circumstances.of_report(arguments, result.left_out, result.warnings, summary.how_fast())


def _sections(summary: Summary) -> list[report.Section]:
    return [
        report.Section(
            section.title[:1].upper() + section.title[1:],
            [
                {section.title_of(key): _cell(value) for key, value in row.items()}
                for row in section.shown()
            ],
            section.notes,
            section.figures,
        )
        for section in summary.sections
        if section.shown()
    ]


def _titled(rows: Sequence[Row], head: str) -> list[dict[str, Any]]:
    """Rows under the titles of their columns; the name stands under ``head``."""
    titles = {"name": head, **TITLES}
    return [{titles.get(key, key): _cell(value) for key, value in row.items()} for row in rows]


def _cell(value: Any) -> Any:
    return valid(shown(value)) if isinstance(value, str | bool) else value
