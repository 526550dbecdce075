"""``--by FILE.csv:COLUMN``: what images are split by, and the scores of the parts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from segmetrics.evaluate.extras import Row, Section
from segmetrics.evaluate.warnings import Warnings
from segmetrics.files.formats import FORMATS, OTHER_IMAGES, suffix
from segmetrics.files.names import readable

if TYPE_CHECKING:
    from segmetrics.statistics import ImageCounts, Slices

#: Names that a message lists.
LISTED = 3
#: What is said of a split: its worst group, the best less the worst, the worst by the best, and how
#: often groups that are drawn at random differ as much.
DIFFERENCES = ("worst", "difference", "ratio", "p_value")


@dataclass(frozen=True)
class Subgroups:
    """A column of a table: the value of every image, ``None`` where the cell is empty.

    Args:
        path: the table.
        column: the name of the column.
        values: the values by the name that the table gives the image.
    """

    path: Path
    column: str
    values: Mapping[str, str | None]

    @staticmethod
    def read(text: str) -> Subgroups:
        """Read ``FILE.csv:COLUMN``. Images are named in a column ``image``, or in the first one.

        Raises:
            ValueError: no such file or column, no table, or an image in two rows.
        """
        name, colon, column = text.rpartition(":")
        if not colon or not name or not column:
            raise ValueError(f"--by is FILE.csv:COLUMN, as in cases.csv:scanner, got {text!r}.")
        path = Path(name)
        try:
            content = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"--by {path} is no table in UTF-8: {error.reason}.") from error
        except OSError as error:
            raise ValueError(f"--by {path} cannot be read: {error.strerror}.") from error
        try:
            head, *rows = [
                row for row in csv.reader(io.StringIO(content, newline=""), strict=True) if row
            ]
        except (ValueError, csv.Error) as error:
            raise ValueError(f"--by {path} is no table of comma-separated values.") from error
        if column not in head:
            raise ValueError(
                f"--by {path} has no column {column!r}. Its columns: {', '.join(head)}."
            )
        of_name, of_value = head.index("image") if "image" in head else 0, head.index(column)
        if of_name == of_value:
            raise ValueError(
                f"--by {path}:{column}: this column names the images. Name one to split them by."
            )
        values: dict[str, str | None] = {}
        for row in rows:
            if len(row) != len(head):
                raise ValueError(
                    f"--by {path}: the row of {row[0]!r} has {len(row)} cells, the head "
                    f"{len(head)}."
                )
            image = readable(row[of_name])
            if image in values:
                raise ValueError(f"--by {path} names the image {image!r} twice. Keep one.")
            values[image] = row[of_value].strip() or None
        return Subgroups(path, column, values)

    def of(self, images: Sequence[str], warnings: Warnings) -> dict[str, str | None]:
        """The values of images; the table may name them with the suffix of their files.

        Raises:
            ValueError: images that the table lacks, or images that are all alike or all different.
        """
        names = dict(zip(map(_stem, self.values), self.values, strict=True)) | {
            name: name for name in self.values
        }
        if missing := [image for image in images if image not in names]:
            raise ValueError(
                f"--by {self.path} lacks {len(missing)} of {len(images)} images: "
                f"{_listed(missing)}. It names images as {_listed(list(self.values)[:1])}."
            )
        used = {names[image] for image in images}
        if extra := [name for name in self.values if name not in used]:
            warnings.add(
                f"--by {self.path} has {len(extra)} rows of images that are not scored: "
                f"{_listed(extra)}."
            )
        found = {image: self.values[names[image]] for image in images}
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

    def slices(self, counts: ImageCounts, score: str, level: float, warnings: Warnings) -> Slices:
        """The scores of the subgroups.

        Args:
            counts: the counts of the images.
            score: the score, as ``statistics.slices`` knows it.
            level: that of the intervals.
            warnings: gets what looks wrong.
        """
        from segmetrics.statistics import slices

        by = self.of([str(image) for image in counts.labels], warnings)
        return replace(slices(counts, by, score, level=level), by=(self.column,))

    def section(self, found: Slices, title: str) -> Section:
        """The subgroups as a table, with how far they differ; results call the score ``title``."""
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


def _stem(name: str) -> str:
    """The name without the suffix of a mask or an image."""
    end = suffix(name)
    return name.removesuffix(end) if end.lower() in FORMATS or end.lower() in OTHER_IMAGES else name


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(map(repr, names[:LISTED])) + more
