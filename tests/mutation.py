"""Which small changes to the code does no test notice? A program, not a test.

    python tests/mutation.py scores --mutants 100

copies the checkout, changes one expression of a part at a time, runs the tests of that part, and
prints the changes that survive. A survivor is either a missing test or equivalent; those that were
found to be equivalent are listed, with the reason, in ``equivalent_mutants.txt``. The draw is the
same for the same ``--seed``, the first 100 of 300 are those of 100, and edits of other lines do not
change their order; ``CI=1`` is set, so that the tests draw the inputs that CI draws. ``--seconds``
limits the tests of a change: survivors are found in less time, and may be noticed by the tests that
were left out.

It is fast because a mutant is a fork of a process that has collected the tests: it exchanges the
code of the changed function, and runs only tests that reach the changed line, quickest first.
Kernels are compiled again there. A change to what runs on import, or to an intrinsic of a kernel,
is tried in a fork of a process that has imported everything but segmetrics. Which tests reach a
line is recorded once, by tracing every test; what a test does in programs that it starts is not
seen. Lines that no test is seen to reach, such as those of compiled kernels, are tried with all
tests of the part. Linux only.
"""

from __future__ import annotations

import argparse
import ast
import gc
import hashlib
import importlib
import os
import pickle
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
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Any

from coverage import Coverage

from exchange import Functions
from mutants import Mutant, drawn, equivalent_mutants, mutants_of
from tracing import Recorded, Recorder, lines_of

ROOT = Path(__file__).parents[1]
FOLDER = Path(tempfile.gettempdir(), "segmetrics-mutants")  #: kept: compiled kernels, traces

WAITING = 180  #: seconds without any CPU time after which a test hangs

#: The test that fails with a change, or without one: "" for none, None if they died or hung.
Run = Callable[["Mutant | None", list[str]], "str | None"]

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
        "counting/[!c]*.py counting/c[!u]*.py",
        "agreement bad_input cpu_backend upsample sparse semantics",
    ),
    "surfaces": (
        "surfaces/[!c]*.py surfaces/c[!u]*.py",
        "surfaces surfaces_metrics surfaces_regions boundary_metrics errors",
    ),
    "statistics": (
        "statistics/*.py",
        "statistics image_scores resampled ranking* slices sample_size tables case_scores "
        "calibration_images curve_images conventions objects_metrics panoptic sizes",
    ),
    "objects": ("objects/*.py", "objects_* object_pairs instances panoptic"),
    "probabilities": (
        "probabilities/[!c]*.py probabilities/c[!u]*.py probabilities/curves.py",
        "probabilities calibration* curves curve_images risk_coverage",
    ),
    "cuda": ("*/cuda*.py", "cuda_backend surfaces_cuda probabilities_cuda curves_cuda"),
    "labels": ("labels/*.py", "labels"),
    "distributed": ("distributed.py", "distributed"),
    "files": ("files/*.py", "masks files_* evaluate_png_pairs evaluate_panoptic*"),
    "evaluate": ("evaluate/*.py", "evaluate* errors slices nnunet sparse sizes files_large"),
    "metrics": (
        "metrics/*.py",
        "attributes lifecycle states keys collections bad_input* semantics help image_scores "
        "identities sizes boundary_metrics surfaces_metrics surfaces_regions objects_metrics "
        "instances panoptic calibration* curves curve_images functional case_scores plotting "
        "risk_coverage labels notebook lightning",
    ),
}


class Collected:
    """A plugin of pytest: calls a function instead of running the tests that were collected."""

    def __init__(self, then: Callable[[Collected], None]) -> None:
        self.then, self.items, self.failed = then, dict[str, Any](), ""

    def pytest_runtestloop(self, session: Any) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        self.then(self)
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = report.nodeid

    def run(self, tests: list[str], recorded: Recorded, seconds: int = 60) -> str:
        """The first of these tests that fails; the process dies if one needs far too long.

        ``seconds`` of CPU time are for kernels that are compiled first.
        """
        items = [self.items[test] for test in tests]
        for item, following in zip(items, [*items[1:], None], strict=True):
            test = item.nodeid
            usual = 10 * recorded.seconds[test] + 60 * (test in recorded.elsewhere)
            limit = int(time.process_time() + seconds + usual)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                break
        return self.failed


class NoShrinking:
    """A plugin of pytest: a failing example of hypothesis is enough, the smallest is not needed."""

    def __init__(self, examples: int) -> None:
        self.examples = examples

    def pytest_collection(self) -> None:
        from hypothesis import Phase, settings

        phases, usual = (Phase.explicit, Phase.generate), settings.get_profile("ci")
        settings.register_profile("mutants", usual, phases=phases, max_examples=self.examples)
        settings.load_profile("mutants")


def run_tests(files: list[str], plugin: Any, examples: int = 30) -> int:
    """The exit status of pytest; 30 examples of hypothesis notice what 100 of CI do, or less."""
    import pytest

    without = ("cacheprovider", "xdist", "faulthandler", "unraisableexception", "threadexception")
    options = ["-x", "-q", "-s", "-W", "ignore", *(f"-pno:{name}" for name in without)]
    folder = f"--basetemp={FOLDER / 'tests'}"
    return int(pytest.main([*options, folder, *files], plugins=[NoShrinking(examples), plugin]))


def record(tests: list[Path], sources: list[Path]) -> Recorded:
    """Trace every test of a part, those of one file after the other; what is known is kept."""
    recorded, tracer = Recorded(), ROOT / "tests" / "tracing.py"
    code = b"".join(file.read_bytes() for file in [tracer, *sources])
    for file in tests:
        key = hashlib.sha256(code + str(file).encode() + file.read_bytes()).hexdigest()
        known = FOLDER / "traces" / key
        if not known.exists():
            begin = time.monotonic()
            if (found := fork(_record, file, show=True)) is None:
                raise SystemExit(f"the tests of {file} do not pass without a change")
            known.write_bytes(pickle.dumps(found))
            print(f"{file} traced in {time.monotonic() - begin:.0f} s", flush=True)
        recorded.add(pickle.loads(known.read_bytes()))
    reached = {file for lines in recorded.lines.values() for file, _ in lines}
    if not reached.intersection(map(str, sources)):
        raise SystemExit("no test was seen to reach a line: does coverage work?")
    return recorded


def _record(file: Path) -> Recorded | None:
    with tempfile.TemporaryDirectory() as forks:
        recorder = Recorder(Path(forks))
        status = run_tests([str(file)], recorder, examples=5)  # they reach what more do
        return recorder.recorded if status in (0, 5) else None


def try_tests(tests: list[str], recorded: Recorded, caches: str) -> str:
    """The test that fails in a process that has not imported segmetrics."""
    import numba

    numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = caches
    failed = "the import"

    def run(collected: Collected) -> None:
        nonlocal failed
        failed = collected.run(tests, recorded)

    run_tests(list(dict.fromkeys(test.split("::")[0] for test in tests)), Collected(run))
    return failed


def fork(function: Callable[..., Any], *arguments: Any, show: bool = False) -> Any:
    """What a function returns in a fork; None if that dies, or waits for ever."""
    with tempfile.TemporaryFile() as answer:
        if not (process := os.fork()):
            os.setsid()
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
        used, since = 0, time.monotonic()
        while os.waitpid(process, os.WNOHANG) == (0, 0):
            time.sleep(0.01)
            if time.monotonic() - since > WAITING:
                if used == (used := cpu_time(process)):
                    os.killpg(process, signal.SIGKILL)
                since = time.monotonic()
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)  # what it has started and left
        answer.seek(0)
        with suppress(EOFError):
            return pickle.load(answer)
    return None


def cpu_time(session: int) -> int:
    """Clock ticks that the processes of a session have used."""
    used = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            values = file.read_text().rpartition(")")[2].split()
            if int(values[3]) == session:
                used += sum(map(int, values[11:15]))
    return used


@dataclass
class Checkout:
    """A copy of the checkout in which one file is changed at a time."""

    path: Path
    seconds: float  # of tests that are tried with a change
    recorded: Recorded = field(default_factory=Recorded)
    noticed_by: Counter[tuple[Path, str]] = field(default_factory=Counter)
    sound: set[str] = field(default_factory=set)  # tests that pass without a change
    unsound: set[str] = field(default_factory=set)

    def outcome(self, mutant: Mutant, run: Run) -> str:
        """What the tests say of a change: "noticed", "survived", or "stopped" if they died or hung.

        ``run`` gives the test that fails. When a test does so for the first time it must pass
        without the change, or it is left out.
        """
        file = self.path / mutant.file
        source, stamp = file.read_text("utf-8"), file.stat().st_mtime_ns
        tests = [test for test in self.recorded.reaching(mutant) if test not in self.unsound]
        lines, name, calls = self.recorded.lines, str(mutant.file), self.calls(mutant)
        near = {test for test in tests if name in {file for file, _ in lines[test]}}
        if calling := [test for test in tests if calls & lines[test]]:
            tests = calling
        tests.sort(key=lambda test: (-self.noticed_by[mutant.file, test], test not in near))
        begins = accumulate((self.recorded.seconds[test] for test in tests), initial=0.0)
        tests = [test for test, begin in zip(tests, begins, strict=False) if begin < self.seconds]
        try:
            file.write_text(mutant.applied(source), "utf-8")
            failed = run(mutant, tests)
        finally:
            file.write_text(source, "utf-8")
            os.utime(file, ns=(stamp, stamp))
        if failed is None:
            return "stopped"
        if failed in self.recorded.seconds and failed not in self.sound:
            if run(None, [failed]) != "":
                print(f"left out, since it fails without a change: {failed}", flush=True)
                self.unsound.add(failed)
                return self.outcome(mutant, run)
            self.sound.add(failed)
        self.noticed_by[mutant.file, failed] += 1
        return "noticed" if failed else "survived"

    def outcomes(self, mutants: list[Mutant], run: Run) -> dict[Mutant, str]:
        """The outcome of every change; what is not simply noticed is printed.

        Raises:
            RuntimeError: of one test of every file, one does not pass without a change.
        """
        seconds = self.recorded.seconds
        slowest_first = sorted(seconds, key=seconds.__getitem__, reverse=True)
        quickest = {test.split("::")[0]: test for test in slowest_first}  # of each file
        if mutants and (failed := run(None, list(quickest.values()))) != "":
            raise RuntimeError(f"without a change this does not pass: {failed}")
        begin, found = time.monotonic(), dict[Mutant, str]()
        for number, mutant in enumerate(mutants, start=1):
            found[mutant] = self.outcome(mutant, run)
            if found[mutant] != "noticed":
                print(f"{found[mutant]}: {mutant}", flush=True)
            if number % 5 == 0 or number == len(mutants):
                print(f"{number} of {len(mutants)}, {time.monotonic() - begin:.0f} s", flush=True)
        return found

    def exchanging(self, files: list[str], mutants: list[Mutant]) -> dict[Mutant, str] | None:
        """The outcome of changes to functions, where that is certain without another import."""
        found: dict[Mutant, str] = {}
        imports = Coverage(data_file=None, include=[f"{self.path}/segmetrics/*"])

        def run(collected: Collected) -> None:
            imports.stop()
            functions = Functions(self.path)
            gc.freeze()
            stale = {m: self.compiled_anew(m) for m in mutants}
            possible = {m: functions.changed(m) for m in mutants if stale[m] is not None}

            def tried(mutant: Mutant | None, tests: list[str]) -> str | None:
                failed: str | None = fork(changed, mutant, tests)
                return failed

            def changed(mutant: Mutant | None, tests: list[str]) -> str:
                for function, code in possible[mutant] if mutant else []:
                    function.__code__ = code
                if mutant and stale[mutant]:
                    functions.forget(stale[mutant])
                seconds = 60 if not mutant or stale[mutant] else 20
                return collected.run(tests, self.recorded, seconds)

            found.update(self.outcomes([m for m in possible if possible[m]], tried))
            ran = lines_of(imports.get_data(), self.path)
            for mutant in [m for m, outcome in found.items() if outcome == "survived"]:
                if mutant.lines & ran:  # what that gave stays as it was
                    del found[mutant]

        imports.start()
        return found if run_tests(files, Collected(run)) in (0, 5) else None

    def imported(self, mutant: Mutant | None, tests: list[str]) -> str | None:
        """The test that fails where segmetrics is imported with the change."""
        with tempfile.TemporaryDirectory() as folder:
            caches = FOLDER / "kernels"
            if mutant and (stale := self.stale_kernels(mutant)):
                caches = Path(folder, "kernels")
                shutil.copytree(FOLDER / "kernels", caches, copy_function=os.link)
                for file in stale:
                    for index in caches.rglob(f"{file.stem}.*"):
                        if index.parent.name.startswith(f"{file.parent.name}_"):
                            index.unlink()
            failed: str | None = ""
            for some in filter(None, (tests[:8], tests[8:])):  # few files are quickly collected
                failed = failed or fork(try_tests, some, self.recorded, str(caches))
                if failed != "":
                    break
        return failed

    def calls(self, mutant: Mutant) -> set[tuple[str, int]]:
        """Lines that name the kernels in which a change is, where it is in kernels only."""
        kernels = self.compiled_anew(mutant)
        if not kernels:
            return set()
        stale = self.stale_kernels(mutant)
        modules = [(".".join(f.relative_to(self.path).parent.parts), f.stem) for f in stale]
        ways = "|".join(rf"{package}(\.{name}| import .*\b{name})\b" for package, name in modules)
        imports = re.compile(rf"^ *from ({ways})", re.M)
        names, found = re.compile(rf"\b({'|'.join(kernels)})\b"), set[tuple[str, int]]()
        for file in (self.path / "segmetrics").rglob("*.py"):
            text = file.read_text("utf-8")
            if file in stale or imports.search(text):
                numbered, path = enumerate(text.splitlines(), 1), str(file.relative_to(self.path))
                found |= {(path, number) for number, line in numbered if names.search(line)}
        return found

    def compiled_anew(self, mutant: Mutant) -> set[str] | None:
        """Names of kernels that are compiled with a change; None where that takes an import."""
        source = (self.path / mutant.file).read_text("utf-8")
        stale = self.stale_kernels(mutant)
        if stale and (mutant.on_import or "\nfrom numba" in source):
            return None
        if "_compile import kernel" not in source:
            return set()
        found, texts = set[str](), dict[str, str]()
        for file in stale:
            lines = file.read_text("utf-8").splitlines()
            for node in ast.parse("\n".join(lines)).body:
                if isinstance(node, ast.FunctionDef) and "kernel" in map(
                    ast.unparse, node.decorator_list
                ):
                    of_node = range(node.lineno, (node.end_lineno or 0) + 1)
                    texts[node.name] = "\n".join(lines[line - 1] for line in of_node)
                    if file == self.path / mutant.file and mutant.line in of_node:
                        found.add(node.name)
        more = found
        while more:
            calls = re.compile(rf"\b({'|'.join(found)})\b")
            more = {name for name, text in texts.items() if calls.search(text)} - found
            found |= more
        return found

    def stale_kernels(self, mutant: Mutant) -> set[Path]:
        """Files of kernels that may be compiled otherwise with a change."""
        sources = {f: f.read_text("utf-8") for f in (self.path / "segmetrics").rglob("*.py")}
        kernels = {f: text for f, text in sources.items() if "_compile import kernel" in text}
        stale: set[Path] = set()
        found = {self.path / mutant.file}
        while found:
            names = [".".join(f.relative_to(self.path).with_suffix("").parts) for f in found]
            imports = re.compile(rf"^from ({'|'.join(map(re.escape, names))}) import", re.M)
            stale |= found
            found = {f for f, text in kernels.items() if imports.search(text)} - stale
        return stale & kernels.keys()


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
    parser.add_argument("--seconds", type=float, default=inf, help="leave out tests beyond these")
    asked = parser.parse_args()
    os.environ |= {"CI": "1", "TRITON_INTERPRET": "1"}  # the latter is read by the import of Triton
    for name in HEAVY:
        with suppress(ImportError):
            importlib.import_module(name)
    import numba

    numba.njit(lambda x: x + 1)(1)  # what numba imports when it first compiles
    assert "segmetrics" not in sys.modules
    gc.freeze()  # forks need not look at what is imported again and again
    checkout = Checkout(FOLDER / "checkout", asked.seconds)
    copy_checkout(checkout.path)
    os.chdir(checkout.path)
    sys.path[:0] = [str(checkout.path), str(checkout.path / "tests")]
    os.environ["PYTHONPATH"] = str(checkout.path)
    os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR = str(FOLDER / "kernels")
    patterns, names = PARTS[asked.part]
    sources = sorted(f for p in patterns.split() for f in Path("segmetrics").glob(p))
    tests = [f for name in names.split() for f in sorted(Path("tests").glob(f"test_{name}.py"))]
    every = [mutant for file in sources for mutant in mutants_of(file, file.read_text("utf-8"))]
    some = drawn(every, asked.seed)[asked.first : asked.mutants]
    chosen = [mutant for mutant in some if re.search(asked.match, str(mutant))]
    known = equivalent_mutants(ROOT / "tests" / "equivalent_mutants.txt")
    tried = [mutant for mutant in chosen if not known(mutant)]
    checkout.recorded = record([*tests, *sources], sources)
    number_of_tests = len(checkout.recorded.seconds)
    print(
        f"{asked.part}: {len(chosen)} of {len(every)} mutants, {number_of_tests} tests", flush=True
    )
    sys.dont_write_bytecode = True  # of changed files
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    found = fork(checkout.exchanging, [*map(str, [*tests, *sources])], tried, show=True)
    if found is None:
        raise SystemExit("the tests do not pass without a change")
    found |= checkout.outcomes([m for m in tried if m not in found], checkout.imported)
    number = Counter(found.values())
    print(
        f"{asked.part}: {len(chosen)} drawn, {number['noticed'] + number['stopped']} noticed "
        f"({number['stopped']} of them because a test died or hung), {number['survived']} not, "
        f"{len(chosen) - len(tried)} equivalent"
    )


if __name__ == "__main__":
    main()
