"""Programs that ``segmetrics evaluate`` is timed against, each in a process of its own.

``python -m benchmarks.decoding "decoding in threads" FOLDER voc WORKERS`` prints its seconds;
instead of it ``hotcoco``, ``vernier``, or ``cityscapesscripts`` with a number of pairs.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

EXECUTORS: dict[str, type[Executor]] = {
    "decoding in threads": ThreadPoolExecutor,
    "decoding in processes": ProcessPoolExecutor,
}


def folders(folder: Path, layout: str) -> tuple[Path, Path]:
    """Predictions and targets."""
    if layout == "camvid":
        return folder / "predictions", folder / "targets"
    if layout == "cityscapes":
        return folder / "results", folder / "gtFine" / "val"
    return folder / "predictions", folder / "VOCdevkit" / "VOC2012" / "SegmentationClass"


def files(folder: Path, layout: str) -> list[tuple[Path, Path]]:
    """Predictions and their targets."""
    preds, targets = folders(folder, layout)
    if layout != "cityscapes":
        return [(path, targets / path.name) for path in sorted(preds.iterdir())]
    end = "_gtFine_labelIds.png"
    return [
        (preds / f"{path.name.removesuffix(end)}_leftImg8bit.png", path)
        for path in sorted(targets.glob(f"*/*{end}"))
    ]


def decode(pair: Iterable[Path]) -> None:
    """Decode images into arrays."""
    for path in pair:
        with Image.open(path) as image:
            np.asarray(image)


def time_decoding(name: str, pairs: list[tuple[Path, Path]], workers: int) -> float:
    """Seconds of decoding alone."""
    decode(pairs[0])  # loads the decoder
    with EXECUTORS[name](workers) as pool:
        begin = perf_counter()
        for _ in pool.map(decode, pairs, chunksize=max(1, min(8, len(pairs) // (4 * workers)))):
            pass
        return perf_counter() - begin


def time_official(pairs: list[tuple[Path, Path]]) -> float:
    """Seconds of Cityscapes' pixel-level script, without iIoU, which ours leaves out as well."""
    np.in1d = np.isin  # type: ignore[attr-defined]  # NumPy 2.4 dropped it
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official

    official.args.quiet, official.args.JSONOutput = True, False
    official.args.evalInstLevelScore = False
    preds, targets = ([str(path) for path in side] for side in zip(*pairs, strict=True))
    begin = perf_counter()
    official.evaluateImgLists(preds, targets, official.args)
    return perf_counter() - begin


def time_hotcoco(pairs: list[tuple[Path, Path]], classes: int, ignored: int, threads: int) -> float:
    """Seconds of hotcoco, whose files have the same names in two folders."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    from hotcoco.semantic import SemanticEval

    with tempfile.TemporaryDirectory() as folder:
        preds, targets = (path.parent for path in pairs[0])
        if any(pred.name != target.name for pred, target in pairs):  # Cityscapes'
            preds, targets = Path(folder, "predictions"), Path(folder, "targets")
            for i, side in enumerate((preds, targets)):
                side.mkdir()
                for pair in pairs:
                    Path(side, pair[0].name).symlink_to(pair[i].absolute())
        evaluator = SemanticEval(classes, ignore_index=ignored)
        begin = perf_counter()
        counted = evaluator.update_folders(str(targets), str(preds))
        evaluator.report()
        seconds = perf_counter() - begin
    assert counted == len(pairs)
    return seconds


def time_vernier(pairs: list[tuple[Path, Path]], classes: int, ignored: int, threads: int) -> float:
    """Seconds of vernier, which reads 8-bit grey only."""
    from vernier.semantic import Evaluator

    preds, targets = ({i: pair[side] for i, pair in enumerate(pairs)} for side in (0, 1))
    begin = perf_counter()
    Evaluator().evaluate_from_pngs(
        targets, preds, n_classes=classes, ignore_label=ignored, num_threads=threads
    )
    return perf_counter() - begin


#: Evaluators of PNG folders in Rust.
EVALUATORS: dict[str, Callable[[list[tuple[Path, Path]], int, int, int], float]] = {
    "hotcoco": time_hotcoco,
    "vernier": time_vernier,
}
#: Classes and the ignored value, as stored in the files.
VALUES = {"cityscapes": (34, 255), "voc": (21, 255), "camvid": (12, 255)}


def main() -> None:
    """Time the program that the arguments name."""
    name, folder, layout, number = sys.argv[1:]
    pairs = files(Path(folder), layout)
    if name in EXECUTORS:
        seconds = time_decoding(name, pairs, int(number))
    elif name in EVALUATORS:
        seconds = EVALUATORS[name](pairs, *VALUES[layout], int(number))
    else:
        seconds = time_official(pairs[: int(number)])
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
