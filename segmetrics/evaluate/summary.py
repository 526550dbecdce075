"""Results of ``segmetrics evaluate``: tables, JSON, CSV and a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

import segmetrics
from segmetrics import scores
from segmetrics.counting.sparse import SparseMatrix
from segmetrics.evaluate import circumstances
from segmetrics.evaluate.extras import Row, Section
from segmetrics.evaluate.metadata import GroupOf, Groups, number_drawn
from segmetrics.evaluate.outputs import STANDARD_OUTPUT, table_csv
from segmetrics.evaluate.plausibility import missing_predictions
from segmetrics.evaluate.settings import Evaluation
from segmetrics.evaluate.subgroups import Subgroups
from segmetrics.evaluate.writing import (
    Table,
    bounds,
    counted,
    shown,
    write_json,
    write_markdown,
    write_rows,
)
from segmetrics.scores import TITLES, Formula, Score

if TYPE_CHECKING:
    from segmetrics.statistics import Interval

#: The scores over images that are printed; JSON has them all.
OF_IMAGES = ("mIoU_I", "mIoU_I_5", "mIoU_I_10", "mIoU_C", "mIoU_C_5", "mIoU_C_10")
#: Worst images that are listed.
WORST = 5


@dataclass(frozen=True, eq=False)
class Summary:
    """The scores of an evaluation: over all images, of classes, categories and images.

    Rows have a name and scores; a class that is left out of averages has none.
    """

    result: Evaluation
    scores: Mapping[str, float]
    intervals: Mapping[str, Interval]
    classes: Sequence[Row]
    categories: Sequence[Row]
    regions: Sequence[Row]
    images: Sequence[Row]
    sections: Sequence[Section]
    groups: GroupOf | None = None

    @staticmethod
    def of(
        result: Evaluation,
        *,
        per_image: bool,
        level: float | None,
        by: Subgroups | None = None,
        groups: Groups | None = None,
    ) -> Summary:
        """Score the counts.

        Args:
            result: the counts.
            per_image: score images, too.
            level: that of the intervals; None for none.
            by: what images are split by, for scores of the parts.
            groups: the group of each image, drawn as a whole for intervals; None draws images.

        There are no intervals of fewer than two images or groups.
        """
        bands, zero_division = result.band_statistics, result.settings.zero_division
        found = _over_all(result)
        if bands is not None:
            mean = Score(scores.iou, "macro", zero_division, ignored=result.ignored)
            found["boundary_iou"] = mean.of(bands).item()
        if result.iiou:
            found["iIoU"] = _mean(result.iiou.values())
            found["iIoU_category"] = _mean(result.iiou_category.values())
        rows_of_images: list[Row] = []
        intervals: dict[str, Interval] = {}
        sections: list[Section] = []
        drawn = None if groups is None else groups.of(result.names, result.warnings)
        if (counts := result.images) is not None:
            from segmetrics.evaluate import images  # which needs torch
            from segmetrics.statistics import KEYS_OF_IMAGES

            title = "mIoU" if "mIoU" in found else "iou"
            if by is not None:
                score = KEYS_OF_IMAGES[title]
                of_both = level or 0.95, result.warnings, drawn
                sections = [by.section(by.slices(counts, score, *of_both), title)]
            if per_image:
                found |= images.scores_over(counts)
                rows_of_images = images.rows(result)
            if level is not None and number_drawn(result.names, drawn) > 1:
                intervals = images.intervals(counts, found, OF_IMAGES, level, drawn)
        sections += [
            section
            for extra in result.settings.extras
            for section in extra.sections(result.extras[extra.name], result, level)
        ]
        for section in sections:
            found |= section.scores
            intervals |= section.intervals
        if by is not None:
            of_both = level or 0.95, result.warnings, drawn
            sections += by.sections_of_extras(result, list(found), *of_both)
        rows = _classes(result), _categories(result), _regions(result)
        return Summary(result, found, intervals, *rows, rows_of_images, sections, drawn)

    def by_key(self) -> dict[str, float]:
        """All scores by key: those over all, then ``iou/<class>``, ``iou_region/<region>`` ..."""
        found = dict(self.scores)
        for kind, rows in (
            ("", self.classes), ("_category", self.categories), ("_region", self.regions)
        ):  # fmt: skip
            for row in rows:
                found |= {
                    f"{column}{kind}/{row['name']}": value
                    for column, value in row.items()
                    if column not in ("name", "pixels")
                }
        return found

    @property
    def worst(self) -> list[Row]:
        """The images that have a score, the worst first."""
        scored = (row for row in self.images if not isnan(row["mIoU"]))
        return sorted(scored, key=lambda row: float(row["mIoU"]))

    # --- to read ----------------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """The tables that are printed: of classes, categories, regions, scores, and sections."""
        found = self.scores
        means = {"iou": "mIoU", "dice": "mDice", "accuracy": "mean_accuracy", "iiou": "iIoU"}
        tables = []
        if self.result.settings.task != "binary":  # of which the scores below say all
            foot = {key: found.get(of_all, nan) for key, of_all in means.items()} | {
                "boundary_iou": found.get("boundary_iou", nan),
                "pixels": sum(row["pixels"] for row in self.classes),
                "recall": found.get("mean_accuracy", nan),
                "precision": _mean(row.get("precision", nan) for row in self.classes),
            }
            tables.append(Table.of_rows("class", self.classes, foot))
        if self.categories:
            foot = {
                "iou": found.get("mIoU_category", nan),
                "dice": _mean(row["dice"] for row in self.categories),
                "iiou": found.get("iIoU_category", nan),
            }
            tables.append(Table.of_rows("category", self.categories, foot))
        if self.regions:
            tables.append(Table.of_rows("region", self.regions))
        tables.append(self._scores_table())
        tables += [Table.of_section(s) for s in self.sections if s.terminal and s.shown()]
        if self.images:
            worst = [{"name": row["name"], "mIoU": row["mIoU"]} for row in self.worst[:WORST]]
            tables.append(Table.of_rows("worst images", worst))
        return tables

    def print(self, console: Console) -> None:
        """Print the tables."""
        for table in self.tables():
            table.print(console)
        for note in self.notes:
            console.print(escape(note))
        circumstances.print_left_out(console, self.result.left_out)
        console.print(self.how_fast())
        console.file.flush()

    @property
    def notes(self) -> list[str]:
        """The notes of all sections."""
        return list(dict.fromkeys(note for section in self.sections for note in section.notes))

    def _scores_table(self) -> Table:
        rows, of_sections = [], self.titles_of_sections()
        for key, value in self.scores.items():
            if key in OF_IMAGES or key in KEYS_OVER_ALL or key in of_sections:
                cells = [of_sections.get(key, TITLES.get(key, key)), shown(value)]
                if self.intervals:
                    interval = self.intervals.get(key)
                    cells.append(bounds(interval.low, interval.high) if interval else "")
                rows.append(cells)
        columns = [""]
        if self.intervals:
            columns.append(f"{100 * next(iter(self.intervals.values())).level:g} %")
        return Table("score", columns, rows)

    def titles_of_sections(self) -> dict[str, str]:
        """The scores of sections, with their titles."""
        return {key: s.title_of(key) for s in self.sections for key in s.scores}

    def how_fast(self) -> str:
        """The amount of data, and the time it took."""
        result = self.result
        shared = f", {counted(result.processes, 'process')}" if result.processes > 1 else ""
        return (
            f"{counted(len(result.scored), 'pair')}, {result.pixels:,} pixels counted in "
            f"{result.seconds:.1f} s ({len(result.scored) / result.seconds:.0f} pairs/s, "
            f"{counted(result.workers, 'worker')}{shared})"
        )

    def write_markdown(self, path: Path, below: str | None) -> None:
        """Write a summary for the job page of a build server.

        Args:
            path: the file; ``-`` is standard output.
            below: a sentence on scores that are too low.
        """
        write_markdown(
            path,
            "Segmentation scores",
            self.tables(),
            warnings=[*([below] if below else []), *self.result.warnings],
            left_out=self.result.left_out,
            notes=[*self.notes, self.how_fast()],
        )

    # --- to work on -------------------------------------------------------------------------------

    def write_json(self, path: Path, arguments: Mapping[str, object]) -> None:
        """Write everything; ``-`` is standard output, and null an undefined score.

        Args:
            path: the file.
            arguments: the options of the command.
        """
        result = self.result
        content = {
            "segmetrics": segmetrics.__version__,
            "arguments": arguments,
            "pairs": len(result.scored),
            "pixels": result.pixels,
            "scores": self.scores,
            "intervals": {
                name: {
                    "low": i.low,
                    "high": i.high,
                    "level": i.level,
                    "method": i.method,
                    "groups": i.groups,
                }
                for name, i in self.intervals.items()
            },
            "classes": self.classes,
            "categories": self.categories,
            "regions": self.regions,
            **_confusion(result.confusion),
            "images": self.images,
            **{section.key: section.rows for section in self.sections},
            "notes": [note for section in self.sections for note in section.notes],
            "left_out": list(map(circumstances.of_json, result.left_out)),
            "missing_predictions": missing_predictions(list(result.scored.values())),
            "warnings": list(result.warnings),
            "seconds": result.seconds,
            "workers": result.workers,
            "processes": result.processes,
        }
        write_json(path, content)

    def write_csv(self, path: Path) -> None:
        """Write one row per class; categories, regions, images and sections have their own tables.

        ``-`` is standard output. An undefined score is an empty cell. A name that a spreadsheet
        would take for a formula gets a ``'`` in front.
        """
        write_rows(path, self.classes, "class")
        others = [
            ("categories", "category", self.categories),
            ("regions", "region", self.regions),
            ("images", "image", self.images),
            *((section.key, None, section.rows) for section in self.sections),
        ]
        for table, head, rows in others:
            if rows and path != STANDARD_OUTPUT:
                write_rows(table_csv(path, table), rows, head)

    def write_html(
        self, path: Path, folder: Path | None, arguments: Mapping[str, object], level: float
    ) -> None:
        """Write the report.

        Args:
            path: the file.
            folder: where the images behind the masks are.
            arguments: the options of the command.
            level: that of the intervals.
        """
        from segmetrics.evaluate import summary_report

        if self.result.settings.task == "multilabel":
            summary_report.write_of_masks(self, path, arguments, level)
        else:
            summary_report.write(self, path, folder, arguments, level)


KEYS_OVER_ALL = (
    *scores.USUAL, *scores.OF_FOREGROUND, "mIoU_category", "boundary_iou", "iIoU", "iIoU_category",
)  # fmt: skip


# --- Rows -----------------------------------------------------------------------------------------


def _over_all(result: Evaluation) -> dict[str, float]:
    """The usual scores of the data set."""
    settings = result.settings
    if settings.task == "binary":
        return scores.of_foreground(result.confusion, settings.zero_division)
    if settings.task == "multilabel":
        return scores.of_classes(result.statistics, settings.zero_division)
    groups = list(result.categories.values())
    return scores.usual(
        result.confusion,
        ignored=result.ignored,
        groups=groups,
        zero_division=settings.zero_division,
    )


def _classes(result: Evaluation) -> list[Row]:
    s, bands, settings = result.statistics, result.band_statistics, result.settings
    names, multiclass = settings.space.names, settings.task == "multiclass"
    formulas: dict[str, Formula] = {"iou": scores.iou, "dice": scores.dice}
    formulas |= {"accuracy": scores.recall} if multiclass else scores.OF_FOREGROUND
    columns: dict[str, list[Any]] = {"name": list(names), "pixels": (s.tp + s.fn).tolist()}
    for key, formula in formulas.items():
        columns[key] = formula(s, settings.zero_division).tolist()
    if bands is not None:
        columns["boundary_iou"] = scores.iou(bands, settings.zero_division).tolist()
    if result.iiou:
        columns["iiou"] = [result.iiou.get(name, nan) for name in names]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [row for c, row in enumerate(rows) if c not in result.ignored]


def _categories(result: Evaluation) -> list[Row]:
    """Categories: a pixel predicted as another class of its category is right."""
    rows = _sets(result, result.categories)
    if result.iiou_category:
        for row in rows:
            row["iiou"] = result.iiou_category.get(row["name"], nan)
    return rows


def _regions(result: Evaluation) -> list[Row]:
    """Sets of classes that may overlap, each scored as one mask."""
    if result.settings.task != "multiclass":
        return []
    return _sets(result, result.settings.space.classes_of_regions())


def _sets(result: Evaluation, sets: Mapping[str, Sequence[int]]) -> list[Row]:
    if not sets:
        return []
    s = scores.of_groups(result.confusion, list(sets.values()))
    zero_division = result.settings.zero_division
    columns = (
        (s.tp + s.fn).tolist(),
        scores.iou(s, zero_division).tolist(),
        scores.dice(s, zero_division).tolist(),
    )
    return [
        {"name": name, "pixels": pixels, "iou": iou, "dice": dice}
        for name, pixels, iou, dice in zip(sets, *columns, strict=True)
    ]


def _mean(values: Iterable[float]) -> float:
    """The mean of those that are defined."""
    defined = [value for value in values if not isnan(value)]
    return fsum(defined) / len(defined) if defined else nan


def _confusion(found: NDArray[np.int64] | SparseMatrix) -> dict[str, object]:
    """The confusion matrix for JSON; of many classes the cells that are not zero.

    These are ``{"shape": [C, C], "target": [...], "prediction": [...], "pixels": [...]}``, by
    target, then prediction.
    """
    if not isinstance(found, SparseMatrix):
        return {"confusion": found[..., :-1].tolist(), "abstained": found[..., -1].tolist()}
    classes = found.shape[0]
    inside = found.columns < classes
    abstained = found[np.arange(classes), np.full(classes, classes)]
    confusion = {
        "shape": [classes, classes],
        "target": found.rows[inside].tolist(),
        "prediction": found.columns[inside].tolist(),
        "pixels": found.counts[inside].tolist(),
    }
    return {"confusion": confusion, "abstained": abstained.tolist()}
