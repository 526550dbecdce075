"""Test settings: one thread a process, hypothesis without deadlines, deterministic in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)  # tensors are small, and more threads would contend with other processes

common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", **common)
settings.register_profile("ci", derandomize=True, **common)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture
def hopper() -> Iterator[None]:
    """Triton compiles for an H100 or H200, without one."""
    from triton.backends.compiler import GPUTarget
    from triton.backends.driver import DriverBase
    from triton.runtime import driver

    class Hopper(DriverBase):
        """A driver that knows its target and runs nothing."""

        def __init__(self) -> None:
            self.get_current_device = lambda: -1  # no real one: what is compiled is not kept for it
            self.get_current_stream = lambda device: 0

        @classmethod
        def is_active(cls) -> bool:
            return True

        def get_current_target(self) -> GPUTarget:
            return GPUTarget("cuda", 90, 32)

        def get_active_torch_device(self) -> torch.device:
            return torch.device("cuda")

        def map_python_to_cpp_type(self, ty: str) -> str:
            return ty

        def get_benchmarker(self) -> Any:
            return None

    driver.set_active(Hopper())
    yield
    driver.set_active(None)
