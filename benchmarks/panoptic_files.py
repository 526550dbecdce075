"""One contender on COCO's panoptic files, in a process that has imported nothing else.

``python -m benchmarks.panoptic_files NAME PREDICTIONS TARGETS ROUNDS [--panopticapi CHECKOUT]``
prints the seconds of each round, after one that does not count; of 0 rounds those of the latter.
Run by ``benchmarks.objects``.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from time import perf_counter
from typing import Any


def by_hotcoco(preds: Path, target: Path) -> None:
    """hotcoco's evaluation; its threads use all processors."""
    from hotcoco.panoptic import PanopticEval

    with redirect_stdout(io.StringIO()):
        PanopticEval(str(target), str(preds)).run()


def by_panopticapi(preds: Path, target: Path) -> None:
    """panopticapi's evaluation; its processes use all processors."""
    from panopticapi.evaluation import pq_compute  # type: ignore[import-not-found]

    with redirect_stdout(io.StringIO()):
        pq_compute(str(target), str(preds))


def by_us(preds: Path, target: Path) -> None:
    """The work of the command, without its start."""
    from segmetrics.evaluate.panoptic import count, plan
    from segmetrics.evaluate.segments import SegmentSettings

    format_, pairs, _ = plan(preds, target, None, None)
    count(pairs, SegmentSettings(format_), None, lambda done, number, problems: None)


def of_arrays_by_panopticapi(
    images: Mapping[str, Any], annotations: list[Any], categories: Mapping[int, Any]
) -> None:
    """panopticapi's counting of decoded images by file name, on one processor.

    It reads files only: its Pillow is replaced by the decoded colours. To make ids of these is its
    own work, which it cannot do without.
    """
    from panopticapi import evaluation

    class Decoded:
        open = staticmethod(lambda path: images[path])

    evaluation.Image = Decoded
    with redirect_stdout(io.StringIO()):
        evaluation.pq_compute_single_core(0, annotations, "target", "preds", categories)


CONTENDERS: dict[str, Callable[[Path, Path], None]] = {
    "segmetrics": by_us,
    "hotcoco": by_hotcoco,
    "panopticapi": by_panopticapi,
}


def main() -> None:
    """Time the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("targets", type=Path)
    parser.add_argument("rounds", type=int)
    parser.add_argument("--panopticapi", help="its checkout")
    given = parser.parse_args()
    if given.panopticapi:
        sys.path.insert(0, given.panopticapi)
    seconds = []
    for _ in range(1 + given.rounds):
        start = perf_counter()
        CONTENDERS[given.name](given.predictions, given.targets)
        seconds.append(perf_counter() - start)
        gc.freeze()  # as our command does: what was imported is no garbage of anybody's work
    print(json.dumps(seconds[1:] or seconds))


if __name__ == "__main__":
    main()
