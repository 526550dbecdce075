"""The machine and the versions of a measurement."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = (
    "segmetrics",
    "torch",
    "torchmetrics",
    "numba",
    "triton",
    "torchvision",
    "segmentation-models-pytorch",
    "monai",
    "pytorch-ignite",
    "pillow",
    "cityscapesscripts",
)


def machine(device: str) -> dict[str, object]:
    """Processor, GPU, threads and memory."""
    gpu = torch.cuda.get_device_name() if device.startswith("cuda") else None
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "memory_gib": round(pages / 2**30, 1),
        "gpu": gpu,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def processor() -> str:
    """The name of the processor, from the kernel."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    """Versions of the contenders that are installed."""
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
