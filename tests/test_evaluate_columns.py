"""Every column of what the command writes about objects, segments and probabilities."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import roc_curve

import test_evaluate_objects as of_objects
import test_evaluate_panoptic as of_panoptic
import test_evaluate_probabilities as of_probabilities
from longhand_panoptic import panoptic_counts, qualities
from segmetrics import ObjectImageScores, ObjectMetrics

Row = dict[str, Any]


def numbers(row: Row) -> Row:
    """A row without its names; an empty cell and null are nan."""
    shown = {key: value for key, value in row.items() if key not in NAMES}
    return {key: np.nan if value in (None, "") else float(value) for key, value in shown.items()}


NAMES = ("name", "class", "image", "bin", "isthing")


def assert_rows(rows: list[Row], expected: list[Row]) -> None:
    assert len(rows) == len(expected)
    for row, of in zip(map(numbers, rows), expected, strict=True):
        assert row == pytest.approx(of, rel=1e-6, abs=1e-9, nan_ok=True)


def assert_files(folder: Path, found: Row, sections: dict[str, str]) -> None:
    """The CSV files have the numbers of the sections of the JSON."""
    for name, section in sections.items():
        with (folder / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [next(iter(row.values())) for row in rows] == [
            str(next(iter(row.values()))) for row in found[section]
        ]
        assert_rows(rows, [numbers(row) for row in found[section]])


def objects_of(c: int, pairs: of_objects.Pairs) -> Row:
    """The objects of a class and the pixels of those that touch none, by SciPy."""
    found = dict.fromkeys(OF_SCIPY, 0)
    for preds, target in pairs:
        counted = target != 255
        for mask, other, what, volume in (
            (target, preds, *OF_SCIPY[::2]),
            (preds, target, *OF_SCIPY[1::2]),
        ):
            components = ndimage.label(mask == c, np.ones((3, 3)))[0] * counted
            for number in np.unique(components[components > 0]):
                inside = components == number
                found[what] += 1
                found[volume] += 0 if (other[inside] == c).any() else inside.sum()
    return found


OF_SCIPY = (
    *("target_objects", "predicted_objects"),
    *("false_negative_volume", "false_positive_volume"),
)


def test_every_column_of_objects(tmp_path: Path) -> None:
    pairs = of_objects.drawn(6)
    found = of_objects.results(
        tmp_path, *of_objects.stored(tmp_path, pairs), "--num-classes", 3, "--ignore-index", 255,
        "--objects", "--object-distances", "--csv", tmp_path / "f.csv",
    )  # fmt: skip
    expected = [of_objects.scored(ObjectMetrics(3, ignore_index=255, distances=True), pairs)]
    for c in (1, 2):  # a class is scored as if the others were background
        metric = ObjectMetrics(task="binary", ignore_index=255, distances=True)
        alone = [((p == c) + np.uint8(0), np.where(t == 255, t, t == c)) for p, t in pairs]
        expected.append(of_objects.scored(metric, alone))
    of_image = ObjectImageScores(3, ignore_index=255)
    for preds, target in pairs:
        of_image.update(torch.from_numpy(preds)[None], torch.from_numpy(target)[None])
    counts = of_image.image_counts()
    of_class = [objects_of(c, pairs) for c in (1, 2)]
    of_all = {key: sum(row[key] for row in of_class) for key in OF_SCIPY}
    rows = []
    for row, scipys, of in zip(found["objects"], [of_all, *of_class], expected, strict=True):
        rows.append(scipys | {key: of[key] for key in numbers(row).keys() - scipys.keys()})
    assert_rows(found["objects"], rows)
    images = {key: counts.values(key).tolist() for key in numbers(found["objects_images"][0])}
    by_name = sorted(found["objects_images"], key=lambda row: str(row["image"]))
    assert_rows(by_name, [{k: v[i] for k, v in images.items()} for i in range(6)])
    assert_files(
        tmp_path, found, {"f.objects.csv": "objects", "f.objects_images.csv": "objects_images"}
    )


def test_every_column_of_panoptic_quality(tmp_path: Path) -> None:
    images = of_panoptic.drawn(5)
    paths = of_panoptic.write_coco(tmp_path, images)
    done = of_panoptic.run(
        *paths,
        "--panoptic",
        "--per-image",
        "--json",
        tmp_path / "f.json",
        "--csv",
        tmp_path / "f.csv",
    )
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "f.json").read_text())
    of_images = [
        panoptic_counts(target, preds, segments, predicted)
        for target, segments, preds, predicted in images
    ]
    total = {c: np.sum([counts[c] for counts in of_images], 0) for c in of_panoptic.THINGS}

    def of_class(category: int) -> Row:
        only = qualities({category: total[category]}, {category: True})
        values = dict(zip(("tp", "fp", "fn"), total[category], strict=False))
        return {"pq": only["PQ"], "sq": only["SQ"], "rq": only["RQ"], **values}

    category_of = {name: category for category, name in of_panoptic.NAMES.items()}
    expected = [of_class(category_of[row["name"]]) for row in found["classes"]]
    assert_rows(found["classes"], expected)
    rows = []
    for counts in of_images:
        scores = qualities(counts, of_panoptic.THINGS)
        summed = np.sum(list(counts.values()), 0)
        rows.append(
            {key: value for key, value in scores.items() if "/" not in key}
            | dict(zip(("tp", "fp", "fn"), summed, strict=False))
        )
    by_name = sorted(found["images"], key=lambda row: str(row["name"]))
    assert_rows(by_name, rows)
    assert_files(tmp_path, found, {"f.csv": "classes", "f.images.csv": "images"})


def test_every_column_of_probabilities(tmp_path: Path) -> None:
    maps = of_probabilities.maps.__wrapped__()
    found_in, targets = of_probabilities.written(tmp_path, maps, "npy")
    done = of_probabilities.run(
        found_in, targets, "--binary", "--probabilities",
        "--json", tmp_path / "f.json", "--csv", tmp_path / "f.csv",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "f.json").read_text())
    p = np.concatenate([x.ravel() for x in maps[0]]).astype(np.float32) / np.float32(65535)
    y = np.concatenate([x.ravel() for x in maps[1]])
    place = np.minimum((p * 15).astype(int), 14)
    rows, gaps = [], []
    for b in range(15):
        inside = place == b
        mean = {"probability": p[inside].mean(dtype=np.float64), "foreground": y[inside].mean()}
        rows.append({"pixels": inside.sum(), **mean})
        gaps.append(abs(mean["probability"] - mean["foreground"]))
    assert_rows(found["reliability"], rows)
    scores = found["scores"]
    assert scores["MCE"] == pytest.approx(max(gaps), abs=1e-6)
    assert scores["ACE"] == pytest.approx(np.mean(gaps), abs=1e-6)
    fpr, tpr, _ = roc_curve(y, p)
    assert scores["FPR95"] == pytest.approx(fpr[tpr >= 0.95].min(), abs=2e-3)
    assert numbers(found["probabilities"][0]) == {
        key: scores[key] for key in numbers(found["probabilities"][0])
    }
    files = {"f.probabilities.csv": "probabilities", "f.reliability.csv": "reliability"}
    assert_files(tmp_path, found, files)
