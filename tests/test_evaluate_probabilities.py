"""``segmetrics evaluate --probabilities``: folders of scores against folders of masks."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import nibabel
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
from segmetrics.evaluate.probabilities import _figure

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
    pictures = re.findall(r'aria-label="foreground: ([^"]*)">(.*?)</svg>', page, re.DOTALL)
    diagonals = {title: "stroke-dasharray" in picture for title, picture in pictures}
    assert diagonals == {
        "reliability": True, "ROC": True, "precision and recall": False, "Dice": False,
    }  # fmt: skip
    (reliability,) = (picture for title, picture in pictures if title == "reliability")
    drawn = np.array(re.findall(r'circle cx="([\d.]+)" cy="([\d.]+)"', reliability), float)
    expected = np.array([[row["probability"], row["foreground"]] for row in rows], float)
    np.testing.assert_allclose(drawn, [40, 180] + 160 * expected * [1, -1], atol=0.06)
    (dice,) = re.findall(r'aria-label="foreground: Dice">.*?</svg>', page, re.DOTALL)
    ((x, y),) = re.findall(r'circle cx="([\d.]+)" cy="([\d.]+)"', dice)
    best = result["scores"]["best_threshold"], result["scores"]["best_dice"]
    (roc,) = re.findall(r'aria-label="foreground: ROC">.*?<polyline points="([^"]*)"', page, re.S)
    assert (roc.split()[0], roc.split()[-1]) == ("40.0,180.0", "200.0,20.0")  # from 0, 0 to 1, 1
    marked = (float(x) - 40) / 160, 1 - (float(y) - 20) / 160
    assert marked == pytest.approx(best, abs=1e-3)


def test_intervals_draw_the_images_of_a_patient_together(tmp_path: Path, maps: Maps) -> None:
    twice = [[x for x in side for _ in range(2)] for side in maps]
    found = []
    for folder, of_folder in (("once", maps), ("twice", twice)):
        (tmp_path / folder).mkdir()
        given = [*written(tmp_path / folder, of_folder, "npy"), "--binary", "--probabilities"]
        if folder == "twice":
            rows = "".join(f"{i},{i // 2}\n" for i in range(2 * N))
            (tmp_path / "of.csv").write_text(f"image,patient\n{rows}")
            given += ["--groups", f"{tmp_path / 'of.csv'}:patient"]
        out = tmp_path / folder / "s.json"
        done = run(*given, "--confidence", "0.9", "--json", out)
        assert done.exit_code == 0, done.output
        found.append(json.loads(out.read_text())["intervals"])
    once, of_patients = found
    for key in ("AUROC", "AP", "best_dice", "ECE", "brier", "NLL"):
        assert of_patients[key]["groups"] == N
        width = once[key]["high"] - once[key]["low"]  # of images it would be 30 % less
        for bound in ("low", "high"):
            assert of_patients[key][bound] == pytest.approx(once[key][bound], abs=0.1 * width)


@pytest.mark.parametrize("options", [["--per-image"], []])
def test_without_a_level_there_are_no_intervals(
    options: list[str], tmp_path: Path, maps: Maps
) -> None:
    given = *written(tmp_path, maps, "png"), "--binary", "--probabilities", *options
    found = run(*given, "--json", tmp_path / "s.json")
    assert found.exit_code == 0, found.output
    assert not json.loads((tmp_path / "s.json").read_text()).get("intervals")


@pytest.mark.parametrize("number", [1, 2])
def test_two_images_have_intervals_and_one_has_none(
    number: int, tmp_path: Path, maps: Maps
) -> None:
    given = *written(tmp_path, (maps[0][:number], maps[1][:number]), "png"), "--probabilities"
    found = run(*given, "--binary", "--confidence", "0.9", "--json", tmp_path / "s.json")
    assert found.exit_code == 0, found.output
    intervals = json.loads((tmp_path / "s.json").read_text()).get("intervals", {})
    assert ("AUROC" in intervals) == ("ECE" in intervals) == (number == 2)


@pytest.mark.parametrize(("options", "cells"), [([], "8,192"), (["--confidence", "0.9"], "512")])
def test_images_that_are_drawn_have_tables_of_few_cells(
    options: list[str], cells: str, tmp_path: Path, maps: Maps
) -> None:
    given = *written(tmp_path, maps, "png"), "--binary", "--probabilities", *options
    assert run(*given, "--json", tmp_path / "s.json").exit_code == 0
    assert f"of {cells} cells." in " ".join(json.loads((tmp_path / "s.json").read_text())["notes"])


@pytest.mark.parametrize("labels", [True, False])
def test_label_maps_instead_of_probabilities_are_told(
    tmp_path: Path, maps: Maps, labels: bool
) -> None:
    preds, targets = written(tmp_path, maps, "png")
    for i, stored in enumerate(maps[0]):
        values = stored > 2**15 if labels else stored // 257
        Image.fromarray(values.astype(np.uint8)).save(preds / f"{i}.png")
    found = run(preds, targets, "--binary", "--probabilities")
    assert found.exit_code == 0, found.stderr
    assert ("Do files hold labels, 0 and 1?" in " ".join(found.output.split())) == labels


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
    text = " ".join(found.output.split())
    assert message in text
    assert "files that hold no probabilities: 1" in text
    assert "A mask holds integers" not in text


def test_classes_may_have_maps_of_their_own(tmp_path: Path, maps: Maps) -> None:
    preds, targets = written(tmp_path, maps, "npy")
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


# --- volumes and logits ---------------------------------------------------------------------------

AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])


def flipped(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same volume stored from right to left, and its affine."""
    affine = AFFINE.copy()
    affine[0] = [-2.0, 0, 0, 2.0 * (array.shape[0] - 1)]
    return array[::-1], affine


def saved(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def test_volumes_of_probabilities_are_brought_to_the_axes_of_their_target(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in ("preds", "targets"):
        (tmp_path / name).mkdir()
    ps, ys = [], []
    for case in "ab":
        y = (rng.random((6, 5, 4)) < 0.4).astype(np.uint8)
        p = (0.8 * rng.random(y.shape) + 0.2 * y).astype(np.float32)
        saved(tmp_path / "preds" / f"{case}.nii.gz", *flipped(p))
        saved(tmp_path / "targets" / f"{case}.nii.gz", y)
        ps.append(p.ravel())
        ys.append(y.ravel())
    out = tmp_path / "scores.json"
    folders = tmp_path / "preds", tmp_path / "targets"
    found = run(*folders, "--binary", "--probabilities", "--json", out)
    assert found.exit_code == 0, found.output
    scores, p, y = json.loads(out.read_text())["scores"], np.concatenate(ps), np.concatenate(ys)
    assert scores["brier"] == pytest.approx(brier_score_loss(y, p), abs=1e-6)
    assert scores["AUROC"] == pytest.approx(roc_auc_score(y, p), abs=5e-3)
    assert scores["dice"] == pytest.approx(f1_score(y, p > 0.5), abs=1e-9)


Classes = tuple[list[np.ndarray], list[np.ndarray]]


def classes(shape: tuple[int, ...], number: int = 3) -> Classes:
    """Logits ``(C, ...)`` of a model that is mostly right, and masks."""
    rng = np.random.default_rng(2)
    masks = [rng.integers(0, number, shape).astype(np.uint8) for _ in range(N)]
    logits = [rng.normal(size=(number, *shape)).astype(np.float32) for _ in masks]
    for z, mask in zip(logits, masks, strict=True):
        np.put_along_axis(z, mask[None], np.take_along_axis(z, mask[None], 0) + 1.5, 0)
    return logits, masks


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits.astype(np.float64) - logits.max(0))
    return raised / raised.sum(0)


@pytest.mark.parametrize("form", ["npy", "npz", "logits", "png16", "nifti", "nnunet", "uint8"])
def test_classes_of_one_file_are_scored_together(tmp_path: Path, form: str) -> None:
    of_volumes = form in ("nifti", "nnunet")
    logits, masks = classes((6, 5, 4) if of_volumes else SIZE)
    preds, targets = tmp_path / "preds", tmp_path / "targets"
    preds.mkdir()
    targets.mkdir()
    options: list[object] = ["--probabilities"]
    for i, (z, mask) in enumerate(zip(logits, masks, strict=True)):
        p = softmax(z)
        if of_volumes:
            saved(targets / f"{i}.nii.gz", mask)
        else:
            Image.fromarray(mask).save(targets / f"{i}.png")
        if form == "npy":
            np.save(preds / f"{i}.npy", p.astype(np.float16))
        elif form == "npz":
            np.savez(preds / f"{i}.npz", p)
        elif form == "logits":
            np.save(preds / f"{i}.npy", z)
            options = ["--probabilities", "--from-logits"]
        elif form == "nifti":  # the classes last, from right to left
            saved(preds / f"{i}.nii.gz", *flipped(np.moveaxis(p, 0, -1).astype(np.float32)))
        elif form == "nnunet":  # (C, z, y, x)
            np.savez(preds / f"{i}.npz", probabilities=p.transpose(0, 3, 2, 1))
        else:
            scale, dtype = (255, np.uint8) if form == "uint8" else (65535, np.uint16)
            np.save(preds / f"{i}.npy", np.rint(p * scale).astype(dtype))
    out = tmp_path / "scores.json"
    found = run(preds, targets, "--num-classes", 3, *options, "--json", out)
    assert found.exit_code == 0, found.output
    result = json.loads(out.read_text())
    scores, rows = result["scores"], {row["name"]: row for row in result["probabilities"]}

    p = np.concatenate([softmax(z).reshape(3, -1) for z in logits], 1)
    y = np.concatenate([mask.ravel() for mask in masks])
    near = 4e-3 if form == "uint8" else 1e-3 if form == "npy" else 1e-5
    assert scores["pixel_accuracy"] == pytest.approx((p.argmax(0) == y).mean(), abs=near)
    assert scores["NLL"] == pytest.approx(log_loss(y, p.T), abs=near)
    one_hot = np.eye(3)[y]
    assert scores["brier"] == pytest.approx(((p.T - one_hot) ** 2).sum(1).mean(), abs=near)
    top, right = p.max(0), p.argmax(0) == y
    bins = np.minimum((top * 15).astype(int), 14)
    gaps = [abs((right[bins == b] - top[bins == b]).sum()) for b in range(15)]
    assert scores["ECE"] == pytest.approx(sum(gaps) / len(y), abs=10 * near)
    aucs = [roc_auc_score(y == c, p[c]) for c in range(3)]
    assert scores["AUROC"] == pytest.approx(np.mean(aucs), abs=max(near, 2e-4))
    assert list(rows) == ["all classes", "0", "1", "2"]
    assert rows["1"]["AUROC"] == pytest.approx(aucs[1], abs=max(near, 2e-4))
    assert rows["all classes"]["AUROC"] is None
    assert rows["1"]["NLL"] is None
    bins = np.minimum((p[1] * 15).astype(int), 14)
    gaps = [abs(((y == 1)[bins == b] - p[1][bins == b]).sum()) for b in range(15)]
    assert rows["1"]["ECE"] == pytest.approx(sum(gaps) / len(y), abs=10 * near)


def test_integers_of_classes_are_used_as_they_are_stored(tmp_path: Path) -> None:
    """Sums miss 1 as small probabilities are rounded away; divided by it, 0.85 would become 1."""
    rng = np.random.default_rng(4)
    number = 40
    p = np.full((number, *SIZE), 0.15 / (number - 1), np.float32)  # 0.98 of a step: rounded down
    masks = rng.integers(0, number, SIZE).astype(np.uint8)
    sure = masks.copy()
    sure[rng.random(SIZE) < 0.15] = 3
    np.put_along_axis(p, sure[None], np.float32(0.85), 0)
    stored = (p * 255).astype(np.uint8)
    assert stored.sum(0).max() < 0.86 * 255
    for folder, array in (("preds", stored), ("targets", masks)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", array)
    out = tmp_path / "scores.json"
    folders = tmp_path / "preds", tmp_path / "targets"
    found = run(*folders, "--num-classes", number, "--probabilities", "--json", out)
    assert found.exit_code == 0, found.output
    scores = json.loads(out.read_text())["scores"]
    accuracy = (sure == masks).mean()
    assert scores["pixel_accuracy"] == pytest.approx(accuracy)
    assert scores["ECE"] == pytest.approx(abs(accuracy - 216 / 255), abs=1e-5)
    one_hot = np.eye(number)[masks.ravel()].T.reshape(stored.shape)
    expected = ((stored / 255 - one_hot) ** 2).sum(0).mean()
    assert scores["brier"] == pytest.approx(expected, abs=1e-5)


def test_classes_have_intervals_ignored_pixels_and_ids(tmp_path: Path) -> None:
    logits, masks = classes(SIZE)
    preds, targets = tmp_path / "preds", tmp_path / "targets"
    preds.mkdir()
    targets.mkdir()
    for i, (z, mask) in enumerate(zip(logits, masks, strict=True)):
        np.save(preds / f"{i}.npy", softmax(z).astype(np.float32))
        stored = np.array([7, 11, 24], np.uint8)[mask]
        stored[:4] = 255
        Image.fromarray(stored).save(targets / f"{i}.png")
    labels, out = tmp_path / "labels.json", tmp_path / "scores.json"
    labels.write_text(
        json.dumps(
            {"names": ["road", "wall", "sky"], "id_to_class": {"7": 0, "11": 1, "24": 2},
             "ignore_index": 255}
        )
    )  # fmt: skip
    page = tmp_path / "page.html"
    found = run(
        *(preds, targets, "--labels", labels, "--probabilities", "--confidence", "0.9"),
        *("--json", out, "--html", page),
    )
    assert found.exit_code == 0, found.output
    result = json.loads(out.read_text())
    y = np.concatenate([mask[4:].ravel() for mask in masks])
    p = np.concatenate([softmax(z)[:, 4:].reshape(3, -1) for z in logits], 1)
    assert result["scores"]["NLL"] == pytest.approx(log_loss(y, p.T), abs=1e-5)
    for key in ("AUROC", "ECE", "NLL", "best_dice"):
        interval = result["intervals"][key]
        assert interval["low"] <= result["scores"][key] <= interval["high"]
    assert all(f"{name}: reliability" in page.read_text() for name in ("all classes", "wall"))


def test_logits_of_the_foreground_may_saturate(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for name in ("preds", "targets"):
        (tmp_path / name).mkdir()
    y = (rng.random(SIZE) < 0.5).astype(np.uint8)
    z = (rng.normal(size=SIZE) * 3 + 4.0 * y - 2).astype(np.float32)
    z[0] = 80 * y[0] - 40.0  # whose sigmoid is 0 or 1 in fp32
    z[1, 0] = 80 - 160.0 * y[1, 0]  # surely wrong
    np.save(tmp_path / "preds" / "a.npy", z)
    np.save(tmp_path / "targets" / "a.npy", y)
    out = tmp_path / "scores.json"
    folders = tmp_path / "preds", tmp_path / "targets"
    found = run(*folders, "--binary", "--probabilities", "--from-logits", "--json", out)
    assert found.exit_code == 0, found.output
    scores = json.loads(out.read_text())["scores"]
    assert scores["AUROC"] == pytest.approx(roc_auc_score(y.ravel(), z.ravel()), abs=5e-3)
    y, z = y.ravel(), z.ravel()
    losses = np.logaddexp(0, np.where(y == 1, -z, z).astype(np.float64))
    assert scores["NLL"] == pytest.approx(losses.mean(), rel=1e-5)
    assert scores["best_dice"] == pytest.approx(
        f1_score(y, 1 / (1 + np.exp(-z.astype(np.float64))) > scores["best_threshold"]), abs=1e-9
    )
    assert scores["dice"] == pytest.approx(f1_score(y, z > 0), abs=1e-9)


P = np.full((3, *SIZE), 1 / 3, np.float32)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (P[:2], [], "2×24×31: 2 along axis 0, expected 3: the scores of each class"),
        (np.moveaxis(P, 0, -1), [], "Store the classes along the first axis"),
        (
            P[0],
            [],
            "24×31: 1 along axis 0, expected 3: the scores of each class. Of the foreground",
        ),
        (P * 2, [], "do not sum to 1 over the classes, 2 the first. Logits? Pass --from-logits"),
        (P * 9, [], "outside [0, 1], 3.0 the first. Logits? Pass --from-logits"),
        (np.where(np.arange(31) == 3, np.nan, P), [], "24 of 744 values are outside [0, 1], nan"),
        (P[:, :20], [], "20×31, its target"),
        (P.astype(np.int64), [], "int64, expected floats in [0, 1], or 8 or 16 bits"),
        (P * np.nan, ["--from-logits"], "744 of 744 values are NaN or infinite"),
        (P * np.inf, ["--from-logits"], "inf the first"),
        ((P * 255).astype(np.uint8), ["--from-logits"], "uint8, expected floats"),
    ],
)
def test_what_are_no_scores_of_classes_is_named(
    tmp_path: Path, values: np.ndarray, options: list[str], message: str
) -> None:
    logits, masks = classes(SIZE)
    preds, targets = tmp_path / "preds", tmp_path / "targets"
    preds.mkdir()
    targets.mkdir()
    for i, (z, mask) in enumerate(zip(logits, masks, strict=True)):
        np.save(preds / f"{i}.npy", softmax(z).astype(np.float32))
        np.save(targets / f"{i}.npy", mask)
    np.save(preds / "2.npy", values)
    found = run(preds, targets, "--num-classes", 3, "--probabilities", *options)
    assert found.exit_code == 2
    text = " ".join(found.output.split())
    assert message in text
    assert "2.npy" in text


def test_logits_without_probabilities_are_refused(tmp_path: Path, maps: Maps) -> None:
    preds, targets = written(tmp_path, maps, "npy")
    found = run(preds, targets, "--binary", "--from-logits")
    assert found.exit_code == 2
    assert "give --probabilities" in " ".join(found.output.split())


# --- regions that overlap -------------------------------------------------------------------------

#: A label of one value, too, as in nnU-Net's documentation; the names of 1 and 2 are not given.
BRATS = {
    "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
    "regions_class_order": [1, 2, 3],
}
REGIONS = {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}


def regions(shape: tuple[int, ...]) -> Classes:
    """Independent logits ``(3, ...)`` of the regions, and label maps with ignored pixels."""
    rng = np.random.default_rng(5)
    masks = [rng.integers(0, 5, shape).astype(np.uint8) for _ in range(N)]
    of_regions = [
        np.stack([np.isin(mask, classes) for classes in REGIONS.values()]) for mask in masks
    ]
    return [(rng.normal(size=x.shape) + 2 * x - 1).astype(np.float32) for x in of_regions], masks


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("form", ["nnunet", "nifti", "npy", "logits"])
def test_regions_have_channels_of_their_own(tmp_path: Path, form: str) -> None:
    in_space = form in ("nnunet", "nifti")
    logits, masks = regions((6, 5, 4) if in_space else SIZE)
    preds, targets = tmp_path / "preds", tmp_path / "targets"
    preds.mkdir()
    targets.mkdir()
    for i, (z, mask) in enumerate(zip(logits, masks, strict=True)):
        if in_space:
            saved(targets / f"{i}.nii.gz", mask)
        else:
            Image.fromarray(mask).save(targets / f"{i}.png")
        if form == "nnunet":  # (R, z, y, x), next to what nnU-Net makes of them
            np.savez(preds / f"{i}.npz", probabilities=sigmoid(z).transpose(0, 3, 2, 1))
        elif form == "nifti":
            saved(preds / f"{i}.nii.gz", *flipped(np.moveaxis(sigmoid(z), 0, -1)))
        else:
            np.save(preds / f"{i}.npy", z if form == "logits" else sigmoid(z))
    labels, out, page = (tmp_path / name for name in ("dataset.json", "s.json", "s.html"))
    labels.write_text(json.dumps(BRATS))
    found = run(
        *(preds, targets, "--labels", labels, "--probabilities", "--region-channels"),
        *(["--from-logits"] if form == "logits" else []),
        *("--confidence", "0.9", "--json", out, "--html", page, "--csv", tmp_path / "s.csv"),
    )
    assert found.exit_code == 0, found.output
    result = json.loads(out.read_text())
    rows = {row["name"]: row for row in result["probabilities"]}
    assert list(rows) == list(REGIONS)
    label = np.concatenate([mask.ravel() for mask in masks])
    kept = label != 4
    p = np.concatenate([sigmoid(z.astype(np.float64)).reshape(3, -1) for z in logits], 1)[:, kept]
    for r, (name, classes) in enumerate(REGIONS.items()):
        y = np.isin(label[kept], classes)
        assert rows[name]["AUROC"] == pytest.approx(roc_auc_score(y, p[r]), abs=3e-3)
        assert rows[name]["AP"] == pytest.approx(average_precision_score(y, p[r]), abs=3e-3)
        assert rows[name]["NLL"] == pytest.approx(log_loss(y, p[r]), abs=1e-5)
        assert rows[name]["brier"] == pytest.approx(brier_score_loss(y, p[r]), abs=1e-6)
        bins = np.minimum((p[r].astype(np.float32) * 15).astype(int), 14)
        gaps = [abs((y[bins == b] - p[r][bins == b]).sum()) for b in range(15)]
        assert rows[name]["ECE"] == pytest.approx(sum(gaps) / len(y), abs=1e-5)
        dice = {row["name"]: row["dice"] for row in result["classes"]}
        assert dice[name] == pytest.approx(f1_score(y, p[r] > 0.5), abs=1e-9)
    assert result["scores"]["NLL"] == pytest.approx(np.mean([rows[r]["NLL"] for r in REGIONS]))
    for key in ("AUROC", "AP", "ECE", "brier", "NLL"):
        interval = result["intervals"][key]
        assert interval["low"] <= result["scores"][key] <= interval["high"], key
    assert all(f"{name}: reliability" in page.read_text() for name in REGIONS)


def test_regions_of_options_and_one_region_alone(tmp_path: Path) -> None:
    logits, masks = regions(SIZE)
    for folder in ("preds", "one", "targets"):
        (tmp_path / folder).mkdir()
    for i, (z, mask) in enumerate(zip(logits, masks, strict=True)):
        np.save(tmp_path / "preds" / f"{i}.npy", sigmoid(z)[::-1])
        np.save(tmp_path / "one" / f"{i}.npy", sigmoid(z)[0])
        np.save(tmp_path / "targets" / f"{i}.npy", mask)
    out, targets = tmp_path / "scores.json", tmp_path / "targets"
    common = ["--num-classes", 4, "--ignore-index", 4, "--probabilities", "--region-channels"]
    of_all = ["--region", "ET=3", "--region", "TC=2,3", "--region", "WT=1,2,3"]
    found = run(tmp_path / "preds", targets, *common, *of_all, "--json", out, "--boundary")
    assert found.exit_code == 0, found.output
    several = {row["name"]: row for row in json.loads(out.read_text())["probabilities"]}
    assert list(several) == ["ET", "TC", "WT"]
    found = run(tmp_path / "one", targets, *common, "--region", "WT=1,2,3", "--json", out)
    assert found.exit_code == 0, found.output
    (alone,) = json.loads(out.read_text())["probabilities"]
    assert alone == several["WT"]
    saved = *common, "--checkpoint", tmp_path / "ck", "--region"
    assert run(tmp_path / "one", targets, *saved, "WT=1,2,3").exit_code == 0
    found = run(tmp_path / "one", targets, *saved, "WT=1,2")
    assert (found.exit_code, "ck" in found.output) == (2, True)
    assert run(tmp_path / "one", targets, *saved, "WT=1,2,3").exit_code == 0


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, *SIZE), [], "2×24×31: 2 along axis 0, expected 3: the scores of each region"),
        ((3, 20, 31), [], "20×31, its target"),
        ((3, *SIZE), ["--no-background"], "regions have no class 0"),
        ((3, *SIZE), ["--format", "nnunet", "--json", "s.json"], "--format nnunet is a file"),
        ((3, *SIZE), ["--labels", "voc"], "needs regions"),
        ((3, *SIZE), ["--binary"], "--region-channels applies to regions of label maps"),
    ],
)
def test_what_are_no_channels_of_regions_is_named(
    tmp_path: Path, shape: tuple[int, ...], options: list[str], message: str
) -> None:
    (tmp_path / "preds").mkdir()
    (tmp_path / "targets").mkdir()
    labels = tmp_path / "dataset.json"
    labels.write_text(json.dumps(BRATS))
    np.save(tmp_path / "preds" / "a.npy", np.full(shape, 0.25, np.float32))
    np.save(tmp_path / "targets" / "a.npy", np.zeros(SIZE, np.uint8))
    given = [] if {"--labels", "--binary"} & set(options) else ["--labels", labels]
    folders = tmp_path / "preds", tmp_path / "targets"
    found = run(*folders, *given, "--probabilities", "--region-channels", *options)
    assert found.exit_code == 2
    assert message in " ".join(found.output.split())


def test_values_that_are_in_no_region_and_no_class_are_named(tmp_path: Path) -> None:
    logits, masks = regions(SIZE)
    for folder, array in (("preds", sigmoid(logits[0])), ("targets", masks[0] + 5)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", array)
    labels = tmp_path / "dataset.json"
    labels.write_text(json.dumps(BRATS))
    options = ["--labels", labels, "--probabilities", "--region-channels"]
    found = run(tmp_path / "preds", tmp_path / "targets", *options)
    assert found.exit_code == 2
    assert "neither a class nor ignored: 5" in " ".join(found.output.split())


def test_regions_in_files_of_classes_are_named(tmp_path: Path) -> None:
    logits, masks = regions(SIZE)
    for folder, array in (("preds", sigmoid(logits[0])), ("targets", masks[0] % 3)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", array)
    folders = tmp_path / "preds", tmp_path / "targets"
    found = run(*folders, "--num-classes", 3, "--probabilities")
    assert found.exit_code == 2
    assert "Regions that overlap? Pass --region-channels" in " ".join(found.output.split())
    found = run(*folders, "--num-classes", 3, "--region-channels", "--region", "all=1,2")
    assert "means nothing without --probabilities" in " ".join(found.output.split())


def test_a_curve_is_drawn_in_its_square_without_undefined_points() -> None:
    points = [(0.0, 0.0), (0.25, 0.5), (float("nan"), 0.7), (0.6, float("nan")), (1.0, 1.0)]
    svg = _figure("a & b", "recall", "precision", points, marks=points[:3])
    (line,) = re.findall('<polyline points="([^"]+)"', svg)
    found = [tuple(map(float, point.split(","))) for point in line.split()]
    # 160 pixels wide and high, from 40 at the left and 20 at the top on; 0 is at the lower left
    assert list(dict.fromkeys(found)) == [(40, 180), (80, 100), (200, 20)]
    assert svg.count("<circle") == 2
    assert '<circle cx="80.0" cy="100.0" r="3"/>' in svg
    assert 'd="M40 180L200 20"' in svg
    assert "a &amp; b" in svg
