"""Colour images → label maps, if that is possible exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segmetrics.files.masks import Array, Color
from segmetrics.files.problems import MaskError


def labels_of_channels(
    path: Path, values: Array, bands: str, colors: Sequence[tuple[Color, int | None]]
) -> Array:
    """The labels of an image with channels.

    Opaque alpha is no channel. Three channels hold labels where they are equal, or where green and
    blue are 0 (as CARLA writes them). Where colours have labels, these come first.

    Args:
        path: the file.
        values: ``(..., channels)``.
        bands: a letter for each channel, as ``"RGBA"``.
        colors: colour → label, None for a colour of several labels.

    Raises:
        MaskError: transparent pixels, unknown colours, one of several labels, or colours at all
            where none has a label.
    """
    if bands.endswith("A"):
        values, bands = _without_alpha(path, values), bands[:-1]
    if bands == "L":
        return values[..., 0]
    red, green, blue = (values[..., channel] for channel in range(3))
    grey = np.array_equal(red, green) and np.array_equal(red, blue)
    strange = None
    if colors and values.dtype in (np.uint8, np.uint16):
        labels, strange = _labels_of_colors(path, values, colors)
        if strange is None:
            if grey and not np.array_equal(labels, red) and _all_labels(red, colors):
                detail = (
                    "grey, and known labels as colours and as numbers. Save it with one channel"
                )
                raise MaskError("channels", path, detail)
            return labels
    if grey or not (green.any() or blue.any()):
        return red
    if strange:
        raise MaskError("colors", path, _described(strange, values, colors))
    raise MaskError("channels", path, f"{bands}, {values.shape[-1]} channels")


def _without_alpha(path: Path, values: Array) -> Array:
    opaque = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
    transparent = np.count_nonzero(values[..., -1] != opaque)
    if transparent:
        what = f"{transparent:,} of {values[..., -1].size:,} pixels are transparent: have they a "
        raise MaskError("channels", path, f"{what}label? Save the mask without alpha")
    return values[..., :-1]


def _labels_of_colors(
    path: Path, values: Array, colors: Sequence[tuple[Color, int | None]]
) -> tuple[Array, Color | None]:
    """The label of every pixel, and the first colour that has none."""
    known = sorted(
        (_packed(np.array(color)).item(), label or 0, label is None) for color, label in colors
    )
    keys, labels, shared = (np.array(column, np.int64) for column in zip(*known, strict=True))
    pixels = _packed(values)
    place = np.searchsorted(keys, pixels).clip(max=len(keys) - 1)
    strange = keys[place] != pixels
    if strange.any():
        red, green, blue = values[strange][0].tolist()
        return values, (red, green, blue)
    several = shared[place] > 0
    if number := np.count_nonzero(several):
        red, green, blue = values[several][0].tolist()
        detail = f"several labels have the colour {(red, green, blue)} ({number:,} pixels)"
        hint = "A colour of several labels stands for none of them. Save labels, or other colours."
        raise MaskError("colors", path, detail, hint)
    return labels[place], None


def _packed(colors: Array) -> Array:
    """Colours as integers."""
    red, green, blue = (colors[..., channel].astype(np.int64) for channel in range(3))
    return (red << 32) + (green << 16) + blue


def _all_labels(values: Array, colors: Sequence[tuple[Color, int | None]]) -> bool:
    labels = [label for _, label in colors if label is not None]
    return bool(np.isin(values, labels).all())


def _described(unknown: Color, values: Array, colors: Sequence[tuple[Color, int | None]]) -> str:
    pixels = np.count_nonzero((values == np.array(unknown)).all(-1))

    def distance(entry: tuple[Color, int | None]) -> int:
        return sum((a - b) ** 2 for a, b in zip(entry[0], unknown, strict=True))

    nearest, label = min(colors, key=distance)
    found = f"no label has the colour {unknown} ({pixels:,} pixels)"
    of = "several labels" if label is None else f"label {label}"
    return f"{found}; the nearest is {nearest}, of {of}"
