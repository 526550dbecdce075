"""Which small changes to the code does no test notice? A program, not a test.

    python tests/mutation.py scores --mutants 100

copies the checkout, changes one expression of a part at a time, runs the tests of that part, and
prints the changes that survive. A survivor is either a missing test or equivalent; those that were
found to be equivalent are listed, with the reason, in ``equivalent_mutants.txt``. The draw is the
same for the same ``--seed``, and the first 100 of 300 are those of 100; ``CI=1`` is set, so that
the tests draw the inputs that CI draws.

It is fast because a mutant is a fork of a process that has imported everything but segmetrics, and
runs only tests that reach the changed line, quickest first. Which tests do is recorded once, by
tracing every test; what a test does in programs that it starts is not seen. Lines that no test is
seen to reach, such as those of compiled kernels, are tried with all tests of the part. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib
import os
import pickle
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutants import Mutant, equivalent_mutants, mutants_of
from tracing import Recorded, Recorder

ROOT = Path(__file__).parents[1]
FOLDER = Path(tempfile.gettempdir(), "segmetrics-mutants")  #: kept: compiled kernels, traces

#: Imported once. What is missing is imported by the tests that need it, or skips them.
HEAVY = [
    *("torch", "torchmetrics.classification", "numba", "pytest", "hypothesis", "scipy.stats"),
    *("scipy.ndimage", "sklearn.metrics", "pandas", "matplotlib.pyplot", "monai.metrics", "cv2"),
    *("PIL.Image", "nibabel", "SimpleITK", "tifffile", "typer.testing", "jinja2", "plotly"),
    *("pytorch_lightning", "pydicom", "rasterio", "statsmodels.api", "torch._dynamo"),
]

#: Part → its files, and the tests that must notice a change there.
PARTS: dict[str, tuple[str, str]] = {
    "scores": (
        "scores.py recipes.py",
        "agreement semantics identities functional peers scores recipes",
    ),
    "counting": (
        "counting/*.py",
        "agreement bad_input cpu_backend upsample semantics cuda_backend threads sparse masks",
    ),
    "surfaces": (
        "surfaces/*.py",
        "surfaces* boundary_metrics errors identities bad_input sizes",
    ),
    "statistics": (
        "statistics/*.py",
        "statistics image_scores resampled ranking* slices sample_size tables case_scores "
        "calibration_images curve_images conventions sizes",
    ),
    "objects": ("objects/*.py", "objects_* object_pairs panoptic"),
    "probabilities": ("probabilities/*.py", "probabilities* calibration* curve* sizes"),
    "labels": ("labels/*.py", "labels"),
    "distributed": ("distributed.py", "distributed"),
    "files": ("files/*.py", "masks files_* evaluate_meaning sizes"),
    "evaluate": ("evaluate/*.py", "evaluate* report slices nnunet sparse sizes"),
    "metrics": (
        "metrics/*.py",
        "lifecycle states keys collections bad_input* semantics help image_scores identities sizes "
        "boundary_metrics surfaces_metrics surfaces_regions objects_metrics panoptic calibration* "
        "curve* functional case_scores",
    ),
}


class Chosen:
    """A plugin of pytest: runs some tests in the given order, and says which one failed."""

    def __init__(self, tests: list[str]) -> None:
        self.place = {test: place for place, test in enumerate(tests)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.place),
            key=lambda item: self.place[item.nodeid],
        )

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = report.nodeid


class NoShrinking:
    """A plugin of pytest: a failing example of hypothesis is enough, the smallest is not needed."""

    def __init__(self, examples: int) -> None:
        self.examples = examples

    def pytest_collection(self) -> None:
        from hypothesis import Phase, settings

        phases, usual = (Phase.explicit, Phase.generate), settings.get_profile("ci")
        settings.register_profile("mutants", usual, phases=phases, max_examples=self.examples)
        settings.load_profile("mutants")


def run_tests(files: list[str], plugin: Any, examples: int = 100) -> int:
    """The exit status of pytest."""
    import pytest

    without = ("cacheprovider", "xdist", "faulthandler", "unraisableexception", "threadexception")
    options = ["-x", "-q", "-W", "ignore", *(f"-pno:{name}" for name in without)]
    return int(pytest.main([*options, *files], plugins=[NoShrinking(examples), plugin]))


def record(tests: list[Path], sources: list[Path]) -> Recorded:
    """Trace every test of a part, those of one file after the other; what is known is kept."""
    recorded, code = Recorded(), b"".join(file.read_bytes() for file in sources)
    for file in tests:
        key = hashlib.sha256(code + str(file).encode() + file.read_bytes()).hexdigest()
        known = FOLDER / "traces" / key
        if not known.exists():
            begin = time.monotonic()
            if (found := fork(_record, file, seconds=3600, show=True)) is None:
                raise SystemExit(f"the tests of {file} do not pass without a change")
            known.write_bytes(pickle.dumps(found))
            print(f"{file} traced in {time.monotonic() - begin:.0f} s", flush=True)
        recorded.add(pickle.loads(known.read_bytes()))
    return recorded


def _record(file: Path) -> Recorded | None:
    with tempfile.TemporaryDirectory() as forks:
        recorder = Recorder(Path(forks))
        status = run_tests([str(file)], recorder, examples=10)  # they reach what 100 do
        return recorder.recorded if status in (0, 5) else None


def try_tests(tests: list[str], caches: str) -> tuple[int, str]:
    """The exit status of these tests, and the one that failed."""
    import numba

    numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = caches
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    chosen = Chosen(tests)
    status = run_tests(list(dict.fromkeys(test.split("::")[0] for test in tests)), chosen)
    return status, chosen.failed


def fork(function: Callable[..., Any], *arguments: Any, seconds: float, show: bool = False) -> Any:
    """What a function returns in a fork; None if that dies, or needs more CPU time than this."""
    with tempfile.TemporaryFile() as answer:
        if not (process := os.fork()):
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
            resource.setrlimit(resource.RLIMIT_AS, (2**34, resource.RLIM_INFINITY))
            if not show:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(1, 2)
            leave = os._exit  # the recorder replaces it
            try:
                pickle.dump(function(*arguments), answer)
                answer.flush()
            except SystemExit as stopped:
                print(stopped)
            finally:
                sys.stdout.flush()
                leave(0)
        deadline = time.monotonic() + 10 * seconds  # it may wait for ever without using the CPU
        while os.waitpid(process, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.killpg(process, signal.SIGKILL)
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)  # what it has started and left
        answer.seek(0)
        with suppress(EOFError):
            return pickle.load(answer)
    return None


@dataclass
class Checkout:
    """A copy of the checkout in which one file is changed at a time."""

    path: Path
    noticed_by: Counter[tuple[Path, str]] = field(default_factory=Counter)

    def survives(self, mutant: Mutant, recorded: Recorded) -> bool:
        """Whether the tests pass with the change; a test that hangs has noticed it, too."""
        file = self.path / mutant.file
        source, stamp = file.read_text("utf-8"), file.stat().st_mtime_ns
        tests = recorded.reaching(mutant)
        tests.sort(key=lambda test: -self.noticed_by[mutant.file, test])  # stable
        try:
            file.write_text(mutant.applied(source), "utf-8")
            with tempfile.TemporaryDirectory() as caches:
                folder = self._caches(mutant.file, Path(caches, "numba"))
                for some in filter(None, (tests[:5], tests[5:])):
                    unknown = 60 * len(recorded.elsewhere.intersection(some))
                    seconds = 30 + unknown + 10 * sum(recorded.seconds[test] for test in some)
                    result = fork(try_tests, some, str(folder), seconds=seconds)
                    if result is None or result[0]:
                        if result and result[1]:
                            self.noticed_by[mutant.file, result[1]] += 1
                        return False
        finally:
            file.write_text(source, "utf-8")
            os.utime(file, ns=(stamp, stamp))
        return True

    def _caches(self, changed: Path, copy: Path) -> Path:
        """Compiled kernels, without those that a change to this file may change."""
        sources = {f: f.read_text("utf-8") for f in (self.path / "segmetrics").rglob("*.py")}
        kernels = {f: text for f, text in sources.items() if "_compile import kernel" in text}
        stale: set[Path] = set()
        found = {self.path / changed}
        while found:
            names = [".".join(f.relative_to(self.path).with_suffix("").parts) for f in found]
            imports = re.compile(rf"^from ({'|'.join(map(re.escape, names))}) import", re.M)
            stale |= found
            found = {f for f, text in kernels.items() if imports.search(text)} - stale
        stale &= kernels.keys()
        if not stale:
            return FOLDER / "kernels"
        shutil.copytree(FOLDER / "kernels", copy, copy_function=os.link)
        for file in stale:
            for index in copy.rglob(f"{file.stem}.*"):
                if index.parent.name.startswith(f"{file.parent.name}_"):
                    index.unlink()
        return copy


def copy_checkout(checkout: Path) -> None:
    """What git knows of, with its times, by which compiled kernels are known."""
    shutil.rmtree(checkout, ignore_errors=True)
    for folder in (checkout, FOLDER / "traces", FOLDER / "kernels"):
        folder.mkdir(parents=True, exist_ok=True)
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--mutants", type=int, default=100, help="how many are drawn")
    parser.add_argument("--first", type=int, default=0, help="leave out so many of those drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--match", default="", help="only those whose line of output has this")
    asked = parser.parse_args()
    for name in HEAVY:
        with suppress(ImportError):
            importlib.import_module(name)
    import numba

    numba.njit(lambda x: x + 1)(1)  # what numba imports when it first compiles
    assert "segmetrics" not in sys.modules
    gc.freeze()  # forks need not look at what is imported again and again
    checkout = Checkout(FOLDER / "checkout")
    copy_checkout(checkout.path)
    os.chdir(checkout.path)
    sys.path[:0] = [str(checkout.path), str(checkout.path / "tests")]
    os.environ |= {"CI": "1", "PYTHONPATH": str(checkout.path), "TRITON_INTERPRET": "1"}
    os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR = str(FOLDER / "kernels")
    patterns, names = PARTS[asked.part]
    sources = sorted(f for p in patterns.split() for f in Path("segmetrics").glob(p))
    tests = [f for name in names.split() for f in sorted(Path("tests").glob(f"test_{name}.py"))]
    every = [mutant for file in sources for mutant in mutants_of(file, file.read_text("utf-8"))]
    random.Random(asked.seed).shuffle(every)
    drawn = [m for m in every[asked.first : asked.mutants] if re.search(asked.match, str(m))]
    known = equivalent_mutants(ROOT / "tests" / "equivalent_mutants.txt")
    tried = [mutant for mutant in drawn if not known(mutant)]
    recorded = record([*tests, *sources], sources)
    print(f"{asked.part}: {len(drawn)} of {len(every)} mutants, {len(recorded.seconds)} tests")
    begin, survivors = time.monotonic(), 0
    for number, mutant in enumerate(tried, start=1):
        if checkout.survives(mutant, recorded):
            survivors += 1
            print(f"survived: {mutant}", flush=True)
        if number % 10 == 0:
            spent = time.monotonic() - begin
            print(f"{number} done, {survivors} survived, {spent:.0f} s", flush=True)
    print(
        f"{asked.part}: {len(drawn)} drawn, {len(tried) - survivors} noticed, "
        f"{survivors} not, {len(drawn) - len(tried)} equivalent"
    )


if __name__ == "__main__":
    main()
