"""The Triton kernel against the plain torch definition.

The same tests run on a GPU, and without one on the CPU under Triton's interpreter, in a process of
their own: Triton reads ``TRITON_INTERPRET`` when it is imported.
"""

from __future__ import annotations

from importlib.metadata import version
from itertools import product
from math import prod
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from torch import Tensor
from torch.nn import functional as F

from segmetrics import ConfusionMatrix, LabelSpace, MeanIoU, SegmentationMetrics, functional
from segmetrics.counting import Counting, count, plain
from segmetrics.counting.inputs import read
from segmetrics.counting.settings import Pixels, Upsample
from segmetrics.probabilities import Probabilities, plain_cells
from segmetrics.probabilities import plain as plain_probabilities
from segmetrics.probabilities.ranking import Ranking
from strategies import SCORE_DTYPES, Counted, counted_inputs
from triton_kernels import (
    DEVICE,
    assert_passes_under_the_interpreter,
    compiles,
    on_gpu,
    resources,
    runs_kernels,
    starts_the_interpreter,
    widest_load,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of infinities


@starts_the_interpreter
def test_the_kernel_passes_these_tests_under_the_interpreter() -> None:
    assert_passes_under_the_interpreter(__file__, 12)


def test_maps_of_a_launch_are_no_longer_than_int32_can_number() -> None:
    """Images are merged into one map up to ``MOST_PIXELS``; expanded tensors take no memory."""
    from segmetrics.counting import cuda

    for images, rows in [(2, 2**14), (4, 2**14), (2, 2**15 + 1), (2**17, 2**15)]:
        maps = torch.zeros(1, dtype=torch.uint8).expand(images, 1, rows, 2**15)
        pixels = Pixels(maps, maps, "labels", "labels")
        outer, inner = cuda._dimensions(pixels, Counting.of(2))
        sizes = [dimension.size for dimension in inner]
        assert outer.size * prod(sizes) == maps.numel()
        assert prod(sizes) + 1024 <= 2**31  # with a whole block more


@pytest.mark.parametrize("kernel", ["counting", "probabilities", "cells"])
def test_what_a_kernel_cannot_number_or_look_up_is_left_to_plain_torch(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segmetrics.counting import cuda
    from segmetrics.probabilities import cuda as probabilities_cuda
    from segmetrics.probabilities import cuda_cells

    backend, definition, settings_of = {
        "counting": (cuda, plain, Counting.of),
        "probabilities": (probabilities_cuda, plain_probabilities, Probabilities.reading),
        "cells": (cuda_cells, plain_cells, Ranking.ranking),
    }[kernel]
    monkeypatch.setattr(definition, "count", lambda *_: "left")
    far = LabelSpace(["a", "b"], id_to_class={2**20 + i: i % 2 for i in range(300)})
    for classes, most, images, length in [(far, 2**30, 2, 5), (2, 4, 2, 5), (2, 4, 5, 2)]:
        monkeypatch.setattr(backend, "MOST_PIXELS", most)
        scores = torch.full((images, 2, length), 0.5)
        target = torch.full((images, 1, length), 2**20)
        pixels = Pixels(scores, target, "scores", "labels")
        assert backend.count(pixels, settings_of(classes)) == "left"


# --- What is counted, on a GPU or under the interpreter -------------------------------------------


def assert_counts_as_defined(preds: Tensor, target: Tensor, counting: Counting) -> None:
    from segmetrics.counting import cuda

    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(plain, "count")  # nothing is left to it
        kernel = cuda.count(read(preds.to(DEVICE), target.to(DEVICE), counting), counting)
    defined = plain.count(read(preds, target, counting), counting)
    assert kernel.dtype == torch.int64
    torch.testing.assert_close(kernel.cpu(), defined, rtol=0, atol=0)


def inputs(upsample: Upsample | None = None) -> st.SearchStrategy[Counted]:
    return counted_inputs([2, 3, 5, 21, 255, 256, 300], 9, upsample)


@runs_kernels
@settings(max_examples=100 if DEVICE == "cuda" else 50)  # the interpreter is slow
@given(inputs())
def test_every_input_counts_as_defined(drawn: Counted) -> None:
    assert_counts_as_defined(*drawn)


@runs_kernels
@settings(max_examples=40 if DEVICE == "cuda" else 25)
@given(st.sampled_from(["bilinear", "nearest"]).flatmap(inputs))
def test_resized_scores_count_as_defined(drawn: Counted) -> None:
    assert_counts_as_defined(*drawn)


@runs_kernels
@pytest.mark.parametrize("dtype", SCORE_DTYPES, ids=str)
def test_scores_are_compared_with_the_threshold_in_their_precision(dtype: torch.dtype) -> None:
    scores = torch.tensor([0.3, 0.3 + 5e-9, 0.3 - 5e-9], dtype=torch.float64).to(dtype)
    assert_counts_as_defined(scores, torch.ones(3).int(), Counting.of(task="binary", threshold=0.3))


@runs_kernels
def test_several_blocks_of_one_class_of_two_and_of_noise_count_as_defined() -> None:
    rng = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 21, (2, 30, 41), generator=rng)
    stripes = (torch.arange(41) // 20).expand(2, 30, 41)
    constant = torch.full((2, 30, 41), 7)
    for preds, target in product([noise, stripes, constant], repeat=2):
        assert_counts_as_defined(preds.to(torch.uint8), target, Counting.of(21, ignore_index=3))


@runs_kernels
@pytest.mark.parametrize("per_image", [False, True])
def test_several_blocks_of_several_channels_count_as_defined(per_image: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    scores = torch.rand(2, 6, 50, 61, generator=rng)  # three blocks: 3 divides 6
    target = (scores > torch.linspace(0, 1, 6).view(6, 1, 1)).long()
    counting = Counting.of(6, task="multilabel", per_image=per_image)
    assert_counts_as_defined(scores, target, counting)
    assert_counts_as_defined(target.flip(1), target, counting)


@runs_kernels
@pytest.mark.parametrize("classes", [255, 256, 257])
def test_255_is_a_class_of_256(classes: int) -> None:
    labels = torch.tensor([[0, 254, 255, 256]])
    assert_counts_as_defined(labels, labels, Counting.of(classes))


@runs_kernels
@pytest.mark.parametrize("ignored", [-1, 0, 5, 6])
def test_an_ignored_value_that_is_no_class_is_an_abstention(ignored: int) -> None:
    preds, target = torch.cartesian_prod(*2 * [torch.arange(-1, 8)]).T[:, None]
    assert_counts_as_defined(preds, target, Counting.of(5, ignore_index=ignored))


@runs_kernels
def test_maps_cropped_by_a_column_count_as_defined() -> None:
    labels = torch.randint(0, 5, (2, 7, 6), generator=torch.Generator().manual_seed(0))
    cropped, whole = labels[..., :5], labels[..., 1:].contiguous()
    assert_counts_as_defined(cropped, whole, Counting.of(5))
    assert_counts_as_defined(whole, cropped, Counting.of(5))


@runs_kernels
@pytest.mark.parametrize("from_logits", [False, True])
def test_impossible_scores_are_bad(from_logits: bool) -> None:
    scores = torch.tensor([[-torch.inf, -0.1, -0.0, 0.3, 1, 1.1, torch.inf, torch.nan]])
    for target in (torch.zeros(1, 8).int(), torch.ones(1, 8).int()):
        assert_counts_as_defined(
            scores, target, Counting.of(task="binary", from_logits=from_logits)
        )


@runs_kernels
def test_hundreds_of_classes_count_as_defined() -> None:
    rng = torch.Generator().manual_seed(0)
    target = torch.randint(0, 300, (1, 9, 11), generator=rng)
    scores = torch.randint(0, 40, (1, 300, 9, 11), generator=rng).half()
    assert_counts_as_defined(scores, target, Counting.of(300, ignore_index=[255, 256]))
    channels_last = scores.float().to(memory_format=torch.channels_last)
    assert_counts_as_defined(channels_last, target, Counting.of(300, ignore_index=255))


@runs_kernels
@pytest.mark.parametrize(
    "classes", [8, 9, 21, 64, 65]
)  # chunks: one, and from two to four of 8 or 16
def test_chunks_of_channels_last_scores_count_as_defined(classes: int) -> None:
    rng = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 9, (2, classes, 9, 11), generator=rng).float()  # many are equal
    scores[0, :, 3] = -torch.inf
    scores[1, -1, 3] = torch.nan
    target = torch.randint(0, classes, (2, 9, 11), generator=rng)
    assert_counts_as_defined(channels_last(scores), target, Counting.of(classes))


@runs_kernels
def test_a_thousand_classes_count_as_defined() -> None:
    rng = torch.Generator().manual_seed(0)
    target = torch.randint(-1, 1001, (50,), generator=rng)
    points = torch.randn(50, 1000, generator=rng)
    assert_counts_as_defined(points, target, Counting.of(1000, ignore_index=-1))
    counting = Counting.of(1000, ignore_index=999, per_image=True)
    assert_counts_as_defined(target.view(2, 25), target.flip(0).view(2, 25), counting)


@runs_kernels
def test_images_that_need_several_launches_count_as_defined() -> None:
    rng = torch.Generator().manual_seed(0)
    preds, target = torch.randint(0, 300, (2, 8, 5, 7), generator=rng)
    assert_counts_as_defined(preds, target, Counting.of(300, per_image=True))


@runs_kernels
def test_elements_beyond_2_31_are_reached() -> None:
    far = torch.empty(2**31 + 16, dtype=torch.uint8)  # untouched memory is not taken
    preds = far.as_strided((2, 7), (2**31, 1))
    preds.copy_(torch.arange(14).view(2, 7) % 3)
    assert_counts_as_defined(preds, torch.ones(2, 7, dtype=torch.int64), Counting.of(3))


@runs_kernels
def test_inputs_stay_as_they_are() -> None:
    scores = torch.rand(2, 5, 6, 7, device=DEVICE)
    target = torch.randint(0, 5, (2, 12, 14), device=DEVICE)
    before = scores.clone(), target.clone()
    from segmetrics.counting import cuda

    counting = Counting.of(5, upsample="bilinear")
    cuda.count(read(scores, target, counting), counting)
    assert torch.equal(scores, before[0])
    assert torch.equal(target, before[1])


# --- The compiler, which needs no GPU -------------------------------------------------------------


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.to(memory_format=torch.channels_last)


SHIFTED = LabelSpace(  # of 21 classes, each stored as the one before
    [str(label) for label in range(21)],
    id_to_class={label: (label + 1) % 21 for label in range(21)},
    map_preds=True,
)
S, T = torch.zeros(2, 21, 32, 32), torch.zeros(2, 32, 32, dtype=torch.int64)
COMPILED = {
    "fp32 scores": (S, T, {}),
    "bf16 scores": (S.bfloat16(), T.byte(), {}),
    "fp16 scores": (S.half(), T.byte(), {}),
    "fp64 scores": (S.double(), T, {}),
    "channels-last": (channels_last(S), T, {"per_image": True}),
    "labels": (T.byte(), T.byte(), {}),
    "mapped labels": (T.byte(), T.byte(), {"num_classes": SHIFTED}),
    "sliced uint64 and bool": (T[:, ::2].to(torch.uint64), T[:, 1::2].bool(), {}),
    "bilinear": (S[..., :9, :9], T, {"upsample": "bilinear"}),
    "bilinear volumes": (
        S[..., None, :9, :9],
        T[..., None].expand(-1, -1, -1, 4),
        {"upsample": "bilinear"},
    ),
    "nearest": (channels_last(S[..., :9, :9]), T, {"upsample": "nearest"}),
    "binary": (S[:, 0], T, {"task": "binary"}),
    "multilabel logits": (S, S.long(), {"task": "multilabel", "from_logits": True}),
}


#: Registers of a thread, at most, and the bytes of the widest load: 16 are a whole transaction.
#: With 64 registers a multiprocessor of Hopper holds 1,024 threads, with 128 half of these.
RESOURCES = {
    "fp32 scores": (80, 16),
    "bf16 scores": (64, 16),
    "fp16 scores": (64, 16),
    "fp64 scores": (112, 16),
    "channels-last": (32, 8),  # of the labels; scores come 4 bytes at a time, 21 in three eights
    "labels": (40, 8),
    "mapped labels": (40, 8),
    "sliced uint64 and bool": (40, 16),
    "bilinear": (64, 16),
    "bilinear volumes": (128, 8),
    "nearest": (40, 8),
    "binary": (32, 16),
    "multilabel logits": (32, 16),
}


@compiles
@pytest.mark.parametrize("name", COMPILED)
def test_the_kernel_compiles_for_hopper(hopper: None, name: str, tmp_path: Path) -> None:
    from segmetrics.counting import cuda

    preds, target, arguments = COMPILED[name]
    classes = {} if arguments.get("task") == "binary" else {"num_classes": 21}
    counting = Counting.of(**classes | {"ignore_index": [255, 2**40]} | arguments)
    shape = (1, len(target) if counting.per_image else 1, counting.channels)
    histograms = torch.zeros(*shape, counting.labels + 5, counting.labels + 4, dtype=torch.int64)
    programs, given, constants = cuda.launch(histograms, read(preds, target, counting), counting)
    compiled = cuda._tally.warmup(*given, grid=(programs,), **constants).asm
    ptx = compiled["ptx"]
    assert "fma.rn" not in ptx  # which would round resized scores differently
    assert ".ftz" not in ptx
    assert ".acq_rel" not in ptx
    registers, spilled = resources(compiled["cubin"], tmp_path)
    assert spilled == 0
    most, widest = RESOURCES[name]
    assert widest_load(ptx) == widest
    assert registers <= most + (8 if Version(version("triton")) < Version("3.7") else 0)


# --- What waits, and what a GPU has to show -------------------------------------------------------


def scenes(seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator("cuda").manual_seed(seed)
    scores = torch.randn(4, 21, 65, 65, device="cuda", generator=rng)
    return scores, torch.randint(0, 21, (4, 65, 65), device="cuda", generator=rng)


METRICS = {
    "MeanIoU": lambda: MeanIoU(21, ignore_index=[3, 255]),
    "samplewise": lambda: MeanIoU(21, aggregation_level="samplewise", average="weighted"),
    "upsample": lambda: MeanIoU(21, upsample="bilinear"),
    "ConfusionMatrix": lambda: ConfusionMatrix(21, normalize="true"),
    "mapped": lambda: MeanIoU(SHIFTED, ignore_index=2**40),
    "SegmentationMetrics": lambda: SegmentationMetrics(21, ignore_index=0),
}


@pytest.mark.parametrize("name", METRICS)
def test_update_and_forward_read_nothing_back(name: str) -> None:
    side = 33 if name == "upsample" else 65
    scores = torch.empty(4, 21, side, side, device="meta")  # a device that has no data to read
    target = torch.empty(4, 65, 65, dtype=torch.int64, device="meta")
    metric = METRICS[name]().to("meta")
    metric.update(scores, target)
    metric(scores, target)
    with pytest.raises(NotImplementedError, match="no data"):
        metric.compute()


@on_gpu
@pytest.mark.parametrize("name", METRICS)
def test_update_and_forward_do_not_wait_for_the_device(name: str) -> None:
    metric = METRICS[name]().cuda()
    scores, target = scenes(0)
    scores = scores[..., :33, :33] if name == "upsample" else scores
    metric.update(scores, target)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        metric.update(scores, target)
        metric(scores, target)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_gpu
@pytest.mark.parametrize("name", METRICS)
def test_updates_on_the_gpu_give_the_values_of_the_cpu(name: str) -> None:
    on_the_gpu, on_the_cpu = METRICS[name]().cuda(), METRICS[name]()
    for seed in range(3):
        scores, target = scenes(seed)
        scores = scores[..., :33, :33] if name == "upsample" else scores
        on_the_gpu.update(scores, target)
        on_the_cpu.update(scores.cpu(), target.cpu())
    torch.testing.assert_close(on_the_gpu.compute(), on_the_cpu.compute(), check_device=False)


@on_gpu
@pytest.mark.parametrize("dtype", SCORE_DTYPES, ids=str)
def test_scores_resized_on_the_gpu_are_those_of_interpolate(dtype: torch.dtype) -> None:
    scores = scenes(0)[0].to(dtype)
    for size in ((520, 520), (517, 391), (40, 33)):
        precise = scores.double() if dtype == torch.float64 else scores.float()
        labels = F.interpolate(precise, size, mode="bilinear").argmax(1)
        matrix = functional.confusion_matrix(scores, labels, 21, upsample="bilinear")
        assert labels.numel() - matrix.trace().item() <= 1 + labels.numel() / 1e6


@on_gpu
@pytest.mark.parametrize("classes", [21, SHIFTED], ids=["classes", "mapped"])
def test_an_update_is_captured_in_a_cuda_graph(classes: int | LabelSpace) -> None:
    scores, target = scenes(0)
    metric = MeanIoU(classes).cuda()
    metric.update(scores, target)  # compiles
    metric.reset()
    before, graph = metric._states, torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        metric.update(scores, target)
    for seed in range(3):
        new_scores, new_target = scenes(seed)
        scores.copy_(new_scores)
        target.copy_(new_target)
        graph.replay()
        counts = metric._states[0] - before[0]
        assert torch.equal(counts, count(new_scores, new_target, metric.counting))


@on_gpu
def test_updates_work_under_deterministic_algorithms() -> None:
    scores, target = scenes(0)
    metrics = [MeanIoU(21).cuda() for _ in range(2)]
    torch.use_deterministic_algorithms(True)
    try:
        values = [metric(scores, target) for metric in metrics]
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*values)


@on_gpu
def test_bad_labels_on_the_gpu_are_raised_by_compute() -> None:
    scores, target = scenes(0)
    target[0, 0, :5] = 255
    metric = MeanIoU(21).cuda()
    metric.update(scores, target)
    with pytest.raises(ValueError, match=r"5 pixels of `target` are 255.*ignore_index=255"):
        metric.compute()
    with pytest.raises(ValueError, match="5 pixels"):
        functional.mean_iou(scores, target, 21)


@on_gpu
@pytest.mark.parametrize("name", METRICS)
def test_an_update_needs_less_than_8_megabytes(name: str) -> None:
    metric = METRICS[name]().cuda()
    scores, target = scenes(0)
    if name == "upsample":
        target = target.repeat(1, 8, 8)
    else:
        scores, target = scores.repeat(1, 1, 8, 8), target.repeat(1, 8, 8)
    metric.update(scores, target)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    metric.update(scores, target)
    assert torch.cuda.max_memory_allocated() - before < 8e6


@on_gpu
def test_more_than_2_31_pixels_count_exactly() -> None:
    labels = torch.zeros(3, 2**30, dtype=torch.uint8, device="cuda")
    labels[0, 0] = 1
    matrix = functional.confusion_matrix(labels, labels, 2)
    assert matrix.tolist() == [[3 * 2**30 - 1, 0], [0, 1]]
