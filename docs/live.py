"""A live report: drawn scenes, scored by the command as anybody would score theirs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

IMAGES = 16
#: What the command gets besides its folders, and what the page shows.
OPTIONS = "--labels voc --boundary --errors --per-image --confidence 0.95"


def write(folder: Path) -> Path:
    """Draw the scenes and write their report into a folder, unless it is there."""
    report = folder / "report.html"
    if not report.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        draw(folder)
        evaluate(folder, report)
    return report


def draw(folder: Path) -> None:
    """Photographs, targets, and predictions as a network might make them."""
    from voc_scenes import draw_scene

    for side in ("images", "targets", "predictions"):
        (folder / side).mkdir(exist_ok=True)
    for number in range(IMAGES):
        rng = np.random.default_rng((7, number))
        image, target = draw_scene(rng)
        scale = np.ones((2, 2), np.uint8)  # scenes are small
        name = f"scene_{number:02}.png"
        Image.fromarray(image.repeat(2, 0).repeat(2, 1)).save(folder / "images" / name)
        Image.fromarray(np.kron(target, scale)).save(folder / "targets" / name)
        predicted = np.kron(predict(rng, target), scale)
        Image.fromarray(predicted).save(folder / "predictions" / name)


def predict(rng: np.random.Generator, target: np.ndarray) -> np.ndarray:
    """The target with ragged borders; some objects are missed, and some get another class."""
    labels = np.where(target == 255, 0, target)
    for label in np.unique(labels[labels > 0]):
        fate = rng.random()
        if fate < 0.12:
            labels[labels == label] = 0
        elif fate < 0.3:  # always taken for the same, as networks do
            labels[labels == label] = label % 20 + 1
    y, x = np.indices(labels.shape)
    wave = rng.uniform(2, 4) * np.sin((x + y) / rng.uniform(4, 9))
    rows = (y + wave).round().astype(int).clip(0, len(labels) - 1)
    return labels[rows, x].astype(np.uint8)


def evaluate(folder: Path, report: Path) -> None:
    """``segmetrics evaluate``."""
    from segmetrics.evaluate.command import app

    arguments = [str(folder / side) for side in ("predictions", "targets")]
    outputs = ["--html", str(report), "--images", str(folder / "images")]
    done = CliRunner().invoke(app, ["evaluate", *arguments, *OPTIONS.split(), *outputs])
    if done.exit_code:
        raise RuntimeError(done.output) from done.exception
