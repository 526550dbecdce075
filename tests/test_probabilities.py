"""Bins and sums of probabilities: every backend against the definition, and the definition against
PyTorch's own softmax, cross entropy and float64.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import astuple, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from segmetrics.counting import Counting
from segmetrics.counting.inputs import read
from segmetrics.counting.settings import Upsample
from segmetrics.probabilities import (
    BAD_KINDS,
    Probabilities,
    _count_op,
    count,
    count_on_cpu,
    plain,
)
from segmetrics.probabilities.inputs import MASS_CELLS
from strategies import LAYOUTS, SCORE_DTYPES, counted_inputs, lay_out

ULP = 2.0**-24
BACKENDS = {"plain": plain.count, "cpu": count_on_cpu}
#: Scores, their target, and what is counted.
Read = tuple[Tensor, Tensor, Probabilities]


@st.composite
def probabilities(draw: st.DrawFn, upsample: Upsample | None, longest: int = 12) -> Read:
    """Scores of every dtype and layout, bad ones among them, ties and infinities."""
    preds, target, counting = draw(counted_inputs([2, 3, 5], longest, upsample))
    assume(preds.is_floating_point())
    if counting.task == "multiclass" and not counting.from_logits and draw(st.booleans()):
        preds = preds.double().nan_to_num(0.5).clamp(-4, 4).softmax(1).to(preds.dtype)
        preds = lay_out(preds, draw(st.sampled_from(LAYOUTS[:4])))
    return preds, target, reading_of(counting, draw)


def reading_of(counting: Counting, draw: st.DrawFn) -> Probabilities:
    """What a drawn ``Counting`` counts, with drawn bins."""
    common = {field.name: getattr(counting, field.name) for field in fields(Counting)}
    binning = draw(st.sampled_from(["width", "mass"]))
    return Probabilities(
        **common,
        bins=MASS_CELLS if binning == "mass" else draw(st.sampled_from([1, 2, 7, 10, 15, 100])),
        binning=binning,
        classwise=counting.task == "multiclass" and draw(st.booleans()),
        temperatures=draw(st.sampled_from([(1.0,), (0.5, 1.0, 2.0)]))
        if counting.from_logits
        else (1.0,),
    )


def assert_counts_as_defined(counts: Tensor, pixels: Any, reading: Probabilities) -> None:
    """The same labels and bad pixels, and probabilities that differ by 4 ulp at most."""
    defined = plain.count(pixels, reading)
    assert counts.dtype == torch.int64
    assert counts.shape == defined.shape
    assert torch.equal(reading.bad(counts), reading.bad(defined))
    found, expected = reading.sums(counts), reading.sums(defined)
    number, right, confidence = (found.table - expected.table).unbind(-1)
    assert not number.sum(-1).any()
    assert not right.sum(-1).any()
    assert number.abs().sum() <= 2 * near_an_edge(pixels, reading)
    pixels_of = expected.table[..., 0].sum(-1)
    assert (confidence.sum(-1).abs() <= 5 * pixels_of).all()
    assert ((found.squares - expected.squares).abs() <= 32 * expected.pixels).all()
    assert torch.equal(found.infinite, expected.infinite)
    allowed = 32 * expected.pixels.unsqueeze(-1) + expected.losses // 2**20
    assert ((found.losses - expected.losses).abs() <= allowed).all()


def near_an_edge(pixels: Any, reading: Probabilities) -> int:
    """How many probabilities would fall into another bin if they differed by 4 ulp."""
    number = 0
    for box in plain.boxes(pixels, reading, copied=True):
        found = plain.read_box(pixels, box, reading)
        p = (found.probabilities if reading.classwise else found.confidence).nan_to_num(0)
        below, above = ((p * (1 + sign * 4 * 2 * ULP)).clamp(0, 1) for sign in (-1, 1))
        number += int((plain.cells_of(below, reading) != plain.cells_of(above, reading)).sum())
    return number


@pytest.mark.parametrize("upsample", [None, "bilinear", "nearest"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_cpu_backend_counts_as_defined(upsample: Upsample | None, data: st.DataObject) -> None:
    preds, target, reading = data.draw(probabilities(upsample))
    pixels = read(preds, target, reading)
    assert_counts_as_defined(count_on_cpu(pixels, reading), pixels, reading)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), largest=st.integers(1, 40))
def test_cut_into_boxes_everything_is_counted_as_defined(data: st.DataObject, largest: int) -> None:
    cpu = pytest.importorskip("segmetrics.probabilities.cpu")
    upsample = data.draw(st.sampled_from([None, "bilinear", "nearest"]))
    preds, target, reading = data.draw(probabilities(upsample))
    pixels = read(preds, target, reading)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "BOX", largest)
        counts = count_on_cpu(pixels, reading)
    assert_counts_as_defined(counts, pixels, reading)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), block=st.integers(1, 40))
def test_cut_into_blocks_the_definition_counts_the_same(data: st.DataObject, block: int) -> None:
    preds, target, reading = data.draw(probabilities(None))
    pixels = read(preds, target, reading)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segmetrics.counting.plain.BLOCK", block)
        counts = plain.count(pixels, reading)
    assert_counts_as_defined(counts, pixels, reading)


@pytest.mark.parametrize("per_image", [False, True])
def test_the_operator_keeps_the_rules_of_torch_library(per_image: bool) -> None:
    preds = torch.randn((3, 4, 6, 5), generator=torch.Generator().manual_seed(7))
    target = preds.argmax(1).roll(1)
    reading = Probabilities.reading(4, from_logits=True, temperatures=[1, 2], per_image=per_image)
    arguments = preds, target, *astuple(reading), False
    torch.library.opcheck(_count_op, arguments)
    assert torch.equal(_count_op(*arguments), count(preds, target, reading))


@pytest.mark.parametrize("upsample", [None, "bilinear", "nearest"])
@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_lines_longer_than_a_tile_are_counted_as_defined(
    upsample: Upsample | None, layout: str, dtype: torch.dtype
) -> None:
    """Kernels take at most 1,024 pixels of a line at once: here lines have two tiles and a rest."""
    generator = torch.Generator().manual_seed(6)
    target = torch.randint(3, (2, 3, 2500), generator=generator)
    size = (2, 1250) if upsample else (3, 2500)
    scores = lay_out(torch.randn((2, 3, *size), generator=generator).to(dtype), layout)
    reading = Probabilities.reading(
        3, from_logits=True, upsample=upsample, classwise=True, temperatures=[0.5, 1.0]
    )
    for level in (reading, replace(reading, per_image=True)):
        pixels = read(scores, target, level)
        assert_counts_as_defined(count_on_cpu(pixels, level), pixels, level)


@pytest.mark.parametrize("dtype", SCORE_DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS[:4])
def test_the_same_bits_in_any_layout(dtype: torch.dtype, layout: str) -> None:
    pytest.importorskip("numba", reason="softmax of torch rounds by position")
    generator = torch.Generator().manual_seed(1)
    preds = torch.randn((3, 21, 40, 57), generator=generator).to(dtype)
    target = torch.randint(21, (3, 40, 57), generator=generator)
    reading = Probabilities.reading(21, from_logits=True)
    expected = count(preds, target, reading)
    assert torch.equal(count(lay_out(preds, layout), lay_out(target, layout), reading), expected)


def test_the_same_bits_whatever_the_batches_their_order_and_the_threads() -> None:
    pytest.importorskip("numba", reason="softmax of torch rounds by position")
    generator = torch.Generator().manual_seed(2)
    preds = torch.randn((8, 21, 150, 200), generator=generator) * 4
    target = torch.randint(21, (8, 150, 200), generator=generator)
    reading = Probabilities.reading(21, from_logits=True, temperatures=[0.5, 1, 3])
    whole = count(preds, target, reading)
    order = torch.randperm(8, generator=generator)
    parts = [count(preds[i : i + 1], target[i : i + 1], reading) for i in order.tolist()]
    assert torch.equal(sum(parts[1:], parts[0]), whole)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(count(preds, target, reading), whole)
    finally:
        torch.set_num_threads(threads)
    per_image = count(preds, target, replace(reading, per_image=True))
    assert torch.equal(per_image.sum(0), whole)
    columns = count(preds[..., ::3], target[..., ::3], reading)
    rest = [count(preds[..., i::3], target[..., i::3], reading) for i in (1, 2)]
    assert torch.equal(columns + rest[0] + rest[1], whole)


def test_exp_is_within_1_ulp() -> None:
    kernels = pytest.importorskip("segmetrics.probabilities.cpu_functions")
    x = np.concatenate(
        [np.linspace(-87.33, 0, 3_000_001), -np.geomspace(1e-45, 1, 300_001)]
    ).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    found = mapped(kernels.exp, x)
    assert (np.abs(found - exact) / np.spacing(exact.astype(np.float32))).max() <= 1
    special = np.array([0, -0.0, -88, -1e30, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(mapped(kernels.exp, special), [1, 1, 0, 0, 0, np.nan])


def test_log_is_within_1_ulp() -> None:
    kernels = pytest.importorskip("segmetrics.probabilities.cpu_functions")
    x = np.concatenate(
        [np.geomspace(1e-45, 3e38, 2_000_001), np.linspace(0.4, 2.1, 1_000_001)]
    ).astype(np.float32)
    exact = np.log(x.astype(np.float64))
    size = np.spacing(np.abs(exact).astype(np.float32).clip(2.0**-126))
    assert (np.abs(mapped(kernels.log, x) - exact) / size).max() <= 1
    special = np.array([0, -0.0, 1, -1, np.nan], np.float32)
    np.testing.assert_array_equal(
        mapped(kernels.log, special), [-np.inf, -np.inf, 0, np.nan, np.nan]
    )


def mapped(function: Any, values: np.ndarray) -> np.ndarray:
    """A kernel's function of every value, in a loop that is compiled as the kernels are."""
    import numba

    @numba.njit(error_model="numpy")
    def loop(values: np.ndarray, out: np.ndarray) -> None:
        for i in range(len(values)):
            out[i] = function(values[i])

    out = np.empty_like(values)
    loop(values, out)
    return out


def test_no_two_settings_share_a_name() -> None:
    of_classes: dict[str, Any] = {"num_classes": 5}
    settings_: list[dict[str, Any]] = [
        *({**of_classes, "from_logits": logits} for logits in (False, True)),
        *({"task": "binary", "from_logits": logits} for logits in (False, True)),
        *({**of_classes, **more} for more in ({"n_bins": 10}, {"binning": "mass"})),
        {**of_classes, "classwise": True},
        {**of_classes, "from_logits": True, "temperatures": [1, 2]},
    ]
    names = [Probabilities.reading(**arguments).name for arguments in settings_]
    assert len(set(names)) == len(names)


# --- The definition -------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("dtype", SCORE_DTYPES)
def test_losses_and_squares_are_those_of_float64(dtype: torch.dtype, scale: float) -> None:
    generator = torch.Generator().manual_seed(3)
    preds = (torch.randn((2, 7, 30, 31), generator=generator) * scale).to(dtype)
    target = torch.randint(7, (2, 30, 31), generator=generator)
    target[0, :3] = 255
    reading = Probabilities.reading(7, from_logits=True, ignore_index=255)
    sums = reading.sums(count(preds, target, reading))
    exact = preds.double()
    loss = F.cross_entropy(exact, target, ignore_index=255)
    counted = target != 255
    truth = F.one_hot(target.where(counted, 0), 7).movedim(-1, 1)
    square = (exact.softmax(1) - truth).square().sum(1)[counted].mean()
    number = counted.sum()
    assert sums.pixels.item() == number
    torch.testing.assert_close(
        (sums.losses.double() * ULP / number).squeeze(), loss, rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(
        (sums.squares.double() * ULP / number).squeeze(), square, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_sums_are_of_numbers_rounded_to_multiples_of_an_ulp(backend: str) -> None:
    values, rounded = [0.75, 0.5, ULP / 2, ULP / 4, 0.0], [0.75, 0.5, ULP, 0.0, 0.0]
    reading = Probabilities.reading(task="binary", n_bins=1)
    preds, target = torch.tensor([values]), torch.zeros(1, 5).long()
    sums = reading.sums(BACKENDS[backend](read(preds, target, reading), reading))
    assert sums.table.flatten().tolist() == [5, 0, sum(rounded) / ULP]
    assert sums.squares.item() == (0.75**2 + 0.5**2) / ULP


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_float64_logits_differ_by_what_float64_holds(backend: str) -> None:
    difference = torch.tensor([[0.0, 1.0, -0.5]], dtype=torch.float64)
    logits = torch.stack([difference + 1e9, torch.full_like(difference, 1e9)], 1)
    reading, target = Probabilities.reading(2, from_logits=True), torch.zeros(1, 3).long()
    sums = reading.sums(BACKENDS[backend](read(logits, target, reading), reading))
    loss = F.binary_cross_entropy_with_logits(difference, torch.ones_like(difference))
    assert sums.losses.item() * ULP / 3 == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_temperatures_divide_the_logits(task: str, backend: str) -> None:
    generator = torch.Generator().manual_seed(4)
    preds = torch.randn((2, 3, 20, 20), generator=generator) * 5
    target = torch.randint(3, (2, 20, 20), generator=generator)
    classes = 3 if task == "multiclass" else None
    if task == "binary":
        preds, target = preds[:, 0], target % 2
    temperatures = [0.25, 1.0, 1.7, 40.0]
    reading = Probabilities.reading(classes, task=task, from_logits=True, temperatures=temperatures)
    sums = reading.sums(BACKENDS[backend](read(preds, target, reading), reading))
    exact = preds.double()
    losses = [
        F.cross_entropy(exact / t, target)
        if task == "multiclass"
        else F.binary_cross_entropy_with_logits(exact / t, target.double())
        for t in temperatures
    ]
    torch.testing.assert_close(
        sums.losses[0].double() * ULP / target.numel(), torch.stack(losses), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_bins", [1, 3, 10, 15, 100])
def test_a_bin_holds_its_lower_edge_and_the_last_one_holds_1(n_bins: int, backend: str) -> None:
    edges = (torch.arange(n_bins + 1).double() / n_bins).float()
    below = edges[1:].nextafter(torch.tensor(0.0))
    reading = Probabilities.reading(task="binary", n_bins=n_bins)
    preds = torch.cat([edges, below])[None]
    counts = BACKENDS[backend](read(preds, torch.zeros(preds.shape).long(), reading), reading)
    number = reading.sums(counts).table[0, :, 0]
    assert number.tolist() == [2] * (n_bins - 1) + [3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_cells_of_equal_mass_rise_with_the_probability(backend: str) -> None:
    p = torch.cat([torch.logspace(-45, 0, 5001), 1 - torch.logspace(-9, 0, 5001)]).sort().values
    reading = Probabilities.reading(task="binary", binning="mass")
    cells = plain.cells_of(p, reading)
    octave = plain.cells_of(torch.tensor([0.125, 0.25, 0.5]), reading)
    assert octave.diff().tolist() == [64, 64]
    assert (cells.diff() >= 0).all()
    assert cells.min() >= 0
    assert cells.max() < MASS_CELLS
    smaller = p.minimum(1 - p)
    within = (cells[1:] == cells[:-1]) & (smaller[:-1] > 2.0**-24) & (smaller[1:] > 2.0**-24)
    ratio = (smaller[1:] / smaller[:-1])[within]
    assert ratio.max() < 1 + 1 / 64
    assert ratio.min() > 1 - 1 / 64
    counts = BACKENDS[backend](read(p[None], torch.zeros(1, len(p)).long(), reading), reading)
    assert torch.equal(reading.sums(counts).table[0, :, 0], cells.bincount(minlength=MASS_CELLS))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_probability_of_0_and_an_infinite_logit_have_an_infinite_loss(backend: str) -> None:
    tiny = 1e-45  # the smallest fp32
    cases: list[tuple[list[float], bool, torch.dtype, int, float]] = [
        ([0.0, 1.0, tiny, 1.0], False, torch.float32, 1, 103.27893),
        ([0.0, 1.0, 1e-200, 1.0], False, torch.float64, 1, 460.51702),
        ([-torch.inf, torch.inf, -1e4, 3e4], True, torch.float32, 1, 1e4),
        ([-(2.0**15), -(2.0**15) + 2**-8, 3e4, 3e4], True, torch.float32, 1, 2.0**15 - 2**-8),
    ]
    for values, logits, dtype, infinite, finite in cases:
        reading = Probabilities.reading(task="binary", from_logits=logits)
        preds, target = torch.tensor([values], dtype=dtype), torch.ones(1, 4).long()
        sums = reading.sums(BACKENDS[backend](read(preds, target, reading), reading))
        assert sums.infinite.item() == infinite
        assert sums.losses.item() * ULP == pytest.approx(finite, rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", SCORE_DTYPES)
def test_a_softmax_with_an_infinite_or_no_logit_is_undefined(
    dtype: torch.dtype, backend: str
) -> None:
    finite = torch.finfo(dtype)
    values = [[finite.max, -torch.inf, torch.inf, torch.nan, finite.min]]
    of_class = torch.tensor(values, dtype=dtype)
    preds = torch.stack([of_class, torch.zeros_like(of_class)], 1)
    reading = Probabilities.reading(2, from_logits=True)
    counts = BACKENDS[backend](read(preds, torch.zeros(1, 5).long(), reading), reading)
    bad = dict(zip(BAD_KINDS, reading.bad(counts).tolist(), strict=True))
    assert bad == dict.fromkeys(BAD_KINDS, 0) | {"scores_nan": 2}
    assert reading.sums(counts).table[..., 1].sum() == 1  # the largest logit's


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", SCORE_DTYPES)
def test_probabilities_may_miss_1_by_what_their_dtype_rounds(
    dtype: torch.dtype, backend: str
) -> None:
    step = 2.0**-7 if dtype == torch.bfloat16 else 2.0**-10  # below 1e-2, below 1e-3
    first = torch.tensor([[0.5 + k * step for k in (-2, -1, 0, 1, 2)]], dtype=dtype)
    preds = torch.stack([first, torch.full_like(first, 0.5)], 1)
    reading = Probabilities.reading(2)
    counts = BACKENDS[backend](read(preds, torch.zeros(1, 5).long(), reading), reading)
    assert reading.bad(counts).tolist() == [0, 0, 0, 0, 0, 0, 2]
    assert reading.sums(counts).pixels.item() == 3


def test_an_empty_batch_counts_nothing() -> None:
    for shape in [(0, 3, 5, 5), (2, 3, 0, 5)]:
        reading = Probabilities.reading(3, from_logits=True)
        target = torch.zeros(shape[0], *shape[2:]).long()
        counts = count(torch.zeros(shape), target, reading)
        assert counts.shape == (reading.cells + len(BAD_KINDS),)
        assert not counts.any()


def test_resized_logits_are_never_made() -> None:
    """They would take 47 MiB."""
    pytest.importorskip("numba")
    code = """
import re, torch
from pathlib import Path
from segmetrics.probabilities import Probabilities, count
from segmetrics.probabilities.ranking import Ranking, count_cells

scores, target = torch.randn(1, 21, 96, 96), torch.randint(0, 21, (1, 768, 768))
arguments = {"from_logits": True, "upsample": "bilinear"}
bins, cells = Probabilities.reading(21, **arguments), Ranking.ranking(21, cells=512, **arguments)

def both(scores, target):
    count(scores, target, bins)
    count_cells(scores, target, cells)

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

both(scores[..., :8, :8], target[..., :16, :16])  # loads what is compiled
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = peak()
both(scores, target)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 8 * 1000
