"""Which lines of segmetrics every test reaches: recorded once, for ``mutation.py``."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from coverage import Coverage, CoverageData

from mutants import Mutant


@dataclass
class Recorded:
    """What the tests do without a change: which lines they reach, and the CPU time they need."""

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)  # tests that start programs

    def add(self, other: Recorded) -> None:
        self.seconds |= other.seconds
        self.lines |= other.lines
        self.elsewhere |= other.elsewhere

    def reaching(self, mutant: Mutant, seconds: float = inf) -> list[str]:
        """The tests that may notice a change; all tests where none is known to reach it.

        One of every function comes first, of these the quickest; with a limit of seconds the last
        ones are left out.
        """
        reached = {test for test, seen in self.lines.items() if mutant.lines & seen}
        if mutant.on_import or not reached:
            reached = set(self.seconds)
        others: Counter[str] = Counter()
        keys = {}
        for test in sorted(reached, key=lambda test: (self.seconds[test], test)):
            function = test.partition("[")[0]
            keys[test] = test in self.elsewhere, others[function], self.seconds[test]
            others[function] += 1
        tests = sorted(reached, key=keys.__getitem__)
        begins = accumulate((self.seconds[test] for test in tests), initial=0.0)
        return [test for test, begin in zip(tests, begins, strict=False) if begin < seconds]


class Recorder:
    """A plugin of pytest: which lines every test reaches, in forks of it and in threads, too."""

    def __init__(self, forks: Path) -> None:
        self.recorded, self.forks, self.test, self.begin = Recorded(), forks, "", 0.0
        self.root = f"{Path.cwd()}/"
        self.coverage = Coverage(
            data_file=None, include=[f"{self.root}segmetrics/*"], messages=False
        )
        parent, leave = os.getpid(), os._exit

        def leave_a_note(status: int) -> None:
            if os.getpid() != parent:
                (forks / f"{os.getpid()}").write_bytes(pickle.dumps(self.lines()))
            leave(status)

        os._exit = leave_a_note  # type: ignore[assignment]
        for starts, name in ((subprocess.Popen, "__init__"), (BaseProcess, "start")):
            self.watch(starts, name)
        self.coverage.start()

    def watch(self, kind: Any, name: str) -> None:
        """Note which tests start processes that are no forks; they end there."""
        original = getattr(kind, name)

        def watched(process: Any, *args: Any, **kwargs: Any) -> None:
            if getattr(process, "_start_method", None) != "fork" and self.test:
                self.recorded.elsewhere.add(self.test)
                pytest.skip("what it starts cannot be traced")
            original(process, *args, **kwargs)

        setattr(kind, name, watched)

    def lines(self) -> set[tuple[str, int]]:
        """Those that the test has run."""
        data = self.coverage.get_data()
        data.set_query_context(self.test)
        return lines_of(data, Path(self.root))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.test, self.begin = nodeid, process_time()
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.recorded.seconds[nodeid] = process_time() - self.begin
        found = self.lines()
        self.coverage.switch_context("")
        for file in self.forks.iterdir():
            found |= pickle.loads(file.read_bytes())
            file.unlink()
        self.recorded.lines[nodeid] = found


def lines_of(data: CoverageData, root: Path) -> set[tuple[str, int]]:
    """The lines that were run, with the paths of their files below a folder."""
    return {
        (file.removeprefix(f"{root}/"), line)
        for file in data.measured_files()
        for line in data.lines(file) or ()
    }
