"""Writing of results: tables on a terminal and in Markdown, JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isnan
from operator import add
from pathlib import Path
from typing import IO, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from segmetrics._files import replace_file
from segmetrics.evaluate.extras import Row, Section
from segmetrics.evaluate.outputs import STANDARD_OUTPUT
from segmetrics.files import KINDS, Kind, Problem, printable, valid
from segmetrics.scores import TITLES

#: Problems of a kind that are listed.
SHOWN = 5
#: Characters that begin a formula in spreadsheets (OWASP, "CSV Injection").
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
#: Characters with a meaning in Markdown, or in HTML within it.
MARKUP = "\\`*_{}[]<>()#+!|~$"


@dataclass(frozen=True)
class Table:
    """A table of text: the names of rows under ``head``, cells under the other columns."""

    head: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    foot: Sequence[str] = ()

    @staticmethod
    def of_rows(
        head: str,
        rows: Sequence[Row],
        means: Mapping[str, float] | None = None,
        titles: Mapping[str, str] = TITLES,
    ) -> Table:
        """Rows of a name and numbers, with a last row of means."""
        first, *columns = rows[0] if rows else ["name"]
        foot = ["mean", *(shown(means.get(key, float("nan"))) for key in columns)] if means else ()
        cells = [[str(row[first]), *(shown(row[key]) for key in columns)] for row in rows]
        return Table(head, [titles.get(key, key) for key in columns], cells, foot)

    @staticmethod
    def of_section(section: Section) -> Table:
        """The table of a section."""
        return Table.of_rows(section.title, section.shown(), titles={**TITLES, **section.titles})

    def print(self, console: Console) -> None:
        """Print it: boxed on a terminal, plain columns elsewhere."""
        if not console.is_terminal:
            console.file.write(self.text() + "\n")
            return
        table = RichTable(box=box.ROUNDED, header_style="bold")
        table.add_column(escape(self.head))
        for name in self.columns:
            table.add_column(escape(name), justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*(escape(printable(cell)) for cell in row))
        if self.foot:
            table.add_section()
            table.add_row(*map(escape, self.foot))
        console.print(table)

    def text(self) -> str:
        """Plain columns: Rich takes half a millisecond a row."""
        lines = [[self.head, *self.columns], *([*map(printable, row)] for row in self.rows)]
        lines += [list(self.foot)] if self.foot else []
        lengths = [[*map(cell_len, line)] for line in lines]
        widths = [max(column) for column in zip(*lengths, strict=True)]
        text = []
        for (name, *others), of_line in zip(lines, lengths, strict=True):
            gaps = [" " * (width - length) for width, length in zip(widths, of_line, strict=True)]
            cells = map(add, gaps[1:], others)  # numbers, justified to the right
            text.append("  ".join([name + gaps[0], *cells]) + "\n")
        return "".join(text)

    def markdown(self) -> str:
        """The lines of a table in Markdown."""
        lines = [
            [self.head, *self.columns],
            ["---", *["---:"] * len(self.columns)],
            *self.rows,
            *([self.foot] if self.foot else []),
        ]
        written = [lines[1] if i == 1 else map(as_markdown, line) for i, line in enumerate(lines)]
        return "\n".join(f"| {' | '.join(line)} |" for line in written) + "\n"


def write_markdown(
    path: Path,
    title: str,
    tables: Sequence[Table],
    *,
    warnings: Sequence[str],
    left_out: Sequence[Problem],
    notes: Sequence[str],
) -> None:
    """Write tables under a heading, with warnings above them and sentences below."""
    blocks = [f"## {as_markdown(title)}\n"]
    blocks += [f"> **{as_markdown(warning)}**\n" for warning in warnings]
    blocks += [table.markdown() for table in tables]
    if left_out:
        lines = [f"- {as_markdown(line)}" for line in problem_lines(left_out)]
        blocks.append(f"**left out: {counted(len(left_out), 'file')}**\n")
        blocks.append("\n".join(lines) + "\n")
    blocks += [f"{as_markdown(note)}\n" for note in notes]
    with opened(path) as file:
        file.write("\n".join(blocks))


def shown(value: Any) -> str:
    """A cell as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if isnan(value) else f"{value:.3f}"


def bounds(low: float, high: float) -> str:
    """An interval as text."""
    return "–" if isnan(low) and isnan(high) else f"[{shown(low)}, {shown(high)}]"


def counted(number: int, noun: str) -> str:
    """A number with a noun."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def as_markdown(text: str) -> str:
    """Text escaped for Markdown."""
    line = " ".join(valid(printable(text)).split())
    return "".join(f"\\{character}" if character in MARKUP else character for character in line)


def problem_lines(problems: Sequence[Problem]) -> Iterator[str]:
    """Problems by kind: the first few files, the number of others, and a fix."""
    kinds: defaultdict[Kind, list[Problem]] = defaultdict(list)
    for problem in problems:
        kinds[problem.kind].append(problem)
    for kind, some in kinds.items():
        yield f"{KINDS[kind][0]}: {len(some):,}"
        for problem in some[:SHOWN]:
            detail = f": {problem.detail}" if problem.detail else ""
            yield printable(f"  {problem.file}{detail}")
        if len(some) > SHOWN:
            yield f"  and {len(some) - SHOWN:,} more"
        for fix in list(dict.fromkeys(problem.fix for problem in some))[:SHOWN]:
            yield f"  {fix}"


@contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """A file that is replaced when all is written; ``-`` is standard output."""
    if path == STANDARD_OUTPUT:
        yield sys.stdout
        sys.stdout.flush()
    else:
        text = io.StringIO(newline="")
        yield text
        # file names that are not valid Unicode hold surrogates, which UTF-8 cannot encode
        replace_file(path, text.getvalue().encode("utf-8", "replace"))


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON with null for undefined values."""
    utf8 = path != STANDARD_OUTPUT or "utf" in str(sys.stdout.encoding).lower()
    with opened(path) as file:
        json.dump(_for_json(content), file, indent=1, ensure_ascii=not utf8)
        file.write("\n")


def write_rows(path: Path, rows: Sequence[Row], head: str | None = None) -> None:
    """Write CSV; the first column is called ``head``.

    An undefined score is an empty cell. A name that a spreadsheet would take for a formula gets a
    ``'`` in front.
    """
    with opened(path) as file:
        writer = csv.writer(file)
        first, *columns = rows[0]
        writer.writerow([head or first, *columns])
        for row in rows:
            writer.writerow([_cell(value) for value in row.values()])


def _cell(value: Any) -> Any:
    """A cell of a CSV file: no nan, and no text that a spreadsheet would run as a formula."""
    if isinstance(value, str):
        return f"'{valid(value)}" if value.startswith(FORMULAS) else valid(value)
    return "" if value is None or value != value else value


def _for_json(value: Any) -> Any:
    """The same with None for nan, names for infinite values, and texts in valid Unicode."""
    if isinstance(value, Mapping):
        return {valid(str(key)): _for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(item) for item in value]
    if isinstance(value, str):
        return valid(value)
    if value in (inf, -inf):  # which JSON cannot say
        return "Infinity" if value > 0 else "-Infinity"
    return None if value != value else value
