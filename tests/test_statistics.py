"""Intervals and comparisons: against SciPy, against resampling by hand, and on known truths."""

from dataclasses import dataclass, replace
from inspect import isfunction, signature
from itertools import product
from math import log

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import longhand
from segmetrics import statistics
from segmetrics.statistics import (
    KEYS,
    CaseScores,
    ImageCounts,
    all_scores,
    best_temperature,
    class_differences,
    compare,
    confidence_interval,
    statistic,
)
from segmetrics.statistics.bootstrap import _bca_tails

SOME_SCORES = ["mIoU_D", "mIoU_I", "mDice_C", "mAcc_I_10", "mIoU_C_Q", "mIoU_I_33", "iou/1"]


def drawn(images: int = 40, classes: int = 4, seed: int = 0, present: float = 0.7) -> ImageCounts:
    """Images whose quality and content vary."""
    rng = np.random.default_rng(seed)
    size = rng.integers(20, 400, (images, classes)) * (rng.random((images, classes)) < present)
    quality = np.clip(rng.normal(0.7, 0.15, (images, 1)), 0.05, 0.99)
    tp = rng.binomial(size, quality)
    fp = rng.binomial(size, 0.2)
    return counts_of(np.stack([tp, fp, size - tp], -1))


def counts_of(array: np.ndarray, **settings: object) -> ImageCounts:
    tp, fp, fn = torch.from_numpy(np.asarray(array)).unbind(-1)
    return ImageCounts(tp, fp, fn, **settings)  # type: ignore[arg-type]


def as_list(counts: ImageCounts, images: Tensor | None = None) -> longhand.Counts:
    array = torch.stack([counts.tp, counts.fp, counts.fn], -1)
    return (array if images is None else array[images]).tolist()


def named(counts: ImageCounts) -> ImageCounts:
    ids = tuple(f"{i:04}" for i in range(len(counts)))
    return ImageCounts(counts.tp, counts.fp, counts.fn, ids)


@given(
    st.integers(1, 12).flatmap(
        lambda images: st.tuples(
            st.lists(
                st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=3, max_size=3),
                min_size=images,
                max_size=images,
            ),
            st.lists(st.integers(0, images - 1), min_size=1, max_size=12),
        )
    ),
    st.sampled_from(["target", "either"]),
)
@settings(max_examples=60)
def test_scores_of_weights_are_the_scores_of_the_images_drawn_by_hand(drawing, presence):
    images, chosen = drawing
    counts = counts_of(np.array(images), presence=presence)
    weights = torch.zeros(len(counts))
    for image in chosen:
        weights[image] += 1
    expected = longhand.scores([images[i] for i in chosen], [0, 1, 2], presence)
    together = all_scores(counts, weights)
    assert set(together) == set(expected) == set(KEYS)
    for key, value in expected.items():
        alone = statistic(key, counts)(weights.double().unsqueeze(0))
        for ours in (together[key].item(), alone.item()):
            assert ours == pytest.approx(value, abs=1e-12, nan_ok=True), key


def test_the_worst_share_is_rounded_as_the_paper_rounds_it():
    quality = np.random.default_rng(0).permutation(90) + 1
    counts = counts_of(np.stack([quality, 0 * quality, 100 - quality], -1)[:, None])
    # 0.7 * 90 is below 63 in floating point
    assert statistic("mIoU_I_70", counts)(torch.ones(1, 90).double()).item() == pytest.approx(
        np.arange(1, 63).mean() / 100
    )


@pytest.mark.parametrize("percent", [1, 10, 35, 70, 100])
def test_the_worst_share_of_many_weighted_images_is_that_of_the_images_drawn(percent: int) -> None:
    rng = np.random.default_rng(percent)
    quality, times = rng.permutation(300) + 1, rng.integers(0, 3, 300)
    counts = counts_of(np.stack([quality, 0 * quality, 400 - quality], -1)[:, None])
    images = np.sort(np.repeat(quality, times)) / 400
    worst = images[: int(percent / 100 * len(images))]
    weights = torch.from_numpy(times).double().unsqueeze(0)
    found = statistic(f"mIoU_I_{percent}", counts)(weights)
    assert found.item() == pytest.approx(worst.mean(), rel=1e-12)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("score", ["mIoU_D", "mIoU_I", "mIoU_C_Q"])
def test_intervals_agree_with_scipy_within_resampling_error(score, method):
    counts = drawn(30, 3)
    array = np.array(as_list(counts))

    def by_hand(index: np.ndarray) -> float:
        return longhand.scores(array[index].tolist(), [0, 1, 2])[score]

    def pooled(index: np.ndarray, axis: int) -> np.ndarray:
        tp, fp, fn = array[index].sum(axis if axis >= 0 else index.ndim + axis).swapaxes(0, -1)
        return np.nanmean(tp / (tp + fp + fn), 0)

    vectorised = score == "mIoU_D"
    resamples = 9999 if vectorised else 600
    theirs = scipy.stats.bootstrap(
        (np.arange(len(counts)),),
        pooled if vectorised else by_hand,
        vectorized=vectorised,
        n_resamples=resamples,
        method=method,
        rng=np.random.default_rng(1),
    )
    ours = confidence_interval(counts, score, method=method, n_resamples=9999)
    # the error of a 2.5 % quantile of n normal draws is 2.7 standard deviations over √n
    error = 2.7 * theirs.standard_error * (resamples**-0.5 + 9999**-0.5)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=3 * error)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=3 * error)
    assert ours.estimate == pytest.approx(by_hand(np.arange(len(counts))))


def test_bca_mends_what_percentile_leaves_skewed():
    counts = drawn(12, 1, seed=3)
    plain = confidence_interval(counts, "mIoU_I_10")
    mended = confidence_interval(counts, "mIoU_I_10", method="bca")
    assert mended.high < plain.high  # the worst tenth of a resample is too good


def test_bca_is_accelerated_by_the_skewness_of_the_jackknife():
    """Efron and Tibshirani (1993), 14.15; resamples on both sides alike have no bias."""
    jackknifed = torch.tensor([0, 0, 1, 5], dtype=torch.float64)
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    resampled = torch.tensor([-1, 1], dtype=torch.float64)
    found = _bca_tails(tails, torch.zeros(1, dtype=torch.float64), resampled, jackknifed)
    acceleration = -scipy.stats.skew(jackknifed.numpy()) / (6 * 4**0.5)
    z = scipy.stats.norm.ppf(tails.numpy())
    assert found.tolist() == pytest.approx(scipy.stats.norm.cdf(z / (1 - acceleration * z)))


def test_bca_of_images_that_are_all_alike_is_their_score():
    found = confidence_interval(counts_of([[[1, 0, 1]]] * 5), "mIoU_I", method="bca")
    assert (found.low, found.estimate, found.high) == (0.5, 0.5, 0.5)


def test_bca_counts_resamples_equal_to_the_estimate_half():
    """Efron and Tibshirani (1993), 14.10 to 14.15, where the resamples are exactly binomial."""
    right, images = 15, 20  # each image scores 0 or 1, so a fifth of the resamples are ties
    counts = counts_of([[[1, 0, 0]]] * right + [[[0, 0, 1]]] * (images - right))
    score = scipy.stats.binom(images, right / images)
    bias = scipy.stats.norm.ppf(score.cdf(right - 1) + score.pmf(right) / 2)
    jackknifed = (right - np.array([1] * right + [0] * (images - right))) / (images - 1)
    skew = jackknifed.mean() - jackknifed
    acceleration = (skew**3).sum() / (6 * (skew**2).sum() ** 1.5)
    shifted = bias + scipy.stats.norm.ppf([0.05, 0.95])
    ends = scipy.stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
    ours = confidence_interval(counts, "mIoU_I", method="bca", level=0.9, n_resamples=20_000)
    assert [ours.low, ours.high] == pytest.approx(score.ppf(ends) / images)


@pytest.mark.parametrize("score", SOME_SCORES)
@pytest.mark.parametrize("ids", [True, False])
def test_the_order_in_which_images_arrived_changes_nothing(score, ids):
    counts = named(drawn()) if ids else drawn()
    shuffled = counts.images(torch.randperm(len(counts)))
    for method in ("percentile", "bca"):
        assert confidence_interval(counts, score, method=method, n_resamples=50) == (
            confidence_interval(shuffled, score, method=method, n_resamples=50)
        )
    other = better(counts, 5, seed=0)
    order = torch.randperm(len(counts))
    assert compare(counts, other, score, n_resamples=50) == (
        compare(counts.images(order), other.images(order), score, n_resamples=50)
    )


def test_a_seed_decides_the_interval():
    counts = drawn()
    first, again = (confidence_interval(counts, seed=1) for _ in range(2))
    assert first == again != confidence_interval(counts, seed=2)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_a_group_is_drawn_as_if_it_were_one_image(method):
    counts = drawn(24, 3)
    group = [i % 7 for i in range(24)]
    merged = torch.zeros(3, 7, 3, dtype=torch.int64)
    for part, values in enumerate((counts.tp, counts.fp, counts.fn)):
        merged[part].index_add_(0, torch.tensor(group), values)
    ids = tuple(range(7))
    expected = confidence_interval(ImageCounts(*merged, ids), method=method)
    ours = confidence_interval(counts, groups=group, method=method)
    assert (ours.low, ours.high) == (expected.low, expected.high)
    assert (ours.images, ours.groups) == (24, 7)
    by_id = {name: group[i] for i, name in enumerate(named(counts).ids or ())}
    assert confidence_interval(named(counts), groups=by_id, method=method) == ours


def test_images_that_belong_together_widen_the_interval():
    counts = drawn(20, 3)
    copies = counts.images(torch.arange(20).repeat(5))
    alone = confidence_interval(counts, "mIoU_I")
    naive = confidence_interval(copies, "mIoU_I")
    grouped = confidence_interval(copies, "mIoU_I", groups=[i % 20 for i in range(100)])
    assert naive.high - naive.low < 0.6 * (alone.high - alone.low)
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_resamples_without_the_class_are_left_out():
    array = np.zeros((10, 2, 3), dtype=np.int64)
    array[:, 0] = [5, 1, 1]
    array[0, 1] = [3, 1, 0]  # the only image with class 1
    interval = confidence_interval(counts_of(array), "iou/1")
    assert (interval.estimate, interval.low, interval.high) == (0.75, 0.75, 0.75)
    array[0, 1] = 0
    assert np.isnan(confidence_interval(counts_of(array), "iou/1").low)


def test_an_ignored_class_is_in_no_average_and_has_no_score_of_its_own():
    counts = drawn()
    without = ImageCounts(counts.tp[:, 1:], counts.fp[:, 1:], counts.fn[:, 1:])
    ignoring = ImageCounts(counts.tp, counts.fp, counts.fn, ignored=(0,))
    for score in ("mIoU_D", "mIoU_I", "mIoU_C_Q"):
        ours = confidence_interval(ignoring, score)
        expected = confidence_interval(without, score)
        assert ours.estimate == pytest.approx(expected.estimate, abs=1e-12)
    with pytest.raises(ValueError, match="no scored class"):
        confidence_interval(ignoring, "iou/0")


def better(counts: ImageCounts, pixels: int, seed: int) -> ImageCounts:
    """The same images, a few pixels more of every class found, with a little noise."""
    rng = np.random.default_rng(seed)
    found = torch.from_numpy(rng.integers(0, 2 * pixels + 1, counts.tp.shape))
    found = torch.minimum(found, counts.fn)
    return ImageCounts(counts.tp + found, counts.fp, counts.fn - found, counts.ids)


@pytest.mark.parametrize("score", ["mIoU_D", "mIoU_I", "mIoU_C_10"])
def test_a_known_difference_is_found_where_the_intervals_overlap(score):
    counts = drawn(60)
    improved = better(counts, 4, seed=5)
    a, b = confidence_interval(improved, score), confidence_interval(counts, score)
    assert a.low < b.high
    paired = compare(improved, counts, score)
    assert paired.difference == pytest.approx(a.estimate - b.estimate, abs=1e-12)
    assert 0 < paired.low < paired.difference < paired.high
    assert paired.p_bootstrap < 0.01
    assert paired.p_sign_flip < 0.01


def test_differences_of_classes_are_those_of_compare():
    a, b = drawn(), drawn()
    worse = b.tp // 10
    b = ImageCounts(b.tp - worse, b.fp, b.fn + worse)
    found = class_differences({"b": b, "a": a}, "a", "Dice", level=0.9, n_resamples=200)
    of_class = {row.name: row for row in found.rows if row.model == "b"}
    assert list(of_class) == ["0", "1", "2", "3"]
    for c, (name, row) in enumerate(of_class.items()):
        expected = compare(b, a, f"dice/{name}", level=0.9, n_resamples=200)
        assert row.pixels == (a.tp + a.fn)[:, c].sum()
        assert (row.value, row.difference) == pytest.approx((expected.a, expected.difference))
        assert (row.low, row.high) == pytest.approx((expected.low, expected.high))


def test_equal_models_are_told_apart_at_the_nominal_rate():
    rejected = np.zeros(3)
    repetitions = 200
    for repetition in range(repetitions):
        rng = np.random.default_rng(repetition)
        size = rng.integers(50, 200, (60, 1, 1)) * np.ones((1, 2, 2), dtype=int)
        quality = rng.uniform(0.4, 0.9, (60, 1, 1))
        tp = rng.binomial(size, np.clip(quality + rng.normal(0, 0.1, (60, 1, 2)), 0, 1))
        a, b = (
            counts_of(np.stack([tp[..., i], 0 * tp[..., i], (size - tp)[..., i]], -1))
            for i in range(2)
        )
        found = compare(a, b, "mIoU_D", n_resamples=199, seed=repetition)
        outside = not found.low <= 0 <= found.high
        rejected += [found.p_bootstrap <= 0.05, found.p_sign_flip <= 0.05, outside]
    # 0.05 ± 3 standard deviations of 200 draws
    assert (np.abs(rejected / repetitions - 0.05) < 0.046).all(), rejected / repetitions


def flipped_by_hand(a: longhand.Counts, b: longhand.Counts, score: str) -> list[float]:
    """The difference after every exchange of the two models' counts of an image."""
    classes = list(range(len(a[0])))
    differences = []
    for flips in product([False, True], repeat=len(a)):
        first = [y if flip else x for x, y, flip in zip(a, b, flips, strict=True)]
        second = [x if flip else y for x, y, flip in zip(a, b, flips, strict=True)]
        differences.append(
            longhand.scores(first, classes)[score] - longhand.scores(second, classes)[score]
        )
    return differences


@pytest.mark.parametrize("score", ["mIoU_D", "mIoU_I", "mDice_C", "mIoU_I_Q"])
def test_few_images_are_exchanged_in_every_way(score):
    a = drawn(7, 2)
    b = better(a, 30, seed=1)
    swapped = torch.arange(7) % 3 == 0  # now neither is better everywhere
    parts = [
        torch.where(swapped.unsqueeze(1), y, x)
        for x, y in ((a.tp, b.tp), (a.fp, b.fp), (a.fn, b.fn))
    ]
    mixed = ImageCounts(*parts)
    differences = np.array(flipped_by_hand(as_list(mixed), as_list(b), score))
    expected = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12)
    assert compare(mixed, b, score).p_sign_flip == expected


def test_p_values_count_what_was_found_as_one_resample_more():
    counts = drawn(60)
    found = compare(better(counts, 30, seed=2), counts, n_resamples=99)
    assert found.p_bootstrap == found.p_sign_flip == 1 / 100
    same = compare(counts, counts, n_resamples=99)
    assert same.p_bootstrap == same.p_sign_flip == 1
    assert (same.difference, same.low, same.high) == (0, 0, 0)


def test_groups_are_exchanged_as_one():
    counts = drawn(60)
    improved = better(counts, 30, seed=2)
    found = compare(improved, counts, groups=[i % 3 for i in range(60)])
    assert found.p_sign_flip == 2 / 2**3  # as it is, and all three exchanged
    assert found.groups == 3


def test_images_are_paired_by_id():
    a = named(drawn())
    b = better(a, 5, seed=0)
    shuffled = b.images(torch.randperm(len(b)))
    assert compare(a, b) == compare(a, shuffled)


def test_results_print_as_people_write_them():
    counts = drawn(30)
    interval = confidence_interval(counts)
    assert str(interval) == (
        f"mIoU {interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}] (95 %, 30 images)"
    )
    groups = confidence_interval(counts, "mIoU_C", level=0.9, groups=[i % 4 for i in range(30)])
    assert str(groups).startswith("mIoU_C 0.")
    assert str(groups).endswith("(90 %, 30 images in 4 groups)")
    paired = str(compare(better(counts, 9, 0), counts))
    assert " vs " in paired
    assert ": +0." in paired
    assert "p = 0.0005 (bootstrap)" in paired


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "mIoU"}, "`score` must be m<kind>_D"),
        ({"score": "mIoU_D_5"}, "`score` must be m<kind>_D"),
        ({"score": "mIoU_I_0"}, "1 to 100 percent"),
        ({"score": "mIoU_I_101"}, "1 to 100 percent"),
        ({"score": "iou/car"}, "no scored class. The classes: 0, 1, 2, 3"),
        ({"method": "normal"}, "`method` must be one of"),
        ({"level": 95}, "pass `level=0.95`"),
        ({"level": 1}, r"`level` must be in \(0, 1\), got 1"),
        ({"level": 0}, r"`level` must be in \(0, 1\), got 0"),
        ({"n_resamples": 0}, "`n_resamples` must be at least 1"),
        ({"groups": [0] * 5}, "40 long"),
        ({"groups": [0] * 40}, "at least two groups"),
    ],
)
def test_a_mistaken_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        confidence_interval(drawn(), **arguments)


def test_the_score_of_a_class_in_an_image_is_that_of_its_pixels():
    counts = counts_of([[[3, 1, 0], [1, 2, 1]], [[5, 0, 0], [0, 0, 0]]])
    assert counts.values("iou/1").tolist() == pytest.approx([1 / 4, np.nan], nan_ok=True)
    assert counts.values("mIoU_I").tolist() == [(3 / 4 + 1 / 4) / 2, 1]


def test_ignored_classes_have_no_score_of_their_own():
    keys = counts_of([[[1, 0, 0]] * 3], ignored=(1,)).keys()
    of_classes = [f"{kind}/{c}" for kind in ("iou", "dice", "acc") for c in (0, 2)]
    assert [key for key in keys if "/" in key] == of_classes


def test_images_whose_targets_differ_are_named_by_their_ids():
    a = named(drawn())
    b = ImageCounts(a.tp, a.fp, a.fn + torch.eye(40, 4, dtype=torch.int64).roll(2, 0), a.ids)
    with pytest.raises(ValueError, match="different targets in 4 images, image '0002' the first"):
        compare(a, b)
    with pytest.raises(ValueError, match="different targets in 4 images, image 2 the first"):
        compare(replace(a, ids=None), replace(b, ids=None))


def test_a_difference_of_infinite_scores_has_no_interval():
    """Although resamples without the infinite image have a difference."""
    hd = torch.tensor([torch.inf, 2, 3, 4], dtype=torch.float64).view(-1, 1, 1)
    a, b = (CaseScores(one, ("hd",), ("liver",), torch.ones(4, 1)) for one in (hd, hd + 1))
    found = compare(a, b, "hd", n_resamples=200)
    assert np.isnan([found.difference, found.low, found.high]).all()


@pytest.mark.parametrize(("name", "value"), [("n_resamples", 2000), ("level", 0.95), ("seed", 0)])
def test_all_statistics_have_the_same_defaults(name, value):
    every = [getattr(statistics, one) for one in statistics.__all__]
    given = [signature(one).parameters.get(name) for one in every if isfunction(one)]
    defaults = [parameter.default for parameter in given if parameter is not None]
    assert len(defaults) >= 6
    assert set(defaults) == {value}


def test_groups_must_fit_the_way_images_are_named():
    with pytest.raises(TypeError, match="the images have no ids"):
        confidence_interval(drawn(), groups={0: 1})
    with pytest.raises(TypeError, match="must be a mapping"):
        confidence_interval(named(drawn()), groups=[0] * 40)
    with pytest.raises(ValueError, match="lacks 39 images"):
        confidence_interval(named(drawn()), groups={"0000": 1})


def test_one_image_has_no_interval():
    with pytest.raises(ValueError, match="at least two images, got 1"):
        confidence_interval(drawn(1))


def test_different_images_are_not_compared():
    a = named(drawn())
    with pytest.raises(ValueError, match=r"same images, but 1 are in one only, among them \['0000"):
        compare(a, a.images(torch.arange(1, 40)))
    with pytest.raises(ValueError, match="got 40 and 39"):
        compare(drawn(), drawn().images(torch.arange(39)))
    with pytest.raises(ValueError, match="both have image ids, or neither"):
        compare(a, drawn())
    with pytest.raises(ValueError, match=r"different targets in 40 images.*shuffled"):
        compare(drawn(), ImageCounts(drawn().tp, drawn().fp, drawn().fn + 1))
    either = ImageCounts(a.tp, a.fp, a.fn, a.ids, presence="either")
    with pytest.raises(ValueError, match="`presence` is target and either"):
        compare(a, either)


def test_counts_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ValueError, match=r"must all be \(N, C\)"):
        ImageCounts(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="`ids` must be 2 different names"):
        ImageCounts(*torch.zeros(3, 2, 3), ids=("a", "a"))


@dataclass
class Losses:
    """Log losses at some temperatures, lowest at 1.7."""

    temperatures: tuple[float, ...]

    def compute(self):
        return torch.tensor(
            [0.3 + log(t / 1.7) ** 2 for t in self.temperatures], dtype=torch.float64
        )


@pytest.mark.parametrize("grid", [(0.5, 1.0, 1.4, 2.5, 4.0), (1.5, 1.7, 2.5), (1.0, 1.8, 2.0)])
def test_the_best_temperature_of_a_parabola_is_its_minimum(grid):
    assert best_temperature(Losses(grid)) == pytest.approx(1.7)


@pytest.mark.parametrize("estimate", [0.0, 2.0])
def test_bca_is_finite_where_all_resamples_are_on_one_side_of_the_estimate(estimate):
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    resampled, jackknifed = torch.ones(100).double(), torch.tensor([1.0, 2.0, 3.0]).double()
    ends = _bca_tails(tails, torch.tensor([estimate]), resampled, jackknifed)
    assert ((ends > 0) & (ends < 1)).all()
