"""With Hugging Face's ``Trainer`` and a SegFormer of random weights, in one process and in two."""

from __future__ import annotations

import os
import socket
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.functional import interpolate
from torch.utils.data import Dataset
from torchmetrics.classification import MulticlassJaccardIndex

from processes import run_processes
from segmetrics import ConfusionMatrix, MeanIoU, SegmentationMetrics, SurfaceMetrics
from segmetrics.integrations.transformers import ComputeMetrics

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

C, IMAGES, VOID = 3, 7, 255


class Squares(Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(index)
        labels = torch.randint(C, (32, 32), generator=generator)
        labels[:4] = VOID
        return {"pixel_values": torch.rand(3, 32, 32, generator=generator), "labels": labels}


def segformer(**config: Any) -> Any:
    torch.manual_seed(0)
    return transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(
            depths=[1] * 4,
            hidden_sizes=[8] * 4,
            num_attention_heads=[1] * 4,
            decoder_hidden_size=8,
            num_labels=C,
            **config,
        )
    )


def trainer(folder: Path, compute_metrics: Any, model: Any = None, **arguments: Any) -> Any:
    settings = {"batch_eval_metrics": True, "per_device_eval_batch_size": 2} | arguments
    return transformers.Trainer(
        model=model or segformer(),
        args=transformers.TrainingArguments(
            str(folder), use_cpu=True, report_to=[], disable_tqdm=True, **settings
        ),
        eval_dataset=Squares(),
        compute_metrics=compute_metrics,
    )


def metric(**arguments: Any) -> SegmentationMetrics:
    return SegmentationMetrics(C, ignore_index=VOID, upsample="bilinear", **arguments)


def counts_by_hand() -> np.ndarray:
    """The confusion matrix of the resized logits, longhand."""
    model, matrix = segformer().eval(), np.zeros((C, C))
    for each in map(Squares().__getitem__, range(IMAGES)):
        with torch.no_grad():
            logits = model(each["pixel_values"][None]).logits
        assert logits.shape[-2:] == (8, 8)
        preds = interpolate(logits, (32, 32), mode="bilinear", align_corners=False)[0].argmax(0)
        known = each["labels"] != VOID
        np.add.at(matrix, (each["labels"][known].numpy(), preds[known].numpy()), 1)
    return matrix


def test_every_evaluation_gives_the_scores_of_a_loop_by_hand(tmp_path: Path) -> None:
    matrix = counts_by_hand()
    hits, there, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    expected = {
        "eval_pixel_accuracy": hits.sum() / matrix.sum(),
        "eval_mIoU": np.mean(hits / (there + predicted - hits)),
    }
    evaluated = trainer(tmp_path, ComputeMetrics(metric(class_names=["a", "b", "c"])))
    for _ in range(2):
        found = evaluated.evaluate()
        assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-6)
    assert {f"eval_iou/{name}" for name in "abc"} < found.keys()
    assert all(type(value) is float for key, value in found.items() if "iou" in key.lower())


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": (folder / "port").read_text()},
        "ACCELERATE_USE_CPU": "true",
    }
    matrix = ConfusionMatrix(C, ignore_index=VOID, upsample="bilinear")
    evaluated = trainer(folder, ComputeMetrics(matrix), ddp_backend="gloo")
    assert evaluated.args.world_size == 2
    torch.save(evaluated.evaluate(), folder / f"report-{rank}")
    dist.destroy_process_group()


def test_two_processes_count_every_image_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    run_processes(worker, 2, tmp_path)
    expected = counts_by_hand()
    for rank in range(2):
        found = torch.load(tmp_path / f"report-{rank}")
        cells = [[found[f"eval_{t}/{p}"] for p in range(C)] for t in range(C)]
        np.testing.assert_array_equal(cells, expected)


def test_a_batch_counts_and_the_last_one_answers_and_resets() -> None:
    original = MeanIoU(C)
    original.update(torch.zeros(1, 2, 2).long(), torch.ones(1, 2, 2).long())
    compute_metrics = ComputeMetrics(original)
    right = torch.tensor([[[0, 1]]])
    for _ in range(2):
        assert (
            compute_metrics(transformers.EvalPrediction(right, right), compute_result=False) == {}
        )
        batch = transformers.EvalPrediction(right.flip(-1), right)
        assert compute_metrics(batch, compute_result=True) == {"MeanIoU": pytest.approx(1 / 3)}
    assert original.compute() == 0


def test_an_undefined_score_is_nan() -> None:
    empty = torch.zeros(1, 4, 4, dtype=torch.long)
    compute_metrics = ComputeMetrics(SurfaceMetrics(2, tolerance=1.0, include_background=False))
    found = compute_metrics(transformers.EvalPrediction(empty, empty), compute_result=True)
    assert found
    assert all(isnan(score) for score in found.values())


def test_a_trainer_that_collects_the_whole_set_is_told_how_to_batch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Pass `batch_eval_metrics=True` to `TrainingArguments`"):
        trainer(tmp_path, ComputeMetrics(metric()), batch_eval_metrics=False).evaluate()


def test_a_model_that_returns_more_than_logits_is_told_how_to_pick_them(tmp_path: Path) -> None:
    model = segformer(output_hidden_states=True)
    with pytest.raises(TypeError, match=r"`predictions` .* got tuple.*outputs\[0\]"):
        trainer(tmp_path, ComputeMetrics(metric()), model=model).evaluate()


def test_another_librarys_metric_is_refused() -> None:
    with pytest.raises(TypeError, match="metric of segmetrics, got MulticlassJaccardIndex"):
        ComputeMetrics(MulticlassJaccardIndex(C))  # type: ignore[arg-type]
