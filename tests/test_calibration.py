"""Calibration errors, Brier scores and log losses against other libraries and NumPy longhand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection

from segmetrics import (
    BrierScore,
    CalibrationError,
    LabelSpace,
    NegativeLogLikelihood,
    ProbabilityMetrics,
    functional,
)
from segmetrics.probabilities import count
from segmetrics.probabilities.calibration import (
    brier_recipe,
    calibration_error_recipe,
    nll_recipe,
)
from segmetrics.statistics import best_temperature

NORMS = ("l1", "l2", "max")


def drawn(
    task: str = "multiclass", classes: int = 5, seed: int = 0, size: tuple[int, ...] = (3, 40, 41)
) -> tuple[Tensor, Tensor]:
    """Logits of a model that is often right but too confident, and targets with void pixels."""
    generator = torch.Generator().manual_seed(seed)
    images, *space = size
    if task == "binary":
        logits = torch.randn(size, generator=generator) * 3
        chances = (logits / 2).sigmoid()
        target = (torch.rand(size, generator=generator) < chances).long()
    else:
        logits = torch.randn((images, classes, *space), generator=generator) * 3
        chances = (logits / 2).softmax(1).movedim(1, -1).reshape(-1, classes)
        target = chances.multinomial(1, generator=generator).view(size)
    target[0, :2] = 255
    return logits, target


def longhand(
    p: np.ndarray, right: np.ndarray, norm: str, n_bins: int, *, mass: bool = False
) -> float:
    """A calibration error in NumPy: of bins of equal width, or of equally many sorted pixels."""
    if mass:
        bins = np.empty(len(p), int)
        bins[p.argsort(kind="stable")] = np.arange(len(p)) * n_bins // len(p)
    else:
        bins = np.minimum((p.astype(np.float64) * n_bins).astype(int), n_bins - 1)
    held = [bins == b for b in range(n_bins) if (bins == b).any()]
    gaps = np.array([abs(p[b].mean(dtype=np.float64) - right[b].mean()) for b in held])
    shares = np.array([b.mean() for b in held])
    values = {
        "l1": (shares * gaps).sum(),
        "l2": np.sqrt((shares * gaps**2).sum()),
        "max": gaps.max(),
        "average": gaps.mean(),
    }
    return float(values[norm])


# --- Other libraries ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_bins", [10, 15])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_calibration_errors_are_those_of_torchmetrics(task: str, norm: Any, n_bins: int) -> None:
    from torchmetrics.functional.classification import (
        binary_calibration_error,
        multiclass_calibration_error,
    )

    logits, target = drawn(task)
    if task == "binary":
        theirs = binary_calibration_error(logits, target, n_bins, norm, ignore_index=255)
        ours = CalibrationError(
            norm=norm, n_bins=n_bins, from_logits=True, task="binary", ignore_index=255
        )
    else:
        theirs = multiclass_calibration_error(logits, target, 5, n_bins, norm, ignore_index=255)
        ours = CalibrationError(5, norm=norm, n_bins=n_bins, from_logits=True, ignore_index=255)
    ours.update(logits, target)
    torch.testing.assert_close(ours.compute(), theirs, rtol=0, atol=1e-6)


def test_a_confidence_of_1_is_in_the_last_bin_where_torchmetrics_gives_it_its_own() -> None:
    from torchmetrics.functional.classification import binary_calibration_error

    p, target = torch.tensor([[1.0, 1.0, 0.95, 0.95]]), torch.tensor([[1, 1, 0, 0]])
    ours = functional.calibration_error(p, target, task="binary", n_bins=10)
    assert ours == pytest.approx(abs(0.975 - 0.5))
    assert binary_calibration_error(p, target, 10) == pytest.approx(0.95 / 2)


@pytest.mark.parametrize("name", ["ECE", "MCE", "ACE"])
def test_calibration_errors_are_those_of_netcal(name: str) -> None:
    netcal = pytest.importorskip("netcal.metrics")
    logits, target = drawn()
    counted = target != 255
    p = logits.softmax(1).movedim(1, -1)[counted].numpy()
    metrics = ProbabilityMetrics(5, n_bins=10, from_logits=True, ignore_index=255)
    metrics.update(logits, target)
    theirs = getattr(netcal, name)(10).measure(p, target[counted].numpy())
    assert metrics.compute()[name].item() == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(
    ("reduction", "norm"), [("expected", "l1"), ("average", "average"), ("maximum", "max")]
)
def test_calibration_errors_of_channels_are_those_of_monai(reduction: str, norm: str) -> None:
    monai = pytest.importorskip("monai.metrics")
    if not hasattr(monai, "CalibrationErrorMetric"):
        pytest.skip("this MONAI has no calibration error")
    logits, target = drawn(size=(1, 40, 41))
    target = target.where(target != 255, 0)
    p, truth = logits.softmax(1), F.one_hot(target, 5).movedim(-1, 1)
    theirs = monai.CalibrationErrorMetric(
        num_bins=15, calibration_reduction=reduction, metric_reduction="none"
    )(p, truth.float())
    if norm == "average":
        for c in range(5):
            metrics = ProbabilityMetrics(task="binary")
            metrics.update(p[:, c], truth[:, c])
            assert metrics.compute()["ACE"].item() == pytest.approx(theirs[0, c].item(), abs=1e-6)
        return
    ours = functional.calibration_error(
        p,
        target,
        5,
        norm=norm,
        classwise=True,
        average="none",  # type: ignore[arg-type]
    )
    torch.testing.assert_close(ours, theirs[0].float(), rtol=0, atol=1e-6)


def test_brier_scores_and_log_losses_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss, log_loss

    logits, target = drawn("binary")
    counted = target != 255
    p, truth = logits.sigmoid().double()[counted].numpy(), target[counted].numpy()
    brier = functional.brier_score(
        logits, target, task="binary", from_logits=True, ignore_index=255
    )
    loss = functional.negative_log_likelihood(
        logits.sigmoid(), target, task="binary", ignore_index=255
    )
    assert brier.item() == pytest.approx(brier_score_loss(truth, p), abs=1e-6)
    assert loss.item() == pytest.approx(log_loss(truth, p), abs=1e-6)

    logits, target = drawn()
    counted = target != 255
    p = logits.double().softmax(1).movedim(1, -1)[counted].numpy()
    truth = target[counted].numpy()
    loss = functional.negative_log_likelihood(logits, target, 5, from_logits=True, ignore_index=255)
    brier = functional.brier_score(logits.softmax(1), target, 5, ignore_index=255)
    assert loss.item() == pytest.approx(log_loss(truth, p), abs=1e-6)
    expected = ((p - np.eye(5)[truth]) ** 2).sum(1).mean()
    assert brier.item() == pytest.approx(expected, abs=1e-6)


def test_a_loss_is_infinite_where_scikit_learn_clips() -> None:
    from sklearn.metrics import log_loss

    p, target = torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[1, 1, 0]])
    assert functional.negative_log_likelihood(p, target, task="binary") == torch.inf
    assert np.isfinite(log_loss(target[0].numpy(), p[0].double().numpy()))


# --- Longhand -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data(), norm=st.sampled_from(NORMS), n_bins=st.sampled_from([1, 2, 4, 8, 16]))
def test_ties_saturated_denormal_and_equal_probabilities(
    data: st.DataObject, norm: Any, n_bins: int
) -> None:
    """Bins in powers of 2 have edges that NumPy finds by multiplication."""
    tiny = [0.0, -0.0, 1e-45, 1e-38, 2.0**-25, 0.25, 0.5, 0.75, 1 - 2.0**-24, 1.0]
    values = st.one_of(st.sampled_from(tiny), st.floats(0, 1, width=32))
    p = np.array(data.draw(st.lists(values, min_size=1, max_size=40)), np.float32)
    if data.draw(st.booleans()):
        p[:] = p[0]
    target = np.array(data.draw(st.lists(st.booleans(), min_size=len(p), max_size=len(p))))
    ours = functional.calibration_error(
        torch.from_numpy(p)[None],
        torch.from_numpy(target)[None],
        task="binary",
        norm=norm,
        n_bins=n_bins,
    )
    assert ours.item() == pytest.approx(longhand(p, target, norm, n_bins), abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_bins", [1, 5, 15])
def test_bins_of_equal_mass_are_those_of_sorted_pixels(norm: Any, n_bins: int) -> None:
    """Up to the width of a cell, which bins are cut at."""
    logits, target = drawn(size=(8, 60, 61))
    ours = functional.calibration_error(
        logits,
        target,
        5,
        norm=norm,
        n_bins=n_bins,
        binning="mass",
        from_logits=True,
        ignore_index=255,
    )
    counted = target != 255
    best = logits.softmax(1).max(1)
    right = (best.indices == target)[counted].numpy()
    expected = longhand(best.values[counted].numpy(), right, norm, n_bins, mass=True)
    assert ours.item() == pytest.approx(expected, abs=2e-3 if norm != "max" else 1e-2)


def test_bins_of_equal_mass_are_cut_after_the_cell_that_fills_them() -> None:
    p = torch.tensor([[0.1] * 3 + [0.2] + [0.4] * 5 + [0.9]])
    metric = CalibrationError(task="binary", n_bins=5, binning="mass")
    metric.update(p, torch.zeros(1, 10).long())
    # 2, 4, 6, 8 of 10 are reached after 3, 4 and 9 pixels
    assert metric.bins().pixels.tolist() == [3, 1, 5, 0, 1]
    held = metric.bins().pixels > 0
    torch.testing.assert_close(
        metric.bins().confidence[held], torch.tensor([0.1, 0.2, 0.4, 0.9]).double()
    )


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "none"])
@pytest.mark.parametrize("ignored", [255, 2])
def test_classwise_holds_the_probability_of_every_class_against_its_share(
    average: Any, ignored: int
) -> None:
    logits, target = drawn()
    target = target.where(target != 255, ignored)
    ours = functional.calibration_error(
        logits,
        target,
        5,
        classwise=True,
        average=average,
        n_bins=8,
        from_logits=True,
        ignore_index=ignored,
    )
    counted = target != ignored
    p = logits.softmax(1).movedim(1, -1)[counted].numpy()
    truth = target[counted].numpy()
    kept = [c for c in range(5) if c != ignored]
    values = [longhand(p[:, c], truth == c, "l1", 8) for c in range(5)]
    weights = [(truth == c).sum() for c in kept]
    pooled = longhand(
        np.concatenate([p[:, c] for c in kept]),
        np.concatenate([truth == c for c in kept]),
        "l1",
        8,
    )
    expected: Any = {
        "macro": np.mean([values[c] for c in kept]),
        "weighted": np.average([values[c] for c in kept], weights=weights),
        "micro": pooled,
        "none": [v if c in kept else np.nan for c, v in enumerate(values)],
    }[average]
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("score", ["calibration_error", "brier_score", "negative_log_likelihood"])
def test_multilabel_scores_every_channel_as_binary(score: str) -> None:
    function: Any = getattr(functional, score)
    logits, _ = drawn()
    target = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) < 0.4).long()
    target[:, 1, :7] = 255
    arguments: dict[str, Any] = {"from_logits": True, "ignore_index": 255}
    each = torch.stack(
        [function(logits[:, c], target[:, c], task="binary", **arguments) for c in range(5)]
    )
    arguments["task"] = "multilabel"
    none, macro = (function(logits, target, 5, average=a, **arguments) for a in ("none", "macro"))
    torch.testing.assert_close(none, each, rtol=0, atol=0)
    torch.testing.assert_close(macro, each.mean())
    pooled = function(logits, target, 5, average="micro", **arguments)
    flat = function(logits, target, task="binary", from_logits=True, ignore_index=255)
    torch.testing.assert_close(pooled, flat, rtol=0, atol=0)


@pytest.mark.parametrize("average", ["macro", "weighted", "none", "micro"])
def test_a_stack_of_counts_has_the_scores_of_each(average: Any) -> None:
    logits, target = drawn()
    masks = F.one_hot(target.where(target != 255, 0), 5).movedim(-1, 1)
    masks[target.unsqueeze(1).expand_as(masks) == 255] = 255
    arguments: Any = {"task": "multilabel", "average": average, "from_logits": True}
    for make, more in (
        (calibration_error_recipe, {}),
        (calibration_error_recipe, {"norm": "max", "binning": "mass"}),
        (brier_recipe, {}),
        (nll_recipe, {}),
        (nll_recipe, {"temperatures": [0.5, 1, 2]}),
    ):
        recipe = make(5, ignore_index=255, **arguments, **more)
        counts = count(logits, masks, replace(recipe.reading, per_image=True))
        expected = torch.stack([recipe.of(row) for row in counts])
        torch.testing.assert_close(recipe.of(counts), expected)


def test_resized_logits_are_those_of_interpolate() -> None:
    logits, _ = drawn(size=(2, 13, 9))
    generator = torch.Generator().manual_seed(5)
    target = torch.randint(5, (2, 50, 41), generator=generator)
    resized = F.interpolate(logits, (50, 41), mode="bilinear")
    ours = CalibrationError(5, from_logits=True, upsample="bilinear")(logits, target)
    expected = CalibrationError(5, from_logits=True)(resized, target)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_a_label_space_says_what_targets_mean() -> None:
    space = LabelSpace(["road", "car"], ignore_index=0, id_to_class={7: 0, 26: 1})
    logits = torch.randn((1, 2, 6, 6), generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([0, 7, 26])[torch.arange(36).view(1, 6, 6) % 3]
    classes = torch.tensor([255, 0, 1])[torch.arange(36).view(1, 6, 6) % 3]
    ours = NegativeLogLikelihood(space, from_logits=True)(logits, ids)
    torch.testing.assert_close(ours, F.cross_entropy(logits, classes, ignore_index=255))


def test_nothing_counted_is_nan() -> None:
    void = torch.full((1, 4, 4), 255)
    metrics = ProbabilityMetrics(3, from_logits=True, ignore_index=255)
    metrics.update(torch.zeros(1, 3, 4, 4), void)
    assert all(value.isnan() for value in metrics.compute().values())
    for norm in NORMS:
        error = CalibrationError(3, norm=norm, from_logits=True, ignore_index=255)  # type: ignore[arg-type]
        assert error(torch.zeros(1, 3, 4, 4), void).isnan()


# --- Temperature ----------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 5, 21])
@pytest.mark.parametrize("scale", [0.8, 1.5, 3.0])
def test_the_best_temperature_is_that_of_a_minimisation_over_kept_logits(
    classes: int, scale: float
) -> None:
    logits, target = drawn(classes=classes)
    logits = logits / 2 * scale  # whose best temperature is about the scale
    exact = minimize_scalar(
        lambda t: F.cross_entropy(logits.double() / t, target, ignore_index=255).item(),
        bounds=(0.2, 10),
        method="bounded",
    ).x
    grid = [0.4 * 1.2**i for i in range(16)]
    losses = NegativeLogLikelihood(classes, from_logits=True, temperatures=grid, ignore_index=255)
    for i in range(len(logits)):
        losses.update(logits[i : i + 1], target[i : i + 1])
    assert best_temperature(losses) == pytest.approx(exact, rel=0.01)


def test_a_temperature_that_cannot_be_found_is_told() -> None:
    logits, target = drawn()
    few = NegativeLogLikelihood(5, from_logits=True, ignore_index=255)
    few.update(logits, target)
    with pytest.raises(ValueError, match="at least three temperatures, got 1"):
        best_temperature(few)
    low = NegativeLogLikelihood(5, from_logits=True, temperatures=[0.1, 0.2, 0.3], ignore_index=255)
    low.update(logits, target)
    with pytest.raises(ValueError, match=r"at the highest temperature, 0.3. Pass `temperatures`"):
        best_temperature(low)
    with pytest.warns(UserWarning, match="before"), pytest.raises(ValueError, match="finite"):
        best_temperature(NegativeLogLikelihood(5, from_logits=True, temperatures=[1, 2, 3]))


# --- The metrics ----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_all_scores_are_those_of_their_metrics(task: Any) -> None:
    from segmetrics import AUROC, AveragePrecision, BestThreshold, FPRAtRecall

    logits, target = drawn("binary" if task == "binary" else "multiclass")
    arguments: dict[str, Any] = {"task": task, "from_logits": True, "ignore_index": 255}
    if task == "multilabel":
        target = F.one_hot(target.where(target != 255, 0), 5).movedim(-1, 1)
    if task != "binary":
        arguments["num_classes"] = 5
    metrics = ProbabilityMetrics(**arguments)
    metrics.update(logits, target)
    values = metrics.compute()
    others: dict[str, Any] = {
        "ECE": CalibrationError(**arguments),
        "MCE": CalibrationError(norm="max", **arguments),
        "brier": BrierScore(**arguments),
        "NLL": NegativeLogLikelihood(**arguments),
    }
    if task != "multiclass":
        others |= {
            "AUROC": AUROC(**arguments),
            "AP": AveragePrecision(**arguments),
            "FPR95": FPRAtRecall(**arguments),
        }
    for key, other in others.items():
        torch.testing.assert_close(values[key], other(logits, target), rtol=0, atol=0)
    if task == "binary":
        best = BestThreshold(**arguments)
        best.update(logits, target)
        from segmetrics import DiceScore

        threshold = float(functional.best_threshold(logits, target, **arguments)[1])
        dice = DiceScore(threshold=threshold, **arguments)(logits, target)
        assert values["best_threshold"].item() == threshold
        assert values["best_dice"].item() == pytest.approx(dice.item())
    if task == "multilabel":
        pooled = ProbabilityMetrics(task="binary", from_logits=True, ignore_index=255)
        pooled.update(logits, target)
        assert values["best_dice"] == pooled.compute()["best_dice"]
        assert values["best_threshold"] == pooled.compute()["best_threshold"]


def test_metrics_of_equal_settings_share_one_update_and_others_never() -> None:
    logits, target = drawn()
    shared: dict[str, Any] = {"from_logits": True, "ignore_index": 255}
    collection = MetricCollection(
        {
            "ECE": CalibrationError(5, **shared),
            "MCE": CalibrationError(5, norm="max", **shared),
            "brier": BrierScore(5, **shared),
            "NLL": NegativeLogLikelihood(5, **shared),
            "ten": CalibrationError(5, n_bins=10, **shared),
            "mass": CalibrationError(5, binning="mass", **shared),
            "classwise": CalibrationError(5, classwise=True, **shared),
            "unshared": CalibrationError(5, from_logits=True, ignore_index=[255, 3]),
        }
    )
    collection.update(logits, target)
    groups = sorted(sorted(group) for group in collection.compute_groups.values())
    assert groups == [
        ["ECE", "MCE", "NLL", "brier"],
        ["classwise"],
        ["mass"],
        ["ten"],
        ["unshared"],
    ]
    alone = NegativeLogLikelihood(5, **shared)(logits, target)
    assert collection.compute()["NLL"] == alone


def test_bins_of_one_pixel_count_as_much_as_others() -> None:
    p, target = torch.tensor([[0.1, 0.6, 0.9, 0.9]]), torch.tensor([[0, 1, 1, 1]])
    metrics = ProbabilityMetrics(task="binary", n_bins=10)
    found = metrics(p, target)["ACE"].item()
    assert found == pytest.approx((0.1 + 0.4 + 0.1) / 3)


def test_bins_say_what_the_diagram_draws() -> None:
    logits, target = drawn()
    error = CalibrationError(5, n_bins=4, from_logits=True, ignore_index=255)
    error.update(logits, target)
    pixels, confidence, accuracy = error.bins()
    best = logits.softmax(1).max(1)
    counted = target != 255
    for i in range(4):
        inside = counted & (best.values >= i / 4) & (best.values < (i + 1) / 4)
        assert pixels[i] == inside.sum()
        if inside.any():
            torch.testing.assert_close(confidence[i], best.values[inside].double().mean())
            torch.testing.assert_close(
                accuracy[i], (best.indices == target)[inside].double().mean()
            )
        else:
            assert confidence[i].isnan()


def test_the_reliability_diagram_shows_the_bins() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    logits, target = drawn()
    error = CalibrationError(5, n_bins=10, from_logits=True, ignore_index=255)
    error.update(logits, target)
    _, axes = error.plot()
    assert axes.get_title(loc="left") == f"ECE {error.compute():.4f}"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("confidence", "accuracy")
    held = error.bins().pixels > 0
    line = axes.get_lines()[-1]
    np.testing.assert_allclose(line.get_xdata(), error.bins().confidence[held])
    np.testing.assert_allclose(line.get_ydata(), error.bins().accuracy[held])
    classwise = CalibrationError(
        5, classwise=True, from_logits=True, ignore_index=255, class_names=list("abcde")
    )
    classwise.update(logits, target)
    _, axes = classwise.plot()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list("abcde")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("probability", "share of the class")
    held = classwise.bins().pixels > 0
    drawn_bins = {line.get_label(): line.get_xdata() for line in axes.get_lines()}
    for name, where, confidence in zip("abcde", held, classwise.bins().confidence, strict=True):
        np.testing.assert_allclose(drawn_bins[name], confidence[where])
    metrics = ProbabilityMetrics(5, n_bins=10, from_logits=True, ignore_index=255, prefix="val/")
    metrics.update(logits, target)
    _, axes = metrics.plot()
    assert axes.get_title(loc="left").startswith("ECE 0.")
    pyplot.close("all")


@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_dice_over_the_threshold_is_known_for_one_foreground(task: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    scores, target = torch.rand(2, 2, 9, 9, generator=generator), torch.rand(2, 9, 9) > 0.5
    binary = task == "binary"
    metric = ProbabilityMetrics(None if binary else 2, task=task, from_logits=not binary)
    metric.update(scores[:, 0] if binary else scores, target)
    if not binary:
        assert metric._over_thresholds() is None
        return
    found = metric._over_thresholds()
    assert found is not None
    dice, threshold = found
    expected = metric.compute()
    assert dice.max() == pytest.approx(expected["best_dice"].item())
    best = dice == dice.max()
    assert expected["best_threshold"].item() in threshold[best].tolist()


def test_scalars_of_several_temperatures_are_named_by_class_and_temperature() -> None:
    metric = NegativeLogLikelihood(
        2, task="multilabel", average="none", temperatures=[0.5, 2], from_logits=True
    )
    found = metric(torch.randn(1, 2, 9), torch.randint(2, (1, 2, 9)))
    scalars = metric.compute_scalars()
    assert list(scalars) == ["0/0.5", "0/2", "1/0.5", "1/2"]
    assert list(scalars.values()) == pytest.approx(found.flatten().tolist())


def test_bins_of_a_single_pixel_are_drawn_and_empty_ones_are_not() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    error = CalibrationError(2, task="multilabel", n_bins=4)
    error.update(torch.tensor([[[0.1, 0.6], [0.1, 0.9]]]), torch.tensor([[[0, 1], [0, 0]]]))
    _, axes = error.plot()
    points = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    pyplot.close("all")
    assert points["0"] == [pytest.approx([0.1, 0]), pytest.approx([0.6, 1])]
    assert points["1"] == [pytest.approx([0.1, 0]), pytest.approx([0.9, 0])]


# --- Bad input ------------------------------------------------------------------------------------


def bad_inputs() -> dict[str, tuple[Any, dict[str, Any], type[Exception], str]]:
    """What is given instead of good probabilities, and what is said."""
    logits, target = drawn()
    p = logits.softmax(1)
    void = p.clone()
    void[0, :, :2] = torch.nan  # where nothing is counted
    nan = p.clone()
    nan[1, 2, 5, 5] = torch.nan
    infinite = logits.clone()
    infinite[1, 2, 5, 5] = torch.inf
    return {
        "logits": (logits, {}, ValueError, r"outside \[0, 1\].*pass `from_logits=True`"),
        "sigmoids": (logits.sigmoid(), {}, ValueError, "not sum to 1.*task='multilabel'"),
        "labels": (target, {}, TypeError, "must hold scores.*int64.*no probabilities"),
        "8 bits": (p.mul(255).byte(), {}, TypeError, "uint8.*8 bits.*`preds / 255`"),
        "rounded": (p.clamp(max=0.5).add(0.500001), {}, ValueError, r"`preds.clamp\(0, 1\)`"),
        "masks": (p > 0.5, {}, TypeError, "must hold scores.*torch.bool"),
        "nan": (nan, {}, ValueError, "^1 counted pixels of `preds` have a NaN"),
        "infinite": (infinite, {"from_logits": True}, ValueError, "^1 counted.*infinite"),
        "void": (p, {"ignore_index": None}, ValueError, "82 pixels of `target` are 255"),
    }


@pytest.mark.parametrize("case", bad_inputs())
@pytest.mark.parametrize("call", ["update", "forward"])
def test_bad_input_raises_with_the_fix_and_changes_nothing(case: str, call: str) -> None:
    preds, arguments, error, message = bad_inputs()[case]
    logits, target = drawn()
    metric = CalibrationError(5, **{"ignore_index": 255} | arguments)
    good = (logits if arguments.get("from_logits") else logits.softmax(1)), target
    if case != "void":
        metric.update(*good)
    before = [state.clone() for state in metric._states]
    with pytest.raises(error, match=message):
        getattr(metric, call)(preds, target)
    assert all(torch.equal(*pair) for pair in zip(before, metric._states, strict=True))
    assert metric._update_count == (case != "void")


def test_what_nothing_is_counted_of_may_be_anything() -> None:
    logits, target = drawn()
    p = logits.softmax(1)
    odd = p.clone()
    odd[0, :, :2] = torch.nan
    metric = CalibrationError(5, ignore_index=255)
    assert metric(odd, target) == metric(p, target)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CalibrationError(3, norm="l3"), "`norm` must be one of 'l1', 'l2', 'max'"),
        (lambda: CalibrationError(3, n_bins=0), "`n_bins` must be at least 1, got 0"),
        (lambda: CalibrationError(3, binning="x"), "`binning` must be one of 'width', 'mass'"),
        (lambda: CalibrationError(task="binary", classwise=True), "`classwise=True` means nothing"),
        (lambda: CalibrationError(3, average="none"), "means nothing without `classwise=True`"),
        (lambda: BrierScore(3, average="micro"), "means nothing without task='multilabel'"),
        (lambda: NegativeLogLikelihood(3, temperatures=[1, 2]), "pass the model's logits"),
        *(
            (
                lambda t=t: NegativeLogLikelihood(3, from_logits=True, temperatures=t),
                "`temperatures` must be positive and finite",
            )
            for t in ([0, 2], [-1], [1, float("inf")], [])
        ),
        (
            lambda: CalibrationError(2, classwise=True, ignore_index=[0, 1]),
            "no class is left to score",
        ),
    ],
)
def test_arguments_that_mean_nothing_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_one_temperature_is_a_sequence_of_one() -> None:
    logits, target = drawn()
    arguments: Any = {"from_logits": True, "ignore_index": 255}
    found = NegativeLogLikelihood(5, temperatures=[2], **arguments)(logits, target)
    assert found == NegativeLogLikelihood(5, **arguments)(logits / 2, target)
    with pytest.raises(TypeError, match="`temperatures` must be a sequence of numbers, got 2"):
        NegativeLogLikelihood(3, from_logits=True, temperatures=2)  # type: ignore[arg-type]  # what is refused


def test_sums_that_may_have_overflowed_raise() -> None:
    metric = CalibrationError(2)
    metric.update(torch.tensor([[[0.5], [0.5]]]), torch.tensor([[0]]))
    metric._assign([state * (2**38 + 1) for state in metric._states])
    with pytest.raises(ValueError, match="may have overflowed"):
        metric.compute()
