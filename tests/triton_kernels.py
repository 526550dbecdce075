"""Triton kernels in tests: on a GPU, or else under Triton's interpreter in a process of its own.

Triton reads ``TRITON_INTERPRET`` when it is imported.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="the kernel is written in Triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
runs_kernels = pytest.mark.skipif(
    DEVICE == "cpu" and not INTERPRETED,
    reason="without a GPU it runs in test_the_kernel_passes_these_tests_under_the_interpreter",
)
on_gpu = pytest.mark.skipif(DEVICE != "cuda", reason="needs a GPU")
compiles = pytest.mark.skipif(INTERPRETED, reason="the interpreter does not compile")
starts_the_interpreter = pytest.mark.skipif(INTERPRETED, reason="these are the tests that it runs")


def assert_passes_under_the_interpreter(file: str, at_least: int, timeout: float = 300) -> None:
    """Run the tests of a file under Triton's interpreter; ``at_least`` so many must pass."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(re.findall(r"(\d+) passed", run.stdout)[-1]) >= at_least


def resources(cubin: bytes, folder: Path) -> tuple[int, int]:
    """Registers of a thread and the bytes that it spills, as NVIDIA's tool says."""
    from triton.backends import nvidia

    (folder / "kernel.cubin").write_bytes(cubin)
    tool = Path(nvidia.__path__[0], "bin", "cuobjdump")
    done = subprocess.run(
        [tool, "-res-usage", folder / "kernel.cubin"], capture_output=True, text=True, check=True
    )
    registers, stack, local = (
        int(re.search(rf"{key}:(\d+)", done.stdout)[1]) for key in ("REG", "STACK", "LOCAL")
    )
    return registers, stack + local


def widest_load(ptx: str) -> int:
    """The bytes of the widest load from memory; 16 are a whole transaction of a thread."""
    loads = re.findall(r"ld\.global(?:\.v(\d))?\.b(\d+)", ptx)
    return max(int(elements or 1) * int(bits) // 8 for elements, bits in loads)
