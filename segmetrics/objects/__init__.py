"""Objects: label maps become connected components, and a table of what they share.

``plain.py`` is the definition, ``cpu.py`` gives the same tables faster. Maps are NumPy arrays:
masks on a GPU are copied to the CPU.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segmetrics._arguments import one_of
from segmetrics._parallel import run_jobs
from segmetrics.objects.table import IGNORED, NO_OBJECT, Classify, Meaning, ObjectPairs, Runs, Side

__all__ = [
    "IGNORED",
    "NO_OBJECT",
    "Classify",
    "Connectivity",
    "ObjectPairs",
    "Runs",
    "Side",
    "object_pairs",
    "relabelled",
    "segment_and_band_pairs",
    "segment_pairs",
    "size_of",
]

#: Pixels are connected if they share a corner, an edge or a face, or a face only (in 2D: an edge).
Connectivity = Literal["full", "faces"]
#: Bytes of two maps whose objects take half a millisecond, unless there are many.
BYTES_A_THREAD = 2**23


def object_pairs(
    preds: NDArray[Any],
    target: NDArray[Any],
    *,
    connectivity: Connectivity = "full",
    maps: bool = False,
    of_preds: Meaning | None = None,
    of_target: Meaning | None = None,
) -> ObjectPairs:
    """The table of the connected components of two label maps.

    Components are found on the full maps. Then pixels that the target ignores are taken off both:
    a component that they cut stays one object, and one of which nothing is left is none.

    Args:
        preds: classes from 0 on, or ``NO_OBJECT`` (-1); integers ``(H, W)`` or ``(D, H, W)``.
        target: the same, or ``IGNORED`` (-2).
        connectivity: ``"full"`` (8 or 26 neighbours) or ``"faces"`` (4 or 6).
        maps: whether the table also has the maps of objects, int32 of the shape of the inputs.
        of_preds: says what the values in ``preds`` mean, where they are others.
        of_target: says what the values in ``target`` mean.
    """
    one_of("connectivity", connectivity, ("full", "faces"))
    _check_sizes(preds.shape, target.shape)
    backend, full = _backend(), connectivity == "full"
    volumes = [side.reshape((1,) * (3 - side.ndim) + side.shape) for side in (preds, target)]
    found_preds, found_target = run_jobs(
        lambda side: backend.components(side[0], full, side[1]),
        list(zip(volumes, (of_preds, of_target), strict=True)),
        at_most=(preds.nbytes + target.nbytes) // BYTES_A_THREAD,
    )
    return _pairs(backend, found_preds, found_target, maps, target.shape).counted()


def relabelled(labels: NDArray[Any], new: NDArray[np.int32]) -> NDArray[np.int32]:
    """A map with other labels.

    Args:
        labels: classes from 0 on, ``NO_OBJECT`` or ``IGNORED``.
        new: the values for ``IGNORED``, ``NO_OBJECT``, class 0, class 1 and so on.
    """
    found: NDArray[np.int32] = _backend().relabelled(labels, new)
    return found


def segment_pairs(
    preds: NDArray[Any] | Runs,
    target: NDArray[Any] | Runs,
    classify_preds: Classify,
    classify_target: Classify,
    *,
    maps: bool = False,
) -> ObjectPairs:
    """The table of the segments of two maps: pixels of equal values, connected or not.

    Objects of which every pixel is ignored are in the table, with size 0.

    Args:
        preds: the values of every pixel, such as category and instance: integers ``(H, W, values)``
            or ``(D, H, W, values)``, or these cut into runs.
        target: the same, of the same size; the number of values may differ.
        classify_preds: the meaning of the values in ``preds``, see ``Classify``.
        classify_target: the meaning of the values in ``target``.
        maps: whether the table also has the maps of objects, int32 of the size of the inputs.
    """
    sides = _segments(preds, target, classify_preds, classify_target)
    return _pairs(_backend(), *sides, maps, size_of(target))


def segment_and_band_pairs(
    preds: NDArray[Any] | Runs,
    target: NDArray[Any] | Runs,
    classify_preds: Classify,
    classify_target: Classify,
    reach: int,
) -> tuple[ObjectPairs, ObjectPairs]:
    """Two tables of the segments of two maps: of all pixels, and of those in the bands.

    The band of an object: its pixels within ``reach``, along every axis, of a pixel that is outside
    the object or the image. Both tables number objects alike. The other arguments are those of
    ``segment_pairs``.
    """
    from segmetrics.surfaces.host import inner

    backend = _backend()
    sides = _segments(preds, target, classify_preds, classify_target)
    bands = []
    for side in sides:
        numbers = side.map().astype(np.int32)
        inside = inner(numbers, reach) & (numbers >= 0)
        numbers[inside] = NO_OBJECT
        bands.append(backend.numbered(numbers, side.classes))
    return backend.count(*sides), backend.count(*bands)


def size_of(pixels: NDArray[Any] | Runs) -> tuple[int, ...]:
    """The spatial size of a map with several values a pixel."""
    return pixels.size if isinstance(pixels, Runs) else pixels.shape[:-1]


def _segments(
    preds: NDArray[Any] | Runs,
    target: NDArray[Any] | Runs,
    classify_preds: Classify,
    classify_target: Classify,
) -> tuple[Any, Any]:
    """The objects of both maps, by the backend."""
    _check_sizes(size_of(preds), size_of(target))
    volumes = [
        side if isinstance(side, Runs) else side.reshape((1,) * (4 - side.ndim) + side.shape)
        for side in (preds, target)
    ]
    segments = _backend().segments
    return segments(volumes[0], classify_preds), segments(volumes[1], classify_target)


def _check_sizes(preds: tuple[int, ...], target: tuple[int, ...]) -> None:
    if preds != target or len(target) not in (2, 3):
        raise ValueError(
            f"`preds` and `target` must be maps (H, W) or (D, H, W) of equal shape, got {preds} "
            f"and {target}."
        )


def _pairs(
    backend: ModuleType, preds: Any, target: Any, maps: bool, size: tuple[int, ...]
) -> ObjectPairs:
    pairs: ObjectPairs = backend.count(preds, target)
    if not maps:
        return pairs
    of_preds, of_target = (side.map().astype(np.int32).reshape(size) for side in (preds, target))
    ignored = (of_preds == IGNORED) | (of_target == IGNORED)
    none = np.int32(NO_OBJECT)
    return replace(
        pairs,
        preds_map=np.where(ignored, none, of_preds),
        target_map=np.where(ignored, none, of_target),
    )


@cache
def _backend() -> ModuleType:
    """The compiled kernels; the plain definition where numba is missing."""
    try:
        from segmetrics.objects import cpu
    except ImportError:
        from segmetrics.objects import plain

        return plain
    return cpu
