"""The time of the command on small folders: ``python -m benchmarks.start --help``.

The whole command, from the first import to the last line, on folders that are counted in a moment:
pairs of VOC's size, and small maps of thousands of classes. Median wall time, CPU seconds of the
process and its workers, the peak of its memory, and which packages take how long to import.

And the first update: on a machine, where kernels are compiled, and in a later process, which loads
them. The import of torch and segmetrics comes before, that of numba is part of it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import report
from benchmarks.mask_folders import VOC_SIZE, write_voc

#: Classes of small maps, and their pairs and sides.
MANY, PAIRS, SIDE = (5_000, 14_176), 16, 64
#: The command, which in the end prints its own peak memory in KiB.
COMMAND = """
import sys
from segmetrics.__main__ import main
try:
    main()
finally:
    lines = open("/proc/self/status").read().splitlines()
    print(*(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
"""
#: A process whose first update this is; it prints the seconds.
FIRST_UPDATE = """
from time import perf_counter
import torch
from segmetrics import MeanIoU
target = torch.randint(21, (4, 520, 520))
preds = {preds}
metric = MeanIoU(21)
begin = perf_counter()
metric.update(preds, target)
print(perf_counter() - begin)
"""
FIRST = {
    "fp32 logits": "torch.rand(4, 21, 520, 520)",
    "int64 labels": "target.clone()",
    "uint8 labels": "target.byte(); target = preds.clone()",
}
#: Packages whose import takes at least 10 ms are printed.
TOLD = 0.01


def main() -> None:
    """Write the files, measure, print and keep."""
    options = parser().parse_args()
    path = options.output or report.default_path("cpu")
    updates = [first_update(form, preds, options.rounds) for form, preds in FIRST.items()]
    if not options.no_save:
        report.keep(path, "cpu", "first update", updates)
    if options.updates_only:
        return
    with tempfile.TemporaryDirectory() as root:
        folders = write_voc(Path(root) / "voc", options.voc)
        size = [options.voc, *VOC_SIZE]
        forms = [
            ("voc PNG", 21, size, [*folders, "--labels", "voc"]),
            ("voc PNG --boundary", 21, size, [*folders, "--labels", "voc", "--boundary"]),
            ("voc PNG --per-image", 21, size, [*folders, "--labels", "voc", "--per-image"]),
        ]
        for classes in MANY:
            folders = write_many(Path(root) / str(classes), classes)
            given = [*folders, "--num-classes", classes]
            forms.append(("many classes", classes, [PAIRS, SIDE, SIDE], given))
        rows = []
        for form, classes, size, given in forms:
            command = ["evaluate", *map(str, given), "--json", str(Path(root) / "out.json")]
            rows.append(
                {"form": form, "classes": classes, "size": size} | measured(command, options)
            )
            rows[-1]["bytes of JSON"] = (Path(root) / "out.json").stat().st_size
            print(shown(rows[-1]), end="\n\n", flush=True)
    if not options.no_save:
        report.keep(path, "cpu", "start", rows)
        print(f"written: {path}")


def first_update(form: str, preds: str, rounds: int) -> report.Row:
    """Median seconds of the first update on a machine, and of that in a later process."""
    command = [sys.executable, "-c", FIRST_UPDATE.format(preds=preds)]
    found: dict[str, list[float]] = {"compiled": [], "loaded": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for samples in found.values():
                done = subprocess.run(
                    command,
                    env=os.environ | {"NUMBA_CACHE_DIR": cache},
                    check=True,
                    stdout=subprocess.PIPE,
                )
                samples.append(float(done.stdout))
    seconds = {name: median(samples) for name, samples in found.items()}
    told = ", ".join(f"{name} {s:.2f}" for name, s in seconds.items())
    print(f"first update, {form}: {told} s", flush=True)
    return {"form": form, "seconds": seconds}


def write_many(root: Path, classes: int) -> tuple[Path, Path]:
    """Small 16-bit maps in which half of the pixels are right."""
    random = np.random.default_rng(0)
    for side in ("preds", "targets"):
        (root / side).mkdir(parents=True)
    for i in range(PAIRS):
        target, wrong = random.integers(0, classes, (2, SIDE, SIDE))
        preds = np.where(random.random((SIDE, SIDE)) < 0.5, target, wrong)
        for side, values in (("preds", preds), ("targets", target)):
            Image.fromarray(values.astype(np.uint16)).save(root / side / f"{i}.png")
    return root / "preds", root / "targets"


def measured(command: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Medians over rounds, after one that fills caches."""
    samples = [run(command) for _ in range(options.rounds + 1)][1:]
    found: dict[str, Any] = {
        key: median(sample[key] for sample in samples) for key in ("seconds", "cpu", "bytes")
    }
    return found | {"imports": imports(command)}


def run(command: list[str]) -> dict[str, float]:
    """Wall seconds, CPU seconds of the process and its workers, and its peak memory."""
    begin = perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    peak = int(process.stderr.read().split()[-1])
    _, status, used = os.wait4(process.pid, 0)
    seconds = perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"segmetrics {' '.join(command)} ended with {process.returncode}.")
    return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "bytes": peak * 1024}


def imports(command: list[str]) -> dict[str, float]:
    """Seconds that the modules of each package took themselves, the longest first."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "segmetrics", *command],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = {}
    for microseconds, module in re.findall(
        r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", done.stderr
    ):
        package = module.partition(".")[0]
        package = "the standard library" if package in sys.stdlib_module_names else package
        found[package] = found.get(package, 0) + int(microseconds) / 1e6
    told = {package: seconds for package, seconds in found.items() if seconds >= TOLD}
    return dict(sorted(told.items(), key=lambda item: -item[1]))


def shown(row: report.Row) -> str:
    """The measurements of one folder."""
    imported = ", ".join(f"{name} {seconds:.2f}" for name, seconds in row["imports"].items())
    head = [report.title(row), "s", "s of CPU", "MiB", "MiB of JSON"]
    megabytes = [f"{row[key] / 2**20:.1f}" for key in ("bytes", "bytes of JSON")]
    cells = ["segmetrics evaluate", f"{row['seconds']:.2f}", f"{row['cpu']:.2f}", *megabytes]
    return f"{report.table(head, [cells])}\nimports, s: {imported}"


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    options.add_argument("--voc", type=int, default=50, help="pairs of 375×500")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--updates-only", action="store_true", help="only the first update")
    options.add_argument("--output", type=Path, help="results file; rows are added or replaced")
    options.add_argument("--no-save", action="store_true", help="only print")
    return options


if __name__ == "__main__":
    main()
