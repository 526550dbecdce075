"""Groups of pairs from a table: the patient of each case, say."""

from __future__ import annotations

import csv
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segmetrics.files.formats import suffix

ImageId = int | str

#: Names of columns that hold the names of pairs; without one of them it is the first.
NAMES = ("case", "image", "id", "name", "file", "filename", "key")
#: Names that a message lists.
SHOWN = 3


@dataclass(frozen=True)
class Grouping:
    """A column of a CSV file: the group of every pair, by the pair's name.

    Args:
        source: ``FILE.csv:column``, for messages.
        rows: name → group. A name may end with the suffix of its file.
    """

    source: str
    rows: Mapping[str, str]

    @staticmethod
    def read(source: str) -> Grouping:
        """Read ``FILE.csv:column``; it is split at the last colon.

        The pairs' names stand in a column ``case``, ``image``, ``id``, ``name``, ``file`` or
        ``key``, or else in the first.

        Raises:
            ValueError: no such file or column, or a pair in two groups.
        """
        path, _, column = source.rpartition(":")
        if not path or not column:
            raise ValueError(f"--groups is FILE.csv:column, as in cases.csv:patient, got {source}.")
        if not Path(path).is_file():
            raise ValueError(f"--groups {source}: there is no file {path}.")
        columns, rows = _table(Path(path))
        if column not in columns:
            raise ValueError(
                f"--groups {source}: {path} has no column {column!r}. It has {', '.join(columns)}."
            )
        place = columns.index(column)
        others = [i for i in range(len(columns)) if i != place]
        of_names = next((i for i in others if columns[i].lower() in NAMES), min(others, default=0))
        found: dict[str, str] = {}
        for number, row in enumerate(rows, start=2):
            name, group = row[of_names].strip(), row[place].strip()
            if not group:
                raise ValueError(f"--groups {source}: line {number}, {name!r}, has no {column}.")
            if found.setdefault(name, group) != group:
                raise ValueError(
                    f"--groups {source}: {name!r} is in two groups, {found[name]!r} and {group!r}."
                )
        return Grouping(source, found)

    def of(self, names: Iterable[str]) -> dict[ImageId, Hashable]:
        """The group of each pair.

        Raises:
            ValueError: a pair without a row.
        """
        names, rows = list(names), self._rows()
        if missing := [name for name in names if name not in rows]:
            raise ValueError(
                f"--groups {self.source}: {_listed(missing, len(names))} without a row. Its rows "
                f"are named {', '.join(list(self.rows)[:SHOWN])} …"
            )
        return {name: rows[name] for name in names}

    def unused(self, names: Iterable[str]) -> str:
        """A warning of rows without a pair; empty where there are none."""
        used = set(names)
        surplus = [name for name in self.rows if not {name, _stem(name)} & used]
        if not surplus:
            return ""
        listed = _listed(surplus, len(self.rows), "row")
        return f"--groups {self.source}: {listed} without a pair of masks."

    def _rows(self) -> dict[str, str]:
        return {_stem(name): group for name, group in self.rows.items()} | dict(self.rows)


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The head of a CSV or TSV file, and its rows, each as long as the head."""
    text = path.read_text("utf-8-sig")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    columns, *rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row] or [
        []
    ]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise ValueError(
                f"--groups {path}: line {number} has {len(row)} cells, its head {len(columns)}."
            )
    return columns, rows


def _stem(name: str) -> str:
    return name.removesuffix(suffix(name))


def _listed(names: Sequence[str], of: int, noun: str = "pair") -> str:
    more = "…" if len(names) > SHOWN else ""
    verb = "is" if len(names) == 1 else "are"
    return f"{len(names):,} of {of:,} {noun}s {verb}, {', '.join(names[:SHOWN])}{more},"
