"""With Accelerate in two real processes: what is gathered already must not be summed again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from processes import run_processes
from segmetrics import ConfusionMatrix, ImageScores, MeanIoU, SurfaceDice
from segmetrics.distributed import ExactDistributedSampler

pytest.importorskip("accelerate")

C, IMAGES = 3, 7


def maps() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.randint(C, (2, IMAGES, 16, 16), generator=generator)
    return preds, target


def metrics(**arguments: Any) -> dict[str, Any]:
    return {
        "matrix": ConfusionMatrix(C, **arguments),
        "samplewise": MeanIoU(C, aggregation_level="samplewise", **arguments),
        "images": ImageScores(C, **arguments),
        "surface": SurfaceDice(C, tolerance=1, **arguments),
    }


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": (folder / "port").read_text()},
        "ACCELERATE_USE_CPU": "true",
    }
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    dataset = TensorDataset(*maps())
    report = {}

    gathered, twice = metrics(sync_on_compute=False), metrics()
    for preds, target in accelerator.prepare(DataLoader(dataset, batch_size=2)):
        both = accelerator.gather_for_metrics((preds, target))
        for metric in (*gathered.values(), *twice.values()):
            metric.update(*both)
    report["gathered"] = {name: metric.compute() for name, metric in gathered.items()}
    report["twice"] = {name: metric.compute() for name, metric in twice.items()}
    report["images"] = [len(each["images"].image_counts()) for each in (gathered, twice)]

    shares = metrics()
    for preds, target in DataLoader(
        dataset, batch_size=2, sampler=ExactDistributedSampler(dataset)
    ):
        for metric in shares.values():
            metric.update(preds, target)
    report["shares"] = {name: metric.compute() for name, metric in shares.items()}
    torch.save(report, folder / f"report-{rank}")
    dist.destroy_process_group()


def test_gathered_batches_are_exact_without_sync_and_twice_with_it(tmp_path: Path) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    run_processes(worker, 2, tmp_path)
    alone = metrics()
    for metric in alone.values():
        metric.update(*maps())
    expected = {name: metric.compute() for name, metric in alone.items()}
    for rank in range(2):
        report = torch.load(tmp_path / f"report-{rank}")
        for way in ("gathered", "shares"):
            torch.testing.assert_close(report[way], expected, rtol=0, atol=0, equal_nan=True)
        assert torch.equal(report["twice"]["matrix"], 2 * expected["matrix"])
        assert report["images"] == [IMAGES, 2 * IMAGES]
