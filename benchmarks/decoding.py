"""What ``segmetrics evaluate`` is timed against, each run as a process of its own.

``python -m benchmarks.decoding "decoding in threads" FOLDER voc WORKERS`` and
``python -m benchmarks.decoding cityscapesscripts FOLDER cityscapes PAIRS`` print their seconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
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
    if layout == "cityscapes":
        return folder / "results", folder / "gtFine" / "val"
    return folder / "predictions", folder / "VOCdevkit" / "VOC2012" / "SegmentationClass"


def files(folder: Path, layout: str) -> list[tuple[Path, Path]]:
    """Predictions and their targets."""
    preds, targets = folders(folder, layout)
    if layout == "voc":
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
    """Seconds of merely decoding."""
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


def main() -> None:
    """Time what the arguments say."""
    name, folder, layout, number = sys.argv[1:]
    pairs = files(Path(folder), layout)
    if name in EXECUTORS:
        seconds = time_decoding(name, pairs, int(number))
    else:
        seconds = time_official(pairs[: int(number)])
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
