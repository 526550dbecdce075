"""``--by FILE.csv:COLUMN``: what images are split by, and the scores of the parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from segmetrics.evaluate.extras import Row, Section, tables_of
from segmetrics.evaluate.metadata import Column, GroupOf
from segmetrics.evaluate.warnings import Warnings

if TYPE_CHECKING:
    from segmetrics.evaluate.settings import Evaluation
    from segmetrics.statistics import Resampled, Slices

#: The scores of a split: that of its worst group, the best minus the worst, the worst divided by
#: the best, and how often groups that are drawn at random differ as much.
DIFFERENCES = ("worst", "difference", "ratio", "p_value")
#: The table of subgroups by the scores of extras.
OF_EXTRAS = "by_scores"


@dataclass(frozen=True)
class Subgroups(Column):
    """A column of metadata that splits the images."""

    @staticmethod
    def read(text: str) -> Subgroups:
        """Read the column; see ``Column.parsed``."""
        return Subgroups.parsed("--by", text)

    def of(self, images: Sequence[str], warnings: Warnings) -> GroupOf:
        """The values of images.

        Raises:
            ValueError: images that the table lacks, or images that are all alike or all different.
        """
        found = super().of(images, warnings)
        different = set(found.values())
        if len(different) < 2:
            raise ValueError(
                f"--by {self.path}:{self.column}: all {len(images)} images are "
                f"{different.pop()!r}. A split needs two groups."
            )
        if len(different) == len(images) > 2:
            raise ValueError(
                f"--by {self.path}:{self.column}: each of the {len(images)} images has a value "
                "of its own. Cut continuous values into ranges first."
            )
        return found

    def keys(self, title: str) -> list[str]:
        """The keys of the scores of a split."""
        return [f"{title}_{what}/{self.column}" for what in DIFFERENCES]

    def slices(
        self,
        counts: Resampled,
        score: str,
        level: float,
        warnings: Warnings,
        groups: GroupOf | None = None,
    ) -> Slices:
        """The scores of the subgroups.

        Args:
            counts: a table with one row per image, which have names.
            score: the score, as ``statistics.slices`` knows it.
            level: that of the intervals.
            warnings: gets what looks wrong.
            groups: the group of each image, drawn as a whole; None draws images.
        """
        from segmetrics.statistics import slices

        by = self.of([str(image) for image in counts.ids or ()], warnings)
        found = slices(counts, by, score, level=level, groups=groups)
        return replace(found, by=(self.column,))

    def section(self, found: Slices, title: str) -> Section:
        """The subgroups as a table, with their differences; ``title`` is the name of the score."""
        rows = list(self.rows(found, title))
        worst = next((row for row in rows if row["worst"]), rows[0])
        figures = float(worst[title]), found.difference, found.ratio, found.p_value
        note = (
            f"{title} by {self.column}: the worst group is {worst['group']}, "
            f"{found.difference:.3f} from the best. Groups drawn at random differ as much with "
            f"p = {found.p_value:.2g}. Intervals: {100 * found.overall.level:g} %."
        )
        if found.small:
            note += " Groups of fewer than 30 images have intervals that are too narrow."
        scores = dict(zip(self.keys(title), figures, strict=True))
        return Section("by", f"{title} by {self.column}", rows, scores=scores, notes=[note])

    def sections_of_extras(
        self,
        result: Evaluation,
        keys: Sequence[str],
        level: float,
        warnings: Warnings,
        groups: GroupOf | None,
    ) -> list[Section]:
        """The subgroups by the scores of extras, such as objects', as one table; none without any.

        Args:
            result: what was counted.
            keys: the scores that are shown.
            level: that of the intervals.
            warnings: gets what looks wrong.
            groups: the group of each image, drawn as a whole; None draws images.
        """
        rows = [
            {"score": key, **row, "difference": found.difference, "p_value": found.p_value}
            for extra in result.settings.extras
            for table in tables_of(extra, result.extras[extra.name], result.names, warnings)
            for key in keys
            if key in table.keys()  # noqa: SIM118  # a table is no mapping
            for found in [self.slices(table, key, level, warnings, groups)]
            for row in self.rows(found, "value")
        ]
        if not rows:
            return []
        note = (
            "difference: the best less the worst group. p_value: how often groups drawn at random "
            f"differ as much. Intervals: {100 * level:g} %."
        )
        return [Section(OF_EXTRAS, f"scores by {self.column}", rows, notes=[note])]

    @staticmethod
    def rows(found: Slices, title: str) -> Iterator[Row]:
        """One row per group."""
        for label, interval in found.by_group.items():
            yield {
                "group": "(none)" if label is None else str(label),
                "images": interval.images,
                title: interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "few images": label in found.small,
                "worst": label == found.worst,
            }
