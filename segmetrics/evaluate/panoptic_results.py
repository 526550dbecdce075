"""Panoptic quality as tables on a screen and in Markdown, JSON and CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

import segmetrics
from segmetrics.evaluate import circumstances
from segmetrics.evaluate.extras import Row, Section
from segmetrics.evaluate.metadata import GroupOf, Groups, number_drawn
from segmetrics.evaluate.outputs import STANDARD_OUTPUT, table_csv
from segmetrics.evaluate.subgroups import Subgroups
from segmetrics.evaluate.warnings import Warnings
from segmetrics.evaluate.writing import (
    Table,
    bounds,
    counted,
    write_json,
    write_markdown,
    write_rows,
)
from segmetrics.files import Problem, valid
from segmetrics.objects.panoptic import KINDS, panoptic_scores, quality

if TYPE_CHECKING:
    from segmetrics.statistics import Interval, PanopticCounts

#: The worst images that are printed, and those that a report lists.
WORST, LISTED = 5, 10_000
#: What columns are called.
TITLES = {"pq": "PQ", "sq": "SQ", "rq": "RQ", "tp": "TP", "fp": "FP", "fn": "FN"}
GROUPS = {"all": "", "things": "_things", "stuff": "_stuff"}


@dataclass(frozen=True, eq=False)
class Results:
    """The results of a run.

    Args:
        counts: of the segments of every image ``(N, C, 4)``, see ``objects.panoptic``.
        images: their names.
        categories: names of the categories; things first.
        things: how many of them are things.
        boundary: whether segments matched by their bands, too.
        left_out: what could not be scored.
        level: that of confidence intervals; None for none.
        per_image: whether the images are listed.
        arguments: the options of the command.
        warnings: what looks wrong.
        by: what images are split by.
        groups: the group of each image, drawn as a whole; None draws images.
    """

    counts: NDArray[np.int64]
    images: Sequence[str]
    categories: Sequence[str]
    things: int
    boundary: bool
    left_out: Sequence[Problem]
    level: float | None
    per_image: bool
    arguments: Mapping[str, object]
    warnings: Warnings = field(default_factory=Warnings)
    by: Subgroups | None = None
    groups: Groups | None = None

    @cached_property
    def table(self) -> PanopticCounts:
        """The counts as statistics take them; loads torch."""
        import torch

        from segmetrics.statistics import PanopticCounts

        return PanopticCounts(
            torch.from_numpy(self.counts),
            tuple(self.categories),
            self.things,
            tuple(self.images),
            (("boundary", self.boundary),),
        )

    @cached_property
    def scores(self) -> dict[str, float]:
        """The scores over all images, by key."""
        found = panoptic_scores(self.counts.sum(0), self.categories, self.things)
        of_groups = self.of_groups.scores if self.of_groups else {}
        return {key: float(value) for key, value in found.items()} | {**of_groups}

    @cached_property
    def drawn(self) -> GroupOf | None:
        """The group of every image."""
        return None if self.groups is None else self.groups.of(self.images, self.warnings)

    @cached_property
    def of_groups(self) -> Section | None:
        """The PQ of subgroups."""
        if self.by is None:
            return None
        settings = "PQ", self.level or 0.95, self.warnings, self.drawn
        return self.by.section(self.by.slices(self.table, *settings), "PQ")

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The intervals of the means, by key."""
        return {} if self.level is None else self._intervals(self.level)

    def _intervals(self, level: float) -> dict[str, Interval]:
        if number_drawn(self.images, self.drawn) < 2:
            return {}
        from segmetrics.statistics import confidence_interval

        keys = [key for key in self.scores if "/" not in key]
        return {
            key: confidence_interval(self.table, key, level=level, groups=self.drawn)
            for key in keys
        }

    @cached_property
    def of_classes(self) -> list[Row]:
        """One row per category."""
        total = self.counts.sum(0)
        qualities = [values.tolist() for values in quality(total)]
        columns = {
            "name": self.categories,
            "isthing": [c < self.things for c in range(len(self.categories))],
            **dict(zip(map(str.lower, KINDS), qualities, strict=True)),
            **{name: total[:, i].tolist() for i, name in enumerate(("tp", "fp", "fn"))},
        }
        return _rows(columns)

    @cached_property
    def of_images(self) -> list[Row]:
        """One row per image, the worst first."""
        scores = panoptic_scores(self.counts, self.categories, self.things)
        segments = self.counts.sum(1)
        columns = {
            "name": self.images,
            **{key: values.tolist() for key, values in scores.items() if "/" not in key},
            **{name: segments[:, i].tolist() for i, name in enumerate(("tp", "fp", "fn"))},
        }
        return sorted(_rows(columns), key=lambda row: (row["PQ"] != row["PQ"], row["PQ"]))

    def tables(self) -> list[Table]:
        """The tables that are printed: of categories, of means, and of the worst images."""

        def named(rows: Sequence[Row]) -> list[Row]:
            return [{TITLES.get(k, k): x for k, x in row.items() if k != "isthing"} for row in rows]

        tables = [
            Table.of_rows("class", named(self.of_classes)),
            Table.of_rows("categories", self._means()),
        ]
        if self.of_groups is not None:
            tables.append(Table.of_section(self.of_groups))
        if self.per_image:
            shown = ("name", *KINDS, "tp", "fp", "fn")
            worst = [{key: row[key] for key in shown} for row in self.of_images[:WORST]]
            tables.append(Table.of_rows("worst images", named(worst)))
        return tables

    def _means(self) -> list[Row]:
        """The means over all categories, things and stuff, with their intervals."""
        rows = []
        for group, end in GROUPS.items():
            if f"PQ{end}" not in self.scores:
                continue
            row: Row = {"name": group}
            for kind in KINDS:
                key = f"{kind}{end}"
                row[kind] = self.scores[key]
                if key in self.intervals:
                    interval = self.intervals[key]
                    row[f"{100 * interval.level:g} % of {kind}"] = bounds(
                        interval.low, interval.high
                    )
            rows.append(row)
        return rows

    def notes(self) -> list[str]:
        """The numbers of images that were scored and left out."""
        kind = "boundary panoptic quality" if self.boundary else "panoptic quality"
        notes = [f"{counted(len(self.counts), 'image')}, {kind}"]
        if self.level is not None and len(self.counts) < 2:
            notes.append("No intervals: there is one image, and images are resampled.")
        if self.groups is not None and self.drawn is not None:
            number, by = len(set(self.drawn.values())), self.groups
            notes.append(f"Intervals draw {number} groups of images, by {by.path}:{by.column}.")
        return [*notes, *(self.of_groups.notes if self.of_groups else ())]

    def print(self, console: Console) -> None:
        """Print the tables, and the problems."""
        for table in self.tables():
            table.print(console)
        circumstances.print_left_out(console, self.left_out)
        for note in self.notes():
            console.print(escape(note))

    def write_markdown(self, path: Path, below: str | None) -> None:
        """Write a summary for the job page of a build server; ``-`` is standard output.

        Args:
            path: the file.
            below: a sentence on scores that are too low.
        """
        write_markdown(
            path,
            "Panoptic quality",
            self.tables(),
            warnings=[*([below] if below else []), *self.warnings],
            left_out=self.left_out,
            notes=self.notes(),
        )

    def write_json(self, path: Path) -> None:
        """Write everything; ``-`` is standard output, and null an undefined score."""
        content = {
            "segmetrics": segmetrics.__version__,
            "arguments": self.arguments,
            "pairs": len(self.counts),
            "scores": self.scores,
            "intervals": {
                key: {
                    "low": i.low,
                    "high": i.high,
                    "level": i.level,
                    "method": i.method,
                    "groups": i.groups,
                }
                for key, i in self.intervals.items()
            },
            "classes": self.of_classes,
            "images": self.of_images if self.per_image else [],
            "by": self.of_groups.rows if self.of_groups else [],
            "notes": self.notes(),
            "left_out": list(map(circumstances.of_json, self.left_out)),
            "warnings": list(self.warnings),
        }
        write_json(path, content)

    def write_html(
        self, path: Path, pictures: Callable[[Sequence[str]], tuple[list[str], list[str]]]
    ) -> None:
        """Write the report: scores, categories, and the worst images with their wrong segments.

        Args:
            path: the file.
            pictures: makes HTML of the missed and false segments of some images, and warnings.
        """
        from segmetrics import report

        def rows(of: Sequence[Row]) -> list[Row]:
            shown = [{TITLES.get(key, key): cell for key, cell in row.items()} for row in of]
            numbers = (*KINDS, "TP", "FP", "FN")
            return [{"name": valid(row["name"]), **{k: row[k] for k in numbers}} for row in shown]

        images = self.of_images
        worst = [row for row in images if row["fp"] + row["fn"]][:WORST]
        figures, warnings = pictures([row["name"] for row in worst])
        some = [f"The {LISTED:,} worst of {len(images):,} images are listed."]
        sections = [
            report.Section("Categories", rows(self.of_classes)),
            report.Section("Images", rows(images[:LISTED]), some if len(images) > LISTED else []),
        ]
        if self.of_groups is not None:
            sections.insert(1, report.Section(self.of_groups.title, self.of_groups.rows))
        if figures:
            note = "Each segment with the one of its category that it shares most with."
            sections.append(report.Section("Missed and invented segments", [], [note], figures))
        report.write_sections(
            path,
            sections,
            title="Panoptic quality",
            summary=self.notes(),
            scores={key: value for key, value in self.scores.items() if "/" not in key},
            intervals=self._intervals(self.level or 0.95),
            **circumstances.of_report(self.arguments, self.left_out, [*self.warnings, *warnings]),
        )

    def write_csv(self, path: Path) -> None:
        """Write one row per category; images and groups have files of their own."""
        write_rows(path, self.of_classes, "class")
        if self.per_image and path != STANDARD_OUTPUT:
            write_rows(table_csv(path, "images"), self.of_images, "image")
        if self.of_groups is not None and path != STANDARD_OUTPUT:
            write_rows(table_csv(path, "by"), self.of_groups.rows)


def _rows(columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
