"""Further measurements of every pair besides pixel counts: surfaces, objects, error types.

An ``Extra`` turns the two masks of a pair into one array, and the arrays of all pairs into sections
of results. Workers, processes, the ledger and checkpoints carry the arrays without knowing what
they mean; tables, JSON, CSV and the report show the sections in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from segmetrics.scores import TITLES

if TYPE_CHECKING:
    from segmetrics.evaluate.settings import Evaluation
    from segmetrics.evaluate.warnings import Warnings
    from segmetrics.files import LabelMap, Pair
    from segmetrics.statistics import Resampled

Array = NDArray[Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A table of results.

    Args:
        key: its name in the JSON, and in the name of its CSV file: ``FILE.<key>.csv``.
        title: the heading of the table.
        rows: one mapping per row, all with the same columns. The first column names the row.
        columns: the columns that are printed and shown in the report, by default all; JSON and CSV
            have them all.
        listed: which rows are printed and shown in the report, by default all.
        printed: how many of these, by default all; 0 shows no section.
        scores: scores over all pairs, added to those of the evaluation.
        intervals: their confidence intervals, as ``statistics.Interval``.
        titles: heads of columns, where not as their keys, and names of scores.
        terminal: whether it is printed, too, and not only in the report.
        notes: conventions in words, under the table.
        figures: HTML for the report, behind the table.
    """

    key: str
    title: str
    rows: Sequence[Row]
    columns: Sequence[str] | None = None
    listed: Callable[[Row], bool] = lambda row: True
    printed: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, Any] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    terminal: bool = True
    notes: Sequence[str] = ()
    figures: Sequence[str] = ()

    def shown(self) -> list[Row]:
        """The rows and columns to print."""
        rows = [row for row in self.rows if self.listed(row)][: self.printed]
        columns = self.columns
        return [row if columns is None else {key: row[key] for key in columns} for row in rows]

    def title_of(self, key: str) -> str:
        """The title of a column or score."""
        return self.titles.get(key) or TITLES.get(key, key)


def tables_of(
    extra: Extra, values: Array | None, names: Sequence[str], warnings: Warnings
) -> list[Resampled]:
    """The tables of an extra with one row per image, none if it has none."""
    tables = getattr(extra, "tables", None)
    return [] if tables is None or extra.summed else list(tables(values, names, warnings))


class Extra(Protocol):
    """A further measurement of every pair.

    Attributes:
        name: different from that of every other extra.
        keys: the keys of its sections.
        summed: the arrays of pairs are added up; else all of them are kept.

    An optional attribute ``scores`` has the keys of its scores, if they are known before anything
    is counted; ``--fail-under`` takes those. An extra that keeps the arrays of all pairs may have a
    method ``tables(values, names, warnings)``: the arrays as tables with one row per image,
    ``statistics.Resampled``, whose scores are compared between models and subgroups. To learn the
    names of the scores it is called without pairs; ``values`` is None then.
    """

    @property
    def name(self) -> str: ...

    @property
    def keys(self) -> Sequence[str]: ...

    @property
    def summed(self) -> bool: ...

    def describe(self) -> object:
        """The settings that affect the arrays, in JSON: a checkpoint with others is rejected."""

    def measure(self, preds: LabelMap, target: LabelMap, pair: Pair) -> Array:
        """An array of the same shape and dtype for every pair.

        The masks are on one grid, that of the target, and all their labels are known. They are
        overwritten by those of the next pair. Where each class has its own masks this is called
        for one class after the other, with its binary masks and a pair whose ``classes`` has only
        this one. The arrays are joined along their first axis in the order of all classes; those
        that the pair lacks are nan there, or of integers 0.

        Raises:
            MaskError: the pair cannot be scored.
        """

    def sections(
        self, values: Array, evaluation: Evaluation, level: float | None
    ) -> Iterable[Section]:
        """The results.

        Args:
            values: the sum over all pairs, or the arrays ``(N, ...)`` of the pairs
                ``evaluation.names``.
            evaluation: all that was counted.
            level: that of confidence intervals; None for none.
        """
