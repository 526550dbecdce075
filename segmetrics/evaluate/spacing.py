"""The distance between pixels, from headers or from ``--spacing``."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmetrics.files import LabelMap, MaskError

Floats = NDArray[np.float64]

#: Smaller differences of spacings are rounding errors, as headers store float32.
TOLERANCE = 1e-3


def spacing_option(text: str | None) -> tuple[float, ...] | None:
    """The numbers of ``0.5,0.5,2``."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2, 3):
        raise ValueError(
            f"--spacing is one number in mm, or one per axis as in 0.5,0.5,2, got {text!r}."
        )
    if not all(isfinite(number) and number > 0 for number in numbers):
        raise ValueError(f"--spacing must be positive and finite, got {text!r}.")
    return numbers


def spacing_of(
    target: LabelMap, path: Path, given: tuple[float, ...] | None
) -> tuple[tuple[float, ...], bool]:
    """The spacing along every axis of a target, and whether it is known.

    The spacing of its header is used. ``given`` is for files without one, and must not contradict a
    header. It is in the header's order, (x, y, z), or in that of the axes of arrays.

    Raises:
        MaskError: a header with an impossible spacing, or another than ``given``.
    """
    grid, dims = target.grid, target.values.ndim
    measured = grid is not None and grid.measured
    order = slice(None, None, -1 if grid is not None and grid.zyx else 1)
    steps = grid.spacing if grid is not None and measured else np.ones(dims)
    if measured and not (np.isfinite(steps) & (steps > 0)).all():
        detail = f"its header says the spacing {_listed(steps[order])} mm"
        raise MaskError("spacing", path, detail)
    if given is None:
        return tuple(steps.tolist()), measured
    if len(given) not in (1, dims):
        detail = f"--spacing has {len(given)} numbers, its mask {dims} axes"
        raise MaskError("spacing", path, detail)
    wanted = np.array(given * dims if len(given) == 1 else given)[order]
    if measured and not np.allclose(wanted, steps, rtol=TOLERANCE, atol=0):
        detail = (
            f"its header says the spacing {_listed(steps[order])} mm, --spacing "
            f"{_listed(wanted[order])}"
        )
        hint = "--spacing is for files without one. Leave it out, or correct the header."
        raise MaskError("spacing", path, detail, hint)
    return tuple(wanted.tolist()), True


def _listed(numbers: Floats) -> str:
    return f"({', '.join(f'{number:.6g}' for number in numbers.tolist())})"
