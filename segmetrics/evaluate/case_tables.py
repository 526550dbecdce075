"""Tables of the measures of every case and class: means, statistics, worst cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from segmetrics import scores
from segmetrics.evaluate import case_notes
from segmetrics.evaluate.distributions import boxes, deviation, mean, quantiles
from segmetrics.evaluate.extras import Row, Section
from segmetrics.evaluate.metadata import GroupOf, number_drawn
from segmetrics.scores import Statistics
from segmetrics.statistics import CaseScores, confidence_intervals

if TYPE_CHECKING:
    from segmetrics.evaluate.cases import Cases
    from segmetrics.evaluate.settings import Evaluation
    from segmetrics.evaluate.warnings import Warnings

Floats = NDArray[np.float64]

#: Worst cases in JSON and CSV, and those that are printed.
WORST, PRINTED = 100, 5
#: Cubic millimetres of a millilitre.
MILLILITRE = 1000.0
#: Measures whose smaller values are better, besides all distances.
ERRORS = ("absolute_volume_difference", "missed", "false_alarm")
#: Measures that are neither errors nor scores.
AMOUNTS = (
    "volume_target", "volume_prediction", "volume_difference", "relative_volume_difference",
)  # fmt: skip
#: Units of distances and volumes, by the number of axes of masks with a spacing.
UNITS = {0: ("pixels", "pixels"), 2: ("mm", "mm²"), 3: ("mm", "ml")}
TITLES = {"dice": "Dice", "iou": "IoU", "hd": "HD", "assd": "ASSD", "nsd": "NSD"}


@dataclass(frozen=True, eq=False)
class CaseTable:
    """The measures of N cases and U units, which are classes and regions.

    Args:
        cases: what was measured, and how.
        names: of the N cases.
        kept: pixels and distances by name, each ``(N, U)``.
        unit: that of distances, ``"mm"`` or ``"pixels"``.
        volume_unit: ``"ml"``, ``"mm²"`` of images or ``"pixels"``.
        groups: the group of each case, drawn as a whole; None draws cases.
    """

    cases: Cases
    names: Sequence[str]
    kept: Mapping[str, Floats]
    unit: str
    volume_unit: str
    groups: GroupOf | None

    KEYS = ("case_means", "case_statistics", "worst_cases", "cases")

    @staticmethod
    def of(cases: Cases, values: Floats, names: Sequence[str], warnings: Warnings) -> CaseTable:
        """The table of values ``(N, U, kept)``.

        Cases whose units are not those of most cases lose their distances and volumes; a warning
        names them.
        """
        from segmetrics.evaluate.cases import DISTANCES, KEPT

        kept = {name: values[..., i] for i, name in enumerate(KEPT)}
        dims, size = (np.fmax.reduce(kept[name], axis=1) for name in ("dims", "pixel_size"))
        axes = np.where(np.isnan(size), 0, dims).astype(int)  # 0 without a spacing
        found = Counter(axes.tolist())
        usual = max(found, key=lambda kind: (found[kind], kind), default=0)
        unit, volume_unit = UNITS[usual]
        scale = kept["pixel_size"] if usual else np.ones_like(kept["pixel_size"])
        kept["volume"] = scale / (MILLILITRE if volume_unit == "ml" else 1)
        unlike = {"volume": axes != usual} | dict.fromkeys(DISTANCES, (axes > 0) != (usual > 0))
        for name, others in unlike.items():
            kept[name] = np.where(others[:, None], nan, kept[name])
        for warning in case_notes.of_other_units(names, axes.tolist(), usual):
            warnings.add(warning)
        groups = None
        if cases.groups is not None:
            groups = cases.groups.of(names, warnings)
        return CaseTable(cases, names, kept, unit, volume_unit, groups)

    @cached_property
    def measures(self) -> dict[str, Floats]:
        """All measures with a mean over cases by name, each ``(N, U)``; nan where undefined."""
        found = self._overlaps()
        found |= self._volumes()
        target, predicted = self.pixels()
        found["missed"] = np.where(target > 0, predicted == 0, nan)
        found["false_alarm"] = np.where(target == 0, predicted > 0, nan)
        if self.cases.surfaces is not None:
            found |= {title: self.kept[name] for name, title in self.distances.items()}
        return found

    @cached_property
    def distances(self) -> dict[str, str]:
        """Stored names of distances → names in the tables."""
        from segmetrics.evaluate.cases import DISTANCES

        assert self.cases.surfaces is not None
        percentiles = set(self.cases.surfaces.percentile)
        hd = f"hd{percentiles.pop():g}" if len(percentiles) == 1 else "hd_percentile"
        return {name: name.replace("hd_percentile", hd) for name in DISTANCES}

    @property
    def hd(self) -> str:
        """The name of the percentile of the Hausdorff distance."""
        return self.distances["hd_percentile"]

    def pixels(self) -> tuple[Floats, Floats]:
        """Pixels of targets and of predictions."""
        return self.kept["tp"] + self.kept["fn"], self.kept["tp"] + self.kept["fp"]

    def _overlaps(self) -> dict[str, Floats]:
        kept: Any = self.kept
        # no formula needs true negatives
        s = Statistics(kept["tp"], kept["fp"], kept["fn"], np.zeros_like(kept["tp"]))
        formulas = {
            "dice": scores.dice, "iou": scores.iou,
            "sensitivity": scores.recall, "precision": scores.precision,
        }  # fmt: skip
        zero_division = self.cases.zero_division
        return {name: np.asarray(formula(s, zero_division)) for name, formula in formulas.items()}

    def _volumes(self) -> dict[str, Floats]:
        (target, predicted), volume = self.pixels(), self.kept["volume"]
        both = target + predicted
        with np.errstate(all="ignore"):
            relative = np.where(target > 0, (predicted - target) / target, nan)
            similarity = np.where(both > 0, 1 - np.abs(predicted - target) / both, nan)
        difference = (predicted - target) * volume
        return {
            "volume_target": target * volume,
            "volume_prediction": predicted * volume,
            "volume_difference": difference,
            "absolute_volume_difference": np.abs(difference),
            "relative_volume_difference": relative,
            "volume_similarity": similarity,
        }

    # --- statistics -------------------------------------------------------------------------------

    def scores(self, regions: bool = False) -> CaseScores | None:
        """The measures of the classes, or of the regions, for intervals and comparisons."""
        of = [u for u, unit in enumerate(self.cases.units) if unit.is_region == regions]
        if not of:
            return None
        target = np.nan_to_num(self.pixels()[0][:, of]).astype(np.int64)
        suffix = "_region" if regions else ""
        found = self.measures
        distances = () if self.cases.surfaces is None else tuple(self.distances.values())
        errors = (*ERRORS, *(name for name in distances if name != "nsd"))
        return CaseScores(
            torch.from_numpy(np.stack([values[:, of] for values in found.values()], 1)),
            tuple(f"{name}{suffix}" for name in found),
            tuple(self.cases.units[u].name for u in of),
            torch.from_numpy(target),
            tuple(self.names),
            {"unit": self.unit, "volume unit": self.volume_unit, "how": self.cases.describe()},
            tuple(f"{name}{suffix}" for name in errors),
            tuple(f"{name}{suffix}" for name in AMOUNTS),
        )

    def both_scores(self) -> list[CaseScores]:
        """The measures of the classes, and those of the regions if there are any."""
        return [table for table in (self.scores(), self.scores(regions=True)) if table is not None]

    def intervals(self, level: float) -> dict[str, Any]:
        """The intervals of all means, by the keys of ``CaseScores``."""
        found: dict[str, Any] = {}
        for table in self.both_scores():
            if number_drawn(self.names, self.groups) > 1:
                found |= confidence_intervals(table, table.keys(), level=level, groups=self.groups)
        return found

    def sections(self, evaluation: Evaluation, level: float | None) -> Iterable[Section]:
        """Means, statistics and worst cases; one row per case and class."""
        intervals = {} if level is None else self.intervals(level)
        titles = {name: self.title(name) for name in self.measures} | {
            "with_target": "with target", "false_alarms": "false alarms",
            "false_alarm": "false alarm", "q1": "lower quartile", "q3": "upper quartile",
        }  # fmt: skip
        if level is not None:
            titles |= {end: f"{end} ({100 * level:g} %)" for end in ("low", "high")}
        overall = self._overall()
        yield Section(
            "case_means", "mean over cases", self._means(), columns=self._printed_columns(),
            scores=overall, titles=titles, notes=case_notes.conventions(self),
            intervals={key: intervals[key] for key in overall if key in intervals},
        )  # fmt: skip
        statistics = self._statistics(intervals, with_intervals=level is not None)
        main, bounds = self.main_measures(), [] if level is None else ["low", "high"]
        yield Section(
            "case_statistics", "distribution over cases", statistics, titles=titles,
            columns=["class", "measure", "unit", "cases", "infinite", "mean", *bounds, "sd",
                     "q1", "median", "q3"],
            listed=lambda row: row["measure"] in main, terminal=False,
            figures=self._figures(),
        )  # fmt: skip
        worst = self._worst()
        yield Section("worst_cases", "worst cases", worst, printed=PRINTED, titles=titles)
        yield Section("cases", "cases", self._rows(), printed=0, titles=titles)

    def title(self, measure: str) -> str:
        """A measure as a column heading, with its unit."""
        name = TITLES.get(measure) or measure.replace("_", " ")
        if measure.startswith("hd") or measure.startswith("asd"):
            head, *rest = name.split(" ")
            name = " ".join([head.upper(), *rest])
        unit = self.unit_of(measure)
        return f"{name} ({unit})" if unit else name

    def unit_of(self, measure: str) -> str:
        """The unit of a measure; empty for shares."""
        if measure in VOLUMES:
            return self.volume_unit
        is_distance = self.cases.surfaces is not None and measure in self.distances.values()
        return self.unit if is_distance and measure != "nsd" else ""

    def main_measures(self) -> list[str]:
        """The measures that are printed and drawn."""
        distances = [] if self.cases.surfaces is None else [self.hd, "assd", "nsd"]
        return ["dice", *distances, "volume_difference"]

    def _figures(self) -> list[str]:
        """A picture of every main measure whose range begins or ends at 0."""
        names = self.unit_names()
        return [
            boxes(self.title(measure), names, self.measures[measure].T, self.unit_of(measure))
            for measure in self.main_measures()
            if measure != "volume_difference"
        ]

    def _overall(self) -> dict[str, float]:
        """The mean over cases of the mean over classes, of distances and the surface Dice."""
        table = self.scores()
        if self.cases.surfaces is None or table is None:
            return {}
        weights = torch.ones(1, len(self.names), dtype=torch.float64)
        return {key: table.statistic(key)(weights).item() for key in ("hd", self.hd, "assd", "nsd")}

    # --- rows -------------------------------------------------------------------------------------

    def _printed_columns(self) -> Sequence[str]:
        more = ["sensitivity", "precision"]
        if self.cases.surfaces is not None:
            more = [self.hd, "assd", "nsd"]
        return ["class", "with_target", "dice", *more, "volume_difference", "missed",
                "false_alarms"]  # fmt: skip

    def _means(self) -> list[Row]:
        """One row per class or region: means over cases, and numbers of misses and false alarms."""
        target, predicted = self.pixels()
        rows = []
        for u, name in enumerate(self.unit_names()):
            row: Row = {
                "class": name,
                "cases": int((~np.isnan(target[:, u])).sum()),
                "with_target": int((target[:, u] > 0).sum()),
                "with_prediction": int((predicted[:, u] > 0).sum()),
            }
            for measure, values in self.measures.items():
                row[RATES.get(measure, measure)] = mean(values[:, u])
            row["missed"] = int(np.nansum(self.measures["missed"][:, u]))
            row["false_alarms"] = int(np.nansum(self.measures["false_alarm"][:, u]))
            rows.append(row)
        return rows

    def _statistics(self, intervals: Mapping[str, Any], *, with_intervals: bool) -> list[Row]:
        """One row per class and measure: the distribution of its values over cases."""
        rows = []
        for u, (name, unit) in enumerate(zip(self.unit_names(), self.cases.units, strict=True)):
            for measure, of_units in self.measures.items():
                values = of_units[:, u]
                defined = values[~np.isnan(values)]
                row: Row = {
                    "class": name,
                    "measure": measure,
                    "unit": self.unit_of(measure),
                    "cases": len(defined),
                    "undefined": len(values) - len(defined),
                    "infinite": int(np.isinf(defined).sum()),
                    "mean": mean(values),
                    "sd": deviation(defined),
                    **dict(zip(("q1", "median", "q3"), quantiles(defined), strict=True)),
                }
                if with_intervals:
                    suffix = "_region" if unit.is_region else ""
                    interval = intervals.get(f"{measure}{suffix}/{unit.name}")
                    row |= {
                        "low": interval.low if interval else nan,
                        "high": interval.high if interval else nan,
                    }
                rows.append(row)
        return rows

    def _worst(self) -> list[Row]:
        """Cases and classes by their distance, the largest first, then by their Dice."""
        dice = self.measures["dice"]
        first = dice if self.cases.surfaces is None else -self.measures[self.hd]
        order = np.lexsort((dice.ravel(), first.ravel()))  # nan last
        shown = self.main_measures()
        rows: list[Row] = []
        names = self.unit_names()
        for n, u in zip(*np.unravel_index(order, dice.shape), strict=True):
            if isnan(first[n, u]) or len(rows) == WORST:
                break
            row: Row = {"case": self.names[n], "class": names[u]}
            row |= {name: float(self.measures[name][n, u]) for name in shown}
            rows.append(row | self._flags(n, u))
        return rows

    def _rows(self) -> list[Row]:
        """One row per case and class."""
        rows: list[Row] = []
        names = self.unit_names()
        target, predicted = self.pixels()
        flags = ("missed", "false_alarm")
        for n, case in enumerate(self.names):
            for u, name in enumerate(names):
                row: Row = {
                    "case": case,
                    "class": name,
                    "pixels_target": _whole(target[n, u]),
                    "pixels_prediction": _whole(predicted[n, u]),
                }
                row |= {m: float(v[n, u]) for m, v in self.measures.items() if m not in flags}
                rows.append(row | self._flags(n, u))
        return rows

    def _flags(self, n: int, u: int) -> Row:
        return {name: bool(self.measures[name][n, u] == 1) for name in ("missed", "false_alarm")}

    def unit_names(self) -> list[str]:
        """Names of the units; a region with the name of a class is marked as a region."""
        classes = {unit.name for unit in self.cases.units if not unit.is_region}
        return [
            f"{unit.name} (region)" if unit.is_region and unit.name in classes else unit.name
            for unit in self.cases.units
        ]


#: Measures in the unit of volumes.
VOLUMES = (
    "volume_target", "volume_prediction", "volume_difference", "absolute_volume_difference",
)  # fmt: skip
#: Names of the means of flags.
RATES = {"missed": "missed_rate", "false_alarm": "false_alarm_rate"}


def _whole(number: float) -> float:
    """A count as an integer; nan as it is."""
    return number if isnan(number) else int(number)
