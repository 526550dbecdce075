"""The dense backend and its Triton kernel against the backend of the CPU.

The same tests run on a GPU, and without one on the CPU under Triton's interpreter, in a process of
their own: Triton reads ``TRITON_INTERPRET`` when it is imported.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from segmetrics import BoundaryF1Score, BoundaryIoU, SurfaceMetrics
from segmetrics.surfaces import host
from segmetrics.surfaces.distances import (
    average_distance,
    boundary_f1,
    hausdorff,
    surface_dice,
)
from segmetrics.surfaces.maps import IGNORED_PIXEL, NO_CLASS, Maps
from strategies import generators
from triton_kernels import (
    DEVICE,
    assert_passes_under_the_interpreter,
    on_gpu,
    runs_kernels,
    starts_the_interpreter,
)

triton = pytest.importorskip("triton", reason="the kernel is written in Triton")

RELEASE = tuple(map(int, triton.__version__.split(".")[:2]))
LABELS = 3
MEASURES = (
    hausdorff,
    partial(hausdorff, percentile=95),
    partial(hausdorff, percentile=30, directed=True),
    partial(hausdorff, percentile=95, pooled=True),
    average_distance,
    partial(average_distance, symmetric=False),
    partial(surface_dice, tolerance=1.4),
    partial(boundary_f1, tolerance=1),
)


@starts_the_interpreter
@pytest.mark.skipif(
    RELEASE < (3, 7) and np.lib.NumpyVersion(np.__version__) >= "2.4.0",
    reason="the interpreter of Triton 3.6 cannot count to a number with NumPy 2.4",
)
def test_the_kernel_passes_these_tests_under_the_interpreter() -> None:
    assert_passes_under_the_interpreter(__file__, 5)


@st.composite
def drawn_maps(draw: st.DrawFn, channels: int = 1) -> Maps:
    """Padded maps with ignored pixels and pixels of no class, of one value or of many."""
    rng = draw(generators())
    size = draw(st.lists(st.integers(1, 9), min_size=2, max_size=2))
    size += draw(st.lists(st.integers(1, 4), max_size=1))
    values = draw(st.lists(st.integers(IGNORED_PIXEL, LABELS - 1), min_size=1, max_size=4))
    sides = []
    for lowest in (NO_CLASS, IGNORED_PIXEL):
        labels = rng.choice(values, (channels, *size)).clip(lowest)
        if draw(st.booleans()):
            labels[:, : rng.integers(0, 9)] = labels[0].flat[0]
        border = [(0, 0), *[(1, 1)] * len(size)]
        padded = np.pad(labels, border, constant_values=NO_CLASS).astype(np.int32)
        sides.append(torch.from_numpy(padded))
    return Maps(*sides)


def there(maps: Maps) -> Maps:
    return Maps(*(side.to(DEVICE) for side in maps))


@runs_kernels
@settings(max_examples=25)
@given(
    drawn_maps(),
    st.sampled_from(["pixels", "elements", "contour"]),
    st.sampled_from([(1.0, 1.0, 1.0), (0.3, 2.5, 0.7)]),
)
def test_surfaces_are_measured_as_on_the_cpu(maps, surface, spacing) -> None:
    from segmetrics.surfaces import cuda

    if surface != "contour":
        ignored = maps.target == IGNORED_PIXEL
        maps = Maps(maps.preds.masked_fill(ignored, NO_CLASS), maps.target.clamp(min=NO_CLASS))
    arguments: dict[str, Any] = {
        "measures": [(mask, list(MEASURES)) for mask in (2, (0, 2), 0, (1,))],
        "empty": [9.0] * len(MEASURES),
        "both_empty": [7.0] * len(MEASURES),
        "labels": LABELS,
        "surface": surface,
        "spacing": spacing[: len(maps.size)],
    }
    found = cuda.measure_surfaces(there(maps), **arguments)
    expected = host.measure_surfaces(maps, **arguments)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-6, equal_nan=True)


@runs_kernels
@settings(max_examples=25)
@given(drawn_maps(channels=2), st.integers(1, 12))
def test_bands_are_counted_as_on_the_cpu(maps, reach) -> None:
    from segmetrics.surfaces import cuda

    found = cuda.band_counts(there(maps), reach, LABELS)
    assert torch.equal(found.cpu(), host.band_counts(maps, reach, LABELS))


@runs_kernels
@pytest.mark.parametrize("shape", [(37, 70), (9, 33, 35)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.3, 2.5, 0.7)])
def test_the_transform_is_exact(shape, spacing) -> None:
    from segmetrics.surfaces import cuda

    spacing = spacing[: len(shape)]
    seeds = np.random.default_rng(0).random(shape) < 0.01
    squares = torch.from_numpy(np.where(seeds, 0.0, np.inf)).to(DEVICE)
    for dim, step in enumerate(spacing):
        squares = cuda.lower_envelopes(squares, dim, step)
    expected = ndimage.distance_transform_edt(~seeds, sampling=spacing)
    np.testing.assert_allclose(squares.sqrt().cpu().numpy(), expected, rtol=1e-14)


# --- On a GPU -------------------------------------------------------------------------------------


def batch(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    fields = np.random.default_rng(1).standard_normal((2, 5, *shape))
    smooth = ndimage.gaussian_filter(fields, (0, 0, 0, *[4] * (len(shape) - 1)))
    target = torch.from_numpy(smooth[0].argmax(0))
    target[:, :7] = 255
    return torch.from_numpy((smooth[0] + 0.4 * smooth[1]).argmax(0)), target


METRICS = {
    "pixels": lambda: SurfaceMetrics(5, tolerance=1, percentile=95, ignore_index=255),
    "elements": lambda: SurfaceMetrics(
        5, tolerance=1, percentile=95, ignore_index=255, surface="elements"
    ),
    "bands": lambda: BoundaryIoU(5, ignore_index=255, average="none"),
    "samplewise": lambda: BoundaryIoU(5, ignore_index=255, aggregation_level="samplewise"),
    "contours": lambda: BoundaryF1Score(5, ignore_index=255, average="none"),
}


@on_gpu
@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("shape", [(2, 90, 120), (1, 30, 40, 50)])
def test_a_gpu_gives_what_the_cpu_gives(name, shape) -> None:
    preds, target = batch(shape)
    expected = METRICS[name]()(preds, target)
    found = METRICS[name]().to("cuda")(preds.cuda(), target.cuda())
    on_cpu = {k: v.cpu() for k, v in found.items()} if isinstance(found, dict) else found.cpu()
    torch.testing.assert_close(on_cpu, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@on_gpu
@pytest.mark.parametrize("name", METRICS)
def test_neither_update_nor_forward_waits_for_the_gpu(name) -> None:
    preds, target = (labels.cuda() for labels in batch((2, 60, 70)))
    metric = METRICS[name]().to("cuda")
    metric(preds, target)  # compiles and loads
    torch.cuda.set_sync_debug_mode("error")
    try:
        metric.update(preds, target)
        metric(preds, target)
    finally:
        torch.cuda.set_sync_debug_mode("default")
