"""Peak memory above the inputs, measured: resident pages on a CPU, allocations on a GPU.

Each measurement is a process of its own, as a peak cannot be taken back.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS


def peak_above_inputs(case: Case, contender: str, device: str) -> int | None:
    """Bytes that one update needs beyond its inputs; None where the contender reads no such form.

    Measured in a new process.
    """
    shape = "x".join(map(str, case.size))
    arguments = [case.form, str(case.classes), shape, contender, device]
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer = done.stdout.split()[-1]
    return None if answer == "None" else int(answer)


def measure(case: Case, contender: str, device: str) -> int | None:
    """The same, in this process."""
    make = CONTENDERS[contender]
    small = replace(case, size=(1, 64, 64))  # loads, compiles and starts what there is
    step = make(small, *small.inputs(device))
    if step is None:
        return None
    step()
    step = make(case, *case.inputs(device))
    assert step is not None
    return peak_of(step, device)


def peak_of(step: Callable[[], object], device: str) -> int:
    """Bytes by which memory grows while the step runs."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")  # Linux: forget the peak by now
        before = _status("VmRSS")
        step()
        return _status("VmHWM") - before
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return growth if sys.platform == "darwin" else growth * 1024


def _status(key: str) -> int:
    """A line of the kernel's account of this process, in bytes."""
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(key)]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    form, classes, shape, contender, device = sys.argv[1:]
    n, height, width = map(int, shape.split("x"))
    print(measure(Case(form, int(classes), (n, height, width)), contender, device))
