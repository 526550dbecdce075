"""What surface metrics compute from distances: a measure, its settings, its values if empty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import hypot, nan
from typing import Any, Literal

from segmetrics._arguments import boolean, number
from segmetrics.surfaces.distances import (
    Measure,
    Scalar,
    average_distance,
    hausdorff,
    surface_dice,
)

EmptyDistance = float | Literal["diagonal"]
#: Defaults of settings.
DEFAULTS = {"percentile": 100.0, "directed": False, "pooled": False, "symmetric": True}


@dataclass(frozen=True)
class Reading:
    """A measure of the distances of a mask, with its settings, and its value if a surface is empty.

    A tuple among the settings holds one value for each mask.
    """

    measure: Callable[..., Scalar]
    settings: Mapping[str, Any]
    empty: EmptyDistance
    both_empty: float = nan

    def of(self, index: int) -> Measure:
        """The measure for the mask with an index."""
        settings = {
            name: value[index] if isinstance(value, tuple) else value
            for name, value in self.settings.items()
        }
        return partial(self.measure, **settings)

    def when_empty(self, size: Sequence[int], spacing: Sequence[float]) -> float:
        """The value if one surface is empty, in an image of this size."""
        if self.empty == "diagonal":
            return hypot(*(length * step for length, step in zip(size, spacing, strict=True)))
        return self.empty

    @property
    def parts(self) -> list[object]:
        """The settings, for the name of a state."""
        values = (v if isinstance(v, tuple) else (v,) for v in self.settings.values())
        flat = [x for value in values for x in value]
        return [self.measure.__name__, *flat, self.empty, self.both_empty]


def hausdorff_reading(
    percentile: float | Sequence[float],
    directed: bool,
    pooled: bool,
    empty: EmptyDistance,
    both_empty: float,
) -> Reading:
    """The Hausdorff distance with its settings."""
    checked = _per_mask("percentile", percentile)
    for percent in checked if isinstance(checked, tuple) else (checked,):
        if not 0 < percent <= 100:
            raise ValueError(f"`percentile` must be in (0, 100], got {percent}.")
    if boolean("directed", directed) and boolean("pooled", pooled):
        raise ValueError(
            "`pooled` takes the distances of both directions, `directed` of one. Pass one of them."
        )
    settings = {"percentile": checked, "directed": directed, "pooled": boolean("pooled", pooled)}
    return Reading(hausdorff, settings, _checked_empty(empty), number("both_empty", both_empty))


def average_reading(symmetric: bool, empty: EmptyDistance, both_empty: float) -> Reading:
    """The average surface distance with its settings."""
    settings = {"symmetric": boolean("symmetric", symmetric)}
    return Reading(
        average_distance, settings, _checked_empty(empty), number("both_empty", both_empty)
    )


def dice_reading(tolerance: float | Sequence[float], both_empty: float) -> Reading:
    """The surface Dice with its settings."""
    settings = {"tolerance": _per_mask("tolerance", tolerance, at_least=0)}
    return Reading(surface_dice, settings, 0.0, number("both_empty", both_empty))


def _per_mask(
    name: str, value: float | Sequence[float], at_least: float | None = None
) -> float | tuple[float, ...]:
    if isinstance(value, Sequence):
        return tuple(number(name, each, at_least) for each in value)
    return number(name, value, at_least)


def _checked_empty(empty: EmptyDistance) -> EmptyDistance:
    return "diagonal" if empty == "diagonal" else number("empty_distance", empty)
