"""The Triton kernel of probabilities against the plain torch definition.

As in ``test_cuda_backend``: on a GPU, or on the CPU under Triton's interpreter, in a process of its
own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segmetrics import ProbabilityMetrics
from segmetrics.counting.inputs import read
from segmetrics.counting.settings import Task
from segmetrics.probabilities import Probabilities, plain
from test_probabilities import Read, assert_counts_as_defined, probabilities
from triton_kernels import (
    DEVICE,
    assert_passes_under_the_interpreter,
    compiles,
    resources,
    runs_kernels,
    starts_the_interpreter,
    widest_load,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of infinities


@starts_the_interpreter
def test_the_kernel_passes_these_tests_under_the_interpreter() -> None:
    assert_passes_under_the_interpreter(__file__, 4, timeout=600)


def assert_kernel_counts_as_defined(
    preds: torch.Tensor, target: torch.Tensor, reading: Probabilities
) -> None:
    from segmetrics.probabilities import cuda

    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(plain, "count")  # nothing is left to it
        counts = cuda.count(read(preds.to(DEVICE), target.to(DEVICE), reading), reading)
    assert_counts_as_defined(counts.cpu(), read(preds, target, reading), reading)


@runs_kernels
@settings(max_examples=40, deadline=None)
@given(probabilities(None, 9))
def test_every_input_counts_as_defined(drawn: Read) -> None:
    assert_kernel_counts_as_defined(*drawn)


@runs_kernels
@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["bilinear", "nearest"]).flatmap(lambda how: probabilities(how, 9)))
def test_resized_scores_count_as_defined(drawn: Read) -> None:
    assert_kernel_counts_as_defined(*drawn)


@runs_kernels
@pytest.mark.parametrize("classes", [21, 150])
@pytest.mark.parametrize("channels_last", [False, True])
def test_several_blocks_count_as_defined(classes: int, channels_last: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    preds = torch.randn((2, classes, 30, 41), generator=generator) * 4
    target = torch.randint(classes, (2, 30, 41), generator=generator)
    if channels_last:
        preds = preds.to(memory_format=torch.channels_last)
    for per_image in (False, True):
        reading = Probabilities.reading(classes, from_logits=True, per_image=per_image)
        assert_kernel_counts_as_defined(preds, target, reading)


@runs_kernels
@pytest.mark.parametrize("per_image", [False, True])
def test_several_blocks_of_several_channels_count_as_defined(per_image: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    preds = torch.randn((2, 6, 50, 61), generator=generator)  # three blocks: 3 divides 6
    target = (preds > torch.linspace(-1, 1, 6).view(6, 1, 1)).long()
    reading = Probabilities.reading(6, task="multilabel", from_logits=True, per_image=per_image)
    assert_kernel_counts_as_defined(preds, target, reading)


@runs_kernels
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_losses_of_several_temperatures_count_as_defined(task: Task, per_image: bool) -> None:
    preds = 3 * torch.randn((2, 5, 6, 7), generator=torch.Generator().manual_seed(0))
    target = preds.argmax(1).roll(1) if task == "multiclass" else (preds.roll(1) > 0).long()
    reading = Probabilities.reading(
        5, task=task, from_logits=True, temperatures=(0.5, 1, 2), per_image=per_image
    )
    assert_kernel_counts_as_defined(preds, target, reading)


@runs_kernels
def test_inputs_stay_as_they_are() -> None:
    from segmetrics.probabilities import cuda

    scores = torch.rand(2, 5, 6, 7, device=DEVICE)
    target = torch.randint(0, 5, (2, 12, 14), device=DEVICE)
    before = scores.clone(), target.clone()
    reading = Probabilities.reading(5, from_logits=True, upsample="bilinear")
    cuda.count(read(scores, target, reading), reading)
    assert torch.equal(scores, before[0])
    assert torch.equal(target, before[1])


@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_update_and_forward_read_nothing_back(task: Task) -> None:
    scores = torch.empty(4, 21, 65, 65, device="meta")  # a device that has no data to read
    target = torch.empty(4, 65, 65, dtype=torch.int64, device="meta")
    if task == "binary":
        scores, classes = scores[:, 0], None
    else:
        classes = 21
    metric = ProbabilityMetrics(classes, task=task, from_logits=True).to("meta")
    metric.update(scores, target)
    metric(scores, target)
    with pytest.raises(NotImplementedError, match="no data"):
        metric.compute()


# --- The compiler, which needs no GPU -------------------------------------------------------------

S, T = torch.zeros(2, 21, 32, 32), torch.zeros(2, 32, 32, dtype=torch.int64)
COMPILED: dict[str, tuple[torch.Tensor, torch.Tensor, dict[str, Any]]] = {
    "logits": (S, T, {}),
    "bf16 logits": (S.bfloat16(), T.byte(), {}),
    "fp64 logits": (S.double(), T, {"per_image": True}),
    "channels-last": (S.to(memory_format=torch.channels_last), T, {}),
    "probabilities": (S, T, {"from_logits": False}),
    "temperatures": (S, T, {"temperatures": [0.5, 1, 2]}),
    "classwise": (S, T, {"classwise": True, "binning": "mass"}),
    "bilinear": (S[..., :9, :9], T, {"upsample": "bilinear"}),
    "binary": (S[:, 0], T, {"task": "binary", "from_logits": False}),
    "multilabel logits": (S, S.long(), {"task": "multilabel"}),
}


@compiles
@pytest.mark.parametrize("name", COMPILED)
def test_the_kernel_compiles_for_hopper(hopper: None, name: str, tmp_path: Path) -> None:
    from segmetrics.probabilities import cuda

    preds, target, arguments = COMPILED[name]
    classes = None if arguments.get("task") == "binary" else 21
    reading = Probabilities.reading(
        classes, **{"from_logits": True, "ignore_index": 255} | arguments
    )
    sums = torch.zeros(1, len(target) if reading.per_image else 1, 1, 100, dtype=torch.int64)
    programs, given, constants = cuda.launch(sums, read(preds, target, reading), reading)
    compiled = cuda._measure.warmup(*given, grid=(programs,), **constants).asm
    assert ".acq_rel" not in compiled["ptx"]
    registers, spilled = resources(compiled["cubin"], tmp_path)
    assert widest_load(compiled["ptx"]) == (8 if name == "channels-last" else 16)
    assert spilled <= 16
    assert registers <= 224
