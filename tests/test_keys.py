"""Metrics with keys read like a mapping, and values go to JSON as they are."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from segmetrics import (
    AverageSurfaceDistance,
    BoundaryIoU,
    ConfusionMatrix,
    ImageScores,
    LabelSpace,
    MeanIoU,
    PixelAccuracy,
    SegmentationMetrics,
    SurfaceDice,
    SurfaceMetrics,
)

generator = torch.Generator().manual_seed(0)
TARGET = torch.randint(3, (2, 8, 8), generator=generator)
PREDS = torch.randint(3, (2, 8, 8), generator=generator)
NAMES = ["sky", "road", "car"]
KEYED: list[Callable[..., Any]] = [
    lambda **kw: SegmentationMetrics(3, **kw),
    lambda **kw: SurfaceMetrics(3, tolerance=1.0, **kw),
    lambda **kw: ImageScores(3, **kw),
]


# --- a mapping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", KEYED)
def test_keys_values_and_items_are_those_of_compute(make: Callable[..., Any]) -> None:
    metric = make(prefix="val/")
    metric.update(PREDS, TARGET)
    computed = metric.compute()
    assert list(metric.keys()) == list(metric) == list(computed)
    assert len(metric) == len(metric.values()) == len(computed)
    for key, view in metric.items():
        assert view.compute() is computed[key]
        assert metric[key] is view
        assert key in metric
    assert dict(metric) == dict(metric.items())
    assert "nonsense" not in metric


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="Did you mean 'val/mIoU'"):
        SegmentationMetrics(3, prefix="val/")["mIoU"]
    with pytest.raises(KeyError, match=r"'\?' is not a key\. The keys: mIoU, "):
        SegmentationMetrics(3)["?"]


def test_one_key_takes_part_in_arithmetic() -> None:
    metric = SegmentationMetrics(3)
    error = 1 - metric["mIoU"]
    metric.update(PREDS, TARGET)
    assert error.compute() == 1 - metric.compute()["mIoU"]


def test_a_metric_with_keys_stays_a_metric() -> None:
    """Equality, truth and collections are as for every metric of torchmetrics."""
    metric = SegmentationMetrics(3)
    assert bool(metric)
    assert isinstance(metric == 1, Metric)
    together = MetricCollection([metric])
    together.update(PREDS, TARGET)
    assert list(together.compute()) == list(metric)


@pytest.mark.parametrize("make", KEYED)
def test_a_clone_has_a_prefix_and_counts_of_its_own(make: Callable[..., Any]) -> None:
    metric = make(prefix="val/")
    metric.update(PREDS, TARGET)
    expected = metric.compute()
    copy = metric.clone(prefix="test/")
    assert list(copy) == [key.replace("val/", "test/") for key in metric]
    torch.testing.assert_close(
        list(copy.compute().values()), list(expected.values()), rtol=0, atol=0, equal_nan=True
    )
    copy["test/" + next(iter(metric)).removeprefix("val/")].reset()
    assert (copy.update_count, metric.update_count) == (0, 1)
    assert metric.clone().prefix == "val/"
    assert deepcopy(copy).keys() == copy.keys()
    with pytest.raises(TypeError, match="`prefix` must be a string"):
        metric.clone(prefix=1)


def test_repr_shows_prefix_and_per_class() -> None:
    metric = SurfaceMetrics(3, tolerance=1.0, prefix="val/", per_class=False)
    assert "per_class=False, prefix='val/'" in repr(metric)
    assert repr(metric["val/hausdorff"]) == "ScoreView('val/hausdorff' of SurfaceMetrics)"


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [*KEYED, lambda **kw: MeanIoU(3, **kw)])
def test_arguments_can_be_read_but_not_assigned(make: Callable[..., Any]) -> None:
    metric = make(ignore_index=[255, 7])
    assert (metric.num_classes, metric.ignore_index) == (3, (7, 255))
    assert metric.task == "multiclass"
    for name in ("num_classes", "ignore_index", "task", "include_background", "upsample"):
        with pytest.raises(AttributeError, match=f"`{name}` is fixed .* Make another"):
            setattr(metric, name, None)
    assert metric.ignore_index == (7, 255)


def test_arguments_of_a_label_space_are_read_as_they_act() -> None:
    metric = MeanIoU(LabelSpace(NAMES, ignore_index=255), ignore_index=7, average="micro")
    assert (metric.num_classes, metric.ignore_index, metric.average) == (3, (7, 255), "micro")
    assert not hasattr(ConfusionMatrix(3), "average")


# --- floats for JSON ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", KEYED)
def test_scalars_of_keys_are_floats_and_nan_is_none(make: Callable[..., Any]) -> None:
    metric = make()
    metric.update(PREDS.clamp(max=1), TARGET.clamp(max=1))  # the last class is nowhere
    scalars = json.loads(json.dumps(metric.compute_scalars()))
    computed = metric.compute()
    assert list(scalars) == list(computed)
    assert any(value.isnan() for value in computed.values()) or isinstance(metric, ImageScores)
    for key, value in computed.items():
        assert scalars[key] == (None if value.isnan() else value.item())


@pytest.mark.parametrize(
    ("metric", "keys"),
    [
        (MeanIoU(3), ["MeanIoU"]),
        (PixelAccuracy(3), ["PixelAccuracy"]),
        (MeanIoU(3, average="none"), ["0", "1", "2"]),
        (MeanIoU(3, average="none", class_names=NAMES, ignore_index=1), ["sky", "car"]),
        (MeanIoU(3, average="none", class_names=NAMES, include_background=False), NAMES[1:]),
        (BoundaryIoU(3, average="none", class_names=NAMES), NAMES),
        (SurfaceDice(3, tolerance=1.0, average="none", class_names=NAMES), NAMES),
        (
            SurfaceDice(3, tolerance=1.0, average="none", class_names=NAMES, ignore_index=0),
            NAMES[1:],
        ),
        (AverageSurfaceDistance(3, average="none", include_background=False), ["1", "2"]),
        (ConfusionMatrix(3, class_names=NAMES), [f"{t}/{p}" for t in NAMES for p in NAMES]),
    ],
    ids=repr,
)
def test_scalars_of_other_values_have_names(metric: Any, keys: list[str]) -> None:
    metric.update(PREDS, TARGET)
    scalars = metric.compute_scalars()
    assert list(scalars) == keys
    value: Tensor = metric.compute().flatten()
    assert list(scalars.values()) == pytest.approx(value[~value.isnan()].tolist())


def test_scalars_of_a_matrix_of_channels_name_channel_target_and_prediction() -> None:
    masks = torch.ones(1, 2, 4, dtype=torch.int64)
    metric = ConfusionMatrix(2, task="multilabel", class_names=["a", "b"])
    metric.update(masks, masks)
    scalars = metric.compute_scalars()
    assert [key for key, count in scalars.items() if count] == ["a/1/1", "b/1/1"]
    assert all(isinstance(count, float) for count in scalars.values())


def test_any_view_resets_what_was_counted_or_computed() -> None:
    metric = SegmentationMetrics(3)
    metric.update(PREDS, TARGET)
    metric["mIoU"].reset()
    assert not metric.update_called
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        metric.compute()
    metric["mDice"].reset()
    assert metric._computed is None


# --- logging --------------------------------------------------------------------------------------


def test_asking_for_the_views_in_every_step_is_warned_of_once_with_its_price() -> None:
    metric = SegmentationMetrics(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):  # epochs of different length, logged at their ends
            for _ in range(3):
                metric.update(PREDS, TARGET)
            dict(metric.items()), list(metric), metric.keys(), metric["mIoU"]
            metric.reset()
        metric.update(PREDS, TARGET)
        metric.items()
    metric.update(PREDS, TARGET)

    def log_dict() -> None:
        dict(metric.items())

    with pytest.warns(
        UserWarning, match="11 keys .* 1.8 ms .* `on_validation_epoch_end`"
    ) as caught:
        log_dict()
    line = log_dict.__code__.co_firstlineno
    assert [each.lineno > line + 2 for each in caught] == [True]  # of the line that logs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(PREDS, TARGET)
        log_dict()


MODULE = """
import pytorch_lightning as pl
import torch
from segmetrics import ImageScores, SegmentationMetrics, SurfaceMetrics


class Segmenter(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.seg = SegmentationMetrics(21, prefix="val/", sync_on_compute=True)
        self.surfaces = SurfaceMetrics(21, tolerance=1.0)
        self.images = ImageScores(21)

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.seg.update(*batch)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.seg)
        self.log_dict(self.surfaces)
        self.log_dict(self.images)
        self.log("mIoU", self.seg["val/mIoU"])
"""
MISSPELT = "from segmetrics import MeanIoU\nMeanIoU(21, sync_on_comput=False)\n"
MISSPELT += "from segmetrics.functional import mean_iou\nimport torch\n"
MISSPELT += "mean_iou(torch.ones(1), torch.ones(1), 2, ignor_index=255)\n"
MISSPELT += "from segmetrics import HausdorffDistance\nHausdorffDistance(2, percentil=95)\n"


def test_type_checkers_accept_a_lightning_module_and_see_a_misspelt_argument(
    tmp_path: Path,
) -> None:
    pytest.importorskip("mypy")
    pytest.importorskip("pytorch_lightning")
    (tmp_path / "module.py").write_text(MODULE)
    (tmp_path / "misspelt.py").write_text(MISSPELT)
    files = [str(tmp_path / name) for name in ("module.py", "misspelt.py")]
    command = [sys.executable, "-m", "mypy", "--strict", *files]  # shares mypy's cache of torch
    checked = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    errors = [line for line in checked.stdout.splitlines() if ": error:" in line]
    assert ["module.py" in error for error in errors] == [False] * 3, checked.stdout
    assert [error.split(": error:")[0].rsplit(":", 1)[1] for error in errors] == ["2", "5", "7"]
    assert all("Unexpected keyword argument" in error for error in errors)
