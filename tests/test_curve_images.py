"""Curves of single images: pooled as sklearn pools pixels, resampled as images."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection

from segmetrics import AURC, AUROC, BestThreshold, CurveImageScores, ProbabilityMetrics
from segmetrics.statistics import CurveCounts, Sums, compare, confidence_interval, slices

N = 12


def drawn(seed: int, better: float = 0.0) -> tuple[Tensor, Tensor]:
    """Images that differ in how easy they are; the last has no positive."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(2, (N, 9, 13), generator=generator)
    target[-1] = 0
    ease = torch.linspace(0.5, 3, N).view(-1, 1, 1) + better
    shift = 2 * torch.rand((N, 1, 1), generator=generator) - 1
    logits = torch.randn(target.shape, generator=generator) + ease * (target - 0.5) + shift
    return logits.sigmoid(), target


def ids() -> list[str]:
    return [f"{i}.png" for i in range(N)]


def test_curves_over_other_targets_are_not_compared() -> None:
    scores, target = drawn(0)
    one, other = CurveImageScores(task="binary"), CurveImageScores(task="binary")
    one.update(scores, target)
    other.update(scores, target.index_fill(0, torch.tensor([3, 4]), 1))
    with pytest.raises(ValueError, match="saw different targets in 2 images, image 3 the first"):
        compare(one, other, "AP")


def test_a_table_alone_is_of_probabilities() -> None:
    images = CurveImageScores(task="binary")
    images.update(*drawn(0))
    counts = images.image_counts()
    assert CurveCounts(counts.tables).best_threshold().equal(counts.best_threshold())


def test_scores_over_all_images_are_those_of_their_pixels() -> None:
    scores, target = drawn(0)
    images = CurveImageScores(task="binary")
    images.update(scores, target, ids())
    found = {key: value.item() for key, value in images.compute().items()}
    assert list(found) == list(images.keys())
    y, p = target.flatten().numpy(), scores.flatten().numpy()
    assert found["AUROC"] == pytest.approx(roc_auc_score(y, p), abs=2e-3)
    assert found["AP"] == pytest.approx(average_precision_score(y, p), abs=5e-3)
    exactly = BestThreshold(task="binary", cells=512)(scores, target)
    assert found["best_dice"] == exactly["best_dice"].item()
    assert found["best_threshold"] == exactly["best_threshold"].item()


def test_thresholds_of_fp16_scores_lie_between_fp16_scores() -> None:
    scores, target = drawn(0)
    images = CurveImageScores(task="binary")
    found = images(scores.half(), target)
    expected = BestThreshold(task="binary", cells=512)(scores.half(), target)
    assert found["best_dice"] == expected["best_dice"]
    assert found["best_threshold"] == expected["best_threshold"]


def test_ois_pools_the_counts_at_the_best_threshold_of_each_image() -> None:
    scores, target = drawn(1)
    images = CurveImageScores(task="binary")
    images.update(scores, target)
    counts = images.image_counts()
    cut = counts._cut[~counts._cut.isnan()].numpy()
    of_all = images.compute()["best_threshold"].item()
    sums = np.zeros(3)
    for p, y in zip(scores.numpy(), target.bool().numpy(), strict=True):
        tried = [2 * (p[y] > t).sum() / max(1, (p > t).sum() + y.sum()) for t in cut]
        t = cut[int(np.argmax(tried))] if y.any() else of_all
        sums += [(p[y] > t).sum(), (p[~y] > t).sum(), (p[y] <= t).sum()]
    expected = 2 * sums[0] / (2 * sums[0] + sums[1] + sums[2])
    assert images.compute()["OIS"].item() == pytest.approx(expected, abs=1e-6)
    assert images.compute()["OIS"] > images.compute()["best_dice"]


@pytest.mark.parametrize("given", [None, ids()])
def test_a_table_has_the_ids_of_the_images_or_their_numbers(given: list[str] | None) -> None:
    images = CurveImageScores(task="binary")
    images.update(*drawn(0), given)
    assert sorted(images.image_counts().columns()["image"]) == sorted(given or range(N))


def test_ois_is_a_function_of_sums_of_any_number_of_resamples() -> None:
    images = CurveImageScores(task="binary")
    images.update(*drawn(0))
    ois = images.image_counts().statistic("OIS")
    assert isinstance(ois, Sums)
    sums = ois.parts[:6]
    assert torch.equal(ois.score(sums.view(2, 3, -1)).flatten(), ois.score(sums))
    assert ois.score(sums[0]) == ois.score(sums)[0]


def test_an_image_alone_has_its_own_scores_and_the_worst_are_named() -> None:
    scores, target = drawn(2)
    images = CurveImageScores(task="binary")
    images.update(scores, target, ids())
    counts = images.image_counts()
    values = dict(zip(counts.ids or (), counts.values("AUROC").tolist(), strict=True))
    for i in range(N - 1):
        expected = roc_auc_score(target[i].flatten(), scores[i].flatten())
        assert values[f"{i}.png"] == pytest.approx(expected, abs=5e-3)
    assert np.isnan(values[f"{N - 1}.png"])
    worst = images.worst(2, "AUROC")
    assert [name for name, _ in worst] == sorted(values, key=values.get)[:2]  # type: ignore[arg-type]


@pytest.mark.parametrize("score", ["AUROC", "AP", "FPR95", "best_dice", "OIS", "best_threshold"])
def test_a_resample_is_scored_as_the_data_set_of_its_images(score: str) -> None:
    scores, target = drawn(3)
    images = CurveImageScores(task="binary")
    images.update(scores, target, ids())
    counts = images.image_counts()
    weights = torch.tensor(np.random.default_rng(0).multinomial(N, np.ones(N) / N, 3)).double()
    found = counts.statistic(score)(weights)
    order = [int(name.split(".")[0]) for name in counts.ids or ()]
    if score == "OIS":  # an image keeps its threshold, one without a positive that of all
        t = counts.values("best_threshold")
        t = t.where(~t.isnan(), counts.best_threshold()).view(-1, 1, 1)
        above, y = scores[order].double() > t, target[order].bool()
        parts = torch.stack([above & y, above, y]).sum((2, 3)).double()
        hits, predicted, positive = parts @ weights.T
        torch.testing.assert_close(found, 2 * hits / (predicted + positive), rtol=0, atol=1e-9)
        return
    for row, value in zip(weights, found, strict=True):
        drawn_images = [i for i, w in zip(order, row.tolist(), strict=True) for _ in range(int(w))]
        again = CurveImageScores(task="binary")(scores[drawn_images], target[drawn_images])
        assert value.item() == pytest.approx(again[score].item(), abs=1e-6)


def test_intervals_and_comparisons_resample_images() -> None:
    models = []
    for better in (0.0, 1.0):
        images = CurveImageScores(task="binary")
        images.update(*drawn(4, better), ids())
        models.append(images)
    interval = confidence_interval(models[0], "AUROC", n_resamples=300)
    assert interval.low < interval.estimate < interval.high
    assert interval.estimate == pytest.approx(AUROC(task="binary")(*drawn(4)).item(), abs=2e-3)
    at = confidence_interval(models[0], "best_threshold", n_resamples=300)
    assert 0 < at.low <= at.estimate <= at.high < 1
    compared = compare(models[1], models[0], "AP", n_resamples=300)
    assert compared.difference > 0
    assert compared.p_sign_flip < 0.05
    groups = {name: "even" if int(name.split(".")[0]) % 2 else "odd" for name in ids()}
    assert set(slices(models[0], groups, score="AUROC").columns()["group"]) == {"even", "odd"}


def test_several_classes_have_means_and_keys_of_their_own() -> None:
    generator = torch.Generator().manual_seed(5)
    target = torch.randint(3, (4, 8, 8), generator=generator)
    logits = torch.randn((4, 3, 8, 8), generator=generator)
    logits += torch.nn.functional.one_hot(target, 3).movedim(-1, 1)
    images = CurveImageScores(3, from_logits=True, ignore_index=0, class_names=["a", "b", "c"])
    found = images(logits, target)
    assert "AUROC/a" not in found
    mean = (found["AUROC/b"] + found["AUROC/c"]) / 2
    assert found["AUROC"].item() == pytest.approx(mean.item(), abs=1e-6)
    kept = (target != 0).flatten()
    expected = roc_auc_score((target.flatten() == 1)[kept], logits.softmax(1)[:, 1].flatten()[kept])
    assert found["AUROC/b"].item() == pytest.approx(expected, abs=3e-3)


def test_one_id_with_two_tables_is_refused() -> None:
    scores, target = drawn(6)
    images = CurveImageScores(task="binary")
    images.update(scores[:2], target[:2], ["a", "b"])
    images.update(scores[:1], target[:1], ["a"])
    assert len(images.image_counts()) == 2
    images.update(scores[2:3], target[2:3], ["a"])
    with pytest.raises(ValueError, match="`image_ids` have two different counts, 'a'"):
        images.compute()


def test_lightning_logs_every_key_of_one_foreground() -> None:
    lightning = pytest.importorskip("pytorch_lightning")
    scores, target = drawn(7)
    arguments: Any = {"task": "binary"}
    keyed = {
        "of_all": ProbabilityMetrics(**arguments),
        "best": BestThreshold(**arguments, prefix="at_"),
        "of_images": CurveImageScores(**arguments, prefix="images_"),
    }
    plain = MetricCollection(
        {"aurc": AURC(**arguments), "right": AUROC(positive="right", **arguments)}
    )

    class Model(lightning.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.keyed, self.plain = nn.ModuleDict(deepcopy(keyed)), deepcopy(plain)

        def validation_step(self, batch: list[Tensor], _: int) -> None:
            for metric in (*self.keyed.values(), self.plain):
                metric.update(*batch)
            self.log_dict(self.plain)

        def on_validation_epoch_end(self) -> None:
            for metric in self.keyed.values():
                self.log_dict(metric)

    batches = DataLoader(TensorDataset(scores, target), batch_size=5)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few workers
        (logged,) = trainer.validate(Model(), batches, verbose=False)
    expected: dict[str, Tensor] = dict(plain(scores, target))
    for metric in keyed.values():
        expected |= metric(scores, target)
    assert logged == {key: pytest.approx(value.item(), abs=1e-6) for key, value in expected.items()}
