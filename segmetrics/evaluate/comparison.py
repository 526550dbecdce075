"""Results of ``segmetrics compare``: rankings of models, with their uncertainty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape

import segmetrics
from segmetrics import report
from segmetrics.evaluate import circumstances
from segmetrics.evaluate.extras import Row
from segmetrics.evaluate.metadata import GroupOf, Groups
from segmetrics.evaluate.models import SameImages
from segmetrics.evaluate.outputs import STANDARD_OUTPUT, table_csv
from segmetrics.evaluate.subgroups import Subgroups
from segmetrics.evaluate.warnings import Warnings
from segmetrics.evaluate.writing import (
    Table,
    bounds,
    counted,
    shown,
    write_json,
    write_markdown,
    write_rows,
)
from segmetrics.files import Problem
from segmetrics.labels import LabelSpace
from segmetrics.scores import TITLES
from segmetrics.statistics import (
    ClassDifferences,
    ClassOfModel,
    Conventions,
    Ranking,
    Resampled,
    ScoreDifferences,
    ScoreOfModel,
    Slices,
    Tabular,
    ranking,
    score_differences,
)

#: The tables of the JSON, and those of the CSV behind that of the models: ``FILE.<key>.csv``.
TABLES = ("models", "pairs", "classes", "scores", "groups", "images", "conventions")
#: Those that depend on options.
FURTHER = ("scores", "groups")
#: Images where models differ most that are printed.
LISTED = 5
T = TypeVar("T")


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison(ABC):
    """Several models by one score. Subclasses say what is scored.

    Args:
        models: what was counted.
        score: the score, as ``statistics.ranking`` knows it.
        level: that of intervals and tests.
        warnings: what looks wrong.
        by: what images are split by.
        groups: the group of each image, drawn and exchanged as a whole; None for images.
    """

    models: SameImages
    score: str
    level: float
    warnings: Warnings
    by: Subgroups | None = None
    groups: Groups | None = None

    # --- what there is to compare -----------------------------------------------------------------

    @property
    @abstractmethod
    def counts(self) -> Mapping[str, Resampled]:
        """The tables with one row per image that have the score, by model."""

    @property
    @abstractmethod
    def run(self) -> dict[str, float]:
        """How much was counted, and how, for the JSON: at least ``images_scored``."""

    @abstractmethod
    def how_fast(self) -> str:
        """The amount of data, and the time it took."""

    @property
    def of_image(self) -> str:
        """The score of a single image; of a score over images, that which it is a mean of."""
        return self.score

    @cached_property
    def conventions(self) -> Conventions | None:
        """The score under every treatment of absent classes and empty images."""
        return None

    @cached_property
    def differences(self) -> ClassDifferences | None:
        """The classes of all models, less those of the best model."""
        return None

    @cached_property
    def scores(self) -> ScoreDifferences | None:
        """Further scores of all models, less those of the best model."""
        return None

    @property
    def printed_scores(self) -> Collection[str]:
        """Which of these are printed."""
        return ()

    @property
    def notes_of_scores(self) -> Sequence[str]:
        """What the scores mean, in sentences."""
        return ()

    def examples(self, folder: Path | None) -> Iterator[Mapping[str, report.Example]]:
        """Images to show, each with the predictions of all models."""
        yield from ()

    @property
    def space(self) -> LabelSpace | None:
        """The classes of the examples."""
        return None

    # --- tables to work on ------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The models, the best first."""
        return [model.name for model in self.ranking.models]

    @property
    def key(self) -> str:
        """The key of the score in the results of ``evaluate``."""
        return self.score

    @property
    def title(self) -> str:
        """The name of the score in tables and in the report."""
        return TITLES.get(self.key, self.key)

    @property
    def images(self) -> list[str]:
        """The names of the images, which all models have."""
        return [str(image) for image in next(iter(self.counts.values())).ids or ()]

    @property
    def problems(self) -> list[Problem]:
        """What could not be scored."""
        return [problem for _, problem in self.models.left_out]

    @cached_property
    def ranking(self) -> Ranking:
        """The models from the best to the worst."""
        return ranking(self.counts, self.score, level=self.level, groups=self.drawn)

    @cached_property
    def drawn(self) -> GroupOf | None:
        """The group of every image."""
        return None if self.groups is None else self.groups.of(self.images, self.warnings)

    def score_differences(self, tables: Mapping[str, Resampled]) -> ScoreDifferences:
        """All scores of the tables of all models, less those of the best model."""
        return score_differences(
            self.ordered(tables), self.names[0], level=self.level, groups=self.drawn
        )

    @cached_property
    def of_images(self) -> dict[str, dict[str, float]]:
        """The score of every model by image; for scores over images that of a single image."""
        values = {name: self.counts[name].values(self.of_image).tolist() for name in self.names}
        return {
            image: {name: values[name][i] for name in self.names}
            for i, image in enumerate(self.images)
        }

    @cached_property
    def tables(self) -> dict[str, list[Row]]:
        """All results by key: one row per model; pair; class, group or image and model."""
        found = {
            "models": _rows(self.ranking),
            "pairs": _rows(self.ranking.by_pair()),
            "classes": _rows(self.differences) if self.differences else [],
            "scores": _rows(self.scores) if self.scores else [],
            "groups": list(self._groups()),
            "images": [
                {"image": image, "model": name, "value": value}
                for image, values in self.of_images.items()
                for name, value in values.items()
            ],
            "conventions": _rows(self.conventions) if self.conventions else [],
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

    def ordered(self, by_model: Mapping[str, T]) -> dict[str, T]:
        """The same, the best model first."""
        return {name: by_model[name] for name in self.names}

    def most_different(self) -> list[tuple[str, dict[str, float]]]:
        """The images with the scores of all models, those with the largest differences first."""
        scored = [item for item in self.of_images.items() if not any(map(isnan, item[1].values()))]
        return sorted(scored, key=lambda item: min(item[1].values()) - max(item[1].values()))

    # --- to read ----------------------------------------------------------------------------------

    def shown(self) -> list[Table]:
        """The tables that are printed."""
        found = [self._models(), self._ranks(), self._pairs()]
        if self.differences is not None:
            found.append(self.by_class(self.differences))
        if self.scores is not None:
            found.append(self.by_score(self.scores))
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

    def by_class(self, found: ClassDifferences) -> Table:
        """The classes with the scores of all models."""
        names = [row.name for row in found.rows]
        return self._against_best(f"{found.score} by class", names, found.rows)

    def by_score(self, found: ScoreDifferences) -> Table:
        """The further scores that are printed, of all models."""
        rows = [row for row in found.rows if row.score in self.printed_scores]
        return self._against_best("score", [row.score for row in rows], rows)

    def _against_best(
        self, head: str, names: Sequence[str], rows: Sequence[ClassOfModel | ScoreOfModel]
    ) -> Table:
        """Rows by name with the values of all models, and their differences to the best model."""
        lines: dict[str, list[str]] = {}
        for name, row in zip(names, rows, strict=True):
            text = shown(row.value)
            if row.model != self.names[0] and not isnan(row.difference):
                surely = not (row.low <= 0 <= row.high) and not isnan(row.low)
                text += f" ({row.difference:+.3f}{'*' if surely else ''})"
            lines.setdefault(name, []).append(text)
        return Table(head, self.names, [[name, *cells] for name, cells in lines.items()])

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
        told = {"classes": self.differences, "scores": self.scores}
        what = " and ".join(name for name, table in told.items() if table is not None)
        notes = [
            "Intervals of models, and of pairs, hold for all at once. Places and p-values: sign "
            f"flips, adjusted by Holm over {counted(len(found.pairs), 'pair')}. Models that share "
            "a place do not differ significantly on these images.",
            f"Kendall's tau of the ranking to its resamples: {found.tau:.2f} "
            f"[{found.tau_low:.2f}, {found.tau_high:.2f}].",
            f"{what.capitalize()}: the value, and in brackets its difference to {self.names[0]}; * "
            f"where the {100 * self.level:g} % interval of this difference alone excludes 0.",
        ]
        if self.conventions is not None:
            orders = self.conventions.orders
            agree, same = orders.get(tuple(self.names), 0), sum(orders.values())
            notes.append(
                "Conventions for absent classes and empty images: "
                f"{agree} of {same} give this order."
            )
        notes += dict.fromkeys(self.notes_of_scores)
        if self.groups is not None:
            notes.insert(
                1,
                f"Whole groups of images are drawn, and exchanged between models: the "
                f"{found.groups} of {self.groups.column}.",
            )
        if self.by is not None:
            notes += [
                f"{name}: the worst {self.by.column} is {split.worst or '(none)'}, "
                f"{split.difference:.3f} from the best; groups drawn at random differ as much "
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
        dropped = self.models.dropped
        some = ", ".join(dropped[:LISTED]) + (", …" if len(dropped) > LISTED else "")
        heading = f"left out of all models: {counted(len(dropped), 'image')}"
        heading += f" ({some})" if dropped else ""
        circumstances.print_left_out(console, self.problems, heading)
        console.print(self.how_fast())
        console.file.flush()

    # --- to work on -------------------------------------------------------------------------------

    def write_json(self, path: Path, arguments: Mapping[str, object]) -> None:
        """Write everything; ``-`` is standard output, and null an undefined score."""
        found = self.ranking
        write_json(
            path,
            {
                "segmetrics": segmetrics.__version__,
                "arguments": arguments,
                "score": self.key,
                "level": self.level,
                "groups_drawn": found.groups,
                "tau": {"mean": found.tau, "low": found.tau_low, "high": found.tau_high},
                **self.tables,
                "notes": self.notes,
                "left_out": [
                    {"model": model, **circumstances.of_json(problem)}
                    for model, problem in self.models.left_out
                ],
                "dropped": self.models.dropped,
                "warnings": list(self.warnings),
                **self.run,
            },
        )

    def write_csv(self, path: Path) -> None:
        """Write one row per model, and the other tables next to it; ``-`` is standard output."""
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
            left_out=self.problems,
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
        report.write_comparison(
            path,
            replace(self.ranking, score=self.title),
            self.differences,
            scores=self.scores,
            images=self.of_images,
            groups=self.slices or None,
            conventions=self.conventions,
            examples=list(self.examples(folder)),
            labels=self.space,
            **circumstances.of_report(arguments, self.problems, self.warnings, self.how_fast()),
        )


def _rows(table: Tabular) -> list[dict[str, Any]]:
    columns = table.columns()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
