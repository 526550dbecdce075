"""Subgroups: against fairlearn and SciPy, on known truths, and by every kind of metadata."""

import warnings

import nanoarrow
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.stats
import torch
from fairlearn.metrics import MetricFrame
from torch import Tensor

import longhand
from segmetrics.statistics import CaseScores, ImageCounts, confidence_interval, slices
from segmetrics.statistics.bootstrap import Bootstrap
from segmetrics.statistics.subgroups import _permutations


def drawn(images: int = 60, classes: int = 3, seed: int = 0) -> ImageCounts:
    rng = np.random.default_rng(seed)
    size = rng.integers(20, 400, (images, classes)) * (rng.random((images, classes)) < 0.7)
    tp = rng.binomial(size, np.clip(rng.normal(0.7, 0.15, (images, 1)), 0.05, 0.95))
    return ImageCounts(*map(torch.from_numpy, (tp, rng.binomial(size, 0.2), size - tp)))


def of_values(values: np.ndarray) -> ImageCounts:
    """Images with the given IoU, in thousandths, of one class."""
    tp = torch.from_numpy(np.round(1000 * values).astype(np.int64))[:, None]
    return ImageCounts(tp, 0 * tp, 1000 - tp)


def named(counts: ImageCounts) -> ImageCounts:
    return ImageCounts(
        counts.tp, counts.fp, counts.fn, tuple(f"{i:03}" for i in range(len(counts)))
    )


def metric_frame(counts: ImageCounts, score: str, features: object) -> MetricFrame:
    images = torch.stack([counts.tp, counts.fp, counts.fn], -1).tolist()
    number = np.arange(len(images))
    classes = list(range(counts.tp.shape[1]))
    return MetricFrame(
        metrics=lambda y_true, _: longhand.scores([images[i] for i in y_true], classes)[score],
        y_true=number,
        y_pred=number,
        sensitive_features=features,
    )


@pytest.mark.parametrize("score", ["mIoU_D", "mIoU_I", "mDice_C", "mIoU_I_10", "mAcc_C_Q"])
def test_scores_of_groups_are_those_of_fairlearn(score):
    counts = drawn()
    scanner = np.random.default_rng(1).choice(["a", "b", "c"], 60)
    result = slices(counts, scanner, score, n_resamples=20)
    theirs = metric_frame(counts, score, scanner)
    assert result.overall.estimate == pytest.approx(theirs.overall)
    ours = {group: interval.estimate for group, interval in result.by_group.items()}
    assert ours == pytest.approx(theirs.by_group.to_dict())
    assert result.difference == pytest.approx(theirs.difference(method="between_groups"))
    assert result.ratio == pytest.approx(theirs.ratio(method="between_groups"))
    assert ours[result.worst] == pytest.approx(theirs.group_min())


def test_crossed_groups_are_those_of_fairlearn():
    counts = drawn()
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"site": rng.choice(["x", "y"], 60), "age": rng.integers(0, 3, 60)})
    result = slices(counts, frame, n_resamples=20)
    theirs = metric_frame(counts, "mIoU_D", frame)
    assert result.by == ("site", "age")
    ours = {group: interval.estimate for group, interval in result.by_group.items()}
    assert ours == pytest.approx(theirs.by_group.to_dict())
    assert result.difference == pytest.approx(theirs.difference())
    columns = result.columns()
    assert list(zip(columns["site"], columns["age"], strict=True)) == list(result.by_group)
    tuples = list(zip(frame["site"], frame["age"], strict=True))
    crossed = slices(counts, tuples, n_resamples=20)
    assert crossed.by == ("group 1", "group 2")
    assert crossed.by_group == result.by_group


def test_the_interval_of_a_group_is_that_of_its_images_alone():
    counts = named(drawn())
    scanner = {image: "ab"[i % 3 == 0] for i, image in enumerate(counts.ids or ())}
    patient = {image: i // 2 for i, image in enumerate(counts.ids or ())}
    result = slices(counts, scanner, "mIoU_I", level=0.9, groups=patient, seed=4)
    those = torch.tensor([i for i in range(60) if i % 3 == 0])
    assert result.by_group["b"] == confidence_interval(
        counts.images(those), "mIoU_I", level=0.9, groups=patient, seed=4
    )
    assert result.overall == confidence_interval(
        counts, "mIoU_I", level=0.9, groups=patient, seed=4
    )


def test_the_p_value_is_that_of_scipys_permutation_test():
    values = np.random.default_rng(3).uniform(0.2, 0.9, 30)
    values[:10] -= 0.05
    by = ["old"] * 10 + ["new"] * 20
    ours = slices(of_values(values), by, "mIoU_I", n_resamples=9999)
    theirs = scipy.stats.permutation_test(
        (values[:10], values[10:]), lambda a, b: abs(a.mean() - b.mean()), vectorized=False,
        alternative="greater", n_resamples=9999, rng=np.random.default_rng(0),
    )  # fmt: skip
    error = 3 * np.sqrt(2 * theirs.pvalue * (1 - theirs.pvalue) / 9999)
    assert 0.005 < ours.p_value < 0.5
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=error)


@pytest.mark.parametrize("score", ["mIoU_D", "mIoU_I_10"])
def test_groups_that_are_alike_differ_at_the_nominal_rate(score):
    rejected = 0
    for seed in range(200):
        values = np.random.default_rng(seed).uniform(0.2, 0.9, 40)
        by = ["a"] * 8 + ["b"] * 12 + ["c"] * 20
        rejected += slices(of_values(values), by, score, n_resamples=99).p_value <= 0.05
    assert abs(rejected / 200 - 0.05) < 0.046  # three standard deviations


def test_patients_that_belong_to_one_group_are_permuted_whole():
    rng = np.random.default_rng(0)
    of_patient = rng.uniform(0.3, 0.9, 8)
    patient = np.arange(80) // 10
    counts = of_values(of_patient[patient] + rng.normal(0, 0.01, 80))
    by = np.where(patient < 4, "a", "b")
    alone = slices(counts, by, "mIoU_I")
    together = slices(counts, by, "mIoU_I", groups=patient.tolist())
    assert alone.p_value < 0.01  # ten images of a patient say no more than one
    assert together.p_value > 0.05
    assert [i.groups for i in together.by_group.values()] == [4, 4]


def permuted(unit: list[int], member: list[int], rows: int) -> Tensor:
    bootstrap = Bootstrap(torch.tensor(unit), max(unit) + 1, True, 0.95, "percentile", rows, seed=0)
    return torch.cat(list(_permutations(bootstrap, torch.tensor(member))))


def test_labels_are_permuted_within_patients_that_have_several():
    unit, member = [0, 1, 0, 1, 0, 1, 2], [0, 1, 1, 1, 0, 0, 2]
    found = permuted(unit, member, 2000)
    for patient, expected in ((0, [0, 0, 1]), (1, [0, 1, 1]), (2, [2])):
        labels = found[:, torch.tensor(unit) == patient]
        assert (labels.sort(1).values == torch.tensor(expected)).all()
    assert len(found.unique(dim=0)) == 9
    assert found[:, 2].double().mean() == pytest.approx(1 / 3, abs=0.05)


def test_a_whole_patient_keeps_one_label():
    unit, member = [0, 1, 0, 1, 2, 2], [0, 1, 0, 1, 1, 1]
    found = permuted(unit, member, 500)
    assert {tuple(row) for row in found.tolist()} == {
        (0, 1, 0, 1, 1, 1),
        (1, 0, 1, 0, 1, 1),
        (1, 1, 1, 1, 0, 0),
    }


def test_small_groups_are_marked():
    counts = drawn()
    result = slices(counts, ["a"] * 30 + ["b"] * 29 + ["c"], "mIoU_I")
    assert result.small == ("b", "c")
    assert np.isnan(result.by_group["c"].low)
    assert result.by_group["c"].groups is None
    assert result.by_group["c"].estimate == pytest.approx(counts.per_image("IoU")[59].item())
    assert result.columns()["small"] == [False, True, True]
    lines = str(result).splitlines()
    assert lines[0] == "mIoU_I by group (95 %, 60 images)"
    assert lines[2].split()[:2] == ["a", "30"]
    assert lines[4].split()[3:] == ["–", "few", "images"]
    assert lines[5].split()[:2] == ["all", "60"]
    assert lines[6].startswith("difference 0.")


def test_a_subgroup_of_one_patient_has_its_score_without_an_interval():
    counts = drawn()
    result = slices(
        counts, ["a"] * 56 + ["b"] * 4, "mIoU_I", groups=[*range(28)] * 2 + [99] * 4, n_resamples=20
    )
    alone = result.by_group["b"]
    assert np.isnan([alone.low, alone.high]).all()
    assert (alone.images, alone.groups, result.by_group["a"].groups) == (4, 1, 28)
    assert alone.estimate == pytest.approx(np.nanmean(counts.per_image("IoU")[56:].numpy()))


def test_the_labels_as_they_are_count_as_one_more_permutation():
    values = np.repeat([0.2, 0.9], 20)
    result = slices(of_values(values), ["old"] * 20 + ["new"] * 20, "mIoU_I", n_resamples=99)
    assert result.p_value == pytest.approx(1 / 100)


def test_a_subgroup_of_two_images_has_an_interval():
    values = np.array([0.2, 0.6, 0.5, 0.5, 0.5])
    pair = slices(of_values(values), list("bbaaa"), "mIoU_I").by_group["b"]
    assert (pair.low, pair.estimate, pair.high) == pytest.approx((0.2, 0.4, 0.6))


def test_the_ratio_of_scores_that_are_all_zero_is_undefined():
    result = slices(of_values(np.zeros(5)), list("aabbb"), "mIoU_I", n_resamples=20)
    assert result.difference == 0
    assert np.isnan(result.ratio)


def test_an_infinite_score_of_one_image_differs_in_every_permutation():
    """A missing mask has an infinite distance: whichever group has that case is the worst."""
    hd = torch.tensor([torch.inf, 2, 3, 4, 5, 6], dtype=torch.float64).view(-1, 1, 1)
    cases = CaseScores(hd, ("hd",), ("liver",), torch.ones(6, 1), errors=("hd",))
    found = slices(cases, ["a"] * 3 + ["b"] * 3, "hd")
    assert (found.worst, found.difference, found.p_value) == ("a", torch.inf, 1)


def test_a_group_without_a_score_is_in_no_difference():
    size = torch.tensor([[10, 10]] * 4 + [[10, 0]] * 2)
    counts = ImageCounts(size // 2, 0 * size, size - size // 2)
    result = slices(counts, list("aabbcc"), "iou/1", n_resamples=50)
    assert np.isnan(result.by_group["c"].estimate)
    assert (result.difference, result.ratio, result.p_value) == (0, 1, 1)
    # where permuted labels leave a group without a score, it is in no difference either
    size = torch.tensor([[10]] * 20 + [[0]])
    tp = torch.tensor([[9]] * 10 + [[5]] * 10 + [[0]])
    result = slices(ImageCounts(tp, 0 * tp, size - tp), list("a" * 10 + "b" * 10 + "c"), "mIoU_I")
    assert result.worst == "b"
    assert result.p_value < 0.01


IDS = [f"{i:03}" for i in range(60)]
SITES = ["x", "y", "z"] * 20


@pytest.mark.parametrize(
    "by",
    [
        dict(zip(IDS, SITES, strict=True)),
        pd.Series(SITES, index=IDS, name="site"),
        pd.DataFrame({"image": IDS, "site": SITES}),
        pd.DataFrame({"site": SITES}, index=pd.Index(IDS, name="image")),
        pd.DataFrame({"site": pd.Categorical(SITES), "image": IDS}).sample(60, random_state=0),
        pl.DataFrame({"image": IDS, "site": SITES}),
        nanoarrow.ArrayStream(pl.DataFrame({"image": IDS, "site": SITES})),
    ],
    ids=["mapping", "Series", "pandas", "pandas index", "categories", "polars", "Arrow"],
)
def test_metadata_of_images_with_ids(by):
    expected = slices(drawn(), SITES, n_resamples=20)
    result = slices(named(drawn()), by, n_resamples=20)
    assert {g: i.estimate for g, i in result.by_group.items()} == {
        g: i.estimate for g, i in expected.by_group.items()
    }
    assert result.by == (("group",) if isinstance(by, dict) else ("site",))


@pytest.mark.parametrize(
    "by",
    [
        SITES,
        tuple(SITES),
        np.array(SITES),
        pd.Series(SITES),
        pl.Series(SITES),
        nanoarrow.ArrayStream(pl.Series(SITES)),
    ],
    ids=["list", "tuple", "array", "pandas", "polars", "Arrow"],
)
def test_a_column_of_images_without_ids(by):
    assert slices(drawn(), by, n_resamples=20) == slices(drawn(), SITES, n_resamples=20)


def test_numbers_and_tensors_are_labels_too():
    ages = torch.tensor([20, 30, 40] * 20)
    assert list(slices(drawn(), ages, n_resamples=20).by_group) == [20, 30, 40]
    assert list(slices(drawn(), ages.double().numpy(), n_resamples=20).by_group) == [20, 30, 40]


@pytest.mark.parametrize(
    "by", [["a", "b", None] * 20, [1.0, 2.0, float("nan")] * 20, pd.Series(["a", "b", None] * 20)]
)
def test_a_missing_value_is_a_group_of_its_own(by):
    result = slices(drawn(), by, n_resamples=20)
    assert list(result.by_group)[2] is None
    assert result.by_group[None].images == 20
    assert "(none)" in str(result)


@pytest.mark.parametrize("by", [[None, 30, 10, 20] * 15, [("b", 2), ("b", 1), ("a", 3)] * 20])
def test_groups_are_in_the_order_of_their_values_and_the_missing_one_is_last(by):
    result = slices(drawn(), by, n_resamples=20)
    expected = sorted(set(by) - {None}) + [None] * (None in by)
    assert list(result.by_group) == expected


def test_an_image_without_metadata_is_refused_and_metadata_without_image_warned_of():
    by = dict(zip(IDS, SITES, strict=True))
    with pytest.raises(ValueError, match=r"`by` lacks 2 of 60 images, among them \['000', '001'\]"):
        slices(named(drawn()), {image: by[image] for image in IDS[2:]})
    with pytest.warns(
        UserWarning, match=r"`by` names 1 images that were not scored.*\['train'\]"
    ) as warned:
        result = slices(named(drawn()), {**by, "train": "w"}, n_resamples=20)
    assert warned[0].filename == __file__
    assert list(result.by_group) == ["x", "y", "z"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slices(named(drawn()), by, n_resamples=20)


@pytest.mark.parametrize(
    ("by", "error", "message"),
    [
        (["a"] * 60, ValueError, "at least two groups, but all 60 are 'a'"),
        (list(range(60)), ValueError, "another value for every one of the 60 images"),
        (["a", "b"], ValueError, "`by` must be 60 long, as images, got 2"),
        (dict.fromkeys(IDS, 1), TypeError, "the images have no ids"),
        (pd.DataFrame({"image": IDS, "site": SITES}), TypeError, "the images have no ids"),
        ("site", TypeError, "`by` must be a mapping .* got str"),
        (3, TypeError, "`by` must be a mapping .* got int"),
        ([("a", 1)] * 30 + [("b",)] * 30, ValueError, "a tuple of one length"),
        (["a"] * 30 + [("b",)] * 30, ValueError, "a tuple of one length"),
    ],
)
def test_metadata_that_does_not_fit_images_without_ids(by, error, message):
    with pytest.raises(error, match=message):
        slices(drawn(), by)


@pytest.mark.parametrize(
    ("by", "error", "message"),
    [
        (SITES, TypeError, "which image a value belongs to"),
        (pd.DataFrame({"name": IDS, "site": SITES}), TypeError, "named `image`, it has name, site"),
        (pd.DataFrame({"image": IDS}), ValueError, "a column to split by, beyond `image`"),
        (pd.DataFrame({"image": ["000"] * 60, "site": SITES}), ValueError, "59 rows repeat"),
    ],
)
def test_metadata_that_does_not_fit_images_with_ids(by, error, message):
    with pytest.raises(error, match=message):
        slices(named(drawn()), by)
