"""An update while other processes keep the cores busy, as the workers of a data loader do.

``python -m benchmarks --parts load`` calls it. Every contender lives in a process of its own that
makes the inputs once and times one call when it is told to, right after operations of torch, as
a model's forward pass is; they take turns in random order. Those operations have two threads
whatever the contender has, as torch's second one goes on spinning for some milliseconds and takes
its part of the cores. They take longer than the contender before goes on spinning: after five of
them that thread was still there in a third of all calls on an idle machine.
``before`` names another checkout, whose code is timed in the same run.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import sample
from statistics import median, quantiles
from time import perf_counter
from typing import Any

from benchmarks import loader, report

#: What is updated. Labels and logits are those of ``cases.py``, 4×520×520 and 21 classes. The loop
#: is none of ours and never shares its work: what any such call takes in the same place.
FORMS = (
    "labels uint8",
    "labels int64",
    "logits fp32",
    "logits fp32 channels-last",
    "logits bf16",
    "logits fp32 at 1/8",
    "BoundaryIoU 2×512×512",
    "HD95 2×32×32",
    "HD95 2×512×512",
    "a loop of 4 ms",
    *loader.FORMS,
)
CALLS, LOOP = 200, 400_000
#: Operations of the forward pass, of about 4 ms each.
PASSES = 8
BUSY = (0, 1, 2)
ROOT = Path(__file__).parents[1]


def measure(
    forms: list[str], before: Path | None, calls: int, busy_processes: Sequence[int] = BUSY
) -> list[dict[str, Any]]:
    """Time every form with several busy processes: median and 90th percentile in seconds.

    In a validation with a loader its workers are what else is busy.
    """
    contenders = {"2 threads": (ROOT, 2)}
    if before is None:
        contenders |= {"1 thread": (ROOT, 1)}
    else:
        contenders |= {"2 threads before": (before, 2), "1 thread before": (before, 1)}
    rows = []
    with ExitStack() as stack:
        served = {
            name: stack.enter_context(_served(path, threads))
            for name, (path, threads) in contenders.items()
        }
        for form in (form for form in forms if form not in loader.FORMS):
            for ask in served.values():
                ask(form)
            for busy in busy_processes:
                with _busy(busy):
                    rows.append(_row(form, busy, _summary(_interleaved(served, calls))))
    return rows + [
        _row(form, loader.WORKERS, _summary(loader.measure(form, before, calls)))
        for form in forms
        if form in loader.FORMS
    ]


def _summary(times: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    return {
        name: {"median": median(some), "p90": quantiles(some, n=10)[-1]}
        for name, some in times.items()
    }


def _row(form: str, busy: int, found: dict[str, dict[str, float]]) -> dict[str, Any]:
    print(_line(form, busy, found), flush=True)
    return {"form": form, "busy": busy, "seconds": found}


def table(rows: list[dict[str, Any]]) -> str:
    """Milliseconds, median and 90th percentile."""
    names = list(dict.fromkeys(name for row in rows for name in row["seconds"]))
    lines = [
        [row["form"], str(row["busy"]), *(_cell(row["seconds"].get(name)) for name in names)]
        for row in rows
    ]
    return report.table(["ms, median / 90 %", "busy processes", *names], lines)


def _cell(seconds: Mapping[str, float] | None) -> str:
    if seconds is None:
        return "–"
    return " / ".join(report.milliseconds(seconds[part]) for part in ("median", "p90"))


def _line(form: str, busy: int, found: Mapping[str, Mapping[str, float]]) -> str:
    times = ", ".join(
        f"{name} {1e3 * s['median']:.2f} / {1e3 * s['p90']:.2f}" for name, s in found.items()
    )
    return f"{form}, {busy} busy: {times}"


def _interleaved(
    served: Mapping[str, Callable[[str], float]], calls: int
) -> dict[str, list[float]]:
    """Calls in turn; the first tenth warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in served}
    for _ in range(calls + calls // 10):
        for name in sample(list(served), len(served)):
            times[name].append(served[name](""))
    return {name: some[-calls:] for name, some in times.items()}


@contextmanager
def _busy(number: int) -> Iterator[None]:
    """Some busy processes."""
    processes = [
        multiprocessing.Process(target=_spin, args=(os.getpid(),), daemon=True)
        for _ in range(number)
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _spin(parent: int) -> None:
    while os.getppid() == parent:  # it may be killed
        sum(range(100_000))


@contextmanager
def _served(path: Path, threads: int) -> Iterator[Callable[[str], float]]:
    """A process that makes the inputs of a form, or times one call of it; see ``serve``."""
    code = (
        f"import sys; sys.path.insert(0, {str(path)!r}); import segmetrics\n"
        f"sys.path.insert(0, {str(ROOT)!r}); from benchmarks.load import serve\n"
        f"serve({threads})"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        sent, received = process.stdin, process.stdout

        def ask(form: str) -> float:
            sent.write(f"{form}\n")
            sent.flush()
            return float(received.readline())

        yield ask
        sent.close()


def serve(threads: int) -> None:
    """Answer each line with seconds: those of one call of the last form, or of making its inputs.

    A line that is not empty names the form.
    """
    import torch

    passed = torch.rand(4, 21, 520, 520)
    for line in sys.stdin:
        form = line.strip()
        if not form:
            torch.set_num_threads(2)
            for _ in range(PASSES):
                passed.sum()  # a forward pass has just ended: all of torch's threads are awake
        torch.set_num_threads(threads)
        begin = perf_counter()
        if form:
            step = _step(form)
            for _ in range(3):
                step()
        else:
            step()
        print(perf_counter() - begin, flush=True)


def _step(form: str) -> Callable[[], object]:
    import torch

    from benchmarks.cases import Case
    from benchmarks.contenders import segmetrics

    if form == "a loop of 4 ms":
        return lambda: sum(range(LOOP))
    if form.startswith(("labels", "logits")):
        case = Case(form, 21, (4, 520, 520))
        return segmetrics(case, *case.inputs("cpu"))
    from segmetrics import BoundaryIoU, HausdorffDistance

    side = int(form.rpartition("×")[2])
    preds, target = (_discs(side, shift) for shift in (0.02, 0.0))
    if form.startswith("BoundaryIoU"):
        metric: Any = BoundaryIoU(3)
    else:
        metric = HausdorffDistance(3, percentile=95, include_background=False)
    assert isinstance(preds, torch.Tensor)
    return lambda: metric.update(preds, target)


def _discs(side: int, shift: float) -> Any:
    """Label maps ``(2, side, side)`` of a disc and a ring around it."""
    import torch

    y, x = torch.meshgrid(*2 * [torch.linspace(-1, 1, side)], indexing="ij")
    radius = torch.stack([(x - shift).hypot(y), x.hypot(y - 2 * shift)])
    return (radius < 0.4).long() + (radius < 0.7).long()
