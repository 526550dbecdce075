"""Drawn tumours, and the numbers that panoptica has for them.

panoptica pins NumPy, so it has an environment of its own: ``PYTHON tests/tumours.py`` of that one
prints the constants that ``test_objects_presets`` holds.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray


def drawn(seed: int, size: tuple[int, ...] = (40, 36, 32)) -> tuple[NDArray[Any], NDArray[Any]]:
    """Boxes of labels 1 to 3, nested as tumours are; the prediction shifts, drops, adds some."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((2, *size), np.uint8)
    for _ in range(9):
        corner = rng.integers(0, np.array(size) - 4)
        extent = rng.integers(1, 9, 3)
        shift = rng.integers(-2, 3, 3)
        for side, offset in ((0, 0), (1, shift)):
            if rng.random() < 0.2:
                continue
            for label, margin in ((2, 0), (1, 1), (3, 2)):
                first = np.maximum(corner + offset + margin, 0)
                last = np.maximum(corner + offset + extent - margin, first)
                maps[side][tuple(map(slice, first, last))] = label
    return maps[1], maps[0]


def by_panoptica(backend: str, seed: int) -> tuple[int, int, int]:
    """Matched, false and missed objects of ``drawn(seed) > 0``, matched above an IoU of 0.2."""
    from panoptica import (  # type: ignore[import-not-found]
        CCABackend,
        ConnectedComponentsInstanceApproximator,
        InputType,
        NaiveThresholdMatching,
        Panoptica_Evaluator,
    )

    evaluator = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(CCABackend[backend]),
        instance_matcher=NaiveThresholdMatching(matching_threshold=0.2),
    )
    preds, target = (side > 0 for side in drawn(seed))
    with contextlib.redirect_stdout(io.StringIO()):
        found = evaluator.evaluate(preds.astype(np.uint8), target.astype(np.uint8))["ungrouped"]
    return found.tp, found.fp, found.fn


#: panoptica's components: cc3d's of 26 neighbours, SciPy's of 6.
BACKENDS = {"full": "cc3d", "faces": "scipy"}

if __name__ == "__main__":
    for connectivity, backend in BACKENDS.items():
        for seed in range(3):
            print(f"{(connectivity, seed)}: {by_panoptica(backend, seed)},")
