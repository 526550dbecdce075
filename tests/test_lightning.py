"""Through real Lightning trainers: what is logged is the score of the epoch, on any ranks.

The expected numbers are counted in NumPy from the predictions that the model made.
"""

from __future__ import annotations

import csv
import os
import socket
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from processes import Collectives, run_processes

pl = pytest.importorskip("pytorch_lightning")

from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint  # noqa: E402
from pytorch_lightning.loggers import CSVLogger  # noqa: E402
from pytorch_lightning.strategies import DDPStrategy  # noqa: E402
from torchmetrics import MetricCollection  # noqa: E402
from torchmetrics.classification import MulticlassJaccardIndex  # noqa: E402
from torchmetrics.wrappers import ClasswiseWrapper  # noqa: E402

from segmetrics import ConfusionMatrix, MeanIoU, SegmentationMetrics  # noqa: E402
from segmetrics.distributed import ExactDistributedSampler  # noqa: E402
from segmetrics.lightning import SegmentationCallback  # noqa: E402

NAMES = ["road", "car", "person"]
C = len(NAMES)
SAMPLES = 7
VOID = (torch.zeros(3, 16, 16), torch.full((16, 16), 255))


class Scenes(Dataset[tuple[Tensor, Tensor]]):
    """Images whose brightness tells the class, unequally hard, with void pixels."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(index)
        target = torch.randint(C, (4, 4), generator=generator).repeat_interleave(4, 0)
        target = target.repeat_interleave(4, 1)
        noise = torch.randn(3, 16, 16, generator=generator) * 0.2 * (index + 1)
        image = nn.functional.one_hot(target, C).movedim(-1, 0) + noise
        target[torch.rand(16, 16, generator=generator) < 0.1] = 255
        return image, target


# --- the idioms -----------------------------------------------------------------------------------


class Segmenter(pl.LightningModule):
    """A small model with buffers, and what it predicted in every validation."""

    def __init__(self, val_samples: int = SAMPLES, lr: float = 0.05) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.model.append(nn.Conv2d(8, C, 1))
        self.val_samples, self.lr = val_samples, lr
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.expected: list[dict[str, float]] = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        image, target = batch
        return nn.functional.cross_entropy(self.model(image), target, ignore_index=255)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        image, target = batch
        scores = self.model(image)
        self.seen.append((scores.argmax(1), target))
        self.score(scores, target)

    def score(self, scores: Tensor, target: Tensor) -> None:
        raise NotImplementedError

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.expected.append(longhand(self.seen))
        self.seen.clear()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def train_dataloader(self) -> DataLoader[Any]:
        scenes = Scenes(6)
        several = dist.is_initialized()
        sampler = DistributedSampler(scenes, shuffle=False) if several else None
        return DataLoader(scenes, batch_size=2, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        scenes = Scenes(self.val_samples)
        sampler = ExactDistributedSampler(scenes)
        if not len(sampler):  # Lightning refuses a loader without a batch
            return DataLoader([VOID])  # type: ignore[arg-type]
        return DataLoader(scenes, sampler=sampler)


class LogsOneMetric(Segmenter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.miou = MeanIoU(C, ignore_index=255)

    def score(self, scores: Tensor, target: Tensor) -> None:
        self.miou.update(scores, target)
        self.log("val/mIoU", self.miou)


class LogsAllInTheStep(Segmenter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seg = SegmentationMetrics(C, ignore_index=255, class_names=NAMES, prefix="val/")

    def score(self, scores: Tensor, target: Tensor) -> None:
        self.seg.update(scores, target)
        self.log_dict(self.seg)


class LogsAllAtTheEnd(LogsAllInTheStep):
    def score(self, scores: Tensor, target: Tensor) -> None:
        self.seg.update(scores, target)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.seg)
        super().on_validation_epoch_end()


class LogsValuesAtTheEnd(LogsAllAtTheEnd):
    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.seg.compute())
        self.seg.reset()  # Lightning resets only what is logged as a metric
        Segmenter.on_validation_epoch_end(self)


class LogsStepsToo(LogsAllInTheStep):
    def score(self, scores: Tensor, target: Tensor) -> None:
        self.seg(scores, target)
        self.log_dict(self.seg, on_step=True, on_epoch=True)


class LogsByTorchmetrics(Segmenter):
    def __init__(self) -> None:
        super().__init__()
        jaccard = MulticlassJaccardIndex(C, average=None, ignore_index=255)
        self.metrics = MetricCollection({"iou": ClasswiseWrapper(jaccard, labels=NAMES)})

    def score(self, scores: Tensor, target: Tensor) -> None:
        self.metrics.update(scores, target)
        self.log_dict(self.metrics)


class LogsInTheFirstStep(LogsAllInTheStep):
    def score(self, scores: Tensor, target: Tensor) -> None:
        self.seg.update(scores, target)
        if len(self.seen) == 1:
            self.log_dict(self.seg)


IDIOMS = [LogsOneMetric, LogsAllInTheStep, LogsAllAtTheEnd, LogsValuesAtTheEnd]
IDIOMS += [LogsInTheFirstStep]


def longhand(seen: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The scores of all predictions together."""
    preds = np.concatenate([preds.numpy().ravel() for preds, _ in seen])
    target = np.concatenate([target.numpy().ravel() for _, target in seen])
    preds, target = preds[target != 255], target[target != 255]
    matrix = np.zeros((C, C))
    np.add.at(matrix, (target, preds), 1)
    hits, rows, columns = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    iou, dice = hits / (rows + columns - hits), 2 * hits / (rows + columns)
    scores = {
        "mIoU": iou.mean(),
        "mDice": dice.mean(),
        "pixel_accuracy": hits.sum() / matrix.sum(),
        "mean_accuracy": (hits / rows).mean(),
        "fw_iou": (iou * rows).sum() / matrix.sum(),
    }
    scores |= {f"iou/{name}": value for name, value in zip(NAMES, iou, strict=True)}
    scores |= {f"dice/{name}": value for name, value in zip(NAMES, dice, strict=True)}
    return {f"val/{name}": float(value) for name, value in scores.items()}


def trainer(**arguments: Any) -> Any:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    quiet |= {"accelerator": "cpu", "devices": 1, "enable_checkpointing": False}
    return pl.Trainer(**quiet | arguments)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():  # few workers, few batches, a folder that exists
        warnings.filterwarnings("ignore", category=UserWarning)
        yield


def logged(folder: str | Path, key: str) -> list[dict[str, float]]:
    """The rows of the CSV logger's file that have a key, without what else is in them."""
    with (Path(folder) / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row[key]]
    return [{k: float(v) for k, v in row.items() if k.startswith("val/") and v} for row in rows]


# --- one process ----------------------------------------------------------------------------------


@pytest.mark.parametrize("idiom", IDIOMS)
def test_every_epoch_logs_its_own_scores(idiom: type[Segmenter], tmp_path: Path) -> None:
    """Nothing of the sanity check or of the epoch before is left in them."""
    torch.manual_seed(0)
    module, logger = idiom(), CSVLogger(tmp_path)
    trainer(max_epochs=3, logger=logger, log_every_n_steps=1).fit(module)
    rows = logged(logger.log_dir, "val/mIoU")
    assert len(rows) == len(module.expected) == 3
    for row, expected in zip(rows, module.expected, strict=True):
        keys = ["val/mIoU"] if idiom is LogsOneMetric else list(expected)
        assert row == pytest.approx({key: expected[key] for key in keys}, abs=1e-6)
    assert rows[0]["val/mIoU"] < rows[-1]["val/mIoU"]  # so the epochs can be told apart


@pytest.mark.parametrize("idiom", IDIOMS)
def test_validate_returns_the_scores(idiom: type[Segmenter]) -> None:
    torch.manual_seed(0)
    module = idiom()
    run = trainer()
    for _ in range(2):
        (reported,) = run.validate(module, verbose=False)
        assert reported == pytest.approx({k: module.expected[-1][k] for k in reported}, abs=1e-6)
    if idiom is not LogsOneMetric:
        assert list(reported) == list(module.expected[-1])


@pytest.mark.parametrize("idiom", [LogsAllAtTheEnd, LogsAllInTheStep])
def test_callbacks_watch_any_key(idiom: type[Segmenter], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, logger = idiom(), CSVLogger(tmp_path)
    best = ModelCheckpoint(tmp_path, monitor="val/iou/car", mode="max", filename="best")
    patience = EarlyStopping("val/mIoU", mode="max", patience=1, min_delta=1.0)
    run = trainer(
        max_epochs=9, logger=logger, callbacks=[best, patience], enable_checkpointing=True
    )
    run.fit(module)
    assert run.current_epoch == 2  # the second epoch is not better by 1
    rows = logged(logger.log_dir, "val/mIoU")
    assert patience.best_score.item() == pytest.approx(rows[0]["val/mIoU"])
    assert best.best_model_score.item() == pytest.approx(max(row["val/iou/car"] for row in rows))

    restored = idiom.load_from_checkpoint(tmp_path / "best.ckpt")
    (reported,) = trainer().validate(restored, verbose=False)
    assert reported["val/iou/car"] == pytest.approx(best.best_model_score.item())


@pytest.mark.parametrize(
    ("idiom", "times"),
    [(LogsAllInTheStep, 1), (LogsStepsToo, 1), (LogsAllAtTheEnd, 0), (LogsInTheFirstStep, 0)],
)
def test_logging_in_every_step_is_warned_of_once(idiom: type[Segmenter], times: int) -> None:
    run = trainer(max_epochs=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(module := idiom())
        run.validate(module, verbose=False)
    found = [each for each in caught if "logged in every step" in str(each.message)]
    assert len(found) == times
    assert all(each.filename == __file__ for each in found)  # the line that logs


def test_train_validation_and_test_are_logged_each_with_its_own_clone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = LogsAllAtTheEndAndTests()
    run = trainer(max_epochs=2)
    run.fit(module)
    (tested,) = run.test(module, DataLoader(Scenes(SAMPLES)), verbose=False)
    expected = longhand(predictions(module))
    assert tested == pytest.approx(
        {key.replace("val/", "test/"): value for key, value in expected.items()}, abs=1e-6
    )
    (again,) = run.validate(module, verbose=False)
    assert again == pytest.approx(expected, abs=1e-6)


class LogsAllAtTheEndAndTests(LogsAllAtTheEnd):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.test_seg = self.seg.clone(prefix="test/")

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        image, target = batch
        self.test_seg.update(self.model(image), target)

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.test_seg)


def test_step_values_are_of_the_batch_and_their_mean_is_not_the_score(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, logger = LogsStepsToo(), CSVLogger(tmp_path)
    trainer(logger=logger).validate(module, verbose=False)
    steps = logged(logger.log_dir, "val/mIoU_step")
    (epoch,) = logged(logger.log_dir, "val/mIoU_epoch")
    single = [longhand([pair]) for pair in predictions(module)]
    differences = []
    for key, expected in module.expected[0].items():
        values = [row[f"{key}_step"] for row in steps]
        assert values == pytest.approx([scores[key] for scores in single], abs=1e-6)
        assert epoch[f"{key}_epoch"] == pytest.approx(expected, abs=1e-6)
        differences.append(abs(np.mean(values) - expected))
    assert max(differences) > 1e-3


def predictions(module: Segmenter) -> list[tuple[Tensor, Tensor]]:
    module.eval()
    with torch.no_grad():
        return [(module.model(i).argmax(1), t) for i, t in DataLoader(Scenes(SAMPLES))]


def test_torchmetrics_per_class_values_in_a_collection_cannot_be_logged() -> None:
    """Lightning-AI/torchmetrics#2091; ``test_every_epoch_logs_its_own_scores`` is ours."""
    with pytest.raises(ValueError, match="must be a tensor"):
        trainer().validate(LogsByTorchmetrics(), verbose=False)


def test_a_view_cannot_be_updated() -> None:
    seg = SegmentationMetrics(C)
    view = dict(seg.items())["mIoU"]
    with pytest.raises(TypeError, match="'mIoU' is a view of a SegmentationMetrics"):
        view.update(torch.zeros(1, 2).long(), torch.zeros(1, 2).long())


# --- several processes ----------------------------------------------------------------------------


class LogsInEveryWay(Segmenter):
    """Three idioms at once, and the confusion matrix, whose bits are compared."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.step = SegmentationMetrics(C, ignore_index=255, class_names=NAMES, prefix="step/")
        self.end = SegmentationMetrics(C, ignore_index=255, class_names=NAMES, prefix="end/")
        self.miou = MeanIoU(C, ignore_index=255)
        self.confusion = ConfusionMatrix(C, ignore_index=255)
        self.matrices: list[Tensor] = []

    def score(self, scores: Tensor, target: Tensor) -> None:
        for metric in (self.step, self.end, self.miou, self.confusion):
            metric.update(scores, target)
        self.log_dict(self.step)
        self.log("mIoU", self.miou)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.end)
        self.matrices.append(self.confusion.compute())
        self.confusion.reset()
        self.seen.clear()


class PaddedByLightning(LogsInEveryWay):
    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Scenes(self.val_samples))


class LogsAtTheEndAndByCallback(LogsInEveryWay):
    """A step does nothing but update."""

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> Any:
        image, target = batch
        scores = self.model(image)
        self.end.update(scores, target)
        self.confusion.update(scores, target)
        return {"preds": scores, "target": target}


def worker(rank: int, folder: Path, ports: dict[int, int]) -> None:
    """Be one of 3 processes, then of 2, then alone; write down what is logged."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for size, port in ports.items():
        if rank >= size:
            break
        if size > 1:
            address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ |= address | {"LOCAL_RANK": str(rank), "NODE_RANK": "0"}
        report = {name: run(size, folder) for name, run in RUNS.items()}
        torch.save(report, folder / f"report-{size}-{rank}.pt")
        if size > 1:
            dist.destroy_process_group()
            del os.environ["LOCAL_RANK"]


def ddp_trainer(size: int, **arguments: Any) -> Any:
    if size == 1:
        return trainer(**arguments)
    strategy = DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=60))
    own_sampler = {"use_distributed_sampler": False} | arguments
    return trainer(devices=size, strategy=strategy, **own_sampler)


def validated(module: Any, size: int, folder: Path, **arguments: Any) -> dict[str, Any]:
    module.load_state_dict(torch.load(folder / "weights.pt"))
    run = ddp_trainer(size, **arguments)
    with Collectives() as collectives:
        run.validate(module, verbose=False)
    return told(run, module) | {"sent": collectives.elements}


def told(run: Any, module: Any) -> dict[str, Any]:
    scores = {key: value.item() for key, value in run.callback_metrics.items()}
    return {"scores": scores, "matrix": module.matrices[-1]}


def uneven(size: int, folder: Path) -> Any:
    """7 samples: batches 3, 2, 2."""
    return validated(LogsInEveryWay(SAMPLES), size, folder)


def too_few(size: int, folder: Path) -> Any:
    """2 samples: the third process has one batch whose pixels are all ignored."""
    return validated(LogsInEveryWay(2), size, folder)


def padded(size: int, folder: Path) -> Any:
    return validated(PaddedByLightning(SAMPLES), size, folder, use_distributed_sampler=True)


def fit(size: int, folder: Path) -> Any:
    """Validate within ``fit``; the buffers of BatchNorm differ between processes until then."""
    torch.manual_seed(0)
    module = LogsInEveryWay(SAMPLES)
    callbacks = [
        ModelCheckpoint(folder / f"{size}", monitor="step/mIoU", mode="max", filename="best"),
        EarlyStopping("end/iou/car", mode="max", patience=5),
    ]
    run = ddp_trainer(size, max_epochs=3, callbacks=callbacks, enable_checkpointing=True)
    with Collectives() as collectives:
        run.fit(module)
    if run.is_global_zero:
        torch.save(module.state_dict(), folder / f"fitted-{size}.pt")
    best = callbacks[0].best_model_score.item()
    return told(run, module) | {"sent": collectives.elements, "best": best}


def fitted_elsewhere(size: int, folder: Path) -> Any:
    """One process validates what several have fitted."""
    if size > 1:
        return None
    report = {}
    for several in (2, 3):
        module = LogsInEveryWay(SAMPLES)
        module.load_state_dict(torch.load(folder / f"fitted-{several}.pt"))
        run = trainer()
        run.validate(module, verbose=False)
        report[several] = told(run, module)
    return report


def cheaply(size: int, folder: Path) -> Any:
    """The ways that cost a step its update alone: the epoch's end, and the callback."""
    module = LogsAtTheEndAndByCallback(SAMPLES)
    callback = SegmentationCallback(
        C,
        ignore_index=255,
        class_names=NAMES,
        worst=0,
        confusion_matrix=False,
        prefix="callback/",
    )
    return validated(module, size, folder, callbacks=[callback])


RUNS: dict[str, Callable[[int, Path], Any]] = {
    run.__name__: run for run in (uneven, too_few, padded, fit, fitted_elsewhere, cheaply)
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    torch.manual_seed(0)
    module = LogsInEveryWay()
    trainer(max_epochs=1).fit(module)  # buffers that are not the initial ones
    torch.save(module.state_dict(), folder / "weights.pt")
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    run_processes(worker, 3, folder, {3: ports[0], 2: ports[1], 1: 0})
    return folder


@pytest.fixture
def alone(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = torch.load(folder / "report-1-0.pt")
    return report


@pytest.fixture(params=[2, 3], ids=lambda size: f"{size} processes")
def reports(request: pytest.FixtureRequest, folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"report-{request.param}-{r}.pt") for r in range(request.param)]


@pytest.mark.parametrize("run", ["uneven", "too_few"])
def test_validate_reports_the_numbers_of_one_process(
    reports: list[dict[str, Any]], alone: dict[str, Any], run: str
) -> None:
    assert len(alone[run]["scores"]) == 2 * (5 + 2 * C) + 1
    for report in reports:
        assert torch.equal(report[run]["matrix"], alone[run]["matrix"])
        assert report[run]["scores"] == alone[run]["scores"]


def test_validation_in_fit_reports_the_numbers_of_one_process(
    reports: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    expected = alone["fitted_elsewhere"][len(reports)]
    for report in reports:
        assert torch.equal(report["fit"]["matrix"], expected["matrix"])
        assert report["fit"]["scores"] == expected["scores"]
        assert report["fit"]["best"] >= report["fit"]["scores"]["step/mIoU"]


def test_a_metric_syncs_once_an_epoch(reports: list[dict[str, Any]]) -> None:
    """Four metrics of equal counts; ``fit`` validates three times and checks its sanity once."""
    states = next(iter(ConfusionMatrix(C).metric_state.values())).numel()
    for report in reports:
        assert report["uneven"]["sent"].count(states) == 4
        assert report["fit"]["sent"].count(states) == 4 * (3 + 1)


def test_the_cheap_ways_report_the_numbers_of_one_process(
    reports: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    expected = {k: v for k, v in alone["uneven"]["scores"].items() if k.startswith("end/")}
    expected |= {k.replace("end/", "callback/"): v for k, v in expected.items()}
    for report in [alone, *reports]:
        assert report["cheaply"]["scores"] == expected


def test_lightnings_own_sampler_scores_some_samples_twice(
    reports: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    """Why there is an ``ExactDistributedSampler``: the score would depend on the processes."""
    expected = alone["uneven"]
    assert alone["padded"]["scores"] == expected["scores"]
    repeated = -SAMPLES % len(reports)
    twice = torch.zeros(C, C, dtype=torch.int64)
    for report in reports:
        twice = report["padded"]["matrix"] - expected["matrix"]
        assert report["padded"]["scores"]["mIoU"] != expected["scores"]["mIoU"]
    counted = sum((Scenes(SAMPLES)[i][1] != 255).sum() for i in range(repeated))
    assert twice.sum() == counted > 0
