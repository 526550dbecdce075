"""``segmetrics evaluate --probabilities``: maps of probabilities beside folders of masks."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    log_loss,
    roc_auc_score,
)
from typer.testing import CliRunner

from segmetrics.evaluate.command import app

N, SIZE = 5, (24, 31)
Maps = tuple[list[np.ndarray], list[np.ndarray]]


@pytest.fixture
def maps() -> Maps:
    """Probabilities that 16 bits hold, and masks."""
    rng = np.random.default_rng(0)
    masks = [(rng.random(SIZE) < 0.3).astype(np.uint8) for _ in range(N)]
    logits = [rng.normal(size=SIZE) * 2 + 3 * mask - 1.5 for mask in masks]
    stored = [np.rint(65535 / (1 + np.exp(-z))).clip(1, 65534).astype(np.uint16) for z in logits]
    return stored, masks


def written(folder: Path, maps: Maps, form: str) -> tuple[Path, Path]:
    """Folders of both."""
    preds, targets = folder / "preds", folder / "targets"
    preds.mkdir()
    targets.mkdir()
    for i, (stored, mask) in enumerate(zip(*maps, strict=True)):
        Image.fromarray(255 * mask).save(targets / f"{i}.png")
        p = (stored / 65535).astype(np.float32)
        if form == "png":
            Image.fromarray(stored).save(preds / f"{i}.png")
        elif form == "npy":
            np.save(preds / f"{i}.npy", p)
        elif form == "npz":
            np.savez_compressed(preds / f"{i}.npz", p.astype(np.float64))
        else:
            tifffile.imwrite(preds / f"{i}.tif", p)
    return preds, targets


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.mark.parametrize("form", ["png", "npy", "npz", "tif"])
def test_scores_are_those_of_all_pixels(tmp_path: Path, maps: Maps, form: str) -> None:
    preds, targets = written(tmp_path, maps, form)
    out = tmp_path / "scores.json"
    found = run(preds, targets, "--binary", "--probabilities", "--json", out)
    assert found.exit_code == 0, found.output
    scores = json.loads(out.read_text())["scores"]
    p = np.concatenate([x.ravel() for x in maps[0]]).astype(np.float32) / np.float32(65535)
    y = np.concatenate([x.ravel() for x in maps[1]])
    assert scores["AUROC"] == pytest.approx(roc_auc_score(y, p), abs=1e-4)
    assert scores["AP"] == pytest.approx(average_precision_score(y, p), abs=2e-4)
    assert scores["brier"] == pytest.approx(brier_score_loss(y, p), abs=1e-6)
    assert scores["NLL"] == pytest.approx(log_loss(y, p.astype(np.float64)), abs=1e-5)
    assert scores["best_dice"] == pytest.approx(f1_score(y, p > scores["best_threshold"]), abs=1e-9)
    assert scores["dice"] == pytest.approx(f1_score(y, p > 0.5), abs=1e-9)
    edges = np.minimum((p * 15).astype(int), 14)
    gaps = [abs((y[edges == b] - p[edges == b]).sum()) for b in range(15)]
    assert scores["ECE"] == pytest.approx(sum(gaps) / len(y), abs=1e-5)


def test_intervals_tables_and_figures(tmp_path: Path, maps: Maps) -> None:
    preds, targets = written(tmp_path, maps, "png")
    names = [tmp_path / name for name in ("s.json", "s.csv", "s.html")]
    found = run(
        *(preds, targets, "--binary", "--probabilities", "--confidence", "0.9"),
        *("--json", names[0], "--csv", names[1], "--html", names[2]),
    )
    assert found.exit_code == 0, found.output
    assert "best_threshold" in found.output
    result = json.loads(names[0].read_text())
    for key in ("AUROC", "AP", "best_dice", "ECE", "NLL"):
        interval = result["intervals"][key]
        assert interval["low"] <= result["scores"][key] <= interval["high"]
    with (tmp_path / "s.reliability.csv").open() as file:
        rows = list(csv.DictReader(file))
    pixels = sum(int(row["pixels"]) for row in rows)
    assert pixels == N * SIZE[0] * SIZE[1]
    page = names[2].read_text()
    assert all(title in page for title in ("reliability", "ROC", "precision and recall"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full(SIZE, 3.5, np.float32), "outside [0, 1], 3.5 the first. Logits?"),
        (np.full(SIZE, np.nan, np.float32), "outside [0, 1], nan the first"),
        (np.zeros(SIZE, np.int32), "int32, expected floats in [0, 1]"),
        (np.zeros((2, 3, *SIZE), np.float32), "expected probabilities (H, W)"),
    ],
)
def test_what_is_no_probability_is_named(
    tmp_path: Path, maps: Maps, values: np.ndarray, message: str
) -> None:
    preds, targets = written(tmp_path, maps, "npy")
    np.save(preds / "2.npy", values)
    found = run(preds, targets, "--binary", "--probabilities")
    assert found.exit_code == 2
    assert message in " ".join(found.output.split())


def test_several_classes_need_maps_of_their_own(tmp_path: Path, maps: Maps) -> None:
    preds, targets = written(tmp_path, maps, "npy")
    found = run(preds, targets, "--num-classes", 3, "--probabilities")
    assert found.exit_code == 2
    assert "Pass --binary" in " ".join(found.output.split())
    for folder, end in ((preds, "npy"), (targets, "png")):
        for i in range(N):
            (folder / f"{i}.{end}").rename(folder / f"{i // 2}_{'ab'[i % 2]}.{end}")
    (preds / "2_a.npy").unlink()
    (targets / "2_a.png").unlink()
    match = "{key}_{class}"
    out = tmp_path / "scores.json"
    found = run(
        *(preds, targets, "--match", match, match, "--probabilities", "--json", out),
        *("--confidence", "0.9"),
    )
    assert found.exit_code == 0, found.output
    result = json.loads(out.read_text())
    rows = {row["name"]: row for row in result["probabilities"]}
    y, p = (np.concatenate([x.ravel() for x in part[:4:2]]) for part in maps[::-1])
    assert rows["a"]["AUROC"] == pytest.approx(roc_auc_score(y, p), abs=2e-3)
    assert result["scores"]["AUROC"] == pytest.approx((rows["a"]["AUROC"] + rows["b"]["AUROC"]) / 2)
