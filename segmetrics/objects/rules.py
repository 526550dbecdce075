"""What counts as an object and when it is found: the settings, and those of challenges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from itertools import pairwise
from math import ceil, inf, isfinite, prod
from typing import Literal

from segmetrics._arguments import boolean, number, one_of
from segmetrics.objects.matching import Matching

Connectivity = Literal["full", "edges", "faces"]
Penalty = float | Literal["diagonal"]
#: Names of sizes, each with the smallest size it holds.
Strata = tuple[tuple[str, float], ...]

#: Sizes in pixels of an image, as in COCO.
COCO = (("small", 0.0), ("medium", 32.0**2), ("large", 96.0**2))
#: Names where edges come without.
NAMES = {1: ("small", "large"), 2: ("small", "medium", "large")}


@dataclass(frozen=True)
class Rules:
    """The settings of sums over objects; equal rules give equal sums.

    Made by :meth:`of`, which checks arguments, or one of ``PRESETS``.

    Attributes:
        matching: see ``matching.matched``.
        threshold: the same; of several IoUs, rising, the first is that.
        connectivity: ``"full"`` (8 or 26 neighbours), ``"edges"`` (8 or 18), ``"faces"`` (4 or 6).
        min_size: the smallest size of an object, in units of the spacing.
        sizes: strata of the recall; ``None`` is ``COCO`` for images and nothing for volumes.
        distances: whether HD95 is measured.
        tolerance: of the surface Dice; ``None`` measures none.
        surface: what a surface is, see ``SurfaceMetric``.
        averaged_shares: whether the surface Dice is the mean of the shares of both surfaces, in
            pixels, as nnU-Net has it, instead of the share of both together.
        missed_distance, false_distance: HD95 of an object that is missed, and of a false one.
        dilation: objects of the target whose dilations meet are one, and a predicted object
            touches all of that dilation.
        combine_preds: whether predicted objects are combined so, too.
        small_targets: objects of the target below ``min_size`` become ignored pixels, or are
            matched and left out of the sums.
        small_preds: whether predicted objects below ``min_size`` are dropped.
        count_false: whether false objects enter the means over objects.
        cut_first: whether ignored pixels are cut out before components are found.
        volume_unit: units of the spacing in a unit of volumes.
        ids: whether objects are given by ids; else they are connected components.
        preset: the name of a preset.
    """

    matching: Matching = "overlap"
    threshold: float | tuple[float, ...] | None = None
    connectivity: Connectivity = "full"
    min_size: float = 0.0
    sizes: Strata | None = None
    distances: bool = False
    tolerance: float | None = None
    surface: Literal["pixels", "elements"] = "pixels"
    missed_distance: Penalty = "diagonal"
    false_distance: Penalty = "diagonal"
    averaged_shares: bool = False
    dilation: int = 0
    combine_preds: bool = False
    small_targets: Literal["ignored", "uncounted"] = "ignored"
    small_preds: bool = True
    count_false: bool = True
    cut_first: bool = False
    volume_unit: float = 1.0
    ids: bool = False
    preset: str | None = None

    @staticmethod
    def of(
        *,
        matching: Matching = "overlap",
        threshold: float | Sequence[float] | None = None,
        connectivity: Literal["full", "faces"] = "full",
        min_size: float = 0,
        sizes: Sequence[float] | Mapping[str, float] | None = None,
        distances: bool = False,
        tolerance: float | None = None,
        surface: Literal["pixels", "elements"] = "pixels",
        missed_distance: Penalty = "diagonal",
        false_distance: Penalty = "diagonal",
    ) -> Rules:
        """Check the arguments and bring them into one form."""
        one_of("matching", matching, ("overlap", "iou"))
        one_of("connectivity", connectivity, ("full", "faces"))
        one_of("surface", surface, ("pixels", "elements"))
        return Rules(
            matching=matching,
            threshold=_threshold(threshold, matching),
            connectivity=connectivity,
            min_size=_finite("min_size", min_size),
            sizes=None if sizes is None else strata_of(sizes),
            distances=boolean("distances", distances),
            tolerance=None if tolerance is None else number("tolerance", tolerance, 0),
            surface=surface,
            missed_distance=_penalty("missed_distance", missed_distance),
            false_distance=_penalty("false_distance", false_distance),
        )

    @property
    def name(self) -> str:
        """The rules as an identifier: no two share one."""
        values = [getattr(self, field.name) for field in fields(self) if field.name != "preset"]
        return blake2b(repr(values).encode(), digest_size=8).hexdigest()

    @property
    def least(self) -> float | None:
        """The threshold that objects are matched by."""
        return self.threshold[0] if isinstance(self.threshold, tuple) else self.threshold

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Those with scores of their own: of several."""
        return self.threshold if isinstance(self.threshold, tuple) else ()

    @property
    def strata(self) -> tuple[str, ...]:
        """The names of the sizes of objects; by default those of images."""
        return tuple(name for name, _ in (COCO if self.sizes is None else self.sizes))

    @property
    def measures_surfaces(self) -> bool:
        """Whether distances between surfaces are needed."""
        return self.distances or self.tolerance is not None

    def strata_in_pixels(self, spacing: Sequence[float]) -> dict[str, float]:
        """The smallest number of pixels of every stratum in an image of this spacing.

        Where nothing is said about sizes a volume has none: all its objects are below every one.
        """
        if self.sizes is None:
            return {name: size if len(spacing) == 2 else inf for name, size in COCO}
        return {name: pixels_of(size, spacing) for name, size in self.sizes}

    def smallest(self, spacing: Sequence[float]) -> int:
        """The smallest number of pixels of an object in an image of this spacing."""
        return pixels_of(self.min_size, spacing)


def pixels_of(size: float, spacing: Sequence[float]) -> int:
    """The smallest number of pixels that is at least a size in units of the spacing."""
    return ceil(size / prod(spacing) * (1 - 1e-9))  # a size of exactly n pixels is n pixels


def strata_of(sizes: Sequence[float] | Mapping[str, float]) -> Strata:
    """Names of sizes, each with the smallest size it holds.

    Args:
        sizes: one edge for small and large, two for small, medium and large; or names, each with
            the smallest size it holds, the first 0.
    """
    if not isinstance(sizes, Mapping):
        if not isinstance(sizes, list | tuple):
            raise TypeError(f"`sizes` must be edges or a mapping from name to size, got {sizes!r}.")
        if len(sizes) not in NAMES:
            raise ValueError(
                f"`sizes` as edges is one (small, large) or two (small, medium, large), got "
                f"{len(sizes)}. Name them: `sizes={{'tiny': 0, 'small': 10, ...}}`."
            )
        sizes = dict(zip(NAMES[len(sizes)], (0, *sizes), strict=True))
    edges = [_finite("sizes", size) for size in sizes.values()]
    if not edges or edges[0] != 0 or any(b <= a for a, b in pairwise(edges)):
        raise ValueError(f"`sizes` must rise from 0, got {', '.join(f'{e:g}' for e in edges)}.")
    return tuple(zip(sizes, edges, strict=True))


def _threshold(
    given: float | Sequence[float] | None, matching: Matching
) -> float | tuple[float, ...] | None:
    if given is None:
        return None
    given = getattr(given, "tolist", lambda: given)()  # of an array
    several = isinstance(given, list | tuple)
    values = tuple(number("threshold", t, 0) for t in (given if several else [given]))  # type: ignore[union-attr]
    for value in values:
        if not value < 1:
            raise ValueError(
                "`threshold` is a share of an object or an IoU, in [0, 1): an object is found "
                f"above it. Got {value:g}."
            )
    if not several:
        return values[0]
    if matching != "iou":
        raise ValueError(
            "`threshold` of several values is of `matching='iou'`, got "
            f"matching={matching!r}. Pass one value."
        )
    values = tuple(round(value, 6) for value in values)  # as they are in keys
    if not values or any(b <= a for a, b in pairwise(values)):
        listed = ", ".join(f"{value:g}" for value in values) or "none"
        raise ValueError(f"`threshold` of several values must rise, got {listed}.")
    return values


def _finite(name: str, value: object) -> float:
    size = number(name, value, 0)
    if not isfinite(size):
        raise ValueError(f"`{name}` must be finite, got {size}.")
    return size


def _penalty(name: str, value: Penalty) -> Penalty:
    if isinstance(value, str):
        if value != "diagonal":
            raise ValueError(f"`{name}` is a distance or 'diagonal', got {value!r}.")
        return "diagonal"
    return number(name, value)


# --- Presets --------------------------------------------------------------------------------------

_BRATS = Rules(
    distances=True,
    surface="elements",
    missed_distance=374.0,
    false_distance=374.0,
    small_targets="uncounted",
    small_preds=False,
)
#: BraTS 2024 combines and drops predicted objects too, and has a surface Dice.
_BRATS_2024 = replace(
    _BRATS, combine_preds=True, small_preds=True, tolerance=1.0, averaged_shares=True
)


def _brats(rules: Rules, dilation: int, uncounted: int, **changed: object) -> Rules:
    """A task of BraTS: objects of at most some number of voxels are not counted."""
    changed = {"dilation": dilation, "min_size": uncounted + 1.0, **changed}
    return replace(rules, **changed)  # type: ignore[arg-type]


_RULES = {
    "brats-2023-gli": _brats(_BRATS, 3, 50),
    "brats-2023-ssa": _brats(_BRATS, 3, 50),
    "brats-2023-ped": _brats(_BRATS, 3, 50),
    "brats-2023-men": _brats(_BRATS, 1, 50),
    "brats-2023-met": _brats(_BRATS, 1, 2),
    "brats-2024-gli": _brats(_BRATS_2024, 3, 20, missed_distance=337.0, false_distance=337.0),
    "brats-2024-ssa": _brats(_BRATS_2024, 3, 50),
    "brats-2024-ped": _brats(_BRATS_2024, 5, 10),
    "brats-2024-met": _brats(
        _BRATS_2024, 1, 2, missed_distance="diagonal", false_distance="diagonal"
    ),
    "brats-2024-men-rt": _brats(
        _BRATS_2024, 1, 50, missed_distance="diagonal", false_distance=inf, count_false=False
    ),
    "autopet": Rules(connectivity="edges", volume_unit=1000.0),
    "wmh-2017": Rules(cut_first=True),
}
_RULES["brats-2023"], _RULES["brats-2024"] = _RULES["brats-2023-gli"], _RULES["brats-2024-gli"]
#: The conventions of challenges by name, see ``ObjectMetrics.preset``.
PRESETS = {name: replace(rules, preset=name) for name, rules in _RULES.items()}
#: Scores without objects, by the first word of a preset.
DEFAULTS = {"brats": {"zero_division": 1.0, "both_empty": 0.0}, "wmh": {"zero_division": 1.0}}


def preset(name: str) -> Rules:
    """The rules of a challenge."""
    one_of("name", name, tuple(PRESETS))
    return PRESETS[name]
