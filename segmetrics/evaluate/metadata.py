"""``FILE.csv:COLUMN``: metadata of every image, such as its scanner or its patient."""

from __future__ import annotations

import csv
import io
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from segmetrics.evaluate.warnings import Warnings
from segmetrics.files.formats import FORMATS, OTHER_IMAGES, suffix
from segmetrics.files.names import readable

#: Image → group.
GroupOf = dict[int | str, Hashable]
#: Names that a message lists.
LISTED = 3
#: Columns that name the images; without one of them the first does.
NAMING = ("image", "case")


@dataclass(frozen=True)
class Column:
    """A column of a table: the value of every image, ``None`` for empty cells.

    Args:
        option: the option that names it, for messages.
        path: the table.
        column: the name of the column.
        values: the values by the name that the table gives the image.
    """

    option: str
    path: Path
    column: str
    values: Mapping[str, str | None]

    @classmethod
    def parsed(cls, option: str, text: str) -> Self:
        """Read ``FILE.csv:COLUMN``. A column ``image`` or ``case`` names images, or the first one.

        Raises:
            ValueError: no such file or column, no table, or an image in two rows.
        """
        name, colon, column = text.rpartition(":")
        if not colon or not name or not column:
            raise ValueError(f"{option} is FILE.csv:COLUMN, as in cases.csv:scanner, got {text!r}.")
        path = Path(name)
        head, rows = _table(option, path)
        if column not in head:
            raise ValueError(
                f"{option} {path} has no column {column!r}. Its columns: {', '.join(head)}."
            )
        of_value = head.index(column)
        of_name = next((head.index(naming) for naming in NAMING if naming in head), 0)
        if of_name == of_value:
            raise ValueError(
                f"{option} {path}:{column}: this column names the images. Name another one."
            )
        values: dict[str, str | None] = {}
        for row in rows:
            image = readable(row[of_name])
            if image in values:
                raise ValueError(f"{option} {path} names the image {image!r} twice. Keep one.")
            values[image] = row[of_value].strip() or None
        return cls(option, path, column, values)

    def of(self, images: Sequence[str], warnings: Warnings) -> GroupOf:
        """The values of images; the table may name them with the suffix of their files.

        Raises:
            ValueError: images that the table lacks.
        """
        names = dict(zip(map(_stem, self.values), self.values, strict=True)) | {
            name: name for name in self.values
        }
        if missing := [image for image in images if image not in names]:
            raise ValueError(
                f"{self.option} {self.path} lacks {len(missing)} of {len(images)} images: "
                f"{listed(missing)}. It names images as {listed(list(self.values)[:1])}."
            )
        used = {names[image] for image in images}
        if extra := [name for name in self.values if name not in used]:
            warnings.add(
                f"{self.option} {self.path} has {len(extra)} rows of images that are not scored: "
                f"{listed(extra)}."
            )
        return {image: self.values[names[image]] for image in images}


@dataclass(frozen=True)
class Groups(Column):
    """``--groups FILE.csv:COLUMN``: images that belong together, such as those of a patient."""

    @staticmethod
    def read(text: str) -> Groups:
        """Read the column; see ``Column.parsed``."""
        return Groups.parsed("--groups", text)

    @staticmethod
    def of_intervals(text: str | None, *, intervals: bool) -> Groups | None:
        """The groups that intervals draw, if there are intervals.

        Raises:
            ValueError: groups without intervals; and as ``read``.
        """
        if text is None:
            return None
        if not intervals:
            raise ValueError(
                "--groups applies to confidence intervals: give --confidence 0.95, too."
            )
        return Groups.read(text)

    def of(self, images: Sequence[str], warnings: Warnings) -> GroupOf:
        """The group of every image.

        Raises:
            ValueError: images that the table lacks, or gives no group.
        """
        found = super().of(images, warnings)
        if without := [str(image) for image, group in found.items() if group is None]:
            raise ValueError(
                f"--groups {self.path}:{self.column} is empty for {len(without)} of "
                f"{len(images)} images: {listed(without)}. Each image needs a group."
            )
        if number_drawn(images, found) == 1:
            warnings.add(
                f"--groups {self.path}:{self.column}: all images are of one group, "
                f"{next(iter(found.values()))!r}. The scores are given without intervals."
            )
        return found


def number_drawn(images: Sequence[str], groups: GroupOf | None) -> int:
    """The number of images, or of groups, that a bootstrap resamples."""
    return len(images) if groups is None else len(set(groups.values()))


def _table(option: str, path: Path) -> tuple[list[str], list[list[str]]]:
    """The head of a table and its rows; cells are separated by commas, semicolons or tabs."""
    try:
        content = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{option} {path} is no table in UTF-8: {error.reason}.") from error
    except OSError as error:
        raise ValueError(f"{option} {path} cannot be read: {error.strerror}.") from error
    separator = max(",;\t", key=content.partition("\n")[0].count)
    try:
        reader = csv.reader(io.StringIO(content, newline=""), strict=True, delimiter=separator)
        head, *rows = [row for row in reader if row]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{option} {path} is no table of comma-separated values.") from error
    for row in rows:
        if len(row) != len(head):
            raise ValueError(
                f"{option} {path}: the row of {row[0]!r} has {len(row)} cells, the head "
                f"{len(head)}."
            )
    return head, rows


def listed(names: Sequence[str]) -> str:
    """The first few names, and the number of others."""
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(map(repr, names[:LISTED])) + more


def _stem(name: str) -> str:
    """The name without the suffix of a mask or an image."""
    end = suffix(name)
    return name.removesuffix(end) if end.lower() in FORMATS or end.lower() in OTHER_IMAGES else name
