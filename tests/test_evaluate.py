"""``segmetrics evaluate``: real folders, the real command, real processes that are killed."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, jaccard_score
from typer.testing import CliRunner, Result

from benchmarks.mask_folders import write_cityscapes, write_voc
from commands import finish, start
from segmetrics import BoundaryIoU, ImageScores, SegmentationMetrics
from segmetrics.evaluate import workers
from segmetrics.evaluate.command import app
from segmetrics.evaluate.counter import Counter
from segmetrics.labels import LabelSpace
from segmetrics.statistics import confidence_interval

NOT_RESULTS = ("seconds", "workers", "processes", "arguments")


def run(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def content(path: Path) -> dict[str, Any]:
    """What is the same whoever counted."""
    found = json.loads(path.read_text())
    return {key: value for key, value in found.items() if key not in NOT_RESULTS}


def counted(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """The JSON of a run that ends well."""
    done = run(*arguments, "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.stderr
    return content(tmp_path / "out.json")


def values(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Cityscapes' layout and names, ignored ids predicted among others."""
    return write_cityscapes(tmp_path_factory.mktemp("city"), 8, (128, 256))


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """VOC's layout, palette and void borders."""
    return write_voc(tmp_path_factory.mktemp("voc"), 25, (60, 80))


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    """Six pairs of 0, 1, 2 to spoil."""
    random, folders = np.random.default_rng(0), (tmp_path / "preds", tmp_path / "targets")
    for folder in folders:
        folder.mkdir()
        for i in range(6):
            mask = random.integers(0, 3, (20, 30 + i)).astype(np.uint8)
            Image.fromarray(mask).save(folder / f"{i}.png")
    return folders


# --- the numbers ----------------------------------------------------------------------------------


def test_cityscapes_scores_are_those_of_the_official_script(
    city: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # NumPy 2.4 dropped it
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official

    results, targets = city
    preds = sorted(results.iterdir())
    truth = [
        next(targets.glob(f"*/{path.name.replace('leftImg8bit', 'gtFine_labelIds')}"))
        for path in preds
    ]
    assert any(np.isin([0, 4, 29], values(path)).any() for path in preds)  # void is predicted
    official.args.quiet, official.args.JSONOutput = True, False
    theirs = official.evaluateImgLists(list(map(str, preds)), list(map(str, truth)), official.args)
    ours = counted(tmp_path, *city, "--labels", "cityscapes", "--iiou")

    def number(value: float | None) -> float:
        return np.nan if value is None else value

    for row in ours["classes"]:
        assert number(row["iou"]) == pytest.approx(theirs["classScores"][row["name"]], nan_ok=True)
        iiou = theirs["classInstScores"][row["name"]]
        assert number(row["iiou"]) == pytest.approx(iiou, nan_ok=True)
    for row in ours["categories"]:
        assert number(row["iou"]) == pytest.approx(
            theirs["categoryScores"][row["name"]], nan_ok=True
        )
        iiou = theirs["categoryInstScores"][row["name"]]
        assert number(row["iiou"]) == pytest.approx(iiou, nan_ok=True)
    for key, name in (
        ("mIoU", "Classes"),
        ("mIoU_category", "Categories"),
        ("iIoU", "InstClasses"),
        ("iIoU_category", "InstCategories"),
    ):
        assert ours["scores"][key] == pytest.approx(theirs[f"averageScore{name}"])
    assert ours["categories"][-1]["iiou"] > 0
    assert sum(ours["abstained"]) > 0


def test_voc_scores_are_those_of_scikit_learn(voc: tuple[Path, Path], tmp_path: Path) -> None:
    preds, targets = (
        np.concatenate([values(path).ravel() for path in sorted(folder.iterdir())])
        for folder in voc
    )
    keep = targets != 255
    assert (~keep).sum() > 0
    ours = counted(tmp_path, *voc, "--labels", "voc")
    labels = list(range(21))
    theirs = confusion_matrix(targets[keep], preds[keep], labels=labels)
    assert np.array_equal(ours["confusion"], theirs)
    ious = jaccard_score(targets[keep], preds[keep], labels=labels, average=None, zero_division=0)
    there = (theirs.sum(0) + theirs.sum(1)) > 0
    assert [row["iou"] is not None for row in ours["classes"]] == there.tolist()
    assert ours["scores"]["mIoU"] == pytest.approx(ious[there].mean(), abs=1e-12)


@pytest.mark.parametrize("form", ["16-bit png", "tif", "npy", "npz", "nii.gz", "float nii"])
def test_every_format_is_counted_exactly(form: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    everything = []
    for folder in ("preds", "targets"):
        (tmp_path / folder).mkdir()
        masks = random.choice([0, 1, 2, 3, 300, 65535], (3, 4, 30, 20))
        if "nii" not in form and "np" not in form:
            masks = masks[:, 0]
        for i, mask in enumerate(masks):
            path = tmp_path / folder / f"{i}.{form.split()[-1]}"
            if form in ("16-bit png", "tif"):
                Image.fromarray(mask.astype(np.uint16)).save(path)
            elif form in ("npy", "npz"):
                stored = mask.astype(np.int32)
                np.save(path, stored) if form == "npy" else np.savez(path, stored)
            else:
                stored = mask.astype(np.float32 if "float" in form else np.uint16)
                nibabel.save(nibabel.Nifti1Image(stored, np.eye(4)), path)
        everything.append(masks.ravel())
    space = {"names": list("abcd"), "ignore_index": [65535, 3]}
    space["id_to_class"] = {"0": 0, "1": "b", "2": 2, "300": 3}
    (tmp_path / "space.json").write_text(json.dumps(space))
    ours = counted(tmp_path, tmp_path / "preds", tmp_path / "targets", "--labels",
                   tmp_path / "space.json")  # fmt: skip
    expected = confusion_matrix(*everything[::-1], labels=[0, 1, 2, 300, 3, 65535])[:4]
    assert np.array_equal(ours["confusion"], expected[:, :4])
    assert ours["abstained"] == expected[:, 4:].sum(1).tolist()


def test_predictions_may_hold_indices_of_classes(city: tuple[Path, Path], tmp_path: Path) -> None:
    results, targets = city
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    index_of = np.full(256, 255, np.uint8)
    index_of[ids] = range(19)
    for path in results.iterdir():
        Image.fromarray(index_of[values(path)]).save(tmp_path / path.name)
    common = ("--labels", "cityscapes", "--iiou", "--ignore-index", 255)
    as_ids = counted(tmp_path, *city, *common)
    as_classes = counted(tmp_path, tmp_path, targets, *common, "--preds-are-classes")
    assert as_classes["confusion"] == as_ids["confusion"]
    assert as_classes["abstained"] == as_ids["abstained"]
    of_classes = [[row["iiou"] for row in found["classes"]] for found in (as_ids, as_classes)]
    assert of_classes[0] == of_classes[1]


def test_boundaries_images_and_intervals_are_those_of_the_metrics(
    voc: tuple[Path, Path], tmp_path: Path
) -> None:
    boundary, images = BoundaryIoU(21, ignore_index=255), ImageScores(21, ignore_index=255)
    for path in sorted(voc[0].iterdir()):
        maps = [torch.from_numpy(values(folder / path.name).copy())[None] for folder in voc]
        boundary.update(*maps)
        images.update(*maps, image_ids=[path.stem])
    ours = counted(tmp_path, *voc, "--num-classes", 21, "--ignore-index", 255, "--boundary",
                   "--per-image", "--confidence", 0.9)  # fmt: skip
    assert ours["scores"]["boundary_iou"] == pytest.approx(boundary.compute().item(), abs=1e-6)
    for key, value in images.compute().items():
        assert ours["scores"][key] == pytest.approx(value.item(), abs=1e-6)
    interval = confidence_interval(images, "mIoU_I_10", level=0.9)
    assert ours["intervals"]["mIoU_I_10"]["low"] == pytest.approx(interval.low)
    worst, score = images.worst(1)[0]
    row = min(ours["images"], key=lambda row: row["mIoU"])
    assert (row["name"], row["mIoU"]) == (worst, pytest.approx(score))


@pytest.mark.parametrize("classes", [254, 255, 256])
def test_every_value_of_a_byte_can_be_a_class(classes: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    maps = rng.integers(0, classes, (2, 60, 70), np.uint8)
    for folder, map_ in zip(("preds", "target"), maps, strict=True):
        (tmp_path / folder).mkdir()
        Image.fromarray(map_).save(tmp_path / folder / "one.png")
    ours = counted(tmp_path, tmp_path / "preds", tmp_path / "target", "--num-classes", classes)
    defined = np.zeros((classes, classes), np.int64)
    np.add.at(defined, (maps[1], maps[0]), 1)
    assert ours["confusion"] == defined.tolist()


def test_an_ignored_class_is_left_out(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    ours = counted(tmp_path, *pairs, "--num-classes", 3, "--ignore-index", 1)
    assert [row["name"] for row in ours["classes"]] == ["0", "2"]
    assert ours["confusion"][1] == [0, 0, 0]


def test_an_ignored_class_is_left_out_of_its_category(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    groups = {"alone": ["a"], "others": ["b", "c"]}
    space = {"names": ["a", "b", "c"], "ignore_index": 0, "groups": groups}
    (tmp_path / "space.json").write_text(json.dumps(space))
    ours = counted(tmp_path, *pairs, "--labels", tmp_path / "space.json")
    assert [row["name"] for row in ours["categories"]] == ["others"]
    metric = SegmentationMetrics(LabelSpace.read(tmp_path / "space.json"))
    for path in sorted(pairs[0].iterdir()):
        of_both = (torch.tensor(values(folder / path.name))[None] for folder in pairs)
        metric.update(*of_both)
    scores = metric.compute()
    for key in ("mIoU", "mDice", "pixel_accuracy", "mean_accuracy", "fw_iou", "mIoU_category"):
        assert ours["scores"][key] == pytest.approx(scores[key].item())


# --- what comes out -------------------------------------------------------------------------------


def test_the_report_shows_the_scores_over_all(voc: tuple[Path, Path], tmp_path: Path) -> None:
    given = *voc, "--labels", "voc", "--boundary", "--html", tmp_path / "o.html"
    scores = counted(tmp_path, *given)["scores"]
    page = (tmp_path / "o.html").read_text()
    for title, key in (("mIoU", "mIoU"), ("mDice", "mDice"), ("boundary IoU", "boundary_iou")):
        (tile,) = re.findall(rf"<dt>{title}</dt>.*?</dd>", page, re.DOTALL)
        assert f">{scores[key]:.3f}<" in tile


def test_the_csv_has_a_row_a_class_and_a_row_an_image(
    voc: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "out.csv"
    ours = counted(tmp_path, *voc, "--labels", "voc", "--per-image", "--csv", path)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [row["name"] for row in ours["classes"]]
    assert [row["iou"] and float(row["iou"]) for row in rows] == [
        "" if row["iou"] is None else row["iou"] for row in ours["classes"]
    ]
    for row in ours["images"]:
        assert row["pixels"] == (values(voc[1] / f"{row['name']}.png") != 255).sum()
    with (tmp_path / "out.images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == sorted(path.stem for path in voc[0].iterdir())
    assert [float(row["mIoU"]) for row in rows] == [row["mIoU"] for row in ours["images"]]


def test_json_and_csv_can_go_to_standard_output(voc: tuple[Path, Path]) -> None:
    done = run(*voc, "--labels", "voc", "--json", "-")
    assert json.loads(done.stdout)["pairs"] == 25
    assert "mIoU" in done.stderr
    done = run(*voc, "--labels", "voc", "--csv", "-")
    assert len(done.stdout.splitlines()) == 22


def test_the_report_is_written(city: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    done = run(*city, "--labels", "cityscapes", "--iiou", "--html", path, "--images", city[1])
    assert done.exit_code == 0, done.stderr
    page = path.read_text()
    assert "traffic light" in page
    assert "munster_000000_000002" in page


def test_elsewhere_than_on_a_terminal_the_table_is_plain(voc: tuple[Path, Path]) -> None:
    done = run(*voc, "--labels", "voc")
    assert done.exit_code == 0, done.stderr
    assert not re.search(r"[^\x00-\x7f–×]|\x1b", done.stdout)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["class", "pixels", "IoU", "Dice", "accuracy"]
    assert lines[22].split()[0] == "mean"
    assert lines[-1].startswith("25 pairs")
    assert done.stderr == ""


def test_on_a_terminal_there_is_a_bar_with_rate_and_remaining_time(
    voc: tuple[Path, Path],
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "segmetrics", "evaluate", *map(str, voc), "--labels", "voc"]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the other side is closed
            pass
    assert process.returncode == 0, process.stderr
    text = shown.decode()
    assert re.search(r"25/25.*pairs.*\d+/s.*\d:\d\d", text)
    assert "╭" in text


def test_without_arguments_it_shows_its_commands() -> None:
    shown = CliRunner().invoke(app, []).output
    assert "count once, score many" in shown
    assert all(command in shown for command in ("evaluate", "compare"))


def test_the_version_is_said() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert re.fullmatch(r"segmetrics \d+\.\d+\.\d+\n", done.stdout)


# --- nothing silent -------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def recolor(path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (3, 3)).astype(np.uint8)
    Image.fromarray(colors[values(path)]).save(path)


def crop(path: Path) -> None:
    Image.open(path).crop((0, 0, 20, 20)).save(path)


def mark(path: Path) -> None:
    mask = values(path).copy()
    mask[3:5, 7] = 200
    Image.fromarray(mask).save(path)


SPOILED = {
    "no target": ("targets", Path.unlink, "preds/{}: it has|preds/{}\n", "--match"),
    "no prediction": ("preds", Path.unlink, "targets/{}\n", "--match"),
    "truncated": ("preds", cut, "preds/{}: .*truncated", "Write them anew"),
    "empty": ("targets", lambda path: path.write_bytes(b""), "targets/{}: ", "Write them anew"),
    "colours": ("preds", recolor, "preds/{}: RGB, 3 channels", "Convert its colours to indices"),
    "sizes": ("preds", crop, r"preds/{}: 20×20, its target .*targets/{} is 20×3\d", "Resize"),
    "label": ("targets", mark, r"targets/{}: neither .*: 200 \(2 pixels\)", "--ignore-index"),
    "prediction": ("preds", mark, r"preds/{}: neither .*: 200 \(2 pixels\)", "--num-classes"),
}


@pytest.mark.parametrize("number", [1, 5])
@pytest.mark.parametrize("what", SPOILED)
def test_a_file_that_cannot_be_scored_is_named_with_its_mend(
    what: str, number: int, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, spoil, message, fix = SPOILED[what]
    for i in range(number):
        spoil(tmp_path / folder / f"{i}.png")
    done = run(*pairs, "--num-classes", 3, "--json", tmp_path / "out.json")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert not (tmp_path / "out.json").exists()
    assert re.search(message.replace("{}", r"\d\.png"), done.stderr)
    assert fix in done.stderr
    assert re.search(rf": {number}\n", done.stderr)
    assert "--keep-going" in done.stderr

    rest = counted(tmp_path, *pairs, "--num-classes", 3, "--keep-going")
    assert rest["pairs"] == 6 - number
    left_out = {(Path(entry["file"]).name, entry["kind"]) for entry in rest["left_out"]}
    assert {name for name, _ in left_out} == {f"{i}.png" for i in range(number)}
    done = run(*pairs, "--num-classes", 3, "--keep-going")
    assert f"left out: {number}" in done.stdout
    assert "0.png" in done.stdout
    for folder in pairs:
        for i in range(number):
            (folder / f"{i}.png").unlink(missing_ok=True)
    alone = counted(tmp_path, *pairs, "--num-classes", 3)
    assert alone["confusion"] == rest["confusion"]


def test_of_many_files_the_first_are_named_and_the_others_counted(
    voc: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(voc[0], tmp_path / "preds")
    for i in range(12):
        (tmp_path / "preds" / f"2012_{i:06}.png").unlink()
    done = run(tmp_path / "preds", voc[1], "--labels", "voc")
    assert "targets without a prediction: 12" in done.stderr
    assert done.stderr.count(".png") == 5
    assert "and 7 more" in done.stderr


def test_no_file_is_opened_before_all_have_partners(pairs: tuple[Path, Path]) -> None:
    cut(pairs[0] / "1.png")
    (pairs[1] / "2.png").unlink()
    done = run(*pairs, "--num-classes", 3)
    assert "2.png" in done.stderr
    assert "1.png" not in done.stderr


@pytest.mark.parametrize("how", ["given twice", "linked"])
def test_targets_scored_against_themselves_are_warned_of(
    how: str, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    preds = targets = pairs[1]
    if how == "linked":
        preds = tmp_path / "link"
        preds.symlink_to(targets)
    written = "--json", tmp_path / "out.json", "--html", tmp_path / "out.html"
    done = run(preds, targets, "--num-classes", 3, *written)
    assert done.exit_code == 0, done.stderr
    assert f"warning: {preds} and {targets} are the same folder" in done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["warnings"][0] in done.stderr
    assert "are the same folder" in (tmp_path / "out.html").read_text()
    assert run(*pairs, "--num-classes", 3).stderr == ""


def test_nothing_left_to_score_is_an_error(pairs: tuple[Path, Path]) -> None:
    for path in pairs[0].iterdir():
        cut(path)
    assert run(*pairs, "--num-classes", 3, "--keep-going").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what values mean"),
        (["--labels", "voc", "--num-classes", 3], "not by --labels and --num-classes together"),
        (["--labels", "vok"], "neither a file nor one of voc"),
        (["--num-classes", 1], "must be at least 2"),
        (["--num-classes", 3, "--iiou"], "--iiou is defined for --labels cityscapes"),
        (["--num-classes", 3, "--confidence", 95], r"must be in \(0, 1\), got 95"),
        (["--num-classes", 3, "--confidence", 1], r"must be in \(0, 1\), got 1"),
        (["--num-classes", 3, "--json", "nowhere/out.json"], "folder nowhere does not exist"),
        (["--num-classes", 3, "--match", "x", "{key}"], "one {key}"),
        (["--num-classes", 3, "--workers", 0], "workers"),
    ],
)
def test_a_mistake_in_the_arguments_is_said_before_anything_is_read(
    arguments: list[object], message: str, pairs: tuple[Path, Path]
) -> None:
    cut(pairs[0] / "1.png")
    done = run(*pairs, *arguments)
    assert done.exit_code == 2
    assert re.search(message, done.stderr)
    assert "1.png" not in done.stderr


def test_instances_that_lack_or_mean_nothing_are_named(
    city: tuple[Path, Path], tmp_path: Path
) -> None:
    targets = tmp_path / "targets"
    shutil.copytree(city[1], targets)
    paths = sorted(targets.glob("*/*instanceIds.png"))
    paths[0].unlink()
    done = run(city[0], targets, "--labels", "cityscapes", "--iiou")
    assert done.exit_code == 2
    assert f"there is no {paths[0].name}" in done.stderr
    Image.fromarray(np.full((128, 256), 60001, np.uint16)).save(paths[0])
    done = run(city[0], targets, "--labels", "cityscapes", "--iiou")
    assert "instance 60001 has the label 60, which Cityscapes does not have" in done.stderr


# --- checkpoints ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Enough to be interrupted."""
    return write_cityscapes(tmp_path_factory.mktemp("streets"), 150, (256, 512))


ALL = ("--labels", "cityscapes", "--boundary", "--per-image", "--iiou", "--confidence", 0.95)


@pytest.mark.parametrize("number", [1, 2])
def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_counts(
    number: int, streets: tuple[Path, Path], tmp_path: Path
) -> None:
    expected = counted(tmp_path, *streets, *ALL)
    random, kills, result = np.random.default_rng(number), 0, tmp_path / "resumed.json"
    checkpoint = tmp_path / "checkpoint"
    arguments = (*streets, *ALL, "--workers", 1, "--checkpoint", checkpoint, "--json", result)

    def saved() -> dict[str, int]:
        names = (checkpoint.name, f"{checkpoint.name}.0-of-2", f"{checkpoint.name}.1-of-2")
        paths = [path for name in names if (path := tmp_path / name).exists()]
        return {path.name: path.stat().st_mtime_ns for path in paths}

    for _ in range(4):
        before, processes = saved(), start(number, tmp_path / "output", *arguments)
        while saved() == before and any(process.is_alive() for process in processes):
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.15))
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
        statuses = finish(processes)
        if set(statuses) == {0}:
            break
        assert -signal.SIGKILL in statuses
        kills += 1
    assert set(finish(start(number, tmp_path / "output", *arguments))) == {0}
    assert kills  # more than one, unless a machine is very fast
    assert content(result) == expected


def test_a_finished_checkpoint_is_not_counted_again(
    pairs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (*pairs, "--num-classes", 3, "--checkpoint", tmp_path / "checkpoint")
    first = counted(tmp_path, *arguments)
    monkeypatch.setattr(Counter, "count", None)  # is not called
    assert counted(tmp_path, *arguments) == first


def test_a_file_that_could_not_be_read_is_tried_again(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    arguments = (*pairs, "--num-classes", 3)
    expected = counted(tmp_path, *arguments)
    whole = (pairs[0] / "3.png").read_bytes()
    cut(pairs[0] / "3.png")
    arguments = (*arguments, "--checkpoint", tmp_path / "checkpoint")
    assert run(*arguments).exit_code == 2
    (pairs[0] / "3.png").write_bytes(whole)
    assert counted(tmp_path, *arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-classes", 4], "made with classes .*, now it is"),
        (
            ["--num-classes", 3, "--ignore-index", 2],
            r"made with ignore_index \[\], now it is \[2\]",
        ),
        (["--num-classes", 3, "--boundary"], "made with boundary false, now it is true"),
        (["--num-classes", 3, "--per-image"], "made with counts of images false"),
    ],
)
def test_a_checkpoint_made_with_other_arguments_is_refused(
    arguments: list[object], message: str, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    assert run(*pairs, "--num-classes", 3, "--checkpoint", checkpoint).exit_code == 0
    before = checkpoint.read_bytes()
    done = run(*pairs, *arguments, "--checkpoint", checkpoint)
    assert done.exit_code == 2
    assert re.search(message, done.stderr)
    assert "delete it" in done.stderr
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_of_other_files_is_refused(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    arguments = (*pairs, "--num-classes", 3, "--checkpoint", checkpoint)
    assert run(*arguments).exit_code == 0
    mark(pairs[0] / "2.png")
    done = run(*arguments)
    assert done.exit_code == 2
    assert "made with other files: 2 has changed" in done.stderr
    for folder in pairs:
        (folder / "2.png").unlink()
    assert "2 is no longer there" in run(*arguments).stderr
    checkpoint.write_bytes(b"something else")
    done = run(*arguments)
    assert done.exit_code == 2
    assert "is no checkpoint" in done.stderr
    assert checkpoint.read_bytes() == b"something else"


# --- several workers, several processes -----------------------------------------------------------


def test_threads_count_what_forked_workers_count(
    city: tuple[Path, Path],
    pairs: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut(pairs[0] / "1.png")
    spoiled = *pairs, "--num-classes", 3, "--workers", 3, "--keep-going"
    expected = counted(tmp_path, *city, *ALL), counted(tmp_path, *spoiled)
    monkeypatch.setattr(workers, "FORKS", False)  # as on other systems than Linux
    assert counted(tmp_path, *city, *ALL, "--workers", 3) == expected[0]
    assert counted(tmp_path, *spoiled) == expected[1]
    done = run(*pairs, "--num-classes", 3, "--workers", 3)
    assert done.exit_code == 2
    assert "1.png" in done.stderr


@pytest.mark.parametrize("number", [2, 3])
def test_several_processes_count_what_one_counts_bit_by_bit(
    number: int, city: tuple[Path, Path], tmp_path: Path
) -> None:
    expected = counted(tmp_path, *city, *ALL)
    result = tmp_path / "shared.json"
    processes = start(number, tmp_path / "output", *city, *ALL, "--json", result)
    assert finish(processes) == [0] * number
    assert content(result) == expected
    assert json.loads(result.read_text())["processes"] == number
    outputs = [(tmp_path / f"output.{rank}").read_text() for rank in range(number)]
    assert "mIoU" in outputs[0]
    assert outputs[1:] == [""] * (number - 1)


def test_more_processes_than_pairs_are_fine(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in pairs:
        for i in range(2, 6):
            (folder / f"{i}.png").unlink()
    expected = counted(tmp_path, *pairs, "--num-classes", 3, "--per-image")
    result = tmp_path / "shared.json"
    arguments = (*pairs, "--num-classes", 3, "--per-image", "--json", result)
    assert finish(start(3, tmp_path / "output", *arguments)) == [0, 0, 0]
    assert content(result) == expected


@pytest.mark.parametrize("spoiled", ["1.png", "2.png"])
def test_an_error_in_one_process_ends_all_with_status_2(
    spoiled: str, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    cut(pairs[0] / spoiled)
    processes = start(2, tmp_path / "output", *pairs, "--num-classes", 3)
    assert finish(processes) == [2, 2]
    assert f"{spoiled}: " in (tmp_path / "output.0").read_text()


def test_a_checkpoint_that_one_process_refuses_ends_all(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "checkpoint.1-of-2").write_bytes(b"something else")
    arguments = (*pairs, "--num-classes", 3, "--checkpoint", tmp_path / "checkpoint")
    assert finish(start(2, tmp_path / "output", *arguments)) == [2, 2]
    assert "process 1: " in (tmp_path / "output.0").read_text()


def test_torchrun_starts_the_command(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    expected = counted(tmp_path, *pairs, "--num-classes", 3)
    result = tmp_path / "shared.json"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = ["--standalone", "-m", "segmetrics", "evaluate"]
    command += [*map(str, pairs), "--num-classes", "3", "--json", str(result)]
    subprocess.run([*launcher, *command], check=True, capture_output=True, timeout=120)
    assert content(result) == expected
