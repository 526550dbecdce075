"""Scores of cases and classes: means, intervals, comparisons and rankings of distances."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
import torch
from torch import Tensor

from segmetrics.statistics import (
    CaseScores,
    ImageCounts,
    compare,
    confidence_interval,
    confidence_intervals,
    ranking,
    slices,
)

GENERATOR = np.random.default_rng(0)


def distances(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def table(values: Tensor, better: float = 0.0) -> CaseScores:
    """HD95 ``(N, C)`` of liver and spleen, and a Dice of as many."""
    numbers = torch.stack([values - better, (1 / (1 + values))], 1)
    cases = tuple(f"case_{i}" for i in range(len(values)))
    target = torch.arange(2 * len(values)).view(-1, 2)
    return CaseScores(
        numbers, ("hd95", "dice"), ("liver", "spleen"), target, cases, errors=("hd95",)
    )


def test_means_leave_undefined_cases_and_classes_out() -> None:
    scores = table(distances([1, 3], [nan, 5], [nan, nan], [2, nan]))
    everything = torch.ones(1, 4, dtype=torch.float64)
    for key, expected in (
        ("hd95", np.mean([2, 5, 2])),
        ("hd95/liver", np.mean([1, 2])),
        ("hd95/spleen", np.mean([3, 5])),
        ("dice/spleen", np.mean([1 / 4, 1 / 6])),
    ):
        assert scores.statistic(key)(everything).item() == pytest.approx(expected)
    assert scores.values("hd95").tolist()[:2] == [2, 5]
    assert scores.values("hd95/liver").isnan().tolist() == [False, True, True, False]
    assert scores.keys() == (
        "hd95", "dice", "hd95/liver", "hd95/spleen", "dice/liver", "dice/spleen",
    )  # fmt: skip


def test_measures_and_classes_may_differ_in_number_and_amounts_are_no_quality() -> None:
    values, names = torch.ones(3, 2, 1), ("hd95", "volume")
    scores = CaseScores(values, names, ("liver",), torch.ones(3, 1), amounts=("volume",))
    # it has `keys()` but is no mapping
    assert [scores.is_quality(key) for key in scores.keys()] == [True, False] * 2  # noqa: SIM118


def test_an_infinite_distance_makes_those_means_infinite_that_have_it() -> None:
    scores = table(distances([1, 3], [inf, 5], [2, 4]))
    weights = torch.tensor([[1, 1, 1], [2, 0, 1], [0, 3, 0]], dtype=torch.float64)
    assert scores.statistic("hd95/liver")(weights).tolist() == [inf, 4 / 3, inf]
    assert scores.statistic("hd95/spleen")(weights).tolist() == [4, 10 / 3, 5]
    interval = confidence_interval(scores, "hd95/liver")
    assert (interval.estimate, interval.high) == (inf, inf)
    assert interval.low == 1


def longhand_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """A bootstrap of its own: other draws, so equal but for chance."""
    drawn = GENERATOR.integers(0, len(values), (20_000, len(values)))
    low, high = np.nanquantile(np.nanmean(values[drawn], 1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def test_intervals_are_those_of_a_bootstrap_over_cases() -> None:
    values = GENERATOR.gamma(2, 3, (60, 2))
    values[::7, 0] = nan
    found = confidence_interval(table(torch.from_numpy(values)), "hd95/liver", level=0.9)
    assert found.estimate == pytest.approx(np.nanmean(values[:, 0]))
    assert (found.low, found.high) == pytest.approx(longhand_interval(values[:, 0], 0.9), rel=0.03)


def test_groups_are_drawn_as_one() -> None:
    values = torch.tensor([[i // 10, i] for i in range(40)], dtype=torch.float64)
    scores = table(values)
    patients = {f"case_{i}": i // 10 for i in range(40)}
    found = confidence_interval(scores, "hd95/liver", groups=patients)
    assert found.groups == 4
    means = np.array([0, 1, 2, 3])[GENERATOR.integers(0, 4, (20_000, 4))].mean(1)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.26)


def test_all_intervals_at_once_are_the_single_ones() -> None:
    scores = table(torch.from_numpy(GENERATOR.gamma(2, 3, (30, 2))))
    patients = {f"case_{i}": i % 7 for i in range(30)}
    every = scores.keys()
    for groups in (None, patients):
        found = confidence_intervals(scores, every, groups=groups, level=0.8)
        assert found == {
            key: confidence_interval(scores, key, groups=groups, level=0.8) for key in every
        }
    counts = ImageCounts(*torch.randint(1, 50, (3, 12, 4)))
    assert confidence_intervals(counts, ["mIoU_D"]) == {
        "mIoU_D": confidence_interval(counts, "mIoU_D")
    }


def test_models_are_compared_and_ranked_by_distance() -> None:
    values = torch.from_numpy(GENERATOR.gamma(2, 3, (25, 2)) + 1)
    a, b = table(values), table(values, better=0.5)
    found = compare(a, b, "hd95/liver")
    assert found.difference == pytest.approx(0.5)
    assert found.p_sign_flip < 0.01
    order = ranking({"a": a, "b": b}, "hd95")
    assert order.models[0].name == "b"


def test_the_worst_slice_is_the_one_with_the_largest_distance() -> None:
    values = torch.tensor([[i // 10 + i % 3 / 10, 1] for i in range(40)], dtype=torch.float64)
    found = slices(table(values), {f"case_{i}": "abcd"[i // 10] for i in range(40)}, "hd95/liver")
    assert found.worst == "d"


def test_models_of_other_targets_or_settings_are_refused() -> None:
    values = torch.from_numpy(GENERATOR.gamma(2, 3, (5, 2)))
    a = table(values)
    other = CaseScores(a.scores, a.measures, a.class_names, a.target + 1, a.ids, errors=a.errors)
    with pytest.raises(ValueError, match="different targets"):
        compare(a, other, "hd95")
    pixels = CaseScores(
        a.scores, a.measures, a.class_names, a.target, a.ids, {"unit": "pixels"}, a.errors
    )
    with pytest.raises(ValueError, match="settings"):
        compare(a, pixels, "hd95")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": torch.zeros(3, 2)}, r"`scores` must be \(N, K, C\)"),
        ({"target": torch.zeros(2, 2)}, r"`target` \(N, T\)"),
        ({"measures": ("hd95",)}, "`measures` must be 2 different names"),
        ({"class_names": ("liver", "liver")}, "`class_names` must be 2 different names"),
        ({"ids": ("a", "b")}, "`ids` must be 3 different names"),
    ],
)
def test_tables_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    whole: dict[str, object] = {
        "scores": torch.zeros(3, 2, 2), "measures": ("hd95", "dice"),
        "class_names": ("liver", "spleen"), "target": torch.zeros(3, 2), "ids": ("a", "b", "c"),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        CaseScores(**whole | change)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["hd", "hd95/heart", "hd95/", "liver"])
def test_unknown_scores_are_named(key: str) -> None:
    with pytest.raises(ValueError, match="measure of hd95, dice and a class of liver, spleen"):
        confidence_interval(table(distances([1, 2], [3, 4])), key)


def test_a_table_has_a_row_a_case_and_class() -> None:
    assert table(distances([1, 3], [nan, 4])).columns()["case"] == ["case_0"] * 2 + ["case_1"] * 2
    columns = table(distances([1, 3], [7, 4])).columns()
    assert columns["class"] == ["liver", "spleen"] * 2
    assert columns["hd95"] == [1, 3, 7, 4]
