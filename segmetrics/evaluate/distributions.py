"""Distributions of values over cases: mean, deviation, quantiles, and a picture of them.

Values may be nan, which is undefined, and infinite.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import nan

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: The most cases that are drawn as dots; with more only the box is drawn.
DOTS = 200
#: The sizes of a picture: its width, those of names and of the right margin, the height of a class.
WIDTH, NAMES, MARGIN, LINE = 640, 130, 90, 24


def mean(values: Floats) -> float:
    """The mean of the values that are defined."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else nan


def deviation(defined: Floats) -> float:
    """The sample standard deviation; nan for fewer than two values or infinite ones."""
    return float(defined.std(ddof=1)) if len(defined) > 1 and np.isfinite(defined).all() else nan


def quantiles(defined: Floats, shares: Sequence[float] = (0.25, 0.5, 0.75)) -> list[float]:
    """Quantiles, interpolated linearly; infinite next to an infinite value."""
    if not len(defined):
        return [nan] * len(shares)
    ordered = np.sort(defined)
    place = np.array(shares) * (len(ordered) - 1)
    below, above = ordered[np.floor(place).astype(int)], ordered[np.ceil(place).astype(int)]
    share = place % 1
    with np.errstate(invalid="ignore"):
        between = below + share * (above - below)
    return [float(v) for v in np.where((below == above) | (share == 0), below, between)]


def boxes(title: str, names: Sequence[str], columns: Floats, unit: str) -> str:
    """An SVG with one line per class: a box between the quartiles, the median, one dot per case.

    Args:
        title: the measure.
        names: of the C classes.
        columns: its values ``(C, N)``, none of them negative.
        unit: their unit; the axis of shares, which have none, ends at 1.
    """
    finite = columns[np.isfinite(columns)]
    top = float(finite.max(initial=0.0)) if unit else 1.0
    lines = [
        _line(name, column, top or 1.0, LINE * i + LINE / 2)
        for i, (name, column) in enumerate(zip(names, columns, strict=True))
    ]
    height = LINE * len(names) + LINE
    label = escape(f"{title} over cases, from 0 to {top:.4g}, one line per class")
    return (
        f'<figure><svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {height}" '
        f'style="max-width:{WIDTH}px;width:100%;font:12px sans-serif;fill:var(--ink)">'
        f'{"".join(lines)}<text x="{NAMES}" y="{height - 6}">0</text>'
        f'<text x="{WIDTH - MARGIN}" y="{height - 6}" text-anchor="end">{top:.4g}</text></svg>'
        f"<figcaption>{escape(title)}: the box spans the quartiles, the line is the median, "
        "each dot a case.</figcaption></figure>"
    )


def _line(name: str, column: Floats, top: float, middle: float) -> str:
    """The name of a class, its box and its dots, at a height; infinite values are counted."""
    defined = column[~np.isnan(column)]
    finite = defined[np.isfinite(defined)]

    def x(value: float) -> float:
        return NAMES + (WIDTH - NAMES - MARGIN) * min(value / top, 1)

    short = name if len(name) <= 18 else f"{name[:17]}…"
    parts = [f'<text x="0" y="{middle + 4:g}">{escape(short)}</text>']
    if len(defined):
        low, half, high = map(x, quantiles(defined))
        parts.append(
            f'<rect x="{low:.1f}" y="{middle - 7:g}" width="{high - low:.1f}" height="14" '
            f'fill="var(--bar)"/><path d="M{half:.1f} {middle - 7:g}v14" stroke="var(--ink)" '
            'stroke-width="2"/>'
        )
    if len(defined) <= DOTS:
        parts += [
            f'<circle cx="{x(value):.1f}" cy="{middle:g}" r="2.5" fill="var(--right)" '
            'fill-opacity=".55"/>'
            for value in finite.tolist()
        ]
    if infinite := len(defined) - len(finite):
        place = WIDTH - MARGIN + 10
        parts.append(f'<text x="{place}" y="{middle + 4:g}">{infinite:,} infinite</text>')
    return "".join(parts)
