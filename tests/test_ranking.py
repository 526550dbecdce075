"""Rankings: against statsmodels, SciPy and loops, on known truths, and what they refuse."""

import re
from itertools import combinations, permutations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from torch import Tensor

import longhand
from segmetrics.statistics import (
    CaseScores,
    ImageCounts,
    compare,
    confidence_interval,
    ranking,
    statistic,
)
from segmetrics.statistics.ranks import _kendall, holm, ranks_of, simultaneous

SCORES = ["mIoU_D", "mIoU_I", "mDice_C", "mIoU_I_10", "mIoU_C_Q", "iou/1"]


def of_values(values: np.ndarray) -> dict[str, ImageCounts]:
    """Models whose images (rows) have the given IoU, in thousandths, of one class."""
    found = {}
    for m, column in enumerate(np.round(1000 * values).astype(np.int64).T):
        tp = torch.from_numpy(column)[:, None]
        found[f"A{m + 1}"] = ImageCounts(tp, 0 * tp, 1000 - tp)
    return found


def drawn(models: int = 4, images: int = 40, classes: int = 3, seed: int = 0, better: int = 2):
    """Models on the same images; each finds a few more pixels than the last."""
    rng = np.random.default_rng(seed)
    size = rng.integers(20, 400, (images, classes)) * (rng.random((images, classes)) < 0.7)
    quality = np.clip(rng.normal(0.7, 0.15, (images, 1)), 0.05, 0.95)
    found = {}
    for m in range(models):
        tp = np.minimum(rng.binomial(size, quality) + better * m, size)
        fp = rng.binomial(size, 0.2)
        found[f"model {m}"] = ImageCounts(*map(torch.from_numpy, (tp, fp, size - tp)))
    return found


def as_list(counts: ImageCounts) -> longhand.Counts:
    return torch.stack([counts.tp, counts.fp, counts.fn], -1).tolist()


def with_ids(models: dict[str, ImageCounts]) -> dict[str, ImageCounts]:
    return {
        name: ImageCounts(m.tp, m.fp, m.fn, tuple(f"{i:03}" for i in range(len(m))))
        for name, m in models.items()
    }


@given(st.lists(st.sampled_from([0.001, 0.01, 0.02, 0.04, 0.3, 1.0]), min_size=1, max_size=12))
@settings(max_examples=30)
def test_p_values_are_adjusted_as_statsmodels_does(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_ranks_are_those_of_scipy(values):
    ours = ranks_of(torch.tensor(values, dtype=torch.float64))
    assert ours.tolist() == scipy.stats.rankdata([-v for v in values], method="min").tolist()


@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
    st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=5),
)
def test_kendalls_tau_is_that_of_scipy_with_ties(values, resampled):
    ours = _kendall(torch.tensor(values).double(), torch.tensor(resampled).double())
    for tau, row in zip(ours.tolist(), resampled, strict=True):
        expected = scipy.stats.kendalltau(values, row).statistic
        assert tau == pytest.approx(0 if np.isnan(expected) else expected)


@given(st.integers(1, 5), st.integers(0, 2**31), st.sampled_from([0.5, 0.9, 0.95]), st.booleans())
@settings(max_examples=40)
def test_simultaneous_intervals_are_the_narrowest_that_keep_the_level(columns, seed, level, ties):
    values = torch.randn(400, columns, generator=torch.Generator().manual_seed(seed)).double()
    values = (10 * values).round() if ties else values
    low, high = simultaneous(values, level)

    def inside(cut: int) -> tuple[Tensor, Tensor, float]:
        ordered = values.sort(0).values
        ends = ordered[cut], ordered[-1 - cut]
        return *ends, ((values >= ends[0]) & (values <= ends[1])).all(1).double().mean().item()

    most = int((1 - level) / 2 * 400 + 1e-9)  # of equal values more could be cut off
    cuts = [inside(cut) for cut in range(most + 1)]
    kept = [(a, b) for a, b, share in cuts if share >= level - 1e-12]
    assert torch.equal(low, kept[-1][0])
    assert torch.equal(high, kept[-1][1])


def test_the_interval_of_one_column_is_the_percentile_interval():
    values = torch.randn(2000, 1, dtype=torch.float64)
    low, high = simultaneous(values, 0.95)
    expected = np.quantile(values.numpy(), [0.025, 0.975])
    assert [low.item(), high.item()] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("score", SCORES)
def test_scores_and_pairs_are_those_of_compare(score):
    models = with_ids(drawn())  # the order of images, and so the draws, are the same for all
    result = ranking(models, score, n_resamples=500)
    by_name = {model.name: model for model in result.models}
    for name, counts in models.items():
        alone = confidence_interval(counts, score, n_resamples=500)
        assert by_name[name].value == pytest.approx(alone.estimate, abs=1e-12)
        # wide enough for all models at once
        assert by_name[name].low <= alone.low < alone.high <= by_name[name].high
    assert [m.value for m in result.models] == sorted(m.value for m in result.models)[::-1]
    assert {frozenset((p.a, p.b)) for p in result.pairs} == set(
        map(frozenset, combinations(models, 2))
    )
    for pair in result.pairs:
        alone = compare(models[pair.a], models[pair.b], score, n_resamples=500)
        assert pair.difference == pytest.approx(alone.difference, abs=1e-12)
        assert pair.difference >= 0
        assert pair.p == alone.p_sign_flip
        assert pair.low <= alone.low
        assert pair.high >= alone.high
    adjusted = multipletests([pair.p for pair in result.pairs], method="holm")[1]
    assert [pair.p_holm for pair in result.pairs] == pytest.approx(adjusted)


def test_the_interval_of_two_models_agrees_with_scipys_paired_bootstrap():
    a, b = drawn(2, 60).values()
    arrays = [np.array(as_list(model)) for model in (a, b)]

    def difference(index: np.ndarray, axis: int) -> np.ndarray:
        scores = []
        for array in arrays:
            tp, fp, fn = np.moveaxis(array[index].sum(axis % index.ndim), -1, 0)
            scores.append(np.nanmean(tp / (tp + fp + fn), -1))
        return scores[1] - scores[0]

    theirs = scipy.stats.bootstrap(
        (np.arange(60),), difference, n_resamples=9999, method="percentile",
        rng=np.random.default_rng(1),
    )  # fmt: skip
    (pair,) = ranking({"a": a, "b": b}, n_resamples=9999).pairs
    assert (pair.a, pair.b) == ("b", "a")
    error = 3 * 2.7 * theirs.standard_error * 2 * 9999**-0.5
    assert pair.low == pytest.approx(theirs.confidence_interval.low, abs=error)
    assert pair.high == pytest.approx(theirs.confidence_interval.high, abs=error)


def test_the_distribution_of_ranks_and_tau_are_those_of_the_resamples():
    models = with_ids(drawn(3, 20, better=0))
    result = ranking(models, "mIoU_I", n_resamples=300, seed=5)
    # the resamples, by one interval each
    from segmetrics.statistics.bootstrap import Bootstrap

    counts = list(models.values())
    bootstrap = Bootstrap.of(counts[0], torch.arange(20), None, 0.95, "percentile", 300, 5)
    scores = np.array(
        [
            [statistic("mIoU_I", model)(weights).tolist() for model in counts]
            for weights in bootstrap.resamples()
        ]
    )[0].T
    ranks = scipy.stats.rankdata(-scores, axis=1, method="min")
    names = list(models)
    values = [next(m.value for m in result.models if m.name == name) for name in names]
    for model in result.models:
        column = ranks[:, names.index(model.name)]
        assert model.rank_shares == pytest.approx([np.mean(column == r) for r in (1, 2, 3)])
    taus = [scipy.stats.kendalltau(values, row).statistic for row in scores]
    assert result.tau == pytest.approx(np.mean(taus))
    assert [result.tau_low, result.tau_high] == pytest.approx(np.quantile(taus, [0.025, 0.975]))


def test_mean_ranks_are_those_of_the_images():
    values = np.random.default_rng(0).integers(0, 5, (30, 4)) / 5
    result = ranking(of_values(values), "mIoU_I", method="rank-then-mean")
    expected = scipy.stats.rankdata(-values, axis=1, method="min").mean(0)
    assert {m.name: m.value for m in result.models} == pytest.approx(
        {f"A{m + 1}": mean for m, mean in enumerate(expected)}
    )
    assert [m.value for m in result.models] == sorted(expected)
    assert str(result).startswith("ranks of the images by mIoU_I of 4 models (95 %, 30 images)")


def test_the_two_methods_can_disagree():
    # A1 is a little better on most images, and much worse on a few
    values = np.array([[0.9, 0.89]] * 30 + [[0.2, 0.8]] * 10)
    models = of_values(values)
    assert [m.name for m in ranking(models, "mIoU_I").models] == ["A2", "A1"]
    by_rank = ranking(models, "mIoU_I", method="rank-then-mean")
    assert [(m.name, m.value) for m in by_rank.models] == [("A1", 1.25), ("A2", 1.75)]
    assert by_rank.pairs[0].difference == pytest.approx(-0.5)


# The three simulated tasks of Wiesenfarth et al. (2021)


@pytest.mark.parametrize("method", ["mean-then-rank", "rank-then-mean"])
def test_models_that_never_overlap_are_ranked_with_certainty(method):
    rng = np.random.default_rng(4)
    values = np.stack([rng.uniform(low, low + 0.09, 50) for low in (0.9, 0.8, 0.7, 0.6, 0.5)], 1)
    result = ranking(of_values(values), "mIoU_I", method=method)
    assert [m.name for m in result.models] == ["A1", "A2", "A3", "A4", "A5"]
    assert (result.tau, result.tau_low) == (1, 1)
    for place, model in enumerate(result.models, 1):
        assert (model.rank, model.best, model.worst) == (place, place, place)
        assert model.rank_shares[place - 1] == 1
        assert model.level_with == ()


@pytest.mark.parametrize("method", ["mean-then-rank", "rank-then-mean"])
def test_models_that_are_equal_in_sum_share_one_place(method):
    values = np.array(list(permutations([0.8, 0.85, 0.9, 0.95, 1.0])))
    result = ranking(of_values(values), "mIoU_I", method=method)
    assert [m.value for m in result.models] == pytest.approx([result.models[0].value] * 5)
    assert {(m.rank, m.best, m.worst) for m in result.models} == {(1, 1, 5)}
    assert result.tau == 0
    assert not any(pair.significant for pair in result.pairs)


def test_models_drawn_alike_are_not_told_apart():
    rng = np.random.default_rng(1)
    values = 1 / (1 + np.exp(-rng.normal(1.5, 1, (50, 5))))
    result = ranking(of_values(values), "mIoU_I")
    assert {(m.best, m.worst) for m in result.models} == {(1, 5)}
    assert result.tau < 0.8


@pytest.mark.parametrize("method", ["mean-then-rank", "rank-then-mean"])
def test_ten_equal_models_are_called_different_in_five_percent_of_samples(method):
    wrong, unadjusted, repetitions = 0, 0, 100
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        values = np.clip(rng.normal(0.6, 0.2, (40, 1)) + rng.normal(0, 0.05, (40, 10)), 0, 1)
        pairs = ranking(of_values(values), "mIoU_I", method=method, n_resamples=50).pairs
        wrong += any(pair.significant for pair in pairs)
        unadjusted += any(pair.p <= 0.05 for pair in pairs)
    assert wrong <= 12  # 5 and three standard deviations
    assert unadjusted > 30


def test_intervals_hold_for_all_models_at_once():
    """Each interval alone holds in 95 % of samples; all six of independent models in 74 %."""
    held, alone, repetitions = 0, 0, 100
    for seed in range(repetitions):
        values = np.random.default_rng(seed).uniform(0.2, 0.8, (80, 6))
        models = of_values(values)
        held += all(m.low <= 0.5 <= m.high for m in ranking(models, "mIoU_I").models)
        intervals = [confidence_interval(m, "mIoU_I", n_resamples=500) for m in models.values()]
        alone += all(i.low <= 0.5 <= i.high for i in intervals)
    assert held >= 88
    assert alone <= 84


def test_a_place_is_what_the_significant_pairs_leave():
    values = np.random.default_rng(0).normal(0.5, 0.02, (60, 4)) + np.array([0.2, 0.1, 0.1, 0])
    result = ranking(of_values(values), "mIoU_I")
    assert [(m.best, m.worst) for m in result.models] == [(1, 1), (2, 3), (2, 3), (4, 4)]
    assert [len(m.level_with) for m in result.models] == [0, 1, 1, 0]
    assert result.models[1].level_with == (result.models[2].name,)


def test_many_models_get_enough_sign_flips_to_be_told_apart():
    values = np.random.default_rng(0).normal(0.5, 0.02, (40, 15))
    values[:, 0] += 0.3
    result = ranking(of_values(values), "mIoU_I", n_resamples=100)  # 105 pairs
    assert (result.models[0].best, result.models[0].worst) == (1, 1)
    few = ranking(of_values(values[:, :3]), "mIoU_I", level=0.5, n_resamples=10)
    assert few.pairs[0].p == 1 / 13  # of 2 · 3 pairs / 0.5 flips not one is as extreme


@pytest.mark.parametrize("score", ["mIoU_D", "mIoU_I_10"])
@pytest.mark.parametrize("ids", [True, False])
def test_the_order_of_models_and_images_changes_nothing(score, ids):
    models = with_ids(drawn()) if ids else drawn()
    order = torch.randperm(40)
    reordered = {name: models[name].images(order) for name in reversed(models)}
    assert ranking(models, score, n_resamples=50) == ranking(reordered, score, n_resamples=50)


def test_images_are_paired_by_id():
    models = with_ids(drawn())
    shuffled = {name: m.images(torch.randperm(len(m))) for name, m in models.items()}
    assert ranking(models, n_resamples=50) == ranking(shuffled, n_resamples=50)


def test_groups_are_drawn_and_exchanged_as_one():
    models = drawn(3, 20)
    copies = {n: m.images(torch.arange(20).repeat(5)) for n, m in models.items()}
    groups = [i % 20 for i in range(100)]
    alone, naive = ranking(models, "mIoU_I"), ranking(copies, "mIoU_I")
    grouped = ranking(copies, "mIoU_I", groups=groups)
    assert (grouped.images, grouped.groups) == (100, 20)
    widths = [[m.high - m.low for m in result.models] for result in (alone, naive, grouped)]
    assert sum(widths[1]) < 0.6 * sum(widths[0])
    assert sum(widths[2]) == pytest.approx(sum(widths[0]), rel=0.1)
    assert min(p.p for p in grouped.pairs) > min(p.p for p in naive.pairs)


def test_a_model_without_a_score_on_an_image_ranks_last_there():
    nothing = torch.zeros(3, 1, dtype=torch.int64)
    size, false = torch.tensor([[9], [0], [9]]), torch.tensor([[0], [3], [0]])
    tp = size // 2
    models = {
        "a": ImageCounts(tp, nothing, size - tp, presence="either"),
        "b": ImageCounts(size // 3, false, size - size // 3, presence="either"),
    }
    # on the second image only "b" has a score, of 0
    result = ranking(models, "mIoU_I", method="rank-then-mean", n_resamples=20)
    assert {m.name: m.value for m in result.models} == pytest.approx({"a": 4 / 3, "b": 5 / 3})


def test_a_ranking_prints_as_a_table():
    models = of_values(
        np.random.default_rng(0).normal(0.5, 0.02, (60, 3)) + np.array([0.2, 0.1, 0.1])
    )
    text = str(ranking(models, "mIoU_I", level=0.9)).splitlines()
    assert text[0] == "mIoU_I of 3 models (90 %, 60 images)"
    assert text[1].split()[:6] == ["rank", "model", "mIoU_I", "interval", "place", "held"]
    assert text[2].split()[:3] == ["1", "A1", "0.697"]
    assert text[3].split()[5] == "2–3"
    assert "Holm over 3 pairs" in text[-2]
    assert text[-1].startswith("Kendall's tau of the ranking to its resamples: 0.")
    mean_ranks = str(
        ranking(models, "mIoU_I", method="rank-then-mean", n_resamples=20)
    ).splitlines()
    assert mean_ranks[0].startswith("ranks of the images by mIoU_I of 3 models")
    assert re.match(r" +1  A1 +1\.\d\d  \[1\.\d\d, \d\.\d\d\] ", mean_ranks[2])


@pytest.mark.parametrize(("models", "cell"), [("abcd", "b, c, d"), ("abcde", "4 others")])
def test_many_models_of_one_level_are_printed_as_their_number(models, cell):
    counts = drawn(1)["model 0"]
    first = str(ranking(dict.fromkeys(models, counts), n_resamples=20)).splitlines()[2]
    assert first.endswith(f"  {cell}")


@pytest.mark.parametrize("errors", [(), ("measure",)])
def test_scores_that_differ_by_rounding_share_a_rank(errors):
    values = torch.tensor([0.2, 0.5, 0.8, 0.9], dtype=torch.float64).view(4, 1, 1)
    models = {
        name: CaseScores(values + more, ("measure",), ("c",), torch.ones(4, 1), errors=errors)
        for name, more in (("a", 0), ("b", 7e-13), ("c", 3e-12))
    }
    ranks = {m.name: m.rank for m in ranking(models, "measure", n_resamples=20).models}
    assert ranks == ({"a": 1, "b": 1, "c": 3} if errors else {"c": 1, "a": 2, "b": 2})


def test_a_ranking_is_a_table_of_models_and_of_pairs():
    result = ranking(drawn(3))
    columns = result.columns()
    assert columns["model"] == [m.name for m in result.models]
    assert columns["rank_1"] == [m.rank_shares[0] for m in result.models]
    assert {len(column) for column in columns.values()} == {3}
    pairs = result.by_pair().columns()
    assert pairs["p_holm"] == [pair.p_holm for pair in result.pairs]
    assert result.to_dataframe()["value"].tolist() == [m.value for m in result.models]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "mIoU"}, "`score` must be"),
        ({"method": "median"}, "`method` must be one of"),
        ({"level": 95}, "pass `level=0.95`"),
        ({"n_resamples": 0}, "`n_resamples` must be at least 1"),
        ({"groups": [0] * 40}, "at least two groups"),
        ({"method": "rank-then-mean", "score": "mIoU_C_Q"}, "Pass `mIoU_I`"),
    ],
)
def test_a_mistaken_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ranking(drawn(), **arguments)


def test_models_must_be_several_with_names():
    models = drawn(2)
    with pytest.raises(ValueError, match="`models` must be at least two, got 1"):
        ranking({"a": models["model 0"]})
    with pytest.raises(TypeError, match="`models` must be a mapping from name to counts, got list"):
        ranking(list(models.values()))
    with pytest.raises(TypeError, match="strings as names, got 0"):
        ranking(dict(enumerate(models.values())))
    with pytest.raises(TypeError, match=r"`models\['b'\]` must be an `ImageScores` .*, got Tensor"):
        ranking({"a": models["model 0"], "b": models["model 1"].tp})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="at least two images, got 1"):
        ranking(drawn(2, 1))


def test_models_on_different_images_or_targets_are_refused_by_name():
    models = with_ids(drawn(3))
    last = models["model 2"]
    some = {**models, "model 2": last.images(torch.arange(1, 40))}
    with pytest.raises(
        ValueError, match=r"`models\['model 0'\]` and `models\['model 2'\]` must hold the same"
    ):
        ranking(some)
    moved = ImageCounts(last.tp, last.fp, last.fn + 1, last.ids)
    with pytest.raises(ValueError, match=r"`models\['model 2'\]` saw different targets in 40"):
        ranking({**models, "model 2": moved})
    with pytest.raises(ValueError, match="both have image ids, or neither"):
        ranking({**models, "model 2": drawn(3)["model 2"]})


def test_a_score_that_a_model_does_not_have_is_refused():
    zero = torch.zeros(5, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="`score='mIoU_D'` is undefined for 'a', 'b'"):
        ranking({name: ImageCounts(zero, zero, zero) for name in "ab"})
    size = torch.tensor([[9, 0]] * 30 + [[9, 9]])  # one image of 31 shows class 1
    models = {
        "a": ImageCounts(size, 0 * size, 0 * size),
        "b": ImageCounts(size // 2, 0 * size, size - size // 2),
    }
    assert ranking(models, "iou/1", n_resamples=50).models[0].name == "a"
    with pytest.raises(ValueError, match="undefined in all of the 1 resamples"):
        ranking(models, "iou/1", n_resamples=1, seed=1)
