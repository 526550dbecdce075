"""Contenders whose requirements do not fit ours run in a Python of their own.

As a script, ``PYTHON elsewhere.py NAME MASKS.npz`` loads what it is given, says that it is ready,
and runs a step of the contender for every line that it reads. It needs NumPy and the contender.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Step = Callable[[], object]


def panoptica(arrays: Arrays) -> Step:
    """Components, matching above an IoU of 0.5, and Dice.

    Its metrics of the whole mask are left out, so that it does no more than ours. The oracle of the
    tests, ``tests/tumours.py``, has other settings: both connectivities, and another IoU.
    """
    from panoptica import (  # type: ignore[import-not-found]
        ConnectedComponentsInstanceApproximator,
        InputType,
        NaiveThresholdMatching,
        Panoptica_Evaluator,
    )
    from panoptica.metrics import Metric  # type: ignore[import-not-found]

    evaluator = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=NaiveThresholdMatching(),
        instance_metrics=[Metric.DSC, Metric.IOU],
        global_metrics=[],
    )
    return lambda: evaluator.evaluate(arrays["preds"], arrays["target"], verbose=False)


STEPS: dict[str, Callable[[Arrays], Step]] = {"panoptica": panoptica}


class Elsewhere:
    """A step of a contender in another Python: each call waits until it is done.

    Args:
        python: the interpreter of the environment.
        name: of the contender.
        arrays: what it is given.
    """

    def __init__(
        self, python: Path | str, name: str, **arrays: NDArray[Any] | Sequence[Any]
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "masks.npz"
            np.savez(path, **{key: np.asarray(array) for key, array in arrays.items()})
            command = [str(python), __file__, name, str(path)]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
            self._wait()

    def __call__(self) -> None:
        """Run the step once."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self._wait()

    def _wait(self) -> None:
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} has ended.")  # type: ignore[arg-type]


def main() -> None:
    """Run steps as they are asked for."""
    name, path = sys.argv[1:]
    with np.load(path) as arrays:
        step = STEPS[name](dict(arrays))
    print("ready", flush=True)
    for _ in sys.stdin:
        with redirect_stdout(io.StringIO()):
            step()
        print("done", flush=True)


if __name__ == "__main__":
    main()
