"""The time of logging in a validation of Lightning: ours in each documented way, and torchmetrics'.

A module without a network validates some hundred batches of labels. A clock stands where steps and
the epoch's end begin, which tells the first step, in which Lightning registers keys, from the rest.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import warnings
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
import torch.multiprocessing as mp
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassJaccardIndex,
)

from segmetrics import MeanIoU, SegmentationMetrics
from segmetrics.lightning import SegmentationCallback

SIDE = 64
ROUNDS = 3
Seconds = dict[str, float]


class Validated(pl.LightningModule):
    """Scores a batch of labels and logs nothing."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.metric: Any = self.make()

    def make(self) -> Metric | MetricCollection | None:
        return SegmentationMetrics(self.classes, ignore_index=255)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        preds, target = (each[0] for each in batch)
        self.score(preds, target)
        return {"preds": preds, "target": target}

    def score(self, preds: Tensor, target: Tensor) -> None:
        self.metric.update(preds, target)


class NoMetric(Validated):
    def score(self, preds: Tensor, target: Tensor) -> None:
        pass


class AtTheEnd(Validated):
    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metric)


class ValuesAtTheEnd(Validated):
    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metric.compute())
        self.metric.reset()


class InEveryStep(Validated):
    def score(self, preds: Tensor, target: Tensor) -> None:
        self.metric.update(preds, target)
        self.log_dict(self.metric)


class OneScore(Validated):
    def make(self) -> Metric:
        return MeanIoU(self.classes, ignore_index=255)

    def score(self, preds: Tensor, target: Tensor) -> None:
        self.metric.update(preds, target)
        self.log("mIoU", self.metric)


class Torchmetrics(InEveryStep):
    """The five usual scores, as one of every class cannot be logged from a collection."""

    def make(self) -> MetricCollection:
        arguments: dict[str, Any] = {"num_classes": self.classes, "ignore_index": 255}
        return MetricCollection(
            {
                "mIoU": MulticlassJaccardIndex(**arguments),
                "mDice": MulticlassF1Score(**arguments),
                "pixel_accuracy": MulticlassAccuracy(average="micro", **arguments),
                "mean_accuracy": MulticlassAccuracy(**arguments),
                "fw_iou": MulticlassJaccardIndex(average="weighted", **arguments),
            }
        )


#: Ways of logging: a module, and whether the callback does it.
WAYS: dict[str, tuple[type[Validated], bool]] = {
    "no metric": (NoMetric, False),
    "update, nothing logged": (Validated, False),
    "values at the end": (ValuesAtTheEnd, False),
    "log_dict at the end": (AtTheEnd, False),
    "callback": (NoMetric, True),
    "log of MeanIoU in every step": (OneScore, False),
    "log_dict in every step": (InEveryStep, False),
    "torchmetrics, 5 keys, log_dict in every step": (Torchmetrics, False),
}
#: The way that the others are compared with.
PLAIN = "values at the end"


class Clock(pl.Callback):
    """When each step, the epoch's end and what follows begin."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.end = self.over = 0.0

    def on_validation_batch_start(self, *_: Any, **__: Any) -> None:
        self.steps.append(perf_counter())

    def on_validation_epoch_end(self, *_: Any) -> None:
        self.end = perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        self.over = perf_counter()

    def seconds(self) -> Seconds:
        """Of a step from the second on, of the first step and of the epoch's end."""
        first, second, *_ = self.steps
        later = (self.end - second) / (len(self.steps) - 1)
        return {"step": later, "first": second - first, "end": self.over - self.end}


def validated(way: str, classes: int, steps: int, processes: int) -> Seconds:
    """Validate once."""
    kind, by_callback = WAYS[way]
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(classes, (1, SIDE, SIDE), generator=draw, dtype=torch.uint8)
    preds = target.roll(1, -1)
    clock = Clock()
    callbacks: list[pl.Callback] = [clock]
    if by_callback:
        callbacks.append(
            SegmentationCallback(classes, ignore_index=255, worst=0, confusion_matrix=False)
        )
    strategy = DDPStrategy(process_group_backend="gloo") if processes > 1 else "auto"
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy=strategy,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.validate(kind(classes), DataLoader([(preds, target)] * steps), verbose=False)
    return clock.seconds()


def measured(classes: int, steps: int, processes: int, rounds: int = ROUNDS) -> dict[str, Seconds]:
    """Median seconds of every way, which take turns."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        path = Path(folder) / "seconds.pt"
        arguments = (path, classes, steps, processes, rounds, port)
        mp.start_processes(_process, arguments, processes, start_method="spawn")
        samples: dict[str, list[Seconds]] = torch.load(path)
    return {
        way: {part: median(run[part] for run in runs) for part in runs[0]}
        for way, runs in samples.items()
    }


def _process(
    rank: int, path: Path, classes: int, steps: int, processes: int, rounds: int, port: int
) -> None:
    """Be one of the processes; the first keeps the seconds."""
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    if processes > 1:
        torch.set_num_threads(1)
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    samples: dict[str, list[Seconds]] = {way: [] for way in WAYS}
    for i in range(rounds + 1):  # the first loads and compiles
        for way in WAYS:
            seconds = validated(way, classes, steps if i else 2, processes)
            if i:
                samples[way].append(seconds)
    if rank == 0:
        torch.save(samples, path)
