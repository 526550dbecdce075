"""Boundaries and surfaces: label maps → boundary counts and surface distances.

``maps.py`` converts inputs to padded label maps. ``host.py`` and ``cuda.py`` are the backends of
``band_counts`` and ``measure_surfaces``. ``plain.py`` defines the kernels of the former, ``cpu.py``
has them compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import hypot, nan
from types import ModuleType
from typing import TYPE_CHECKING

from segmetrics import counting as counts
from segmetrics._arguments import identifier
from segmetrics.counting import BAD_KINDS, Counting, installed
from segmetrics.counting.settings import Pixels
from segmetrics.surfaces.maps import Maps, Mask, Surface, read_maps

if TYPE_CHECKING:  # imported on first use, as the command runs without torch
    import torch
    from torch import Tensor

    from segmetrics.surfaces.distances import Measure


def images(
    preds: Tensor,
    target: Tensor,
    counting: Counting,
    *,
    background: int = 0,
    without_ignored: bool = False,
) -> Iterator[Maps]:
    """The label maps of a batch, image by image; see ``maps.read_maps``.

    A volume of one slice is an image: see ``axes_of_size``.

    Raises:
        TypeError: a dtype that is not supported.
        ValueError: shapes or devices that do not match; neither two nor three spatial dimensions;
            bad labels.
    """
    from segmetrics.counting.inputs import read

    pixels = without_single_slices(read(preds, target, counting))
    if pixels.target.ndim not in (4, 5):
        raise ValueError(
            "contours, surfaces and objects need two or three spatial dimensions, got `target` of "
            f"shape {tuple(target.shape)}."
        )
    on_cpu = target.device.type == "cpu"
    for i in range(len(pixels.target)):
        image = pixels.image(i)
        maps, bad = _reader(on_cpu)(image, counting, background, without_ignored)
        if on_cpu and bad:
            counts.count(preds, target, counting)  # raises, with the values that are bad
        yield maps


def axes_of_size(size: Sequence[int]) -> list[int]:
    """The spatial dimensions of an image: those of size 1 are dropped as long as two are left."""
    single = [axis for axis, length in enumerate(size) if length == 1]
    dropped = single[: max(0, len(size) - 2)]
    return [axis for axis in range(len(size)) if axis not in dropped]


def without_single_slices(pixels: Pixels) -> Pixels:
    """The pixels with only the spatial dimensions of ``axes_of_size``."""
    axes = axes_of_size(pixels.target.shape[2:])
    dropped = [axis + 2 for axis in range(pixels.target.ndim - 2) if axis not in axes]
    if any(pixels.preds.shape[dim] != 1 for dim in dropped):
        raise ValueError(
            "contours and surfaces do not resize scores to a single slice, got `preds` "
            f"{tuple(pixels.preds.shape)} and `target` of size {tuple(pixels.target.shape[2:])}."
        )
    return pixels._replace(
        preds=pixels.preds.squeeze(dropped), target=pixels.target.squeeze(dropped)
    )


def bad_pixels(preds: Tensor, target: Tensor, counting: Counting) -> Tensor:
    """The numbers of bad pixels that follow the counts: 0 on the CPU, where ``images`` raises."""
    if preds.device.type == "cpu":
        import torch

        images = [len(target)] if counting.per_image else []
        return torch.zeros((*images, len(BAD_KINDS)), dtype=torch.int64)
    return counts.count(preds, target, counting)[..., counting.cells :]


def band_counts(maps: Maps, reach: int, labels: int) -> Tensor:
    """Hits, predicted and target pixels in the labels' bands, int64 ``(channels, labels, 3)``.

    The band of a label: its pixels within ``reach``, along every axis, of a different label or of
    the image's border.
    """
    found: Tensor = _backend(maps.target.device).band_counts(maps, reach, labels)
    return found.to(maps.target.device)


@dataclass(frozen=True)
class BandCounting(Counting):
    """What is counted in the bands: hits, predicted and target pixels of every label."""

    dilation_ratio: float = 0.02

    @property
    def only_marginals(self) -> bool:
        """Whether only the diagonal and the marginals of the confusion matrix are kept: yes."""
        return True

    @property
    def name(self) -> str:
        """The settings as an identifier."""
        return identifier("bands", self.dilation_ratio, super().name)

    def reach(self, size: Sequence[int]) -> int:
        """The width of the bands in an image of this size, in pixels."""
        return max(1, round(self.dilation_ratio * hypot(*size)))

    def count(self, maps: Maps) -> Tensor:
        """Count the bands of one image, ``(cells,)`` in int64."""
        return band_counts(maps, self.reach(maps.size), self.labels).flatten()


def measure_surfaces(
    maps: Maps,
    measures: Sequence[tuple[Mask, Sequence[Measure]]],
    empty: Sequence[float],
    *,
    both_empty: Sequence[float] | None = None,
    labels: int,
    surface: Surface,
    spacing: tuple[float, ...],
) -> Tensor:
    """Measure the distances between the surfaces of masks, float64 ``(measures, masks)``.

    They are on the CPU or on the maps' device, wherever they were measured.

    Args:
        maps: of ``labels`` classes, or one channel a class with ``labels=1``; without ignored
            pixels, unless the surface is the contour.
        measures: masks, each with the functions of its distances. A mask is a class, or the union
            of a tuple of classes of one channel.
        empty: the measures' values if one of the surfaces is empty.
        both_empty: their values if both are; by default nan.
        labels: number of classes in a channel.
        surface: the definition of a surface.
        spacing: distance between pixels along every axis.
    """
    both_empty = [nan] * len(empty) if both_empty is None else both_empty
    numbers: Tensor = _backend(maps.target.device).measure_surfaces(
        maps, measures, empty, both_empty, labels=labels, surface=surface, spacing=spacing
    )
    return numbers


@cache
def _reader(on_cpu: bool) -> Callable[[Pixels, Counting, int, bool], tuple[Maps, bool | Tensor]]:
    """The function that reads an image."""
    return _read_on_cpu if on_cpu and installed("numba") else read_maps


def _read_on_cpu(
    pixels: Pixels, counting: Counting, background: int, without_ignored: bool
) -> tuple[Maps, bool]:
    """``maps.read_maps`` by compiled kernels."""
    import torch

    from segmetrics.counting.inputs import as_arrays
    from segmetrics.surfaces import cpu_maps

    if not cpu_maps.readable(pixels, counting):
        defined, any_bad = read_maps(pixels, counting, background, without_ignored)
        return defined, bool(any_bad)
    found, bad = cpu_maps.read_maps(as_arrays(pixels), counting, background, without_ignored)
    return Maps(*map(torch.from_numpy, found)), bad


@cache
def _backend(device: torch.device) -> ModuleType:
    """The backend for maps on a device."""
    if device.type == "cuda" and installed("triton"):
        from segmetrics.surfaces import cuda

        return cuda
    from segmetrics.surfaces import host

    return host
