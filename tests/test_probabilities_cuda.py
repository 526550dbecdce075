"""The Triton kernel of probabilities against the plain torch definition.

As in ``test_cuda_backend``: on a GPU, or on the CPU under Triton's interpreter, in a process of its
own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segmetrics.counting.inputs import read
from segmetrics.probabilities import Probabilities
from test_probabilities import Read, assert_counts_as_defined, probabilities

pytest.importorskip("triton", reason="the kernel is written in Triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
runs_kernels = pytest.mark.skipif(
    DEVICE == "cpu" and not INTERPRETED,
    reason="without a GPU it runs in test_the_kernel_passes_these_tests_under_the_interpreter",
)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of infinities


@pytest.mark.skipif(INTERPRETED, reason="these are the tests that it runs")
def test_the_kernel_passes_these_tests_under_the_interpreter() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(re.findall(r"(\d+) passed", run.stdout)[-1]) >= 4


def assert_kernel_counts_as_defined(
    preds: torch.Tensor, target: torch.Tensor, reading: Probabilities
) -> None:
    from segmetrics.probabilities import cuda

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
def test_inputs_stay_as_they_are() -> None:
    from segmetrics.probabilities import cuda

    scores = torch.rand(2, 5, 6, 7, device=DEVICE)
    target = torch.randint(0, 5, (2, 12, 14), device=DEVICE)
    before = scores.clone(), target.clone()
    reading = Probabilities.reading(5, from_logits=True, upsample="bilinear")
    cuda.count(read(scores, target, reading), reading)
    assert torch.equal(scores, before[0])
    assert torch.equal(target, before[1])
