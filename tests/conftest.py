"""Test settings: one thread a process, hypothesis without deadlines, deterministic in CI."""

import os

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)  # tensors are small, and more threads would contend with other processes

common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", **common)
settings.register_profile("ci", derandomize=True, **common)
settings.load_profile("ci" if os.environ.get("CI") else "default")
