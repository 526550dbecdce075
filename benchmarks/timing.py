"""Medians of interleaved runs, with a floor that shows whether the machine was quiet.

Contenders take turns, so that a slow phase of the machine hits all of them. The floor is timed in
every round; a round in which it takes more than twice its best is measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from statistics import median
from time import perf_counter

import torch

ROUNDS = 7
FEWEST = 3  # rounds of a contender that takes long
LONG = 10.0  # seconds
TICK = 0.02  # seconds: shorter steps are repeated within a round


@dataclass(frozen=True)
class Timing:
    """Median seconds of the floor and of each contender, and the number of repeated rounds."""

    floor: float
    contenders: dict[str, float]
    repeated: int


def interleaved(
    floor: Callable[[], object],
    steps: Mapping[str, Callable[[], object]],
    *,
    device: str,
    rounds: int = ROUNDS,
) -> Timing:
    """Time the steps in turn, after a run that does not count."""
    everyone = {"floor": floor, **steps}
    repeats = {}
    for name, step in everyone.items():
        first = timed(step, device)  # it may load and compile
        repeats[name] = 1 if first > 1 else ceil(TICK / max(timed(step, device), TICK / 50))
    samples: list[dict[str, float]] = []
    good: list[dict[str, float]] = []
    while len(good) < rounds and len(samples) < 2 * rounds:
        sample = {}
        for name, step in everyone.items():
            runs = [other[name] for other in samples if name in other]
            if len(runs) >= FEWEST and sum(runs) * repeats[name] > LONG:
                continue
            if repeats[name] > 1:  # not in the caches that the contender before has left
                timed(step, device, repeats[name])
            sample[name] = timed(step, device, repeats[name])
        samples.append(sample)
        best = min(sample["floor"] for sample in samples)
        good = [sample for sample in samples if sample["floor"] <= 2 * best]
    medians = {
        name: median(sample[name] for sample in kept)
        for name in everyone
        if (kept := [s for s in good if name in s] or [s for s in samples if name in s])
    }
    return Timing(medians.pop("floor"), medians, len(samples) - len(good))


def timed(step: Callable[[], object], device: str, repeats: int = 1) -> float:
    """Seconds of a step, the mean of ``repeats``; on a GPU until its work is done."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    start = perf_counter()
    for _ in range(repeats):
        step()
    wait()
    return (perf_counter() - start) / repeats
