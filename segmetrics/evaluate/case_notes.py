"""What the tables of cases mean, in words and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import inf, isnan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from segmetrics.evaluate.case_tables import CaseTable
    from segmetrics.evaluate.cases import Surfaces

#: Names that a sentence lists.
SHOWN = 3
#: Cases that are drawn as dots; of more the box alone.
DOTS = 500
#: The sizes of a picture: its width, that of names and the height of a class.
WIDTH, NAMES, LINE = 640, 130, 24


def of_other_units(names: Sequence[str], usual: int) -> str:
    """The warning of cases whose distances and volumes have other units than most."""
    shown = ", ".join(names[:SHOWN]) + ("…" if len(names) > SHOWN else "")
    what = "1 case is" if len(names) == 1 else f"{len(names):,} cases are"
    why = {
        0: "most files have no spacing, these have",
        2: "most are images, these are no images or have no spacing",
        3: "most are volumes with a spacing, these are not",
    }[usual]
    return (
        f"{what} left out of distances and volumes, as {why}: {shown}. Give --spacing for files "
        "without, or score them separately."
    )


def conventions(table: CaseTable) -> list[str]:
    """How the numbers are defined, in sentences."""
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
            f"Distances are infinite of {shown} of {len(table.names):,} cases, and so are their "
            "means. --empty-distance gives these a number; medians are in the JSON and the report."
        )


def _by_unit(table: CaseTable, values: Sequence[float], unit: str) -> str:
    """A setting; where classes differ each of them."""
    if len(set(values)) == 1:
        return f"{values[0]:g} {unit}"
    named = zip(table.unit_names(), values, strict=True)
    return ", ".join(f"{name} {value:g}" for name, value in named) + f" {unit}"


# --- Pictures -------------------------------------------------------------------------------------


def distributions(table: CaseTable) -> list[str]:
    """A box and dots for every class, of Dice and of distances, as SVG."""
    measures = ["dice"] if table.cases.surfaces is None else ["dice", table.hd, "assd", "nsd"]
    names = table.unit_names()
    return [_boxes(table.title(m), names, table.measures[m].T, table.unit_of(m)) for m in measures]


def _boxes(title: str, names: Sequence[str], columns: NDArray[np.float64], unit: str) -> str:
    """Boxes from quartile to quartile, with the median, and a dot a case."""
    finite = columns[np.isfinite(columns)]
    top = 1.0 if not unit else float(finite.max(initial=0.0)) or 1.0
    height = LINE * len(names) + LINE

    def x(value: float) -> float:
        return NAMES + (WIDTH - NAMES - 90) * min(value / top, 1)

    parts = []
    for i, (name, column) in enumerate(zip(names, columns, strict=True)):
        middle = LINE * i + LINE / 2
        defined = column[np.isfinite(column)]
        infinite = int(np.isinf(column).sum())
        short = name if len(name) <= 18 else f"{name[:17]}…"
        parts.append(f'<text x="0" y="{middle + 4:g}">{escape(short)}</text>')
        if len(defined):
            low, half, high = np.quantile(defined, (0.25, 0.5, 0.75)).tolist()
            parts.append(
                f'<rect x="{x(low):.1f}" y="{middle - 7:g}" width="{x(high) - x(low):.1f}" '
                f'height="14" fill="var(--bar)"/>'
                f'<line x1="{x(half):.1f}" x2="{x(half):.1f}" y1="{middle - 7:g}" '
                f'y2="{middle + 7:g}" stroke="var(--ink)" stroke-width="2"/>'
            )
        if len(defined) <= DOTS:
            parts += [
                f'<circle cx="{x(value):.1f}" cy="{middle:g}" r="2.5" fill="var(--right)" '
                'fill-opacity=".55"/>'
                for value in defined.tolist()
            ]
        if infinite:
            parts.append(f'<text x="{WIDTH - 80}" y="{middle + 4:g}">{infinite:,} infinite</text>')
    ends = f"0 to {top:.4g}{f' {unit}' if unit else ''}"
    label = escape(f"{title}: boxes from quartile to quartile over cases, {ends}")
    return (
        f'<figure><svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {height}" '
        f'style="max-width:{WIDTH}px;width:100%;font:12px sans-serif;fill:var(--ink)">'
        f'{"".join(parts)}<text x="{NAMES}" y="{height - 6}">0</text>'
        f'<text x="{x(top):.0f}" y="{height - 6}" text-anchor="end">{top:.4g}</text></svg>'
        f"<figcaption>{escape(title)}: the box is from quartile to quartile, the line the median, "
        "a dot a case.</figcaption></figure>"
    )
