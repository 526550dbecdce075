"""``--fail-under KEY=VALUE``: lower limits of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from math import isnan
from pathlib import Path

import numpy as np

from segmetrics.evaluate.counter import Counted, Layout
from segmetrics.evaluate.iiou import CATEGORIES, SIZES
from segmetrics.evaluate.ledger import Ledger
from segmetrics.evaluate.settings import Settings
from segmetrics.evaluate.subgroups import Subgroups
from segmetrics.evaluate.summary import Summary
from segmetrics.evaluate.warnings import Warnings
from segmetrics.files import Pair


def read(
    options: Sequence[str], settings: Settings, by: Subgroups | None, *, per_image: bool
) -> dict[str, float]:
    """The limits that options give, by key.

    Raises:
        ValueError: no number, or a key that the results will not have.
    """
    limits = limits_of(options)
    known = _keys(settings, by, per_image=per_image) if limits else []
    check_keys(limits, known)
    return limits


def limits_of(options: Sequence[str]) -> dict[str, float]:
    """The limits that options give, by key.

    Raises:
        ValueError: no number.
    """
    limits = {}
    for option in options:
        key, _, value = option.rpartition("=")
        try:
            limits[key] = float(value)
        except ValueError:
            limits[key] = float("nan")
        if not key or isnan(limits[key]):
            raise ValueError(f"--fail-under is KEY=VALUE, as in mIoU=0.7, got {option!r}.")
    return limits


def check_keys(limits: Mapping[str, float], known: list[str]) -> None:
    """Raise for a limit of a key that the results will not have."""
    for key in limits:
        if key not in known:
            from segmetrics.statistics import KEYS

            near = [name for name in known if name.lower() == key.lower()]
            near = near or get_close_matches(key, known, 3) or known[:8]
            hint = " Scores over images need --per-image." if key in KEYS else ""
            raise ValueError(
                f"--fail-under: no score is called {key!r}.{hint} Near: {', '.join(near)}."
            )


def below(limits: Mapping[str, float], found: Mapping[str, float]) -> str | None:
    """A sentence about scores that are too low or undefined; None if there are none."""
    failed = []
    for key, limit in limits.items():
        value = found[key]
        if not value >= limit:
            failed.append(f"{key} is {_unlike(value, limit)}, not {limit:g}")
    return f"below --fail-under: {'; '.join(failed)}." if failed else None


def _unlike(value: float, limit: float) -> str:
    """A score with as few digits as distinguish it from the limit."""
    if isnan(value):
        return "undefined"
    digits = next((d for d in range(3, 17) if round(value, d) < limit), 17)
    return f"{value:.{digits}f}"


def _keys(settings: Settings, by: Subgroups | None, *, per_image: bool) -> list[str]:
    """The keys that the results will have: those of one empty image, and those that extras name."""
    ledger = Ledger(replace(settings, extras=(), images=settings.images or per_image))
    weighted = np.zeros((len(SIZES) + len(CATEGORIES), 2)) if settings.instances else None
    counted = Counted(np.zeros(Layout.of(settings).size, np.int64), weighted)
    ledger.add(Pair("", Path(), Path()), counted)
    nothing = ledger.evaluation(
        [], left_out=[], warnings=Warnings(), seconds=0.0, workers=1, processes=1
    )
    summary = Summary.of(nothing, per_image=per_image, level=None)
    title = "mIoU" if "mIoU" in summary.scores else "iou"
    of_extras = [key for extra in settings.extras for key in getattr(extra, "scores", ())]
    return [*summary.by_key(), *(by.keys(title) if by else []), *of_extras]
