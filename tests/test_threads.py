"""Counting on the CPU by many threads, in forked and in spawned processes.

Run as a program, ``python tests/test_threads.py 600``, it updates at random for so many seconds.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Event, get_ident
from time import monotonic, sleep
from typing import Any, cast
from weakref import ref

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segmetrics import ConfusionMatrix, _parallel
from segmetrics._parallel import run_jobs, share
from segmetrics.counting import Counting, count, plain
from segmetrics.counting.inputs import read
from segmetrics.functional import confusion_matrix

CLASSES = 5
THREADS = 8

whoever_helps = pytest.mark.parametrize("several_threads", ["OpenMP", "helpers"], indirect=True)


@pytest.fixture(autouse=True)
def several_threads(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Four threads: torch's own as on an idle machine, or helpers of ours as on a busy one."""
    idle = getattr(request, "param", "OpenMP") == "OpenMP"
    monkeypatch.setattr(_parallel, "_cores_are_free", lambda: idle)
    monkeypatch.setattr(_parallel, "LONG", 2)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def batches() -> list[tuple[Tensor, Tensor]]:
    """Batches of every kind of kernel, most of them large enough for several threads."""
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(2, CLASSES, 390, 410, generator=rng)
    small = torch.randn(2, CLASSES, 19, 21, generator=rng)
    target = torch.randint(0, CLASSES, (2, 390, 410), generator=rng)
    labels = scores.argmax(1)
    many = torch.randint(0, CLASSES, (400, 27, 31), generator=rng)
    return [
        (scores, target),
        (scores.bfloat16(), target),
        (scores.to(memory_format=torch.channels_last), target.int()),
        (labels.byte(), target.byte()),
        (labels, target),
        (many.flip(0), many),
        (small, target),
        (small, target[:, :7, :9]),
    ]


def matrix_of(preds: Tensor, target: Tensor) -> Tensor:
    return confusion_matrix(preds, target, CLASSES, upsample="bilinear")


def expected(preds: Tensor, target: Tensor) -> Tensor:
    """The confusion matrix by plain torch, which has no threads of ours."""
    counting = Counting.of(CLASSES, upsample="bilinear")
    counts = plain.count(read(preds, target, counting), counting)
    return counting.matrices(counts)[:, :-1]


def update_at_random(seconds: float) -> int:
    """Updates from ``THREADS`` threads at once, each of its own metric; returns how many.

    Every batch is also counted image by image.
    """
    each = Counting.of(CLASSES, upsample="bilinear", per_image=True)
    known = [
        (*batch, expected(*batch), plain.count(read(*batch, each), each)) for batch in batches()
    ]
    end = monotonic() + seconds

    def update(seed: int) -> int:
        rng = np.random.default_rng(seed)
        metric = ConfusionMatrix(CLASSES, upsample="bilinear")
        total, updates = torch.zeros(CLASSES, CLASSES, dtype=torch.int64), 0
        while monotonic() < end:
            preds, target, matrix, images = known[rng.integers(len(known))]
            metric.update(preds, target)
            assert torch.equal(count(preds, target, each), images)
            total += matrix
            updates += 1
        assert torch.equal(metric.compute().long(), total)
        return updates

    with ThreadPoolExecutor(THREADS) as threads:
        return sum(threads.map(update, range(THREADS)))


@whoever_helps
def test_updates_from_many_threads_lose_no_count() -> None:
    assert update_at_random(seconds=3) >= THREADS


# --- Processes --------------------------------------------------------------------------------


def count_all(inputs: list[tuple[Tensor, Tensor]], results: Any) -> None:
    """Counts by several threads; made in a forked process the inputs could make torch hang."""
    torch.set_num_threads(4)
    results.put([matrix_of(*batch).tolist() for batch in inputs])


def in_processes(method: str, number: int = 2) -> list[list[list[list[int]]]]:
    """What ``number`` processes count; a hanging one fails the test."""
    context = mp.get_context(method)
    inputs, results = batches(), cast(Any, context).Queue()
    processes = [context.Process(target=count_all, args=(inputs, results)) for _ in range(number)]
    for process in processes:
        process.start()
    try:
        return [results.get(timeout=60) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_forked_processes_count_after_their_parent_has() -> None:
    pytest.importorskip("numba", reason="threads of torch do not survive a fork")
    correct = [expected(*batch).tolist() for batch in batches()]
    assert [matrix_of(*batch).tolist() for batch in batches()] == correct
    assert in_processes("fork") == [correct] * 2
    assert [matrix_of(*batch).tolist() for batch in batches()] == correct


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_processes_forked_amid_updates_count() -> None:
    pytest.importorskip("numba", reason="threads of torch do not survive a fork")
    correct = [expected(*batch).tolist() for batch in batches()]
    with ThreadPoolExecutor(1) as thread:
        updates = thread.submit(update_at_random, seconds=3)
        assert in_processes("fork") == [correct] * 2
        assert updates.result() >= THREADS


def test_spawned_processes_count() -> None:
    assert in_processes("spawn", 1) == [[expected(*batch).tolist() for batch in batches()]]


class Matrices(Dataset[Tensor]):
    """A data set that counts where it is loaded."""

    def __len__(self) -> int:
        return len(batches())

    def __getitem__(self, index: int) -> Tensor:
        return matrix_of(*batches()[index])


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_workers_of_a_data_loader_count() -> None:
    correct = torch.stack([expected(*batch) for batch in batches()])
    matrix_of(*batches()[0])
    loader = DataLoader(
        Matrices(), batch_size=7, num_workers=2, multiprocessing_context="fork", timeout=120
    )
    assert torch.equal(torch.cat(list(loader)), correct)


FIRST_UPDATE = """
import torch
from numba.core import event
from segmetrics.counting import Counting, count

class Names(event.Listener):
    def on_start(self, event):
        print(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event):
        pass

event.register("numba:compile", Names())
labels = torch.arange(900).view(1, 30, 30) % 5
print("pixels", count(labels, labels, Counting.of(5)).sum().item())
"""


def test_processes_that_start_together_compile_every_kernel_once(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_UPDATE],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    printed = [process.communicate(timeout=240)[0].splitlines() for process in started]
    assert all(lines[-1] == "pixels 900" for lines in printed)
    compiled = [name for lines in printed for name in lines[:-1] if name not in ("impl",)]
    assert "tally" in compiled
    assert len(compiled) == len(set(compiled))


# --- Who works ---------------------------------------------------------------------------------


@whoever_helps
def test_as_many_threads_work_as_torch_has() -> None:
    together = Barrier(4)  # passed only by four at once

    def work(jobs: Iterator[int]) -> list[int]:
        return [job for job in jobs if together.wait(timeout=60) >= 0]

    shares = share(work, range(4), at_most=100)
    assert sorted(job for jobs in shares for job in jobs) == [0, 1, 2, 3]


@pytest.mark.parametrize(("threads", "at_most"), [(1, 100), (4, 1)])
def test_small_work_stays_in_the_calling_thread(threads: int, at_most: int) -> None:
    torch.set_num_threads(threads)

    def work(jobs: Iterator[int]) -> tuple[int, list[int]]:
        return get_ident(), list(jobs)

    assert share(work, range(9), at_most=at_most) == [(get_ident(), list(range(9)))]


@whoever_helps
@pytest.mark.parametrize("where", ["helper", "caller"])
def test_what_a_thread_raises_reaches_the_caller(where: str) -> None:
    caller, together = get_ident(), Barrier(2)

    def work(jobs: Iterator[int]) -> None:
        for _ in jobs:
            together.wait(timeout=60)
            if (get_ident() == caller) == (where == "caller"):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        share(work, range(2), at_most=2)


@pytest.mark.parametrize("several_threads", ["helpers"], indirect=True)
def test_a_call_does_not_wait_for_helpers_that_are_busy_elsewhere() -> None:
    torch.set_num_threads(2)  # one helper
    began, end = Barrier(2), Event()

    def wait_in_both(jobs: Iterator[int]) -> None:
        for _ in jobs:
            began.wait(timeout=60)
            end.wait(timeout=60)

    with ThreadPoolExecutor(1) as thread:
        other = thread.submit(share, wait_in_both, range(2), at_most=2)
        while began.n_waiting or not _parallel._calls(os.getpid(), 1).empty():
            sleep(0.01)
        results = share(lambda jobs: (get_ident(), sum(jobs)), range(9), at_most=2)
        assert not other.done()
        end.set()
    assert results == [(get_ident(), 36)]


@whoever_helps
def test_jobs_give_their_results_in_order() -> None:
    assert run_jobs(lambda job: job * job, range(1000), at_most=9) == [i * i for i in range(1000)]


@whoever_helps
@pytest.mark.parametrize("where", ["another thread", "the caller"])
def test_what_a_job_raises_reaches_the_caller(where: str) -> None:
    caller, together = get_ident(), Barrier(2)

    def job(number: int) -> None:
        together.wait(timeout=60)
        if (get_ident() == caller) == (where == "the caller"):
            raise ZeroDivisionError

    with pytest.raises((ZeroDivisionError, BrokenBarrierError)):
        run_jobs(job, range(2), at_most=2)


@pytest.mark.parametrize("several_threads", ["helpers"], indirect=True)
def test_a_late_job_is_run_again_and_its_inputs_are_kept_until_it_ends() -> None:
    torch.set_num_threads(2)  # one helper
    caller, both, end, ended = get_ident(), Barrier(2), Event(), Event()
    pixels = np.arange(9)
    alive, runs = ref(pixels), [0, 0]

    def job(number: int, pixels: Any = pixels) -> int:
        runs[number] += 1
        if sum(runs) <= 2:
            both.wait(timeout=60)  # one job each
        if get_ident() != caller:
            end.wait(timeout=60)
            found = int(pixels.sum()) + number
            ended.set()
            return found + 1000  # too late to count
        return int(pixels.sum()) + number

    jobs: list[Any] = [job]
    assert run_jobs(lambda number: jobs[0](number), range(2), at_most=2) == [36, 37]
    assert sorted(runs) == [1, 2]
    jobs.clear()
    del pixels, job
    assert alive() is not None
    end.set()
    assert ended.wait(timeout=60)
    for _ in range(1000):  # the helper waits for its next call
        if alive() is None:
            return
        sleep(0.01)
    raise AssertionError


@pytest.mark.parametrize("several_threads", ["helpers"], indirect=True)
def test_short_work_wakes_no_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parallel, "LONG", 4)
    threads = run_jobs(lambda _: get_ident(), range(100), at_most=3)
    assert set(threads) == {get_ident()}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody says how many are running")
@pytest.mark.parametrize(("running", "free"), [(1, True), (8, True), (9, False), (120, False)])
def test_cores_are_free_while_no_more_threads_run_than_there_are_cores(
    running: int, free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    load = tmp_path / "loadavg"
    load.write_text(f"0.52 0.58 0.59 {running}/613 27182\n")
    with load.open("rb") as file:
        monkeypatch.setattr(_parallel, "_load", lambda process: file.fileno())
        monkeypatch.setattr(_parallel, "_CORES", 8)
        assert _parallel._cores_are_free() is free


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody says how many are running")
def test_busy_processes_take_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    spin = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    try:
        end = monotonic() + 60
        while _parallel._cores_are_free():
            assert monotonic() < end
    finally:
        for process in busy:
            process.kill()
            process.wait()


TORCHS_THREADS = """
import os, torch
from segmetrics import MeanIoU, _parallel
_parallel._cores_are_free = lambda: True  # whatever else runs here
torch.set_num_threads(2)
scores, target = torch.rand(4, 8, 512, 512), torch.randint(8, (4, 512, 512))
scores.sum()  # starts torch's threads
before = len(os.listdir("/proc/self/task"))
metric = MeanIoU(8)
metric.update(scores, target)
metric.update(scores.argmax(1).byte(), target.byte())
print(before > 1, len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch's threads are not OpenMP's")
def test_an_update_is_shared_by_the_threads_that_torch_has_already() -> None:
    run = subprocess.run(
        [sys.executable, "-c", TORCHS_THREADS], capture_output=True, text=True, timeout=120
    )
    assert run.stdout.split() == ["True", "0"], run.stderr


DAEMON = """
import os
from segmetrics import _parallel
_parallel._cores_are_free()
if not (child := os.fork()):
    os.closerange(3, 256)
    os.open("/dev/null", os.O_RDONLY)
    os._exit(not isinstance(_parallel._cores_are_free(), bool))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_a_daemon_that_closed_the_files_of_its_parent_knows_whether_cores_are_free() -> None:
    run = subprocess.run([sys.executable, "-c", DAEMON], capture_output=True, text=True)
    assert run.stdout.split() == ["0"], run.stderr


KNOWN_THREADS = """
from threading import Barrier, local
import torch
from segmetrics import _parallel
_parallel._cores_are_free = lambda: True  # whatever else runs here
torch.set_num_threads(2)
both, mine = Barrier(2), local()
def job(_):
    both.wait(60)  # each thread has one
    known, mine.known = hasattr(mine, "known"), True
    return known
for _ in range(3):
    print(*_parallel.run_jobs(job, range(2), at_most=2))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch's threads are not OpenMP's")
def test_python_makes_the_state_of_torchs_threads_only_once() -> None:
    run = subprocess.run(
        [sys.executable, "-c", KNOWN_THREADS], capture_output=True, text=True, timeout=120
    )
    assert run.stdout.split() == 2 * ["False"] + 4 * ["True"], run.stderr


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    print(f"{update_at_random(float(sys.argv[1])):,} updates, no count lost")
