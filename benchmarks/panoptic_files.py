"""One contender on COCO's panoptic files, in a process that has imported nothing else.

``python -m benchmarks.panoptic_files NAME PREDICTIONS TARGETS ROUNDS`` prints the seconds of each
round, after one that does not count. Run by ``benchmarks.objects``.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from time import perf_counter


def by_hotcoco(preds: Path, target: Path) -> None:
    """hotcoco's evaluation; its threads use all processors."""
    from hotcoco.panoptic import PanopticEval

    with redirect_stdout(io.StringIO()):
        PanopticEval(str(target), str(preds)).run()


def by_us(preds: Path, target: Path) -> None:
    """The work of the command, without its start."""
    from segmetrics.evaluate.panoptic import count, plan
    from segmetrics.evaluate.segments import SegmentSettings

    format_, pairs, _ = plan(preds, target, None, None)
    count(pairs, SegmentSettings(format_), None, lambda done, number, problems: None)


def main() -> None:
    """Time the rounds."""
    name, preds, target, rounds = sys.argv[1:]
    seconds = []
    for _ in range(1 + int(rounds)):
        start = perf_counter()
        {"segmetrics": by_us, "hotcoco": by_hotcoco}[name](Path(preds), Path(target))
        seconds.append(perf_counter() - start)
    print(json.dumps(seconds[1:]))


if __name__ == "__main__":
    main()
