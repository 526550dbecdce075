"""Panoptic quality as tables on a screen and in Markdown, JSON and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

import segmetrics
from segmetrics.evaluate.extras import Row
from segmetrics.evaluate.outputs import STANDARD_OUTPUT, table_csv
from segmetrics.evaluate.writing import (
    Table,
    bounds,
    counted,
    problem_lines,
    write_json,
    write_markdown,
    write_rows,
)
from segmetrics.files import Problem, printable
from segmetrics.statistics import Interval, PanopticCounts, confidence_interval

#: The worst images that are printed.
WORST = 5
KINDS = ("PQ", "SQ", "RQ")
GROUPS = {"all": "", "things": "_things", "stuff": "_stuff"}


@dataclass(frozen=True)
class Results:
    """What came of a run.

    Args:
        counts: the segments of every image.
        left_out: what could not be scored.
        level: that of confidence intervals; None for none.
        per_image: whether the images are listed.
        arguments: what was asked for.
    """

    counts: PanopticCounts
    left_out: Sequence[Problem]
    level: float | None
    per_image: bool
    arguments: Mapping[str, object]

    @cached_property
    def scores(self) -> dict[str, float]:
        """The scores over all images, by key."""
        return self.counts.scores()

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The intervals of the means, by key."""
        if self.level is None or len(self.counts) < 2:
            return {}
        keys = [key for key in self.scores if "/" not in key]
        return {key: confidence_interval(self.counts, key, level=self.level) for key in keys}

    @cached_property
    def classes(self) -> list[Row]:
        """One row a category."""
        columns = self.counts.by_class().columns()
        return _rows({"name": columns.pop("class"), **columns})

    @cached_property
    def images(self) -> list[Row]:
        """One row an image, the worst first."""
        columns = self.counts.columns()
        segments = self.counts.counts.sum(1)
        found = {
            "name": columns["image"],
            **{key: columns[key] for key in self.scores if "/" not in key},
            **{name: segments[:, i].tolist() for i, name in enumerate(("tp", "fp", "fn"))},
        }
        return sorted(_rows(found), key=lambda row: (row["PQ"] != row["PQ"], row["PQ"]))

    def tables(self) -> list[Table]:
        """The tables that are printed: of categories, of means, and of the worst images."""
        names = {"pq": "PQ", "sq": "SQ", "rq": "RQ", "tp": "TP", "fp": "FP", "fn": "FN"}

        def named(rows: Sequence[Row]) -> list[Row]:
            return [{names.get(k, k): x for k, x in row.items() if k != "isthing"} for row in rows]

        tables = [
            Table.of_rows("class", named(self.classes)),
            Table.of_rows("categories", self._means()),
        ]
        if self.per_image:
            shown = ("name", *KINDS, "tp", "fp", "fn")
            worst = [{key: row[key] for key in shown} for row in self.images[:WORST]]
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
        """What was scored, and what not."""
        kind = "boundary panoptic quality" if self.arguments.get("boundary") else "panoptic quality"
        notes = [f"{counted(len(self.counts), 'image')}, {kind}"]
        if self.level is not None and len(self.counts) < 2:
            notes.append("No intervals: there is one image, and images are resampled.")
        return notes

    def print(self, console: Console) -> None:
        """Print the tables, and what was left out."""
        for table in self.tables():
            table.print(console)
        if self.left_out:
            console.print(f"left out: {counted(len(self.left_out), 'file')}")
            for line in problem_lines(self.left_out):
                console.print(printable(line), markup=False)
        for note in self.notes():
            console.print(note)

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
            warnings=[below] if below else [],
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
                key: {"low": i.low, "high": i.high, "level": i.level, "method": i.method}
                for key, i in self.intervals.items()
            },
            "classes": self.classes,
            "images": self.images if self.per_image else [],
            "left_out": [
                {"file": problem.file, "kind": problem.kind, "reason": problem.reason}
                for problem in self.left_out
            ],
        }
        write_json(path, content)

    def write_csv(self, path: Path) -> None:
        """Write a row a category, and into a file of its own a row an image."""
        write_rows(path, self.classes, "class")
        if self.per_image and path != STANDARD_OUTPUT:
            write_rows(table_csv(path, "images"), self.images, "image")


def _rows(columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
