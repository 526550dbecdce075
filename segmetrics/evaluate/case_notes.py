"""Notes on the tables of cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isnan
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from segmetrics.evaluate.case_tables import CaseTable
    from segmetrics.evaluate.cases import Surfaces

#: Names that a sentence lists.
SHOWN = 3


def of_other_units(names: Sequence[str], axes: Sequence[int], usual: int) -> Iterator[str]:
    """Warnings of cases whose distances and volumes have other units than those of most.

    Args:
        names: of all cases.
        axes: how many axes with a spacing each has, 0 without a spacing.
        usual: how many most have.
    """
    kinds = {0: "files without a spacing", 2: "images with a spacing", 3: "volumes with a spacing"}
    for kind, described in kinds.items():
        some = [name for name, found in zip(names, axes, strict=True) if found == kind]
        if not some or kind == usual:
            continue
        shown = ", ".join(some[:SHOWN]) + ("…" if len(some) > SHOWN else "")
        what = "volumes" if kind and usual else "distances and volumes"
        number = "1 case is" if len(some) == 1 else f"{len(some):,} cases are"
        fix = " Give --spacing for files without." if not (kind and usual) else ""
        yield (
            f"{number} left out of {what}, as their units are not those of the others: {shown}, "
            f"{described}, among {kinds[usual]}.{fix}"
        )


def conventions(table: CaseTable) -> list[str]:
    """The definitions of the numbers, in sentences."""
    cases, surfaces = table.cases, table.cases.surfaces
    sentences = [*_of_surfaces(table, surfaces)] if surfaces else []
    zero = cases.zero_division
    neither = "are left out" if isnan(zero) else f"count as {zero:g}"
    sentences += [
        f"Dice and IoU of a case in which neither mask has the class {neither}; they are 0 where "
        "one mask has it. Sensitivity needs a target, precision a prediction.",
        f"Volumes are in {table.volume_unit}; differences are prediction minus target. Volume "
        "similarity: 1 − |FP − FN| / (2 TP + FP + FN) (Taha and Hanbury 2015).",
        "Missed: the target has the class and the prediction has none of it; the rate is over "
        "cases with a target. False alarm: the reverse, over cases without.",
    ]
    if cases.counting.ignore_index:
        sentences.append("Pixels whose target is ignored belong to no mask.")
    if cases.groups is not None and table.groups is not None:
        number, by = len(set(table.groups.values())), cases.groups
        sentences.append(f"Intervals draw {number} groups of cases, by {by.path}:{by.column}.")
    return sentences


def _of_surfaces(table: CaseTable, surfaces: Surfaces) -> Iterator[str]:
    hd = table.hd.upper() if table.hd != "hd_percentile" else "HD percentile"
    if table.cases.spacing is not None:
        shown = ", ".join(f"{step:g}" for step in table.cases.spacing)
        yield f"Distances are in mm, by --spacing {shown} where files have none."
    elif table.unit == "mm":
        yield "Distances are in mm, by the spacing of the targets' headers."
    else:
        yield "Distances are in pixels, as the files have no spacing. Give it by --spacing."
    tolerance = _by_unit(table, surfaces.tolerance, table.unit)
    percentile = _by_unit(table, surfaces.percentile, "%")
    yield (
        f"The surface is every pixel of a mask with a direct neighbour outside it, or at the "
        f"image's border. {hd}: the percentile ({percentile}) of each direction's distances, "
        "interpolated linearly, then the larger. ASSD: the mean of both directions' distances, "
        f"pooled. NSD: the share of both surfaces within a tolerance ({tolerance}) of the other."
    )
    one = surfaces.empty_distance
    if one == "diagonal":
        alone = "the diagonal of the image"
    else:
        alone = "inf" if one == inf else f"{one:g} {table.unit}"
    both = surfaces.both_empty
    neither = "is left out" if isnan(both) else f"has the distance {both:g} and NSD 1"
    yield (
        f"A class that only one of the masks has: the distance is {alone}, NSD is 0. One that "
        f"neither has {neither}."
    )
    infinite = [
        f"{name} in {number:,}"
        for name, column in zip(table.unit_names(), table.measures["hd"].T, strict=True)
        if (number := int(np.isinf(column).sum()))
    ]
    if infinite:
        shown = ", ".join(infinite[: 2 * SHOWN]) + ("…" if len(infinite) > 2 * SHOWN else "")
        yield (
            f"Distances are infinite for {shown} of {len(table.names):,} cases, and so are their "
            "means. --empty-distance gives these a number; medians are in the JSON and the report."
        )


def _by_unit(table: CaseTable, values: Sequence[float], unit: str) -> str:
    """A setting; one a class if they differ."""
    if len(set(values)) == 1:
        return f"{values[0]:g} {'pixel' if unit == 'pixels' and values[0] == 1 else unit}"
    named = zip(table.unit_names(), values, strict=True)
    return ", ".join(f"{name} {value:g}" for name, value in named) + f" {unit}"
