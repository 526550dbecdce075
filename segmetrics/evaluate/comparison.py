"""Results of ``segmetrics compare``: rankings of models, with their uncertainty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

import segmetrics
from segmetrics import files, report
from segmetrics.evaluate.examples import example_of
from segmetrics.evaluate.extras import Row
from segmetrics.evaluate.metadata import GroupOf, Groups
from segmetrics.evaluate.models import Models
from segmetrics.evaluate.outputs import STANDARD_OUTPUT, table_csv
from segmetrics.evaluate.settings import BINARY, Evaluation
from segmetrics.evaluate.subgroups import Subgroups
from segmetrics.evaluate.warnings import Warnings
from segmetrics.evaluate.writing import (
    Table,
    bounds,
    counted,
    problem_lines,
    shown,
    write_json,
    write_markdown,
    write_rows,
)
from segmetrics.files import valid
from segmetrics.statistics import (
    KEYS_OF_IMAGES,
    ClassDifferences,
    Conventions,
    ImageCounts,
    Ranking,
    Slices,
    Tabular,
    class_differences,
    conventions,
    ranking,
)
from segmetrics.statistics.intervals import printed

#: The tables of the JSON, and those of the CSV behind that of the models: ``FILE.<key>.csv``.
TABLES = ("models", "pairs", "classes", "groups", "images", "conventions")
#: Images where models differ most: in the report, and printed.
EXAMPLES, LISTED = 8, 5
#: The names of the kinds of scores in keys of classes.
KINDS = {"IoU": "iou", "Dice": "dice", "Acc": "acc"}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several models by one score.

    Args:
        models: what was counted.
        score: the score, as ``statistics.ranking`` knows it.
        level: that of intervals and tests.
        warnings: what looks wrong.
        by: what images are split by.
        groups: what is drawn and exchanged as one; None for images.
    """

    models: Models
    score: str
    level: float
    warnings: Warnings
    by: Subgroups | None = None
    groups: Groups | None = None

    @property
    def names(self) -> list[str]:
        """The models, the best first."""
        return [model.name for model in self.ranking.models]

    @property
    def title(self) -> str:
        """The usual name of the score."""
        return printed(self.score)

    @property
    def one(self) -> Evaluation:
        """One of the evaluations, which all have the same images."""
        return next(iter(self.models.evaluations.values()))

    @property
    def kind(self) -> str:
        """IoU, Dice or Acc."""
        return next(
            kind
            for kind, of_class in KINDS.items()
            if self.score.startswith((f"m{kind}", f"{of_class}/"))
        )

    @cached_property
    def counts(self) -> dict[str, ImageCounts]:
        """The counts of images, by model."""
        found = {name: result.images for name, result in self.models.evaluations.items()}
        return {name: images for name, images in found.items() if images is not None}

    # --- tables to work on ------------------------------------------------------------------------

    @cached_property
    def ranking(self) -> Ranking:
        """The models from the best to the worst."""
        return ranking(self.counts, self.score, level=self.level, groups=self.drawn)

    @cached_property
    def drawn(self) -> GroupOf | None:
        """The group of every image."""
        return None if self.groups is None else self.groups.of(self.one.names, self.warnings)

    @cached_property
    def conventions(self) -> Conventions:
        """The score under every treatment of absent classes and empty images."""
        return conventions({name: self.counts[name] for name in self.names}, self.kind)

    @cached_property
    def differences(self) -> ClassDifferences:
        """The classes of all models, less those of the best model."""
        ordered = {name: self.counts[name] for name in self.names}
        return class_differences(
            ordered, self.names[0], self.kind, level=self.level, groups=self.drawn
        )

    @cached_property
    def of_images(self) -> dict[str, dict[str, float]]:
        """The score of every model by image; for scores over images that of a single image."""
        column = self.score if "/" in self.score else f"m{self.kind}_I"
        values = {name: self.counts[name].values(column).tolist() for name in self.names}
        return {
            image: {name: values[name][i] for name in self.names}
            for i, image in enumerate(self.one.names)
        }

    @cached_property
    def tables(self) -> dict[str, list[Row]]:
        """All results by key: a row a model; a pair; a class, group or image and model."""
        found = {
            "models": _rows(self.ranking),
            "pairs": _rows(self.ranking.by_pair()),
            "classes": _rows(self.differences),
            "groups": list(self._groups()),
            "images": [
                {"image": image, "model": name, "value": value}
                for image, values in self.of_images.items()
                for name, value in values.items()
            ],
            "conventions": _rows(self.conventions),
        }
        # the name of a row is its first column
        found["models"] = [{"model": row["model"], **row} for row in found["models"]]
        return found

    @cached_property
    def slices(self) -> dict[str, Slices]:
        """The subgroups of every model."""
        return (
            {}
            if self.by is None
            else {
                name: self.by.slices(
                    self.counts[name], self.score, self.level, self.warnings, self.drawn
                )
                for name in self.names
            }
        )

    def _groups(self) -> Iterator[Row]:
        for name, found in self.slices.items():
            for row in Subgroups.rows(found, "value"):
                yield {
                    "group": row.pop("group"), "model": name, **row,
                    "difference": found.difference, "p_value": found.p_value,
                }  # fmt: skip

    def most_different(self) -> list[tuple[str, dict[str, float]]]:
        """The images with the scores of all models, those with the largest differences first."""
        scored = [item for item in self.of_images.items() if not any(map(isnan, item[1].values()))]
        return sorted(scored, key=lambda item: min(item[1].values()) - max(item[1].values()))

    # --- to read ----------------------------------------------------------------------------------

    def shown(self) -> list[Table]:
        """The tables that are printed."""
        found = [self._models(), self._ranks(), self._pairs(), self.by_class()]
        if self.by is not None:
            found.append(self._by_group(self.by))
        worst = self.most_different()[:LISTED]
        rows = [[image, *(shown(values[name]) for name in self.names)] for image, values in worst]
        return [*found, Table("images that differ most", self.names, rows)]

    def _models(self) -> Table:
        columns = ["rank", self.title, f"{100 * self.level:g} %", "place", "level with"]
        rows = [
            [
                model.name,
                str(model.rank),
                shown(model.value),
                bounds(model.low, model.high),
                str(model.best) if model.best == model.worst else f"{model.best}–{model.worst}",
                ", ".join(model.level_with) or "–",
            ]
            for model in self.ranking.models
        ]
        return Table("model", columns, rows)

    def _ranks(self) -> Table:
        places = range(1, len(self.names) + 1)
        rows = [
            [model.name, *(f"{100 * share:.0f} %" for share in model.rank_shares)]
            for model in self.ranking.models
        ]
        return Table("rank in resamples", [str(place) for place in places], rows)

    def _pairs(self) -> Table:
        rows = [
            [
                f"{pair.a} − {pair.b}",
                f"{pair.difference:+.3f}",
                f"[{pair.low:+.3f}, {pair.high:+.3f}]",
                f"{pair.p_holm:.2g}",
                "yes" if pair.significant else "no",
            ]
            for pair in self.ranking.pairs
        ]
        return Table("pair", ["difference", f"{100 * self.level:g} %", "p", "significant"], rows)

    def by_class(self) -> Table:
        """The classes with the scores of all models."""
        of_class: dict[str, list[str]] = {}
        for row in self.tables["classes"]:
            text = shown(row["value"])
            if row["model"] != self.names[0]:
                surely = not (row["low"] <= 0 <= row["high"]) and not isnan(row["low"])
                text += f" ({row['difference']:+.3f}{'*' if surely else ''})"
            of_class.setdefault(row["class"], []).append(text)
        return Table("class", self.names, [[name, *cells] for name, cells in of_class.items()])

    def _by_group(self, by: Subgroups) -> Table:
        rows: dict[str, list[str]] = {}
        for row in self.tables["groups"]:
            cells = rows.setdefault(row["group"], [row["group"], shown(row["images"])])
            cells += [shown(row["value"]), bounds(row["low"], row["high"])]
        columns = [column for name in self.names for column in (name, f"{100 * self.level:g} %")]
        return Table(f"{self.title} by {by.column}", ["images", *columns], list(rows.values()))

    @property
    def notes(self) -> list[str]:
        """Notes on the tables, in sentences."""
        found = self.ranking
        orders = self.conventions.orders
        usual, same = tuple(self.names), sum(orders.values())
        agree = orders.get(usual, 0)
        notes = [
            "Intervals of models, and of pairs, hold for all at once. Places and p-values: sign "
            f"flips, adjusted by Holm over {counted(len(found.pairs), 'pair')}. Models that share "
            "a place are not told from each other by these images.",
            f"Kendall's tau of the ranking to its resamples: {found.tau:.2f} "
            f"[{found.tau_low:.2f}, {found.tau_high:.2f}].",
            f"Classes: the score, and in brackets less that of {self.names[0]}; * where its "
            f"{100 * self.level:g} % interval, of this difference alone, excludes 0.",
            f"Conventions for absent classes and empty images: {agree} of {same} give this order.",
        ]
        if self.groups is not None:
            notes.insert(
                1,
                f"Whole groups of images are drawn, and exchanged between models: the "
                f"{found.groups} of {self.groups.column}.",
            )
        if self.by is not None:
            notes += [
                f"{name}: the worst {self.by.column} is {split.worst or '(none)'}, "
                f"{split.difference:.3f} below the best; groups drawn at random differ as much "
                f"with p = {split.p_value:.2g}."
                for name, split in self.slices.items()
            ]
        return notes

    def print(self, console: Console) -> None:
        """Print the tables."""
        for table in self.shown():
            table.print(console)
        for note in self.notes:
            console.print(escape(note))
        if problems := [problem for _, problem in self.models.left_out]:
            dropped = self.models.dropped
            console.print(
                f"[bold]left out of all models: {counted(len(dropped), 'image')}[/]"
                + escape(
                    f" ({', '.join(dropped[:LISTED])}{', …' if len(dropped) > LISTED else ''})"
                )
            )
            for line in problem_lines(problems):
                console.print(escape(line))
        console.print(self.how_fast())
        console.file.flush()

    def how_fast(self) -> str:
        """The amount of data, and the time it took."""
        one, models = self.one, len(self.names)
        return (
            f"{counted(models, 'model')}, {counted(len(one.scored), 'image')}, {one.pixels:,} "
            f"pixels of each counted in {one.seconds:.1f} s ({counted(one.workers, 'worker')})"
        )

    # --- to work on -------------------------------------------------------------------------------

    def write_json(self, path: Path, arguments: Mapping[str, object]) -> None:
        """Write everything; ``-`` is standard output, and null an undefined score."""
        found = self.ranking
        write_json(
            path,
            {
                "segmetrics": segmetrics.__version__,
                "arguments": arguments,
                "score": self.score,
                "level": self.level,
                "images_scored": len(self.one.scored),
                "pixels": self.one.pixels,
                "groups_drawn": found.groups,
                "tau": {"mean": found.tau, "low": found.tau_low, "high": found.tau_high},
                **self.tables,
                "notes": self.notes,
                "left_out": [
                    {"model": m, "file": p.file, "kind": p.kind, "reason": p.reason}
                    for m, p in self.models.left_out
                ],
                "dropped": self.models.dropped,
                "warnings": list(self.warnings),
                "seconds": self.one.seconds,
                "workers": self.one.workers,
            },
        )

    def write_csv(self, path: Path) -> None:
        """Write a row a model, and the other tables next to it; ``-`` is standard output."""
        for key in TABLES:
            if key == "models":
                write_rows(path, self.tables[key])
            elif self.tables[key] and path != STANDARD_OUTPUT:
                write_rows(table_csv(path, key), self.tables[key])

    def write_markdown(self, path: Path) -> None:
        """Write a summary for the job page of a build server."""
        write_markdown(
            path,
            f"{len(self.names)} models by {self.title}",
            self.shown(),
            warnings=list(self.warnings),
            left_out=[problem for _, problem in self.models.left_out],
            notes=[*self.notes, self.how_fast()],
        )

    # --- to look at -------------------------------------------------------------------------------

    def write_html(self, path: Path, folder: Path | None, arguments: Mapping[str, object]) -> None:
        """Write the report.

        Args:
            path: the file.
            folder: where the images behind the masks are.
            arguments: the options of the command.
        """
        space = self.one.settings.space
        report.write_comparison(
            path,
            self.ranking,
            self.differences,
            images=self.of_images,
            groups=self.slices or None,
            conventions=self.conventions,
            examples=list(self._examples(folder)),
            labels=BINARY if self.one.settings.task == "binary" else space,
            how={name: valid(str(value)) for name, value in arguments.items()}
            | {"counted": self.how_fast()},
            left_out=[(valid(p.file), valid(p.reason)) for _, p in self.models.left_out],
            warnings=[valid(warning) for warning in self.warnings],
        )

    def _examples(self, folder: Path | None) -> Iterator[dict[str, report.Example]]:
        """The images on which models differ most, with all predictions."""
        if self.one.settings.task == "multilabel":
            return  # an example is one label map
        chosen = self.most_different()[:EXAMPLES]
        images = files.find_images(folder, [image for image, _ in chosen]) if folder else {}
        for image, scores in chosen:
            found = {
                name: example_of(self.models.evaluations[name], image, value, images.get(image))
                for name, value in scores.items()
            }
            shown = {name: example for name, example in found.items() if example is not None}
            if len(shown) == len(found):
                yield shown


def score_key(score: str, settings_counts: ImageCounts) -> str:
    """The name of a score in ``statistics.ranking``, from that or from a key of ``evaluate``.

    Raises:
        ValueError: no score has that name.
    """
    key = KEYS_OF_IMAGES.get(score, score)
    try:
        settings_counts.statistic(key)
    except ValueError as error:
        raise ValueError(f"--score {score}: {error}") from None
    return key


def no_counts(names: Sequence[str], ignored: tuple[int, ...]) -> ImageCounts:
    """Counts without images."""
    nothing = torch.zeros(0, len(names), dtype=torch.int64)
    return ImageCounts(nothing, nothing, nothing, class_names=tuple(names), ignored=ignored)


def _rows(table: Tabular) -> list[dict[str, Any]]:
    columns = table.columns()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
