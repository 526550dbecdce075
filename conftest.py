"""Test settings: one thread a process, hypothesis without deadlines, deterministic in CI."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator
from doctest import UnexpectedException
from importlib.util import find_spec
from pathlib import Path
from traceback import extract_tb
from typing import Any

import pytest
import torch
from _pytest.doctest import MultipleDoctestFailures
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)  # tensors are small, and more threads would contend with other processes

common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", **common)
settings.register_profile("ci", derandomize=True, **common)
settings.load_profile("ci" if os.environ.get("CI") else "default")


#: numba and what the extras bring. Tests that need one of these are skipped where it is missing.
OPTIONAL = [
    *("numba", "llvmlite", "triton", "matplotlib", "pytorch_lightning", "lightning", "jinja2"),
    *("plotly", "typer", "rich", "tifffile", "imagecodecs", "nibabel", "SimpleITK", "highdicom"),
    *("nanoarrow", "transformers"),
]
MISSING = {name for name in OPTIONAL if find_spec(name) is None}
PACKAGE = Path(__file__).parent / "segmetrics"
#: What the command prints, also in the output of a program that a test ran.
NEEDED = rf"needs (?:\w+(?:,| and) )*({'|'.join(MISSING) or '(?!)'})\b"


def missing_package(error: BaseException | None, alone: bool = False) -> str | None:
    """The missing package by which a test fails; None if the test shows a fault.

    It is a fault if our code imports the package without a message that says how to install it,
    unless a module is imported alone, for its doctests. The command's message comes from
    ``__main__``, above the import, and of numba Python's own is clear.
    """
    explained = alone
    if isinstance(error, MultipleDoctestFailures):
        error = error.failures[0]
    if isinstance(error, UnexpectedException):
        error = error.exc_info[1]
    while error is not None:
        if told := re.search(NEEDED, f"{error} {getattr(error, 'stderr', '')}"):
            return told[1]
        if isinstance(error, ImportError) and "pip install" in str(error):
            explained = True
            if MISSING and error.__context__ is None:
                return str(error)
        if isinstance(error, ModuleNotFoundError) and error.name:
            name, importer = error.name.partition(".")[0], extract_tb(error.__traceback__)[-1]
            ours = PACKAGE in Path(importer.filename).parents
            explained |= name in ("numba", "llvmlite")
            explained |= PACKAGE / "evaluate" in Path(importer.filename).parents
            if name in MISSING and (explained or not ours):
                return name
        error = error.__cause__ or error.__context__
    return None


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported: walking it was a tenth of the tests' time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """Skip the files that cannot be imported without a missing package."""
    report = yield
    alone = PACKAGE in collector.path.parents
    if report.failed and (name := missing_package(report.call.excinfo.value, alone)):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: needs {name}")
    return report


def skip_without_package(item: pytest.Item) -> Any:
    """Skip the tests that fail for a missing package, or whose fixtures do."""
    try:
        return (yield)
    except Exception as error:
        if name := missing_package(error):
            pytest.skip(f"needs {name}")
        raise


pytest_runtest_setup = pytest.hookimpl(skip_without_package, wrapper=True)
pytest_runtest_call = pytest.hookimpl(skip_without_package, wrapper=True)


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
