"""The callback through real trainers of both Lightning packages, its logs read back from disk.

Expected scores are counted in NumPy from the predictions that the model made, expected pixels are
those that the data set was made of.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from processes import Collectives, run_processes

pytest.importorskip("pytorch_lightning")
pytest.importorskip("lightning")

from segmetrics import ProbabilityMetrics
from segmetrics.distributed import ExactDistributedSampler
from segmetrics.functional import best_threshold
from segmetrics.labels import CITYSCAPES, LabelSpace
from segmetrics.lightning import SegmentationCallback
from segmetrics.lightning.pictures import GAP
from segmetrics.overlays import errors, overlay

PACKAGES = ["pytorch_lightning", "lightning.pytorch"]
SPACE = LabelSpace(["road", "car", "person"], colors=["#804080", "#00008e", "#dc143c"])
C, SIDE, VOID = 3, 16, 255
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCENES = 7
ALL_VOID = 2  # the scene that has no counted pixel
NO_PERSON = 1  # one that has not all classes


class Scenes(Dataset[dict[str, Any]]):
    """Images whose colour tells the class, some harder than others, with their names."""

    def __init__(self, number: int = SCENES, first: int = 0) -> None:
        self.indices = range(first, first + number)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> dict[str, Any]:
        index = self.indices[place]
        draw = np.random.default_rng(index)
        target = draw.integers(0, C, (4, 4)).repeat(4, 0).repeat(4, 1)
        if index == NO_PERSON:
            target[target == 2] = 0
        clean = np.eye(C)[target] * 150 + 50
        noise = draw.normal(0, 15 * (index + 1), clean.shape)
        pixels = (clean + noise).round().clip(0, 255).astype(np.uint8)
        target[draw.random(target.shape) < 0.1] = VOID
        if index == ALL_VOID:
            target[:] = VOID
        image = torch.from_numpy(pixels).movedim(-1, 0)
        normal = (image / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
            :, None, None
        ]
        name = f"scene_{index}.png"
        return {"image": normal, "pixels": image, "mask": torch.from_numpy(target), "name": name}


def scene(name: str) -> dict[str, Any]:
    return Scenes()[int(name.removeprefix("scene_").removesuffix(".png"))]


class Steps:
    """What a user writes, for either package, and a memory of what was predicted."""

    keys = ("preds", "target")

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Conv2d(3, C, 3, padding=1)
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []
        self.epochs: list[list[tuple[np.ndarray, np.ndarray]]] = []
        self.trained = 0

    def training_step(self, batch: Any) -> Tensor:
        self.trained += 1
        return nn.functional.cross_entropy(
            self.model(batch["image"]), batch["mask"], ignore_index=VOID
        )

    def predict(self, batch: Any) -> tuple[Tensor, Tensor]:
        return self.model(batch["image"]), batch["mask"]

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        preds, target = self.predict(batch)
        labels = preds.argmax(1) if preds.is_floating_point() else preds
        self.seen += zip(labels.cpu().numpy(), target.cpu().numpy(), strict=True)
        return dict(zip(self.keys, (preds, target), strict=True))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.epochs.append(self.seen)
        self.seen = []

    on_test_epoch_end = on_validation_epoch_end

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.02)

    def train_dataloader(self) -> Any:
        return DataLoader(Scenes(6), batch_size=2)

    def val_dataloader(self) -> Any:
        return DataLoader(Scenes(), batch_size=3)

    test_dataloader = val_dataloader


def module(package: str = "pytorch_lightning", steps: type = Steps) -> Any:
    """A LightningModule of a package with these steps, its weights always the same."""
    torch.manual_seed(0)
    base = import_module(package).LightningModule
    return type(steps.__name__, (steps, base), {})()


def trainer(package: str = "pytorch_lightning", **arguments: Any) -> Any:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    quiet |= {"accelerator": "cpu", "devices": 1, "enable_checkpointing": False}
    return import_module(package).Trainer(**quiet | {"log_every_n_steps": 1} | arguments)


def callback(**arguments: Any) -> SegmentationCallback:
    given = {"ignore_index": VOID, "image": "image", "name": "name", "mean": MEAN, "std": STD}
    return SegmentationCallback(SPACE, **given | arguments)


def validated(steps: type = Steps, *, loaders: Any = None, **arguments: Any) -> Any:
    """A module and its callback after one validation."""
    segmenter, called = module(steps=steps), callback(**arguments)
    trainer(callbacks=[called]).validate(segmenter, loaders, verbose=False)
    return segmenter, called


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():  # few workers, few batches, a folder that exists
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning)\.")
        yield


# --- by hand --------------------------------------------------------------------------------------


def matrix_of(seen: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    matrix = np.zeros((C, C), np.int64)
    for preds, target in seen:
        counted = target != VOID
        np.add.at(matrix, (target[counted], preds[counted]), 1)
    return matrix


def scores_of(seen: list[tuple[np.ndarray, np.ndarray]], prefix: str = "val/") -> dict[str, float]:
    matrix = matrix_of(seen)
    hits = matrix.diagonal()
    iou = hits / (matrix.sum(0) + matrix.sum(1) - hits)
    scores = {"mIoU": iou.mean(), "pixel_accuracy": hits.sum() / matrix.sum()}
    scores |= {f"iou/{name}": value for name, value in zip(SPACE.names, iou, strict=True)}
    return {prefix + key: float(value) for key, value in scores.items()}


def image_scores(seen: list[tuple[np.ndarray, np.ndarray]]) -> dict[int, float]:
    """Of every image with a counted pixel its mean IoU over the classes of its target."""
    scores = {}
    for i, pair in enumerate(seen):
        matrix = matrix_of([pair])
        hits = matrix.diagonal()
        union = matrix.sum(0) + matrix.sum(1) - hits
        if (there := matrix.sum(1) > 0).any():
            scores[i] = float(np.mean(hits[there] / union[there]))
    return scores


def worst_of(seen: list[tuple[np.ndarray, np.ndarray]], k: int) -> list[tuple[str, float]]:
    scores = image_scores(seen)
    order = sorted(scores, key=lambda i: scores[i])
    return [(f"scene_{i}.png", scores[i]) for i in order[:k]]


def found(called: SegmentationCallback) -> list[tuple[str, float]]:
    return [(example.name, pytest.approx(example.score)) for example in called.examples[0]]


def expected_panels(name: str, preds: np.ndarray) -> list[np.ndarray]:
    """Image, target, prediction, errors."""
    of = scene(name)
    image, target = of["pixels"].movedim(0, -1).numpy(), of["mask"].numpy()
    classes = np.where(target == VOID, -1, target)
    return [
        image,
        overlay(image, classes, SPACE),
        overlay(image, preds, SPACE),
        errors(preds, classes, target == VOID, image),
    ]


def panels(picture: np.ndarray) -> list[np.ndarray]:
    """The four pictures in a row."""
    width = SIDE + GAP
    assert picture.shape == (SIDE, 4 * SIDE + 3 * GAP, 3)
    for i in range(1, 4):
        assert (picture[:, i * width - GAP : i * width] == 255).all()
    return [picture[:, i * width : i * width + SIDE] for i in range(4)]


def assert_shows(picture: np.ndarray, name: str, preds: np.ndarray) -> None:
    for shown, expected in zip(panels(picture), expected_panels(name, preds), strict=True):
        np.testing.assert_array_equal(shown, expected)


# --- scores ---------------------------------------------------------------------------------------


def rows(folder: str | Path) -> list[dict[str, float]]:
    """What the CSV logger wrote of every validation."""
    with (Path(folder) / "metrics.csv").open() as file:
        found = [row for row in csv.DictReader(file) if row["val/mIoU"]]
    return [{key: float(value) for key, value in row.items() if value} for row in found]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_epoch_logs_its_own_scores(package: str, tmp_path: Path) -> None:
    """Pictures in some of them; nothing of the sanity check or of the epoch before in any."""
    logger = import_module(f"{package}.loggers").CSVLogger(tmp_path)
    segmenter = module(package)
    called = callback(every_n_epochs=2, confusion_matrix=False)
    with pytest.warns(UserWarning, match="CSVLogger takes no pictures"):
        trainer(package, max_epochs=3, logger=logger, callbacks=[called]).fit(segmenter)
    logged = rows(logger.log_dir)
    assert len(logged) == len(segmenter.epochs) == 3
    for row, seen in zip(logged, segmenter.epochs, strict=True):
        expected = scores_of(seen)
        assert {key: row[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert logged[0]["val/mIoU"] < logged[-1]["val/mIoU"]  # so the epochs can be told apart
    np.testing.assert_array_equal(called.counts[0][:, :C], matrix_of(segmenter.epochs[-1]))
    assert not called.counts[0][:, C].any()
    assert found(called) == worst_of(segmenter.epochs[1], 4)  # of the second, the last due


@pytest.mark.parametrize("package", PACKAGES)
def test_validate_and_test_report_under_their_names(package: str) -> None:
    segmenter, called = module(package), callback(prefix=None)
    run = trainer(package, callbacks=called)  # alone, not in a list
    (validation,) = run.validate(segmenter, verbose=False)
    (tested,) = run.test(segmenter, verbose=False)
    expected = scores_of(segmenter.epochs[0])
    assert {key: validation[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert list(validation)[:5] == [
        f"val/{key}" for key in ("mIoU", "mDice", "pixel_accuracy", "mean_accuracy", "fw_iou")
    ]
    assert tested == {key.replace("val/", "test/"): value for key, value in validation.items()}


def test_the_prefix_can_be_chosen() -> None:
    run = trainer(callbacks=[callback(prefix="head_")])
    (reported,) = run.validate(module(), verbose=False)
    assert {"head_mIoU", "head_iou/car"} <= set(reported)


def test_per_class_scores_can_be_left_out() -> None:
    run = trainer(callbacks=[callback(per_class=False)])
    (reported,) = run.validate(module(), verbose=False)
    assert len(reported) == 5


def test_two_callbacks_score_two_heads() -> None:
    class TwoHeads(Steps):
        def validation_step(self, batch: Any) -> Any:
            target = batch["mask"]
            return {"a": self.model(batch["image"]), "b": target.clamp(max=C - 1), "target": target}

    both = [callback(preds="a", prefix="a/"), callback(preds="b", prefix="b/")]
    (reported,) = trainer(callbacks=both).validate(module(steps=TwoHeads), verbose=False)
    assert reported["b/mIoU"] == 1 > reported["a/mIoU"]


@pytest.mark.parametrize("package", PACKAGES)
def test_checkpoints_and_early_stopping_watch_the_scores(package: str, tmp_path: Path) -> None:
    callbacks = import_module(f"{package}.callbacks")
    best = callbacks.ModelCheckpoint(tmp_path, monitor="val/iou/car", mode="max", filename="best")
    patience = callbacks.EarlyStopping("val/mIoU", mode="max", patience=1, min_delta=1.0)
    segmenter = module(package)
    run = trainer(
        package,
        max_epochs=9,
        callbacks=[patience, best, callback()],
        enable_checkpointing=True,
    )
    run.fit(segmenter)
    assert run.current_epoch == 2  # the second epoch is not better by 1
    scores = [scores_of(seen) for seen in segmenter.epochs]
    assert patience.best_score.item() == pytest.approx(scores[0]["val/mIoU"], abs=1e-6)
    highest = max(each["val/iou/car"] for each in scores)
    assert best.best_model_score.item() == pytest.approx(highest, abs=1e-6)


def test_a_checkpoint_holds_nothing_of_the_callback_and_is_resumed_with_or_without(
    tmp_path: Path,
) -> None:
    saved = {}
    for name, callbacks in {"with": [callback()], "without": []}.items():
        run = trainer(max_epochs=1, callbacks=callbacks)
        run.fit(module())
        run.save_checkpoint(tmp_path / f"{name}.ckpt")
        saved[name] = torch.load(tmp_path / f"{name}.ckpt", weights_only=False)
    assert saved["with"]["state_dict"].keys() == saved["without"]["state_dict"].keys()
    assert saved["with"]["callbacks"] == saved["without"]["callbacks"] == {}

    reported = []
    for name in saved:
        segmenter, called = module(), callback()
        run = trainer(max_epochs=3, callbacks=[called])
        run.fit(segmenter, ckpt_path=tmp_path / f"{name}.ckpt")
        assert len(segmenter.epochs) == 2
        np.testing.assert_array_equal(called.counts[0][:, :C], matrix_of(segmenter.epochs[-1]))
        reported.append(run.callback_metrics["val/mIoU"])
    assert reported[0] == reported[1]


def test_the_sanity_check_tells_mistakes_before_training_and_logs_nothing(tmp_path: Path) -> None:
    class NoPreds(Steps):
        keys = ("logits", "target")

    segmenter = module(steps=NoPreds)
    with pytest.raises(TypeError, match="must return a mapping with 'preds' and 'target'"):
        trainer(max_epochs=1, callbacks=[callback()]).fit(segmenter)
    segmenter = module()
    with pytest.raises(ValueError, match="`image='picture'` is not in the batch, a dict with"):
        trainer(max_epochs=1, callbacks=[callback(image="picture", every_n_epochs=9)]).fit(
            segmenter
        )
    assert segmenter.trained == 0

    class Looks(Steps):
        def on_train_start(self) -> None:
            self.known = called.counts, dict(self.trainer.callback_metrics)
            self.logged = tensorboard(self.logger).Tags()

    logger = import_module("pytorch_lightning.loggers").TensorBoardLogger(tmp_path)
    segmenter, called = module(steps=Looks), callback()
    trainer(max_epochs=1, logger=logger, callbacks=[called]).fit(segmenter)
    assert segmenter.known == ([], {})
    assert not segmenter.logged["images"]
    assert not segmenter.logged["scalars"]
    assert tensorboard(logger).Tags()["images"]


def test_several_dataloaders_have_keys_of_their_own(tmp_path: Path) -> None:
    class TwoSets(Steps):
        def on_validation_epoch_end(self) -> None:
            self.epochs += [self.seen[:4], self.seen[4:]]
            self.seen = []

    logger = import_module("pytorch_lightning.loggers").TensorBoardLogger(tmp_path)
    segmenter, called = module(steps=TwoSets), callback(worst=1)
    run = trainer(callbacks=[called], logger=logger)
    both = [DataLoader(Scenes(4), batch_size=3), DataLoader(Scenes(3, first=4), batch_size=3)]
    for _ in range(2):
        reported = run.validate(segmenter, both, verbose=False)[0]
        for i, seen in enumerate(segmenter.epochs[-2:]):
            for key, expected in scores_of(seen).items():
                assert reported[f"{key}/dataloader_idx_{i}"] == pytest.approx(expected, abs=1e-6)
            np.testing.assert_array_equal(called.counts[i][:, :C], matrix_of(seen))
            assert called.examples[i][0].score == pytest.approx(min(image_scores(seen).values()))
    assert {
        f"val/{kind}/dataloader_idx_{i}{of}"
        for kind, of in (("confusion_matrix", ""), ("worst", "/1"))
        for i in range(2)
    } == set(tensorboard(logger).Tags()["images"])

    (reported,) = run.validate(segmenter, both[0], verbose=False)
    assert "val/mIoU" in reported
    assert len(called.counts) == 1


# --- what a step may return -----------------------------------------------------------------------


class LabelSteps(Steps):
    def predict(self, batch: Any) -> tuple[Tensor, Tensor]:
        logits, target = super().predict(batch)
        return logits.argmax(1).to(torch.uint8), target


class HalfSizeSteps(Steps):
    """Scores of half the size; what counts is what they are when resized."""

    def predict(self, batch: Any) -> tuple[Tensor, Tensor]:
        logits, target = super().predict(batch)
        return nn.functional.avg_pool2d(logits, 2), target

    def validation_step(self, batch: Any) -> Any:
        small, target = self.predict(batch)
        resized = nn.functional.interpolate(small, scale_factor=2, mode="bilinear")
        self.seen += zip(resized.argmax(1).numpy(), target.numpy(), strict=True)
        return {"preds": small, "target": target}


class RenamedSteps(Steps):
    keys = ("logits", "labels")


@pytest.mark.parametrize(
    ("steps", "arguments"),
    [
        (LabelSteps, {}),
        (HalfSizeSteps, {"upsample": "bilinear"}),
        (RenamedSteps, {"preds": "logits", "target": "labels"}),
    ],
)
def test_labels_small_scores_and_other_names_are_counted_and_shown(
    steps: type, arguments: dict[str, Any]
) -> None:
    segmenter, called = validated(steps, **arguments)
    (seen,) = segmenter.epochs
    np.testing.assert_array_equal(called.counts[0][:, :C], matrix_of(seen))
    assert found(called) == worst_of(seen, 4)
    for example in called.examples[0]:
        preds, target = seen[int(example.name[6])]
        np.testing.assert_array_equal(example.preds, preds)
        np.testing.assert_array_equal(example.target, np.where(target == VOID, -1, target))


def test_binary_scores_are_those_of_the_foreground() -> None:
    class Binary(Steps):
        def validation_step(self, batch: Any) -> Any:
            logits, target = self.model(batch["image"])[:, :1], batch["mask"]
            target = target.where(target == VOID, (target == 0).long())
            self.seen += zip((logits[:, 0] > 0).long().numpy(), target.numpy(), strict=True)
            return {"preds": logits, "target": target}

    segmenter = module(steps=Binary)
    called = SegmentationCallback(
        task="binary",
        from_logits=True,
        ignore_index=VOID,
        image="image",
        name="name",
        mean=MEAN,
        std=STD,
    )
    run = trainer(callbacks=[called])
    (reported,) = run.validate(segmenter, verbose=False)
    (seen,) = segmenter.epochs
    matrix = matrix_of(seen)
    union = matrix[1].sum() + matrix[:, 1].sum() - matrix[1, 1]
    assert reported["val/iou"] == pytest.approx(matrix[1, 1] / union, abs=1e-6)
    for example in called.examples[0]:
        preds, target = seen[int(example.name[6])]
        np.testing.assert_array_equal(example.preds, preds)
        counted = target != VOID
        foreground = (preds == 1) & counted, (target == 1) & counted
        iou = np.sum(foreground[0] & foreground[1]) / np.sum(foreground[0] | foreground[1])
        assert example.score == pytest.approx(iou)


def test_ids_are_mapped_and_abstentions_stay_in_a_column_of_their_own() -> None:
    """Cityscapes' ids: 7 is road, 26 car, 0 ignored; a predicted ignored value abstains."""

    class Ids(Steps):
        def validation_step(self, batch: Any) -> Any:
            target = torch.tensor([7, 26, 0])[batch["mask"].clamp(max=C - 1)]
            preds = torch.tensor([0, 13, -1])[self.model(batch["image"]).argmax(1)]
            self.seen += zip(preds.numpy(), target.numpy(), strict=True)
            return {"preds": preds, "target": target}

    segmenter = module(steps=Ids)
    called = SegmentationCallback(CITYSCAPES, image="image", name="name", mean=MEAN, std=STD)
    trainer(callbacks=[called]).validate(segmenter, verbose=False)
    (seen,) = segmenter.epochs
    preds, target = (np.stack(each) for each in zip(*seen, strict=True))
    for value, row in ((7, 0), (26, 13)):
        for column in (0, 13, -1):
            expected = np.sum((target == value) & (preds == column))
            assert called.counts[0][row, column] == expected
    assert called.counts[0].shape == (19, 20)
    assert called.counts[0].sum() == np.sum(target != 0)
    for example in called.examples[0]:
        preds, target = seen[int(example.name[6])]
        np.testing.assert_array_equal(example.preds, preds)
        classes = np.select([target == 7, target == 26], [0, 13], -1)
        np.testing.assert_array_equal(example.target, classes)


@pytest.mark.parametrize(
    ("returned", "came"),
    [
        (None, "got nothing"),
        (torch.zeros(()), "got Tensor"),
        ({"loss": 1, "preds": 2}, "got a mapping with 'loss', 'preds'"),
        ({}, "got a mapping with no key"),
    ],
)
def test_a_step_that_returns_something_else_is_told_what_to_return(
    returned: Any, came: str
) -> None:
    class Returns(Steps):
        def validation_step(self, batch: Any) -> Any:
            return returned

        test_step = validation_step

    segmenter, run = module(steps=Returns), trainer(callbacks=[callback()])
    with pytest.raises(
        TypeError, match=f"`validation_step` of Returns must return.*{came}. Return"
    ):
        run.validate(segmenter, verbose=False)
    with pytest.raises(TypeError, match="`test_step` of Returns must return"):
        run.test(segmenter, verbose=False)


def test_bad_labels_and_sizes_say_what_counting_says_of_them() -> None:
    with pytest.raises(ValueError, match="255: neither a class"):
        validated(ignore_index=None)
    with pytest.raises(ValueError, match="Pass `upsample='bilinear'`"):
        validated(HalfSizeSteps)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"worst": -1}, ValueError, "`worst` must be at least 0"),
        ({"every_n_epochs": 0}, ValueError, "`every_n_epochs` must be at least 1"),
        ({"max_side": 1.5}, TypeError, "`max_side` must be an int"),
        ({"mean": None}, ValueError, "`mean` and `std` must be given both"),
        ({"std": (1.0,)}, ValueError, "`mean` and `std` must be given both"),
        ({"white": 0}, ValueError, "`white` must be above 0"),
        ({"prefix": 3}, TypeError, "`prefix` must be a string"),
        ({"confusion_matrix": 1}, TypeError, "`confusion_matrix` must be a bool"),
        ({"aggregation_level": "samplewise"}, ValueError, "must be 'global'"),
        ({"task": "multilabel"}, ValueError, "Log a `SegmentationMetrics"),
    ],
)
def test_arguments_are_checked(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        callback(**arguments)


class LogitSteps(Steps):
    """Keeps the logits, too."""

    logits: list[tuple[Tensor, Tensor]]

    def predict(self, batch: Any) -> tuple[Tensor, Tensor]:
        preds, target = super().predict(batch)
        self.logits = [*getattr(self, "logits", []), (preds.detach(), target)]
        return preds, target


def test_probabilities_are_measured_and_their_diagram_drawn(tmp_path: Path) -> None:
    logger = import_module("pytorch_lightning.loggers").TensorBoardLogger(tmp_path)
    called = callback(probabilities=True, from_logits=True, worst=1)
    model = module(steps=LogitSteps)
    run = trainer(callbacks=called, logger=logger)
    run.validate(model, verbose=False)
    expected = ProbabilityMetrics(C, from_logits=True, ignore_index=VOID)
    for preds, target in model.logits:
        expected.update(preds, target)
    for key, value in expected.compute().items():
        assert run.callback_metrics[f"val/{key}"].item() == pytest.approx(value.item(), abs=1e-6)
    drawn = tensorboard(logger).Tags()["images"]
    assert "val/reliability" in drawn
    assert "val/dice" not in drawn  # classes have no threshold


class BinarySteps(LogitSteps):
    """One logit a pixel, of the second class."""

    def predict(self, batch: Any) -> tuple[Tensor, Tensor]:
        preds, target = self.model(batch["image"]), batch["mask"]
        foreground = (target == 1).long().where(target != VOID, VOID)
        self.logits = [*getattr(self, "logits", []), (preds[:, 1].detach(), foreground)]
        return self.logits[-1]


def test_of_one_foreground_the_best_threshold_is_logged_and_drawn(tmp_path: Path) -> None:
    logger = import_module("pytorch_lightning.loggers").TensorBoardLogger(tmp_path)
    of_foreground: Any = {"task": "binary", "from_logits": True, "ignore_index": VOID}
    called = SegmentationCallback(
        **of_foreground, probabilities=True, worst=0, image="image", mean=MEAN, std=STD
    )
    model = module(steps=BinarySteps)
    run = trainer(callbacks=called, logger=logger)
    run.validate(model, verbose=False)
    scores, targets = (torch.cat(part) for part in zip(*model.logits, strict=True))
    best, threshold = best_threshold(scores, targets, **of_foreground)
    assert run.callback_metrics["val/best_dice"].item() == pytest.approx(best.item())
    assert run.callback_metrics["val/best_threshold"].item() == pytest.approx(threshold.item())
    assert "val/dice" in tensorboard(logger).Tags()["images"]
    (tally,) = called._tallies
    assert tally.dice is not None
    dice, cut = tally.dice
    assert dice.max().item() == pytest.approx(best.item())
    assert cut[dice.argmax()].item() == pytest.approx(threshold.item(), abs=1e-2)


# --- the worst images -----------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 4, 6, 50])
def test_the_worst_images_come_worst_first_and_those_without_a_counted_pixel_never(k: int) -> None:
    segmenter, called = validated(worst=k)
    (seen,) = segmenter.epochs
    assert found(called) == worst_of(seen, k)
    assert len(called.examples[0]) == min(k, SCENES - 1)


def test_a_name_that_comes_twice_is_shown_once() -> None:
    twice = images_as(lambda b: b | {"name": ["one", "two", "one"][: len(b["name"])]})
    segmenter, called = validated(twice)
    scores = image_scores(segmenter.epochs[0])
    of_name = {
        "one": min(scores[i] for i in scores if i % 3 != 1),
        "two": min(scores[1], scores[4]),
    }
    expected = [(name, of_name[name]) for name in sorted(of_name, key=of_name.__getitem__)]
    assert found(called) == expected


def test_no_image_is_needed_to_show_none() -> None:
    _, called = validated(worst=0, image="there is none")
    assert called.examples == [[]]
    assert called.counts[0].sum() > 0


def images_as(change: Callable[[dict[str, Any]], Any]) -> Any:
    class Changed(Steps):
        def val_dataloader(self) -> Any:
            batches = [change(batch) for batch in DataLoader(Scenes(), batch_size=3)]
            return DataLoader(batches, batch_size=None)

    return Changed


@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        (lambda b: b, {}),
        (lambda b: b | {"shown": b["image"].half()}, {"image": "shown"}),
        (lambda b: b | {"shown": b["pixels"]}, {"image": "shown"}),  # uint8 is as it was
        (lambda b: b | {"shown": b["pixels"] / 255}, {"image": "shown", "mean": None, "std": None}),
        (
            lambda b: b | {"shown": b["pixels"].float() - 100},
            {"image": "shown", "mean": [100] * 3, "std": [1] * 3, "white": 255},
        ),
        (lambda b: b, {"image": lambda batch: batch["pixels"]}),
        (
            lambda b: b | {"shown": b["pixels"].repeat_interleave(2, 2).repeat_interleave(2, 3)},
            {"image": lambda batch: batch["shown"][..., ::2, ::2]},
        ),
    ],
)
def test_images_are_shown_as_they_were_before_they_were_normalised(
    change: Callable[[dict[str, Any]], Any], arguments: dict[str, Any]
) -> None:
    _, called = validated(images_as(change), **arguments)
    assert len(called.examples[0]) == 4
    for example in called.examples[0]:
        assert example.image.dtype == np.uint8
        expected = scene(example.name)["pixels"].movedim(0, -1)
        np.testing.assert_array_equal(example.image, expected)


def test_one_channel_is_grey() -> None:
    _, called = validated(images_as(lambda b: b | {"grey": b["pixels"][:, :1]}), image="grey")
    for example in called.examples[0]:
        expected = scene(example.name)["pixels"][0]
        for channel in np.moveaxis(example.image, -1, 0):
            np.testing.assert_array_equal(channel, expected)


def test_an_image_of_another_size_than_its_mask_is_resized_to_it() -> None:
    double = images_as(lambda b: b | {"large": b["pixels"].repeat_interleave(2, 2)})
    _, called = validated(double, image="large")
    for example in called.examples[0]:
        assert example.image.shape == (SIDE, SIDE, 3)


def test_large_images_are_shown_shrunk() -> None:
    segmenter, called = validated(max_side=8)
    (seen,) = segmenter.epochs
    for example in called.examples[0]:
        assert example.image.shape == (8, 8, 3)
        preds, target = seen[int(example.name[6])]
        # of every two by two labels it is one of them, always at the same place
        np.testing.assert_array_equal(example.preds, preds[1::2, 1::2])
        np.testing.assert_array_equal(
            example.target, np.where(target == VOID, -1, target)[1::2, 1::2]
        )
    np.testing.assert_array_equal(called.counts[0][:, :C], matrix_of(seen))  # all pixels count


def test_images_that_are_not_normalised_as_said_are_shown_with_a_warning_once() -> None:
    with pytest.warns(UserWarning, match="`image` has values from .* Pass the `mean` and") as told:
        validated(mean=None, std=None)
    assert len([each for each in told if "`image` has" in str(each.message)]) == 1


def test_positions_in_a_batch_work_as_well_as_keys() -> None:
    class Pairs(Steps):
        def predict(self, batch: Any) -> tuple[Tensor, Tensor]:
            return self.model(batch[0]), batch[1]

        def val_dataloader(self) -> Any:
            batches = [[b["image"], b["mask"]] for b in DataLoader(Scenes(), batch_size=3)]
            return DataLoader(batches, batch_size=None)

    segmenter, called = module(steps=Pairs), SegmentationCallback(C, ignore_index=VOID, worst=2)
    with pytest.warns(UserWarning, match="`image` has values"):
        trainer(callbacks=[called]).validate(segmenter, verbose=False)
    numbers = [name[6] for name, _ in worst_of(segmenter.epochs[0], 2)]
    assert [example.name for example in called.examples[0]] == [f"image {i}" for i in numbers]
    assert len(called.class_names) == C


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": "picture"}, "'picture'` is not in the batch, a dict with 'image', 'pixels'"),
        ({"image": 7}, "`image=7` is not in the batch"),
        ({"image": "mask"}, r"must be images \(N, 3, H, W\) or \(N, 1, H, W\), got \(3, 16, 16\)"),
        ({"image": "name"}, "must be images .* got list"),
        ({"image": lambda batch: batch["image"][:1]}, "`image` gave 1 images for 3 masks"),
        ({"name": lambda batch: ["one"]}, "`name` gave 1 names for 3 masks"),
        ({"name": "title"}, "`name='title'` is not in the batch"),
        ({"mean": (0.5,) * 2, "std": (0.5,) * 2}, "one value a channel, 3, got 2"),
    ],
)
def test_batches_that_hold_no_such_images_are_told_apart(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        validated(**arguments)


def test_volumes_are_scored_but_not_shown() -> None:
    class Volumes(Steps):
        def validation_step(self, batch: Any) -> Any:
            preds, target = self.predict(batch)
            self.seen += zip(preds.argmax(1).numpy(), target.numpy(), strict=True)
            return {"preds": preds.unflatten(-1, (4, 4)), "target": target.unflatten(-1, (4, 4))}

    segmenter, called = validated(Volumes, worst=0)
    np.testing.assert_array_equal(called.counts[0][:, :C], matrix_of(segmenter.epochs[0]))
    with pytest.raises(ValueError, match=r"shows masks \(H, W\), got \(16, 4, 4\). Pass `worst=0`"):
        validated(Volumes)


# --- loggers --------------------------------------------------------------------------------------


def tensorboard(logger: Any) -> Any:
    """Everything in the event files of a logger."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger.experiment.flush()
    sizes = {"images": 0, "scalars": 0, "tensors": 0}
    return EventAccumulator(logger.log_dir, size_guidance=sizes).Reload()


def pixels(encoded: bytes | Path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded))


@pytest.mark.parametrize("package", PACKAGES)
def test_tensorboard_gets_scores_confusion_matrix_and_worst_images(
    package: str, tmp_path: Path
) -> None:
    logger = import_module(f"{package}.loggers").TensorBoardLogger(tmp_path)
    segmenter, called = module(package), callback(every_n_epochs=2, worst=3)
    trainer(package, max_epochs=4, logger=logger, callbacks=[called]).fit(segmenter)
    board = tensorboard(logger)
    tags = ["val/confusion_matrix", *(f"val/worst/{i}" for i in (1, 2, 3))]
    assert sorted(board.Tags()["images"]) == tags

    scalars = board.Scalars("val/mIoU")
    assert [each.value for each in scalars] == pytest.approx(
        [scores_of(seen)["val/mIoU"] for seen in segmenter.epochs], abs=1e-6
    )
    due = [scalars[i].step for i in (1, 3)]
    for epoch, step in zip((1, 3), due, strict=True):
        seen = segmenter.epochs[epoch]
        matrix = {e.step: e.encoded_image_string for e in board.Images(tags[0])}
        assert list(matrix) == due
        assert min(pixels(matrix[step]).shape[:2]) > 200
        listed = {
            e.step: e.tensor_proto.string_val[0] for e in board.Tensors("val/worst/text_summary")
        }
        text = listed[step].decode()
        for i, (name, score) in enumerate(worst_of(seen, 3), start=1):
            shown = {e.step: e.encoded_image_string for e in board.Images(f"val/worst/{i}")}
            assert list(shown) == due
            assert_shows(pixels(shown[step]), name, seen[int(name[6])][0])
            assert f"{i}. {name}: mIoU {score:.3f}" in text


class Right(Steps):
    def predict(self, batch: Any) -> tuple[Tensor, Tensor]:
        return batch["mask"].clamp(max=C - 1), batch["mask"]


def test_the_confusion_matrix_is_drawn_from_the_counts(tmp_path: Path) -> None:
    """Dark cells on the diagonal where predictions are right, light ones elsewhere."""

    logger = import_module("pytorch_lightning.loggers").TensorBoardLogger(tmp_path)
    run = trainer(logger=logger, callbacks=[callback(worst=0)])
    run.validate(module(steps=Right), verbose=False)
    (event,) = tensorboard(logger).Images("val/confusion_matrix")
    picture = pixels(event.encoded_image_string).astype(int)
    dark = (picture == [8, 48, 107]).all(-1)  # the darkest of the blues
    height, width = dark.shape
    places = np.argwhere(dark[:, : int(width * 0.7)])  # without the colour bar
    assert len(places) > 0.05 * height * width
    correlation = np.corrcoef(places.T)[0, 1]
    assert correlation > 0.8  # from the upper left to the lower right


def wandb_history(folder: Path) -> Iterator[dict[str, Any]]:
    """What a W&B run logged, from the records of its file: blocks of 32 kB as in LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, place, part = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := 2**15 - place % 2**15) < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record, part = Record.FromString(part), b""
            if record.WhichOneof("record_type") == "history":
                yield {
                    "|".join(item.nested_key) or item.key: json.loads(item.value_json)
                    for item in record.history.item
                }


def test_weights_and_biases_offline_gets_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside TensorBoard and a CSV file, in one run."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    loggers = import_module("pytorch_lightning.loggers")
    several = [
        loggers.WandbLogger(project="scenes", offline=True, save_dir=tmp_path),
        loggers.TensorBoardLogger(tmp_path / "tensorboard"),
        loggers.CSVLogger(tmp_path / "csv"),
    ]
    segmenter, called = module(), callback(worst=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*takes no pictures")
        trainer(max_epochs=2, logger=several, callbacks=[called]).fit(segmenter)
    wandb.finish()
    wandb.teardown()

    history = list(wandb_history(tmp_path))
    scores = [row for row in history if "val/mIoU" in row]
    worst = [row for row in history if "val/worst|filenames" in row]
    matrices = [row for row in history if "val/confusion_matrix|filenames" in row]
    assert len(scores) == len(worst) == len(matrices) == 2
    (files,) = tmp_path.glob("wandb/offline-run-*/files")
    for epoch, seen in enumerate(segmenter.epochs):
        expected = scores_of(seen)
        assert {k: scores[epoch][k] for k in expected} == pytest.approx(expected, abs=1e-6)
        steps = {row[epoch]["trainer/global_step"] for row in (scores, worst, matrices)}
        assert len(steps) == 1
        listed = worst_of(seen, 2)
        captions = [f"{name}: mIoU {score:.3f}" for name, score in listed]
        assert worst[epoch]["val/worst|captions"] == captions
        for (name, _), file in zip(listed, worst[epoch]["val/worst|filenames"], strict=True):
            assert_shows(pixels(files / file), name, seen[int(name[6])][0])
        (file,) = matrices[epoch]["val/confusion_matrix|filenames"]
        of_several = tensorboard(several[1]).Images("val/confusion_matrix")[epoch]
        np.testing.assert_array_equal(pixels(files / file), pixels(of_several.encoded_image_string))
        row = rows(several[2].log_dir)[epoch]
        assert {k: row[k] for k in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("package", PACKAGES)
def test_mlflow_gets_scores_confusion_matrix_and_worst_images(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read back with MLflow's own client, from files."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = import_module(f"{package}.loggers").MLFlowLogger(
        experiment_name="scenes", tracking_uri=f"file:{tmp_path}"
    )
    segmenter, called = module(package), callback(worst=2)
    trainer(package, max_epochs=2, logger=logger, callbacks=[called]).fit(segmenter)

    client = mlflow.MlflowClient(f"file:{tmp_path}")
    history = client.get_metric_history(logger.run_id, "val/mIoU")
    assert [metric.value for metric in history] == pytest.approx(
        [scores_of(seen)["val/mIoU"] for seen in segmenter.epochs], abs=1e-6
    )
    files = Path(client.download_artifacts(logger.run_id, ""))
    for metric, seen in zip(history, segmenter.epochs, strict=True):
        shown = {
            re.sub(r"\W", "/", path.name.split("+step")[0]): path
            for path in files.glob(f"images/*+step+{metric.step}+*.png")
        }
        assert set(shown) == {"val/confusion_matrix", "val/worst/1", "val/worst/2"}
        listed = (files / f"val/worst/{metric.step}.md").read_text()
        for i, (name, score) in enumerate(worst_of(seen, 2), start=1):
            assert_shows(pixels(shown[f"val/worst/{i}"]), name, seen[int(name[6])][0])
            assert f"{i}. {name}: mIoU {score:.3f}" in listed


def test_without_a_logger_the_results_are_on_the_callback() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*takes no pictures")
        segmenter, called = validated()
    (seen,) = segmenter.epochs
    np.testing.assert_array_equal(called.counts[0][:, :C], matrix_of(seen))
    for example in called.examples[0]:
        shown = expected_panels(example.name, seen[int(example.name[6])][0])
        np.testing.assert_array_equal(example.image, shown[0])


def test_a_fast_dev_run_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    segmenter, called = module(), callback()
    trainer(fast_dev_run=True, callbacks=[called]).fit(segmenter)
    assert len(segmenter.epochs) == 1
    assert called.counts[0].sum() > 0


def test_the_results_make_a_report(tmp_path: Path) -> None:
    from segmetrics import report

    _, called = validated()
    page = report.write(
        tmp_path / "report.html", called.counts[0], SPACE, examples=called.examples[0]
    )
    text = page.read_text()
    assert all(example.name in text for example in called.examples[0])


def test_a_callback_can_be_pickled() -> None:
    """As launchers that spawn processes do."""
    again = pickle.loads(pickle.dumps(callback()))
    segmenter = module()
    trainer(callbacks=[again]).validate(segmenter, verbose=False)
    np.testing.assert_array_equal(again.counts[0][:, :C], matrix_of(segmenter.epochs[0]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_results_are_those_of_the_cpu() -> None:
    reported = {}
    for accelerator in ("cpu", "gpu"):
        run = trainer(accelerator=accelerator, callbacks=[called := callback()])
        (scores,) = run.validate(module(steps=Right), verbose=False)
        reported[accelerator] = scores, called.counts[0], found(called)
    assert reported["cpu"][0] == reported["gpu"][0]
    assert torch.equal(reported["cpu"][1], reported["gpu"][1])
    assert reported["cpu"][2] == reported["gpu"][2]


ONE_PACKAGE = """
import sys

def callback_without(*packages):
    for name in [name for name in sys.modules if name.startswith("segmetrics.lightning")]:
        del sys.modules[name]
    for package in packages:
        sys.modules[package] = None  # as if it were not installed
    from segmetrics.lightning import SegmentationCallback
    for package in packages:
        del sys.modules[package]
    return SegmentationCallback

import lightning.pytorch, pytorch_lightning
kinds = pytorch_lightning.Callback, lightning.pytorch.Callback
known = {name: module for name, module in sys.modules.items()}
print([issubclass(callback_without(), kind) for kind in kinds])
print([issubclass(callback_without("lightning.pytorch"), kind) for kind in kinds])
sys.modules |= known
print([issubclass(callback_without("pytorch_lightning"), kind) for kind in kinds])
try:
    callback_without("pytorch_lightning", "lightning.pytorch")
except ImportError as error:
    print(error)
"""


def test_either_package_is_enough_and_without_both_it_says_what_to_install() -> None:
    command = [sys.executable, "-c", ONE_PACKAGE]
    printed = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert printed.splitlines() == [
        "[True, True]",
        "[True, False]",
        "[False, True]",
        "`segmetrics.lightning` needs Lightning. Install it with `pip install "
        "segmetrics[lightning]`.",
    ]


# --- several processes ----------------------------------------------------------------------------


class Ties(Scenes):
    """Scenes of which those from the fourth on are equal, so their scores are."""

    def __getitem__(self, place: int) -> dict[str, Any]:
        return super().__getitem__(min(place, 3)) | {"name": f"scene_{place}.png"}


class Exact(Steps):
    """7 scenes, batches of 2: processes have 4 and 3 of them."""

    def val_dataloader(self) -> Any:
        scenes = self.scenes
        return DataLoader(scenes, batch_size=2, sampler=ExactDistributedSampler(scenes))


class Padded(Steps):
    """Lightning's own sampler repeats the first scene, which is made the worst."""

    def predict(self, batch: Any) -> tuple[Tensor, Tensor]:
        logits, target = super().predict(batch)
        first = torch.tensor([name == "scene_0.png" for name in batch["name"]])
        wrong = nn.functional.one_hot((target + 1) % C, C).movedim(-1, 1) * 1e3
        return logits.where(~first[:, None, None, None], wrong.to(logits.dtype)), target


def worker(rank: int, folder: Path, port: int) -> None:
    """Be one of 2 processes, then alone; write down what is logged."""
    torch.set_num_threads(1)
    for size in (2, 1):
        if rank >= size:
            break
        if size > 1:
            address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ |= address | {"LOCAL_RANK": str(rank), "NODE_RANK": "0"}
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            report = {
                "exact": run(size, folder, Exact, Scenes(), "lightning.pytorch"),
                "ties": run(size, folder, Exact, Ties(), "pytorch_lightning"),
                "padded": run(size, folder, Padded, Scenes(), use_distributed_sampler=True),
                "fitted": fitted(size, folder),
            }
        report["warnings"] = [str(each.message) for each in told]
        with (folder / f"report-{size}-{rank}.pickle").open("wb") as file:
            pickle.dump(report, file)
        if size > 1:
            dist.destroy_process_group()
            del os.environ["LOCAL_RANK"]


def ddp_trainer(size: int, package: str, **arguments: Any) -> Any:
    if size == 1:
        return trainer(package, **arguments)
    strategy = import_module(f"{package}.strategies").DDPStrategy(
        process_group_backend="gloo", timeout=timedelta(seconds=60)
    )
    own_sampler = {"use_distributed_sampler": False} | arguments
    return trainer(package, devices=size, strategy=strategy, **own_sampler)


def run(
    size: int,
    folder: Path,
    steps: type,
    scenes: Any,
    package: str = "pytorch_lightning",
    **arguments: Any,
) -> dict[str, Any]:
    segmenter, called = module(package, steps), callback(worst=3)
    segmenter.scenes = scenes
    name = f"{steps.__name__}-{type(scenes).__name__}"
    logger = import_module(f"{package}.loggers").TensorBoardLogger(folder, name, version=str(size))
    validation = ddp_trainer(size, package, logger=logger, callbacks=[called], **arguments)
    with Collectives() as collectives:
        (scores,) = validation.validate(segmenter, verbose=False)
    return {
        "scores": scores,
        "counts": called.counts[0],
        "examples": [vars(example) for example in called.examples[0]],
        "sent": list(zip(collectives.names, collectives.elements, strict=True)),
        "seen": len(segmenter.epochs[0]),
        "log": logger.log_dir,
    }


def fitted(size: int, folder: Path) -> dict[str, Any]:
    """Scores that are watched while fitting."""
    callbacks = import_module("pytorch_lightning.callbacks")
    segmenter, called = module(steps=Exact), callback(every_n_epochs=2)
    segmenter.scenes = Scenes()
    best = callbacks.ModelCheckpoint(folder / f"{size}", monitor="val/mIoU", mode="max")
    patience = callbacks.EarlyStopping("val/iou/car", mode="max", patience=5)
    fit = ddp_trainer(
        size,
        "pytorch_lightning",
        max_epochs=3,
        callbacks=[called, best, patience],
        enable_checkpointing=True,
        logger=import_module("pytorch_lightning.loggers").CSVLogger(folder, "fit", version=size),
    )
    fit.fit(segmenter)
    best = best.best_model_score.item()
    return {"best": best, "last": fit.callback_metrics["val/mIoU"].item(), "seen": segmenter.epochs}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What both processes reported, and one alone."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run_processes(worker, 2, folder, port)
    files = [folder / f"report-{size}-{rank}.pickle" for size, rank in ((2, 0), (2, 1), (1, 0))]
    return [pickle.loads(file.read_bytes()) for file in files]


def assert_same_examples(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    assert [(e["name"], e["score"]) for e in some] == [(e["name"], e["score"]) for e in others]
    for one, other in zip(some, others, strict=True):
        for key in ("target", "preds", "image"):
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("kind", ["exact", "ties"])
def test_two_processes_report_what_one_does(ranks: list[dict[str, Any]], kind: str) -> None:
    *several, alone = (each[kind] for each in ranks)
    assert [each["seen"] for each in several] == [4, 3]
    assert len(alone["examples"]) == 3
    for report in several:
        assert report["scores"] == alone["scores"]
        assert torch.equal(report["counts"], alone["counts"])
        assert_same_examples(report["examples"], alone["examples"])
    if kind == "ties":
        names = [example["name"] for example in alone["examples"]]
        assert names == ["scene_3.png", "scene_4.png", "scene_5.png"]


def test_the_first_process_logs_what_one_alone_would(ranks: list[dict[str, Any]]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    boards = [EventAccumulator(ranks[i]["exact"]["log"]).Reload() for i in (0, 2)]
    tags = ["val/confusion_matrix", *(f"val/worst/{i}" for i in (1, 2, 3))]
    for tag in tags:
        first, alone = ([e.encoded_image_string for e in board.Images(tag)] for board in boards)
        assert len(first) == len(alone) == 1  # by one process only
        np.testing.assert_array_equal(pixels(first[0]), pixels(alone[0]))
    assert sorted(boards[0].Tags()["images"]) == tags


def test_counts_travel_once_and_of_the_images_only_their_scores_and_the_worst(
    ranks: list[dict[str, Any]],
) -> None:
    states = C * (C + 1) + 7  # and as many kinds of bad pixels
    images = 3 * SIDE**2  # bytes
    for report in ranks[:2]:
        sent = report["exact"]["sent"]
        assert sent.count(("allreduce_", states)) == 1
        assert len([name for name, _ in sent if name == "allgather_"]) == 1
        assert len([size for name, size in sent if name == "broadcast_" and size > images]) == 3


def test_a_named_image_that_a_sampler_repeats_is_shown_once(ranks: list[dict[str, Any]]) -> None:
    *several, alone = (each["padded"] for each in ranks)
    assert alone["examples"][0]["name"] == "scene_0.png"
    for report in several:
        assert report["seen"] == 4
        assert report["counts"].sum() > alone["counts"].sum()  # it counts twice: say so
        assert_same_examples(report["examples"], alone["examples"])


def test_fitting_on_two_processes_watches_one_score(ranks: list[dict[str, Any]]) -> None:
    first, second = (each["fitted"] for each in ranks[:2])
    epochs = [a + b for a, b in zip(first["seen"], second["seen"], strict=True)]
    expected = [scores_of(seen)["val/mIoU"] for seen in epochs]
    for report in (first, second):
        assert report["best"] == pytest.approx(max(expected), abs=1e-6)
        assert report["last"] == pytest.approx(expected[-1], abs=1e-6)


def test_lightning_does_not_complain_about_values_of_several_processes(
    ranks: list[dict[str, Any]],
) -> None:
    for report in ranks:
        assert not [message for message in report["warnings"] if "sync_dist" in message]
