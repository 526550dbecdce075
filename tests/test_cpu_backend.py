"""The CPU kernels against the plain torch definition, bit by bit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import astuple
from itertools import cycle, product
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode

import segmetrics
from segmetrics import functional
from segmetrics.counting import Counting, count, cpu, plain
from segmetrics.counting import codes as codes_
from segmetrics.counting.batches import count_on_cpu
from segmetrics.counting.cpu_readers import Box, flat, known_values, label_reader
from segmetrics.counting.inputs import read
from segmetrics.counting.settings import Task, Upsample
from segmetrics.labels import LabelSpace
from strategies import LABEL_DTYPES, LAYOUTS, SCORE_DTYPES, TASKS, Counted, counted_inputs, lay_out

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of infinities


def assert_counts_as_defined(preds: Tensor, target: Tensor, counting: Counting) -> None:
    pixels = read(preds, target, counting)
    counts, defined = count_on_cpu(pixels, counting), plain.count(pixels, counting)
    assert counts.dtype == torch.int64
    torch.testing.assert_close(counts, defined, rtol=0, atol=0)


def inputs(upsample: Upsample | None = None) -> st.SearchStrategy[Counted]:
    return counted_inputs([2, 3, 5, 8, 21, 255, 256, 300], 12, upsample)


@settings(max_examples=300)
@given(inputs())
def test_every_input_counts_as_defined(drawn: Counted) -> None:
    assert_counts_as_defined(*drawn)


@settings(max_examples=200)
@given(st.sampled_from(["bilinear", "nearest"]).flatmap(inputs))
def test_resized_scores_count_as_defined(drawn: Counted) -> None:
    assert_counts_as_defined(*drawn)


@settings(max_examples=100)
@given(st.sampled_from([None, "bilinear", "nearest"]).flatmap(inputs), st.integers(1, 40))
def test_cut_into_boxes_everything_counts_as_defined(drawn: Counted, pixels: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "BOX", pixels)
        patch.setattr(cpu, "RESIZED", 5 * pixels)
        patch.setattr(cpu, "OF_IMAGES", 500)
        patch.setattr(cpu, "PIXELS_A_CELL", 0)
        assert_counts_as_defined(*drawn)


def test_images_that_straddle_boxes_are_counted_whole() -> None:
    """Rows of a crop do not lie in line, and a box ends within an image."""
    rng = np.random.default_rng(0)
    whole = torch.from_numpy(rng.integers(0, 5, (2, 7, 160, 250)))
    preds, target = whole[:, :, :, :240]
    counting = Counting.of(5, per_image=True)
    assert_counts_as_defined(preds, target, counting)
    scores = torch.nn.functional.one_hot(whole[0], 5).movedim(-1, 1).float()[..., :240]
    assert_counts_as_defined(scores, target, counting)


@pytest.mark.skipif("CI" not in os.environ, reason="takes 13 s; runs where CI is set")
def test_more_pixels_than_int32_holds_are_counted_in_one_update() -> None:
    number = 2**31 + 2**20
    scores, target = torch.ones(1, 1).expand(1, number), torch.ones(1, 1).bool().expand(1, number)
    matrix = functional.confusion_matrix(scores, target, task="binary")
    assert matrix.tolist() == [[0, 0], [0, number]]


@pytest.mark.skipif("CI" not in os.environ, reason="takes some seconds; runs where CI is set")
def test_more_bytes_in_line_than_int32_holds_are_counted_in_one_update() -> None:
    number = 2**31 + 5
    labels = torch.from_numpy(np.zeros(number, np.uint8))[None]  # never written: it has no memory
    assert functional.confusion_matrix(labels, labels, 2).tolist() == [[number, 0], [0, 0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("task", TASKS)
def test_every_half_is_compared_by_its_value(dtype: torch.dtype, task: Task) -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    pairs = np.stack([bits, np.random.default_rng(0).permutation(bits)])
    scores = torch.from_numpy(pairs.view(np.int16)).view(dtype)
    if task == "binary":
        counting = Counting.of(task=task, threshold=0.3, from_logits=True)
        return assert_counts_as_defined(scores, torch.zeros(scores.shape).bool(), counting)
    target = torch.zeros((1, 2, 2**16) if task == "multilabel" else (1, 2**16)).bool()
    return assert_counts_as_defined(scores[None], target, Counting.of(2, task=task))


@pytest.mark.parametrize("upsample", [None, "bilinear", "nearest"])
@pytest.mark.parametrize("dtype", SCORE_DTYPES, ids=str)
def test_scores_are_compared_with_the_threshold_in_their_precision(
    dtype: torch.dtype, upsample: Upsample | None
) -> None:
    scores = torch.tensor([[[0.3, 0.3 + 5e-9, 0.3 - 5e-9]]], dtype=torch.float64).to(dtype)
    counting = Counting.of(task="binary", threshold=0.3, upsample=upsample)
    target = torch.ones(1, 2 if upsample else 1, 3).int()  # resizing repeats the only row
    assert_counts_as_defined(scores, target, counting)


@given(st.tuples(*[st.integers(1, 90)] * 4), st.integers(1, 3))
@example((1, 60, 60, 60), 2)  # all fits
@example((60, 1, 60, 60), 2)
def test_boxes_are_few_and_small_and_as_many_for_every_thread(
    drawn: tuple[int, int, int, int], threads: int
) -> None:
    rows, columns, *limits = drawn
    widest, largest = sorted(limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "number_of_threads", lambda: threads)
        areas = list(cpu._cut(rows, columns, widest, largest))
    covered = np.zeros((rows, columns), int)
    for top, bottom, left, right in areas:
        covered[top:bottom, left:right] += 1
        assert right - left <= widest
        assert (bottom - top) * (right - left) <= largest
    assert (covered == 1).all()

    def side(length: int, longest: int) -> int:
        parts = -(-length // longest)
        return -(-length // (1 if parts == 1 else threads * -(-parts // threads)))

    wide = side(columns, widest)
    assert areas[0] == (0, side(rows, largest // wide), 0, wide)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_the_shape_of_counts_is_known_without_counting(task: Task, per_image: bool) -> None:
    classes, channels = (None, []) if task == "binary" else (3, [3] if task != "multiclass" else [])
    counting = Counting.of(classes, task=task, per_image=per_image)
    target = torch.zeros(5, *channels, 4, 4).long()
    counts = count(target, target, counting)
    with FakeTensorMode():
        given = torch.zeros(target.shape).long()
        fake = torch.ops.segmetrics.count(given, given, *astuple(counting), False)
    assert (fake.shape, fake.dtype) == (counts.shape, counts.dtype)


def test_what_an_array_spans_ends_with_its_last_element() -> None:
    numbers = np.arange(7 * 8 * 9).reshape(7, 8, 9)
    for view in (numbers, numbers.T, numbers[1:3, ::2, 2:7], numbers.mT[::3, 1:], numbers[2, 3, 4]):
        spanned = flat(view)
        assert (spanned[0], spanned[-1]) == (view.min(), view.max())
        assert len(spanned) == 1 + view.max() - view.min()


def test_labels_are_exact_in_int64_and_saturate_above_it() -> None:
    large = [0, 2**53 + 1, 2**63 - 1]
    for dtype in (np.int64, np.uint64):
        assert codes_.to_int64(np.array(large, dtype)).tolist() == large
    assert codes_.to_int64(np.array([2**63, 2**64 - 1], np.uint64)).tolist() == [2**63 - 1] * 2
    assert codes_.to_int64(np.array([-1, -(2**63)])).tolist() == [-1, -(2**63)]


IN_MEMORY = {
    "contiguous": (np.empty((1, 2, 3, 4, 5)), 1),
    "transposed": (np.empty((5, 4, 3, 2, 1)).T, 1),
    "cropped": (np.empty((1, 2, 3, 4, 9))[..., :5], 2),
    "strided": (np.empty((1, 4, 6, 8, 10))[:, ::2, ::2, ::2, ::2], 4),
}


@pytest.mark.parametrize("name", IN_MEMORY)
def test_pixels_are_read_in_as_few_dimensions_as_their_memory_has(name: str) -> None:
    preds, dimensions = IN_MEMORY[name]
    target = np.empty_like(preds)  # laid out alike, without gaps
    sizes, *strides = cpu._merged(target, preds, 0)
    assert len(sizes) == dimensions

    def places(sizes: Any, steps: Any) -> list[int]:
        along = [np.arange(size) * step for size, step in zip(sizes, steps, strict=True)]
        return sorted(sum(np.ix_(*along)).ravel().tolist())

    for side, steps in zip((target, preds), strides, strict=True):
        of_side = [step // side.itemsize for step in side.strides[1:]]
        assert places(sizes, steps) == places(side.shape[1:], of_side)


@pytest.mark.parametrize("labels", ["noise", "stripes", "one class"])
def test_many_boxes_of_bytes_count_as_defined(labels: str) -> None:
    rng = torch.Generator().manual_seed(0)
    target = torch.randint(0, 256, (3, 301, 299), generator=rng).byte()
    maps = {
        "noise": torch.randint(0, 256, target.shape, generator=rng).byte(),
        "stripes": (torch.arange(299) // 20).byte().expand(target.shape),
        "one class": torch.full_like(target, 7),
    }
    for preds in (maps[labels], maps[labels].contiguous()):
        for per_image, ignored in product([False, True], [[], [255], [3, 200]]):
            counting = Counting.of(21, ignore_index=ignored, per_image=per_image)
            assert_counts_as_defined(preds, target, counting)


@pytest.mark.parametrize("dtype", LABEL_DTYPES, ids=str)
@pytest.mark.parametrize(
    "ignored", [[255], [-1], [-100], [-10, -200], [-1, 255], [-(2**63)], [2**63 - 1]], ids=str
)
def test_many_boxes_of_labels_count_as_defined(dtype: torch.dtype, ignored: list[int]) -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 21, (2, 3, 301, 299), generator=rng)
    of_bytes = labels[0].byte(), labels[1].to(dtype)
    labels[:, torch.rand(labels.shape[1:], generator=rng) < 0.1] = ignored[0]
    far = labels.clone()
    far[:, 1, 2, 3] = 2**40 if dtype in (torch.int64, torch.uint64) else 120
    id_to_class = {-2: 0, **{i + 7: i for i in range(1, 20)}, 260: 20}
    mapped = LabelSpace(list(map(str, range(21))), id_to_class=id_to_class)
    for target, preds in (labels.to(dtype), far.to(dtype), of_bytes):
        for classes in (21, 254, 300, mapped):
            assert_counts_as_defined(preds, target, Counting.of(classes, ignore_index=ignored))


@pytest.mark.parametrize("dtype", SCORE_DTYPES, ids=str)
@pytest.mark.parametrize("classes", [7, 8, 19, 150])
def test_many_boxes_of_scores_count_as_defined(dtype: torch.dtype, classes: int) -> None:
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(2, classes, 131, 137, generator=rng).to(dtype)
    target = torch.randint(0, classes, (2, 131, 137), generator=rng)
    for layout in LAYOUTS:
        assert_counts_as_defined(lay_out(scores, layout), target, Counting.of(classes))


@pytest.mark.parametrize("dtype", SCORE_DTYPES, ids=str)
def test_strided_lines_longer_than_a_tile_count_as_defined(dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(1)
    scores = torch.randn(2, 5, 3, 1300, generator=rng).to(dtype)[..., :1200:2]  # tiles and a rest
    target = torch.randint(0, 5, (2, 3, 600), generator=rng)
    assert_counts_as_defined(scores, target, Counting.of(5))


def test_contiguous_lines_longer_than_a_block_count_as_defined() -> None:
    rng = torch.Generator().manual_seed(1)
    scores = torch.randn(1, 3, 2, 40100, generator=rng)[..., :40000]  # a block and a rest
    target = torch.randint(0, 3, (1, 2, 40000), generator=rng)
    assert_counts_as_defined(scores, target, Counting.of(3))


@pytest.mark.parametrize("dtype", SCORE_DTYPES, ids=str)
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 7, 8, 9, 21, 150])
@pytest.mark.parametrize("odd", [[], [np.inf, -np.inf], [-np.inf, np.nan, -np.nan]], ids=str)
def test_scores_side_by_side_count_as_defined(
    dtype: torch.dtype, classes: int, odd: list[float]
) -> None:
    rng = np.random.default_rng(0)
    shape = (3, classes, 17, 19)
    values = rng.choice([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, *odd], shape)
    values[1] = rng.normal(size=shape[1:])
    values[2] = -np.inf
    scores = lay_out(torch.from_numpy(values).to(dtype), "channels-last")
    target = torch.from_numpy(rng.integers(0, classes, (3, 17, 19)))
    around = torch.full((3, 17, 19, 3 * classes), torch.nan, dtype=dtype).movedim(-1, 1)
    among_others = around[:, classes : 2 * classes].copy_(scores)
    for per_image in (False, True):
        counting = Counting.of(classes, per_image=per_image)
        assert_counts_as_defined(scores, target, counting)
        assert_counts_as_defined(scores[..., ::2], target[..., ::2], counting)
        assert_counts_as_defined(among_others, target, counting)


@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(17, 17), (200, 40), (301, 299), (700, 9)])
def test_many_boxes_of_resized_scores_count_as_defined(
    upsample: Upsample, size: tuple[int, int]
) -> None:
    rng = torch.Generator().manual_seed(0)
    target = torch.randint(0, 21, (2, 301, 299), generator=rng)
    for dtype in SCORE_DTYPES:
        scores = torch.randn(2, 21, *size, generator=rng).to(dtype)
        assert_counts_as_defined(scores, target, Counting.of(21, upsample=upsample))


def test_resized_volumes_count_as_defined() -> None:
    rng = torch.Generator().manual_seed(0)
    target = torch.randint(0, 4, (2, 23, 60, 61), generator=rng)
    for size in [(9, 20, 31), (23, 20, 31), (9, 60, 31), (9, 20, 61), (40, 90, 80)]:
        scores = torch.randn(2, 4, *size, generator=rng)
        assert_counts_as_defined(scores, target, Counting.of(4, upsample="bilinear"))


def test_a_thousand_classes_count_as_defined() -> None:
    rng = torch.Generator().manual_seed(0)
    target = torch.randint(-1, 1001, (50,), generator=rng)
    points = torch.randn(50, 1000, generator=rng)
    assert_counts_as_defined(points, target, Counting.of(1000, ignore_index=-1))
    counting = Counting.of(1000, ignore_index=999, per_image=True)
    assert_counts_as_defined(target.view(2, 25), target.flip(0).view(2, 25), counting)


def test_elements_beyond_2_31_are_reached() -> None:
    far = torch.empty(2**31 + 16, dtype=torch.uint8)  # untouched memory is not taken
    preds = far.as_strided((2, 7), (2**31, 1))
    preds.copy_(torch.arange(14).view(2, 7) % 3)
    assert_counts_as_defined(preds, torch.ones(2, 7, dtype=torch.int64), Counting.of(3))


def test_misaligned_memory_counts_as_defined() -> None:
    memory = bytearray(1 + 4 * 5 * 200)
    scores = torch.frombuffer(memory, dtype=torch.float32, offset=1).view(200, 5)
    scores.copy_(torch.randn(200, 5, generator=torch.Generator().manual_seed(0)))
    assert_counts_as_defined(scores, torch.arange(200) % 5, Counting.of(5))
    assert_counts_as_defined(scores.T[None], torch.arange(200)[None] % 5, Counting.of(5))


def test_inputs_stay_as_they_are() -> None:
    scores, target = torch.rand(2, 5, 6, 7, requires_grad=True), torch.randint(0, 5, (2, 12, 14))
    before = scores.detach().clone(), target.clone()
    count(scores, target, Counting.of(5, upsample="bilinear"))
    assert torch.equal(scores, before[0])
    assert torch.equal(target, before[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64], ids=str)
@pytest.mark.parametrize("classes", [8, 21])  # with 8 all labels are those with no higher bit
def test_labels_that_change_while_they_are_read_have_codes_inside_the_histogram(
    classes: int, dtype: Any
) -> None:
    counting = Counting.of(classes, ignore_index=255)
    maps = [np.full((1, 2**17), value).astype(dtype) for value in (classes - 1, -56, 255, 3)]
    labels, codes = maps[0].copy(), np.empty(2**17, np.uint16)
    sides = [
        label_reader(labels, [2**17], [1], counting, target=target) for target in (True, False)
    ]
    box, seen, ended = Box(0, (0, 1, 0, 2**17)), set(), Event()
    start = monotonic()

    def write() -> None:
        for values in cycle(maps):
            labels[:] = values
            if ended.is_set():
                return

    writer = Thread(target=write)
    writer.start()
    try:
        for number, side in enumerate(cycle(sides)):
            side(box, codes)
            seen.update(np.unique(codes[:: 2**7]).tolist())
            assert codes.max() <= classes + codes_.TOO_LARGE
            if number >= 400 and (len(seen) > 2 or monotonic() > start + 300):
                break  # the writer has had its turns
    finally:
        ended.set()
        writer.join()
    assert len(seen) > 2


# --- In a process of its own ------------------------------------------------------------------


def run(code: str, package: Path, **environment: str) -> list[str]:
    """The lines that a new process prints; ``package`` lies in this directory."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=package,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


HERE = Path(segmetrics.__file__).parents[1]
COUNT = """
import sys, torch
from segmetrics.functional import confusion_matrix
print("numba" in sys.modules)
target, preds = torch.tensor([[0, 1, 2, 0, 1, 2]]), torch.tensor([[0, 1, 1, 0, 2, 2]])
print(confusion_matrix(preds, target, 3).tolist())
print("numba" in sys.modules, "segmetrics.counting.cpu" in sys.modules)
"""
MATRIX = "[[2, 0, 0], [0, 1, 1], [0, 1, 1]]"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no mprotect")
def test_nothing_is_read_beyond_a_tensor() -> None:
    code = """
import ctypes, mmap, torch
from segmetrics.counting import Counting, count
kept = []
def at_the_end(tensor):
    "The same before a page that no one may read."
    guard = -(-tensor.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, guard + mmap.PAGESIZE)
    kept.append(memory)
    page = ctypes.c_char.from_buffer(memory, guard)
    assert ctypes.CDLL(None).mprotect(ctypes.byref(page), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    line = torch.frombuffer(
        memory, dtype=tensor.dtype, count=tensor.numel(), offset=guard - tensor.nbytes
    )
    return line.view(tensor.shape).copy_(tensor)
for classes in (2, 3, 7, 8, 9, 21, 40):
    target = at_the_end(torch.randint(0, classes, (2, 9, 13)))
    for labels in (target, at_the_end(target.byte())):
        count(labels, target, Counting.of(classes))
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for scores in (
            at_the_end(torch.rand(2, classes, 9, 13, dtype=dtype)),
            at_the_end(torch.rand(2, 9, 13, classes, dtype=dtype)).movedim(-1, 1),
            at_the_end(torch.rand(2, 9, 13, classes + 1, dtype=dtype))[..., 1:].movedim(-1, 1),
        ):
            count(scores, target, Counting.of(classes))
            for upsample in ("bilinear", "nearest"):
                larger = at_the_end(torch.zeros(2, 20, 31, dtype=torch.int64))
                count(scores, larger, Counting.of(classes, upsample=upsample))
"""
    assert run(code, HERE) == []


def test_numba_is_loaded_by_the_first_update_on_the_cpu() -> None:
    assert run(COUNT, HERE) == ["False", MATRIX, "True True"]


@pytest.mark.parametrize("enabled", [True, False])
def test_kernels_are_loaded_without_collecting_garbage(enabled: bool) -> None:
    code = f"""
import gc
import torch
from segmetrics.counting import Counting, count, cpu
gc.collect()
gc.enable() if {enabled} else gc.disable()
collected = []
gc.callbacks.append(lambda phase, about: collected.append(phase))
count(torch.rand(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.int64), Counting.of(3))
print(len(collected) < 60, gc.isenabled())
"""
    assert run(code, HERE) == ["True " + str(enabled)]


def test_without_numba_plain_torch_counts_the_same() -> None:
    without = "import sys\nsys.modules['numba'] = None\n"
    assert run(without + COUNT, HERE) == ["True", MATRIX, "True False"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy of the package in which nothing can be written where compiled code is kept."""
    shutil.copytree(
        HERE / "segmetrics", tmp_path / "segmetrics", ignore=shutil.ignore_patterns("__pycache__")
    )
    for directory in (tmp_path / "segmetrics").rglob("*"):
        if directory.is_dir():
            (directory / "__pycache__").touch()  # a file: not even root can write into it
    return tmp_path


def test_a_read_only_installation_compiles_once_for_all_processes(installed: Path) -> None:
    statistics = """
from segmetrics.counting.cpu_tally_kernels import tally
print(sum(tally.stats.cache_misses.values()), sum(tally.stats.cache_hits.values()))
"""
    home = {name: str(installed / "home") for name in ("HOME", "XDG_CACHE_HOME")}
    environment = home | {"NUMBA_CACHE_DIR": ""}
    first = run(COUNT + statistics, installed, **environment)
    assert first == ["False", MATRIX, "True True", "1 0"]
    assert run(COUNT + statistics, installed, **environment)[-1] == "0 1"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts the memory")
@pytest.mark.parametrize(
    ("classes", "size", "target_size"),
    [(21, (4, 21, 65, 65), (4, 520, 520)), (150, (1, 150, 128, 128), (1, 2048, 2048))],
    ids=["FCN-ResNet50", "ADE20K"],
)
def test_resizing_takes_a_few_megabytes(
    classes: int, size: tuple[int, ...], target_size: tuple[int, ...]
) -> None:
    code = f"""
import re, torch
from pathlib import Path
from segmetrics.counting import Counting, count
scores, target = torch.rand{size}, torch.randint(0, {classes}, {target_size})
counting = Counting.of({classes}, upsample="bilinear")
count(scores[..., :8, :8], target[..., :16, :16], counting)  # loads what is compiled
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = peak()
count(scores, target, counting)
print(peak() - before)
"""
    (kibibytes,) = run(code, HERE)
    assert int(kibibytes) <= 8 * 1000


def test_where_nothing_can_be_written_kernels_still_run(installed: Path) -> None:
    nowhere = installed / "file"
    nowhere.touch()
    home = {name: str(nowhere) for name in ("HOME", "XDG_CACHE_HOME")}
    lines = run(COUNT, installed, NUMBA_CACHE_DIR="", **home)
    assert lines == ["False", MATRIX, "True True"]


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1, 1.0])
@pytest.mark.parametrize(
    "pixels", [1, 64, 65, 128, 8191, 8192, 8193, 8256, 8257, 32_832, 32_833, 70_001]
)
def test_runs_of_equal_bytes_count_as_their_pixels(pixels: int, noise: float) -> None:
    generator = np.random.default_rng(pixels)
    maps = []
    for _ in "pt":
        lengths = generator.integers(1, 300, 2 + pixels // 8)
        labels = np.repeat(generator.integers(0, 5, len(lengths)), lengths)[:pixels]
        labels = np.pad(labels, (0, pixels - len(labels)))
        noisy = generator.random(pixels) < noise
        labels[noisy] = generator.integers(0, 5, noisy.sum())
        maps.append(labels)
    preds, target = maps
    expected = np.bincount(target * 5 + preds, minlength=25).reshape(5, 5)
    counting = Counting.of(5)
    values = known_values(counting, of_bytes=True)
    assert values is not None
    pairs = cpu.ValuePairs(counting, values)
    pairs.add(target.astype(np.uint8), preds.astype(np.uint8))
    histogram = pairs.take()
    assert histogram[:5, :5].tolist() == expected.tolist()
    assert histogram.sum() == pixels
