"""The options for measures of every case and class, as surface distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite, isnan, nan
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segmetrics.evaluate.metadata import Groups
from segmetrics.evaluate.settings import Settings
from segmetrics.evaluate.spacing import spacing_option

if TYPE_CHECKING:
    from segmetrics.evaluate.cases import Cases, EmptyDistance, Surfaces, Unit

#: The usual settings: those of HD95, and one unit of the spacing.
PERCENTILE, TOLERANCE = 95.0, 1.0
CASES = "Cases and surfaces"

# fmt: off
WithSurfaces = Annotated[
    bool,
    typer.Option(
        "--surfaces", rich_help_panel=CASES,
        help="Hausdorff distance and its percentile (HD95), average surface distance and "
        "surface Dice (NSD) of every case, class and region, in mm by the targets' headers; "
        "and the overlap and volumes of --per-case.",
    ),
]
PerCase = Annotated[
    bool,
    typer.Option(
        "--per-case", rich_help_panel=CASES,
        help="Dice, sensitivity, precision, volumes, missed classes and false alarms of every "
        "case; with --csv in FILE.cases.csv.",
    ),
]
Tolerance = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MM", rich_help_panel=CASES,
        help="Tolerance of the surface Dice, by default 1; of classes as in liver=2,tumor=1.",
    ),
]
Percentile = Annotated[
    list[str] | None,
    typer.Option(
        metavar="P", rich_help_panel=CASES,
        help="Percentile of the Hausdorff distance, by default 95; of classes as in "
        "liver=95,tumor=99.",
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(
        metavar="MM", rich_help_panel=CASES,
        help="Distance between pixels, for files without it: one number, or one per axis, as in "
        "2,0.5,0.5 for an array (slice, row, column). Without it distances are in pixels.",
    ),
]
BothEmpty = Annotated[
    float | None,
    typer.Option(
        metavar="MM", rich_help_panel=CASES,
        help="The distance where neither mask has the class; NSD is then 1. By default such "
        "cases are left out.",
    ),
]
EmptyDistanceText = Annotated[
    str | None,
    typer.Option(
        metavar="MM", rich_help_panel=CASES,
        help="The distance where only one mask has the class: inf, the default, diagonal for "
        "that of the image, or a number.",
    ),
]
# fmt: on


@dataclass(frozen=True)
class CaseOptions:
    """The options as they were given; None or empty if not."""

    surfaces: bool = False
    per_case: bool = False
    tolerance: Sequence[str] = ()
    percentile: Sequence[str] = ()
    spacing: str | None = None
    both_empty: float | None = None
    empty_distance: str | None = None
    objects: bool = False  # which have sizes and distances, too
    object_preset: str | None = None

    @staticmethod
    def of(given: Mapping[str, Any]) -> CaseOptions:
        """The options of this kind among those of a command."""
        names = [field.name for field in fields(CaseOptions)]
        return CaseOptions(**{name: given[name] for name in names if given.get(name) is not None})

    def cases(self, settings: Settings, groups: Groups | None) -> Cases | None:
        """The extra that the options select; None if they select none.

        Raises:
            ValueError: a value out of range, an unknown class, or an option without another.
        """
        of_surfaces = {
            "--tolerance": bool(self.tolerance),
            "--percentile": bool(self.percentile),
            "--both-empty": self.both_empty is not None,
            "--empty-distance": self.empty_distance is not None,
        }
        for option, given in of_surfaces.items():
            if given and not self.surfaces:
                raise ValueError(f"{option} is about surfaces: give --surfaces, too.")
        if not self.surfaces and not self.per_case:
            if self.spacing is not None and not (self.objects or self.object_preset):
                raise ValueError(
                    "--spacing applies to distances and volumes: give --surfaces, too."
                )
            return None
        from segmetrics.evaluate.cases import Cases, Unit  # with torch

        units = Unit.all_of(settings)
        surfaces = self._surfaces(units, settings) if self.surfaces else None
        return Cases(
            settings.counting,
            units,
            settings.zero_division,
            surfaces,
            spacing_option(self.spacing),
            groups,
        )

    def _surfaces(self, units: Sequence[Unit], settings: Settings) -> Surfaces:
        from segmetrics.evaluate.cases import Surfaces

        names = settings.space.names if settings.task != "multilabel" else ()
        tolerance = _per_unit("--tolerance", self.tolerance, TOLERANCE, units, names)
        for value in tolerance:
            if not (isfinite(value) and value >= 0):
                raise ValueError(f"--tolerance must be at least 0, got {value:g}.")
        percentile = _per_unit("--percentile", self.percentile, PERCENTILE, units, names)
        for value in percentile:
            if not 0 < value <= 100:
                raise ValueError(f"--percentile must be in (0, 100], got {value:g}.")
        neither = nan if self.both_empty is None else self.both_empty
        if neither < 0:
            raise ValueError(f"--both-empty is a distance, at least 0, got {neither:g}.")
        return Surfaces(tolerance, percentile, neither, _empty_distance(self.empty_distance))


def _per_unit(
    option: str,
    given: Sequence[str],
    usual: float,
    units: Sequence[Unit],
    names: Sequence[str],
) -> tuple[float, ...]:
    """A number for each unit: ``2``, or ``liver=2,tumor=1`` by name or index of a class."""
    for_all, named = usual, dict[str, float]()
    known = {unit.name for unit in units}
    for text in given:
        name = text.rpartition("=")[0].strip()
        for part in [text] if name in known and "," in name else text.split(","):
            name, equals, value = (piece.strip() for piece in part.rpartition("="))
            try:
                number = float(value)
            except ValueError:
                raise ValueError(
                    f"{option} is a number, or NAME=NUMBER as in liver=2,tumor=1, got {text!r}."
                ) from None
            if not equals:
                for_all = number
                continue
            if name not in known and name.isdecimal() and int(name) < len(names):
                name = names[int(name)]
            if name not in known:
                raise ValueError(
                    f"{option} {text}: {name!r} is no class or region that is scored. These are "
                    f"{', '.join(unit.name for unit in units)}."
                )
            named[name] = number
    return tuple(named.get(unit.name, for_all) for unit in units)


def _empty_distance(text: str | None) -> EmptyDistance:
    """A distance of ``inf``, ``diagonal`` or a number."""
    if text in (None, "inf"):
        return float("inf")
    if text == "diagonal":
        return "diagonal"
    try:
        number = float(str(text))
    except ValueError:
        number = nan
    if isnan(number) and text != "nan":
        raise ValueError(f"--empty-distance is inf, diagonal, nan or a number, got {text!r}.")
    if number < 0:
        raise ValueError(f"--empty-distance must be at least 0, got {text}.")
    return number
