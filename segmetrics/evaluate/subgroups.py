"""``--by FILE.csv:COLUMN``: what images are split by, and the scores of the parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from segmetrics.evaluate.extras import Row, Section
from segmetrics.evaluate.metadata import Column, GroupOf
from segmetrics.evaluate.warnings import Warnings

if TYPE_CHECKING:
    from segmetrics.statistics import ImageCounts, Slices

#: What is said of a split: its worst group, the best less the worst, the worst by the best, and how
#: often groups that are drawn at random differ as much.
DIFFERENCES = ("worst", "difference", "ratio", "p_value")


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
                f"--by {self.path}:{self.column}: each of the {len(images)} images has another "
                "value. Cut continuous values into ranges first."
            )
        return found

    def keys(self, title: str) -> list[str]:
        """The keys of the scores of a split."""
        return [f"{title}_{what}/{self.column}" for what in DIFFERENCES]

    def slices(
        self,
        counts: ImageCounts,
        score: str,
        level: float,
        warnings: Warnings,
        groups: GroupOf | None = None,
    ) -> Slices:
        """The scores of the subgroups.

        Args:
            counts: the counts of the images.
            score: the score, as ``statistics.slices`` knows it.
            level: that of the intervals.
            warnings: gets what looks wrong.
            groups: what is drawn as one; None draws images.
        """
        from segmetrics.statistics import slices

        by = self.of([str(image) for image in counts.labels], warnings)
        found = slices(counts, by, score, level=level, groups=groups)
        return replace(found, by=(self.column,))

    def section(self, found: Slices, title: str) -> Section:
        """The subgroups as a table, with their differences; ``title`` is the name of the score."""
        rows = list(self.rows(found, title))
        worst = next((row for row in rows if row["worst"]), rows[0])
        figures = float(worst[title]), found.difference, found.ratio, found.p_value
        note = (
            f"{title} by {self.column}: the worst group is {worst['group']}, "
            f"{found.difference:.3f} below the best. Groups drawn at random differ as much with "
            f"p = {found.p_value:.2g}. Intervals: {100 * found.overall.level:g} %."
        )
        if found.small:
            note += " Groups of fewer than 30 images have intervals that are too narrow."
        scores = dict(zip(self.keys(title), figures, strict=True))
        return Section("by", f"{title} by {self.column}", rows, scores=scores, notes=[note])

    @staticmethod
    def rows(found: Slices, title: str) -> Iterator[Row]:
        """One row a group."""
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
