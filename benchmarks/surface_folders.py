"""Surface distances of folders of volumes: ``python -m benchmarks.surfaces --folder FOLDER``.

Drawn CT volumes of eight organs as gzipped NIfTI. ``segmetrics evaluate --surfaces`` measures HD,
HD95, average surface distance and surface Dice of every case and organ. On the same files:

- MONAI's HD95, average surface distance and surface Dice, of volumes read by nibabel, on a part of
  the cases, as it takes long;
- ``SurfaceMetrics`` in the same loop, read by nibabel too;
- the floors: reading all files by our reader and by nibabel, and zlib's part of it.

Each is a process of its own. "One core" is a process, and the command's worker, pinned to one core
with one thread; "all cores" is as many workers as there are cores. Times are of the work, without
the start of Python and its imports. The memory is that of the largest process.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import nibabel
import numpy as np
from numpy.typing import NDArray

ORGANS = 8
SPACING = (0.8, 0.8, 2.5)
TOLERANCE = 1.0
SIZE = (256, 256, 100)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
OURS = "segmetrics evaluate --surfaces"
PEERS = ("SurfaceMetrics", "MONAI")
#: The first argument of a process that runs one contender.
RUN = "run"

Scores = dict[str, list[list[float]]]


class Run(NamedTuple):
    """What a process reports: seconds of the work, its largest resident memory, and its scores."""

    seconds: float
    memory: int
    scores: Scores
    cases: int


def main() -> None:
    """Write the volumes, unless they are there, and print a table.

    It imports little: what a process has in memory when it starts another counts for both.
    """
    options = parser().parse_args()
    cases, of_monai = options.cases, min(options.cases, options.monai_cases)
    folder = options.folder / f"surfaces_{cases}_{'x'.join(map(str, options.size))}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=options.folder) as partial:
            write_volumes(Path(partial) / "set", cases, options.size)
            (Path(partial) / "set").rename(folder)
    files = list(folder.glob("*/*.nii.gz"))
    print(
        f"{cases} cases of {'×'.join(map(str, options.size))}, {ORGANS} organs, gzipped NIfTI, "
        f"{sum(file.stat().st_size for file in files) / 2**20:.1f} MB; {CORES} cores"
    )
    one = measured(folder, dict.fromkeys((OURS, *FLOORS), cases) | dict.fromkeys(PEERS, of_monai))
    on_all = {OURS: cases, "MONAI": min(cases, max(of_monai, CORES))}
    every = measured(folder, on_all, cores=CORES)
    if not options.no_save:
        from benchmarks import report  # after the measurement: it loads torch

        rows = [row(one, one, cases, "one core"), row(every, one, cases, f"{CORES} cores")]
        path = options.output or report.default_path("cpu")
        report.keep(path, "cpu", "volumes", rows)
    inflated, read = (one[name].seconds / one[OURS].seconds for name in list(FLOORS)[:2])
    print(f"On one core zlib is {inflated:.0%} of ours, reading all of it {read:.0%}.")
    print(f"Largest memory of our processes: {max(r[OURS].memory for r in (one, every)) >> 20} MB.")
    print(f"Largest relative difference to MONAI: {difference(one[OURS], one['MONAI']):.1e}.")


def row(runs: dict[str, Run], floor: dict[str, Run], cases: int, on: str) -> dict[str, Any]:
    """Seconds a case, as they are kept."""
    seconds = {name: run.seconds / run.cases for name, run in runs.items()}
    read = floor["reading alone, our reader"]
    form = f"{cases} cases of {ORGANS} organs, {on}"
    return {"form": form, "floor": read.seconds / read.cases, "seconds": seconds}


def measured(folder: Path, cases: dict[str, int], *, cores: int = 1) -> dict[str, Run]:
    """Run contenders on so many cases, and print a line for each."""
    found = {}
    on = "one core" if cores == 1 else f"{cores} cores"
    for name, number in cases.items():
        run = found[name] = process(folder, name, number, cores=cores)
        each, ours = run.seconds / number, found[OURS].seconds / cases[OURS]
        print(
            f"  {f'{name}, {on}':42} {run.seconds:7.1f} s {number:4} cases {each:7.3f} s a case "
            f"{each / ours:6.2f} × ours {run.memory >> 20:6} MB",
            flush=True,
        )
    return found


def difference(ours: Run, theirs: Run) -> float:
    """The largest relative difference of a score of a case and organ."""
    found = []
    for name, cases in theirs.scores.items():
        expected = np.array(cases, np.float64)
        values = np.array(ours.scores[name], np.float64)[: len(expected)]  # "Infinity", too
        both = np.isfinite(values) & np.isfinite(expected)
        assert (np.isfinite(values) == np.isfinite(expected)).all()
        found.append(np.abs(values - expected)[both] / np.maximum(np.abs(expected[both]), 1e-9))
    return float(max(differences.max() for differences in found))


# --- A process ------------------------------------------------------------------------------------


def process(folder: Path, name: str, cases: int, *, cores: int) -> Run:
    """Run a contender in a process of its own, on one core or all."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "out.json"
        command = [sys.executable, "-m"]
        if name == OURS:
            command += ["segmetrics", "evaluate", str(folder / "preds"), str(folder / "labels")]
            command += ["--num-classes", str(ORGANS + 1), "--no-background", "--surfaces"]
            command += ["--tolerance", str(TOLERANCE), "--workers", str(cores)]
            command += ["--json", str(output)]
        else:
            command += ["benchmarks.surface_folders", RUN, name, str(folder), str(cases)]
            command += [str(cores), str(output)]
        started = subprocess.Popen(
            command, env=os.environ | threads, stdout=subprocess.DEVNULL,
            cwd=Path(__file__).parents[1], preexec_fn=_pin if cores == 1 else None,
        )  # fmt: skip
        _, status, usage = os.wait4(started.pid, 0)  # with the largest of its children
        if status:
            raise SystemExit(f"{' '.join(command)} failed with status {status}")
        found = json.loads(output.read_text())
    unit = 1 if sys.platform == "darwin" else 1024
    scores = _scores_of_command(found) if name == OURS else found["scores"]
    return Run(found["seconds"], usage.ru_maxrss * unit, scores, cases)


def _pin() -> None:
    """Leave this process, and what it starts, one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _scores_of_command(found: dict[str, Any]) -> Scores:
    """Scores of cases and organs as ``MONAI``'s are arranged."""
    rows = found["cases"]
    names = sorted({row["case"] for row in rows})
    of = {(row["case"], row["class"]): row for row in rows}
    organs = [str(c) for c in range(1, ORGANS + 1)]
    return {
        key: [[_number(of[name, organ][key]) for organ in organs] for name in names]
        for key in ("hd95", "assd", "nsd")
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


# --- Contenders -----------------------------------------------------------------------------------


def by_monai(pair: tuple[Path, Path]) -> dict[str, list[float]]:
    """HD95, average distance and surface Dice of a case's organs."""
    import monai.metrics as monai
    import torch

    maps = [torch.from_numpy(_by_nibabel(path)) for path in pair]
    masks = [torch.stack([labels == c for c in range(1, ORGANS + 1)])[None] for labels in maps]
    arguments: dict[str, Any] = {"include_background": True, "spacing": SPACING}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            "hd95": monai.compute_hausdorff_distance(*masks, percentile=95, **arguments),
            "assd": monai.compute_average_surface_distance(*masks, symmetric=True, **arguments),
            "nsd": monai.compute_surface_dice(*masks, [TOLERANCE] * ORGANS, **arguments),
        }
    return {name: values[0].tolist() for name, values in found.items()}


def by_metric(pair: tuple[Path, Path]) -> dict[str, list[float]]:
    """The same by ``SurfaceMetrics``."""
    import torch

    from segmetrics import SurfaceMetrics

    metric = SurfaceMetrics(
        ORGANS + 1, percentile=95, tolerance=TOLERANCE, include_background=False
    )
    preds, target = (torch.from_numpy(_by_nibabel(path))[None] for path in pair)
    metric.update(preds, target, SPACING)
    found = metric.compute()
    names = {
        "hd95": "hausdorff", "assd": "average_surface_distance", "nsd": "surface_dice",
    }  # fmt: skip
    return {
        name: [found[f"{key}/{c}"].item() for c in range(1, ORGANS + 1)]
        for name, key in names.items()
    }


def read_by_nibabel(pair: tuple[Path, Path]) -> None:
    """Read both volumes as arrays."""
    for path in pair:
        _by_nibabel(path)


def read_by_us(pair: tuple[Path, Path]) -> None:
    """Read both volumes as the command does."""
    from segmetrics.files import Buffer, Reading, read

    for path in pair:
        read(path, Reading(), Buffer())


def inflate(pair: tuple[Path, Path]) -> None:
    """Decompress both files."""
    for path in pair:
        gzip.decompress(path.read_bytes())


def _by_nibabel(path: Path) -> NDArray[np.uint8]:
    return np.ascontiguousarray(nibabel.load(path).dataobj)


FLOORS: dict[str, Callable[[tuple[Path, Path]], Any]] = {
    "zlib alone": inflate,
    "reading alone, our reader": read_by_us,
    "reading alone, nibabel": read_by_nibabel,
}
CONTENDERS = {**FLOORS, "SurfaceMetrics": by_metric, "MONAI": by_monai}


def run(name: str, folder: str, cases: str, cores: str, output: str) -> None:
    """Run one contender, and write its seconds and scores."""
    pairs = [
        (path, Path(folder) / "labels" / path.name)
        for path in sorted((Path(folder) / "preds").iterdir())
    ]
    pairs, function = pairs[: int(cases)], CONTENDERS[name]
    with ProcessPoolExecutor(int(cores), mp_context=get_context("spawn")) as pool:
        each = map if cores == "1" else pool.map
        list(each(function, pairs[:1] * int(cores)))  # imports, compiles and starts what there is
        begin = perf_counter()
        found = list(each(function, pairs))
        seconds = perf_counter() - begin
    scores = {key: [of_case[key] for of_case in found] for key in (found[0] or {})}
    Path(output).write_text(json.dumps({"seconds": seconds, "scores": scores}))


# --- Volumes --------------------------------------------------------------------------------------


def write_volumes(folder: Path, cases: int, size: Sequence[int]) -> None:
    """Write ``folder/preds`` and ``folder/labels``."""
    for side in ("preds", "labels"):
        (folder / side).mkdir(parents=True)
    with ProcessPoolExecutor(CORES) as pool:
        for _ in pool.map(_write_case, [folder] * cases, range(cases), [tuple(size)] * cases):
            pass


def _write_case(folder: Path, case: int, size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(case)
    preds, target = np.zeros((2, *size), np.uint8)
    extent = np.multiply(size, SPACING)
    for label in range(1, ORGANS + 1):
        centre = rng.uniform(0.2, 0.8, 3) * extent
        radii = rng.uniform(0.07, 0.2, 3) * extent
        phase = rng.uniform(0, 2 * np.pi, 3)
        _draw(target, label, centre, radii, phase)
        _draw(preds, label, centre + rng.normal(0, 1.5, 3), radii + rng.normal(0, 1, 3), phase)
    affine = np.diag([*SPACING, 1])
    for side, labels in (("preds", preds), ("labels", target)):
        nibabel.save(nibabel.Nifti1Image(labels, affine), folder / side / f"case_{case:03}.nii.gz")


def _draw(labels: NDArray[np.uint8], label: int, centre: Any, radii: Any, phase: Any) -> None:
    """Draw a bumpy ellipsoid, all in mm, into the box around it."""
    low = np.clip(np.floor((centre - 1.3 * radii) / SPACING), 0, labels.shape).astype(int)
    high = np.clip(np.ceil((centre + 1.3 * radii) / SPACING), 0, labels.shape).astype(int)
    box = tuple(map(slice, low, high))
    places = np.ogrid[box]
    away = [
        place * step - middle for place, step, middle in zip(places, SPACING, centre, strict=True)
    ]
    bumps = sum(np.sin(a / 6 + p) for a, p in zip(away, phase, strict=True))
    distance = sum((a / r) ** 2 for a, r in zip(away, radii, strict=True))
    labels[box][distance < (1 + 0.06 * bumps) ** 2] = label


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.surfaces", description=__doc__)
    options.add_argument("--folder", type=Path, required=True, help="where files are written")
    options.add_argument("--cases", type=int, default=50)
    options.add_argument("--size", type=int, nargs=3, default=SIZE)
    options.add_argument("--monai-cases", type=int, default=3, help="as it takes long")
    options.add_argument("--output", type=Path, help="results file; rows are added or replaced")
    options.add_argument("--no-save", action="store_true", help="only print")
    return options


if __name__ == "__main__":
    if sys.argv[1:2] == [RUN]:
        run(*sys.argv[2:])
    else:
        main()
