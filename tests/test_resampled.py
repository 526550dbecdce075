"""Any table with a row an image has intervals, comparisons, rankings and slices: a toy of one."""

from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import Tensor

from segmetrics.statistics import (
    ImageCounts,
    ImageId,
    PerImage,
    Resampled,
    Statistic,
    Sums,
    compare,
    confidence_interval,
    conventions,
    mean_of,
    ranking,
    sample_size,
    score_differences,
    slices,
)


@dataclass(frozen=True, eq=False)
class Lesions(Resampled):
    """Missed lesions and the distance to the found ones: one a ratio of sums, one a mean."""

    missed: Tensor
    lesions: Tensor
    distance: Tensor
    ids: tuple[ImageId, ...] | None = None
    radius: float = float("nan")

    def columns(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.missed, self.lesions, self.distance

    def keys(self) -> tuple[str, ...]:
        return ("miss_rate", "distance", "worst_distance")

    def statistic(self, score: str) -> Statistic:
        if score == "miss_rate":
            parts = torch.stack([self.missed, self.lesions], 1).double()
            return Sums(parts, lambda sums: sums[..., 0] / sums[..., 1])
        if score == "distance":
            return mean_of(self.distance.unsqueeze(1))
        if score == "worst_distance":  # no sum
            drawn = self.distance.nan_to_num(nan=0.0)
            return lambda weights: (drawn * (weights > 0)).amax(1)
        raise ValueError(f"`score` must be one of {self.keys()}, got {score!r}.")

    def targets(self) -> Tensor:
        return self.lesions.unsqueeze(1)

    def higher_is_better(self, score: str) -> bool:
        return False


class Metric:
    def __init__(self, table: Lesions) -> None:
        self.table = table

    def image_counts(self) -> Lesions:
        return self.table


def drawn(
    images: int = 10, skill: int = 0, seed: int = 0, ids: tuple[ImageId, ...] | None = None
) -> Lesions:
    rng = np.random.default_rng(seed)
    lesions = rng.integers(1, 9, images)
    rng = np.random.default_rng([seed, skill])
    missed = rng.binomial(lesions, 0.4 / (1 + skill))
    distance = np.where(missed < lesions, rng.gamma(3, 1 / (1 + skill), images), np.nan)
    return Lesions(*map(torch.from_numpy, (missed, lesions, distance)), ids=ids)


def by_hand(table: Lesions, index: np.ndarray, score: str) -> float:
    missed, lesions, distance = (part.numpy()[index] for part in table.columns())
    if score == "miss_rate":
        return missed.sum() / lesions.sum()
    distance = distance[~np.isnan(distance)]
    if not len(distance):
        return np.nan
    return distance.mean() if score == "distance" else distance.max()


SCORES = ["miss_rate", "distance", "worst_distance"]


@pytest.mark.parametrize("score", SCORES)
def test_an_interval_is_that_of_resampling_by_hand(score):
    table = drawn(40)
    rng = np.random.default_rng(1)
    resampled = [by_hand(table, rng.integers(40, size=40), score) for _ in range(4000)]
    ours = confidence_interval(Metric(table), score, n_resamples=4000)
    assert ours.estimate == pytest.approx(by_hand(table, np.arange(40), score))
    error = 4 * np.std(resampled) * 2.7 / 4000**0.5
    assert [ours.low, ours.high] == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=error)


@pytest.mark.parametrize("score", SCORES)
def test_sign_flips_swap_the_rows_of_an_image(score):
    a, b = drawn(8), drawn(8, skill=2)
    found, images = by_hand(a, np.arange(8), score) - by_hand(b, np.arange(8), score), range(8)
    extreme = 0
    for flips in product([False, True], repeat=8):
        mixed = [
            Lesions(
                *(
                    torch.stack(
                        [pair[flip != other][i] for i, flip in zip(images, flips, strict=True)]
                    )
                    for pair in zip(a.columns(), b.columns(), strict=True)
                )
            )
            for other in (False, True)
        ]
        difference = by_hand(mixed[0], np.arange(8), score) - by_hand(mixed[1], np.arange(8), score)
        extreme += abs(difference) >= abs(found) - 1e-12
    ours = compare(a, b, score)
    assert ours.difference == pytest.approx(found)
    assert ours.p_sign_flip == extreme / 2**8


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("method", ["mean-then-rank", "rank-then-mean"])
def test_the_lowest_error_ranks_first_and_pairs_are_those_of_compare(score, method):
    models = {f"skill {s}": drawn(60, s, ids=tuple(range(60))) for s in (0, 1, 4)}
    if (score, method) == ("worst_distance", "rank-then-mean"):
        with pytest.raises(ValueError, match="a single image has none"):
            ranking(models, score, method=method)
        return
    ranked = ranking(models, score, method=method)
    if method == "rank-then-mean":
        values = np.array(
            [[by_hand(models[f"skill {s}"], [i], score) for s in (0, 1, 4)] for i in range(60)]
        )
        values = values[~np.isnan(values).all(1)]
        values = np.where(np.isnan(values), np.inf, values)
        expected = (1 + (values[:, None, :] < values[:, :, None]).sum(2)).mean(0)
    else:
        expected = [by_hand(model, np.arange(60), score) for model in models.values()]
        for a, b in combinations(models, 2):
            pair = next(pair for pair in ranked.pairs if {pair.a, pair.b} == {a, b})
            alone = compare(models[pair.a], models[pair.b], score, n_resamples=2000)
            assert (pair.difference, pair.p) == pytest.approx((alone.difference, alone.p_sign_flip))
    order = sorted(zip(expected, models, strict=True))
    assert [(m.value, m.name) for m in ranked.models] == [(pytest.approx(v), n) for v, n in order]


def test_a_score_says_how_good_a_model_is_unless_the_table_says_otherwise():
    found = score_differences({"a": drawn(), "b": drawn(skill=1)}, "a", n_resamples=20)
    assert found.columns()["higher_is_better"] == [False] * 2 * len(SCORES)


def test_the_worst_slice_is_that_of_the_largest_error():
    table = drawn(40)
    by = [
        "few" if missed * 2 < total else "many"
        for missed, total in zip(table.missed, table.lesions, strict=True)
    ]
    split = slices(table, by, "miss_rate")
    assert split.worst == "many"
    for name in ("few", "many"):
        index = np.array([i for i, label in enumerate(by) if label == name])
        assert split.by_group[name].estimate == pytest.approx(by_hand(table, index, "miss_rate"))
    assert split.difference == pytest.approx(
        split.by_group["many"].estimate - split.by_group["few"].estimate
    )


def test_the_sample_size_shrinks_the_bootstrap_error():
    table = drawn(200)
    size = sample_size(table, "miss_rate", width=0.05)
    ratio = by_hand(table, np.arange(200), "miss_rate")
    # the delta method's variance of a ratio of sums
    residual = table.missed.double() - ratio * table.lesions
    error = (residual.var().item() / 200) ** 0.5 / table.lesions.double().mean().item()
    assert size.images == pytest.approx(200 * (2 * 1.96 * error / 0.05) ** 2, rel=0.15)


@pytest.mark.parametrize("ids", [False, True])
def test_the_order_of_images_changes_nothing_undefined_values_included(ids):
    names = tuple(f"{i:02}" for i in range(30)) if ids else None
    table = replace(drawn(30), ids=names)
    assert table.distance.isnan().any()
    shuffled = table.images(torch.randperm(30, generator=torch.Generator().manual_seed(1)))
    for score in SCORES:
        assert confidence_interval(table, score) == confidence_interval(shuffled, score)


def test_infinite_distances_are_infinite_and_no_ranking():
    table = replace(
        drawn(6), distance=torch.tensor([1.0, 2.0, torch.inf, 3.0, torch.nan, 1.0]).double()
    )
    interval = confidence_interval(table, "distance")
    assert interval.estimate == interval.high == torch.inf
    assert interval.low < 3
    with pytest.raises(ValueError, match=r"infinite for 'b'.*finite distance"):
        ranking({"a": drawn(6), "b": table}, "distance")


def other(table: PerImage) -> PerImage:
    assert isinstance(table, Lesions)
    return ImageCounts(*[table.lesions.unsqueeze(1)] * 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: replace(t, radius=2.0), "`radius` is nan and 2.0"),
        (lambda t: replace(t, lesions=t.lesions + (torch.arange(10) == 3)), "image 3 the first"),
        (lambda t: t.images(torch.arange(9)), "same images, got 10 and 9"),
        (lambda t: replace(t, ids=tuple(range(10))), "both have image ids, or neither"),
        (other, "of one kind, got Lesions and ImageCounts"),
    ],
)
def test_what_is_not_the_same_images_or_settings_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        compare(drawn(), change(drawn()), "miss_rate")
    with pytest.raises(ValueError, match=message):
        ranking({"a": drawn(), "b": change(drawn())}, "miss_rate")


def test_what_is_no_table_or_has_no_pixel_counts_is_named():
    for call in (confidence_interval, sample_size, lambda it: slices(it, ["a", "b"])):
        with pytest.raises(
            TypeError, match=r"`(scores|counts)` must be an `ImageScores`.*got dict"
        ):
            call({})
    with pytest.raises(TypeError, match=r"`b` must be an `ImageScores`.*got list"):
        compare(drawn(), [], "miss_rate")
    with pytest.raises(TypeError, match=r"pixel counts of images .*'mIoU' is Lesions"):
        conventions(drawn())
    with pytest.raises(ValueError, match="must be one of"):
        confidence_interval(drawn(), "mIoU_D")
