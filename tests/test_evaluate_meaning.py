"""What values mean to ``segmetrics evaluate``: foreground, background, void, classes in files."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score
from typer.testing import CliRunner, Result

from segmetrics.evaluate.command import app

Array = NDArray[Any]
Folders = tuple[Path, Path]
OF_CLASSES = "--match", "{key}/{class}.nii.gz", "{key}/{class}.nii.gz"


def run(folders: Folders, *arguments: object) -> Result:
    """The command in this process."""
    given = ["evaluate", *map(str, folders), "--workers", "1", *map(str, arguments)]
    return CliRunner().invoke(app, given)


def scored(folders: Folders, *arguments: object) -> dict[str, Any]:
    """The JSON of a run that ends well."""
    out = folders[0].parent / "out.json"
    done = run(folders, *arguments, "--json", out)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Empty folders of predictions and targets."""
    both = tmp_path / "p", tmp_path / "t"
    for folder in both:
        folder.mkdir()
    return both


def write(folder: Path, name: str, values: Array) -> None:
    """Write a mask in the format of its name."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith(".png"):
        Image.fromarray(values.astype(np.uint8)).save(path)
    elif name.endswith(".npy"):
        np.save(path, values)
    else:
        nibabel.save(nibabel.Nifti1Image(values.astype(np.uint8), np.eye(4)), path)


def halves(foreground: int = 255) -> Array:
    """The upper half is foreground."""
    mask = np.zeros((8, 8), np.int64)
    mask[:4] = foreground
    return mask


def missed(mask: Array) -> Array:
    """A prediction that misses a quarter of the foreground."""
    preds = mask.copy()
    preds[:, :2] = 0
    return preds


# --- binary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_preds", [1, 255, 128])
@pytest.mark.parametrize("of_target", [1, 255, 7])
def test_binary_masks_have_any_foreground_value(
    folders: Folders, of_preds: int, of_target: int
) -> None:
    write(folders[0], "a.png", missed(halves(of_preds)))
    write(folders[1], "a.png", halves(of_target))
    scores = scored(folders, "--binary")["scores"]
    assert scores["iou"] == 24 / 32
    assert list(scores) == ["iou", "dice", "precision", "recall", "pixel_accuracy"]


@pytest.mark.parametrize("dtype", [bool, np.int16, np.float32, np.uint64])
def test_binary_masks_have_any_type(folders: Folders, dtype: type) -> None:
    for folder, mask in zip(folders, (missed(halves(1)), halves(1)), strict=True):
        write(folder, "a.npy", mask.astype(dtype))
    assert scored(folders, "--binary")["scores"]["iou"] == 24 / 32


def test_binary_scores_are_those_of_scikit_learn(folders: Folders) -> None:
    random = np.random.default_rng(0)
    everything: list[list[Array]] = [[], []]
    for name in "abc":
        target = random.choice([0, 0, 3, 255], (20, 30))
        preds = random.choice([0, 3, 9], (20, 30))
        for folder, mask in zip(folders, (preds, target), strict=True):
            write(folder, f"{name}.png", mask)
        keep = target != 255
        everything[0].append(preds[keep] > 0)
        everything[1].append(target[keep] > 0)
    preds, target = map(np.concatenate, everything)
    found = scored(folders, "--binary", "--ignore-index", 255, "--per-image")
    for key, oracle in (
        ("iou", jaccard_score), ("dice", f1_score),
        ("precision", precision_score), ("recall", recall_score),
    ):  # fmt: skip
        assert found["scores"][key] == pytest.approx(oracle(target, preds))
        assert found["classes"][0][key] == pytest.approx(oracle(target, preds))
    assert found["scores"]["pixel_accuracy"] == pytest.approx((target == preds).mean())
    of_images = [jaccard_score(t, p) for p, t in zip(*everything, strict=True)]
    assert [row["mIoU"] for row in found["images"]] == pytest.approx(of_images)
    assert found["scores"]["mIoU_I"] == pytest.approx(np.mean(of_images))


def test_binary_masks_have_intervals_boundaries_and_a_report(folders: Folders) -> None:
    for name in "ab":
        write(folders[0], f"{name}.png", missed(halves()))
        write(folders[1], f"{name}.png", halves(1))
    page = folders[0].parent / "report.html"
    outputs = "--html", page, "--csv", "-", "--boundary", "--confidence", 0.9
    done = run(folders, "--binary", *outputs)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0] == "class,pixels,iou,dice,precision,recall,boundary_iou"
    assert re.search(r"IoU +0\.750 +\[0\.750, 0\.750\]", done.stderr)
    text = page.read_text()
    assert "foreground" in text
    assert "mean accuracy" not in text


def test_boundaries_of_binary_masks_are_those_of_their_foreground(folders: Folders) -> None:
    for folder, mask in zip(folders, (missed(halves(1)), halves(1)), strict=True):
        write(folder, "a.png", mask)
    of_labels = scored(folders, "--num-classes", 2, "--boundary")["classes"][1]
    write(folders[0], "a.png", missed(halves()))
    found = scored(folders, "--binary", "--boundary")
    assert found["scores"]["boundary_iou"] == of_labels["boundary_iou"]
    assert found["classes"][0]["boundary_iou"] == of_labels["boundary_iou"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--binary", "--num-classes", 2], "not by --num-classes and --binary together"),
        (["--binary", "--no-background"], "--no-background"),
        (["--binary", "--preds-are-classes"], "--preds-are-classes means nothing"),
        (["--instances", "--num-classes", 2], "not by --num-classes and --instances together."),
        (["--binary", "--ignore-index", 1], "--ignore-index 1 means nothing for binary masks"),
        (["--binary", "--ignore-index", 1], "1 is their foreground"),
        (["--num-classes", 1], "--binary"),
        (["--num-classes", 3, "--zero-division", "2"], "0, 1 or nan, got 2"),
        (["--labels", "cityscapes", "--no-background"], "'road'"),
        ([*OF_CLASSES, "--num-classes", 2], "not by --num-classes and --match with {class}"),
        (["--binary", "--match", "{key}/{class}", "{key}"], "{class}"),
    ],
)
def test_options_that_exclude_each_other_are_named(
    folders: Folders, arguments: list[object], message: str
) -> None:
    for folder in folders:
        write(folder, "a/liver.nii.gz", np.ones((2, 2, 2)))
    done = run(folders, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_masks_that_were_resized_by_interpolation_are_warned_of(folders: Folders) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[8:31, 9:33] = 255
    for folder in folders:
        image = Image.fromarray(mask).resize((21, 21), Image.Resampling.BILINEAR)
        image.save(folder / "a.png")
    assert "resized by interpolation" in run(folders, "--binary").stderr.lower()
    for folder in folders:
        write(folder, "a.png", mask)
        write(folder, "b.png", np.kron([[0, 1], [2, 3]], np.ones((9, 9))))  # ids of objects
    assert run(folders, "--binary").stderr == ""


@pytest.mark.parametrize("width", [2, 6, 20])
def test_probabilities_in_grey_are_warned_of(width: float, folders: Folders) -> None:
    y, x = np.mgrid[:96, :96]
    away = np.hypot(x - 40, y - 50) - 30
    write(folders[0], "a.png", 255 / (1 + np.exp(away / width)))
    write(folders[1], "a.png", (away < 0) * 255)
    assert "Write masks by a threshold" in run(folders, "--binary").stderr.replace("\n", " ")


# --- 255 ------------------------------------------------------------------------------------------


def test_masks_of_0_and_255_are_probably_binary(folders: Folders) -> None:
    for folder, mask in zip(folders, (missed(halves()), halves()), strict=True):
        write(folder, "a.png", mask)
    done = run(folders, "--num-classes", 2)
    assert done.exit_code == 2
    assert "255 is probably the foreground: --binary." in done.stderr
    assert "void pixels: --ignore-index 255" in done.stderr


def test_255_next_to_other_labels_is_probably_void(folders: Folders) -> None:
    mask = halves()
    mask[0] = 1
    for folder in folders:
        write(folder, "a.png", mask)
    done = run(folders, "--num-classes", 2)
    assert "255 often marks void pixels: --ignore-index 255." in done.stderr
    assert "--binary" not in done.stderr


@pytest.mark.parametrize("what", [["--num-classes", 2], ["--num-classes", 19], ["--binary"]])
def test_a_foreground_that_is_ignored_is_never_scored(folders: Folders, what: list[object]) -> None:
    for name in "ab":
        write(folders[0], f"{name}.png", missed(halves()))
        write(folders[1], f"{name}.png", halves())
    done = run(folders, *what, "--ignore-index", 255)
    assert done.exit_code == 2
    assert "the scores have lost it: give --binary" in done.stderr
    assert "1.000" not in done.output


def test_a_label_space_may_say_that_255_is_void(folders: Folders) -> None:
    for folder in folders:
        write(folder, "a.png", halves())
    labels = folders[0].parent / "labels.json"
    labels.write_text(json.dumps({"names": ["ground", "house"], "ignore_index": 255}))
    found = scored(folders, "--labels", labels)
    assert found["scores"]["mIoU"] == 1
    assert "255 is the foreground" in found["warnings"][0]


def test_void_next_to_a_foreground_is_no_reason_to_warn(folders: Folders) -> None:
    for folder in folders:
        mask = halves(1)
        mask[:, -1] = 255
        write(folder, "a.png", mask)
    assert scored(folders, "--num-classes", 2, "--ignore-index", 255)["warnings"] == []
    assert scored(folders, "--binary", "--ignore-index", 255)["warnings"] == []


def test_predictions_whose_foreground_is_ignored_are_warned_of(folders: Folders) -> None:
    target = halves(1)
    target[-1] = 255
    write(folders[0], "a.png", halves())
    write(folders[1], "a.png", target)
    done = run(folders, "--binary", "--ignore-index", 255)
    assert "No pixel is predicted as foreground, but 32 as 255" in done.stderr


# --- background -----------------------------------------------------------------------------------


@pytest.fixture
def false_alarms(folders: Folders) -> Folders:
    """Two classes found, and false alarms of the first in the background."""
    target = np.zeros((50, 50))
    target[:5, :5], target[5:10, :5] = 1, 2
    preds = target.copy()
    preds[20:24, 20:30] = 1
    for folder, mask in zip(folders, (preds, target), strict=True):
        write(folder, "a.png", mask)
        write(folder, "b.png", mask)
    return folders


def test_without_background_its_pixels_still_count(false_alarms: Folders) -> None:
    found = scored(false_alarms, "--num-classes", 3, "--no-background", "--per-image")
    assert found["scores"]["mIoU"] == pytest.approx((25 / 65 + 1) / 2)
    assert found["scores"]["mIoU_I"] == pytest.approx((25 / 65 + 1) / 2)
    assert found["scores"]["pixel_accuracy"] == pytest.approx(1 - 40 / 2500)
    assert [row["name"] for row in found["classes"]] == ["1", "2"]
    assert found["images"][0]["mIoU"] == pytest.approx((25 / 65 + 1) / 2)
    assert "iou/0" not in found["images"][0]
    assert found["pixels"] == 5000


def test_only_label_spaces_with_a_background_leave_it_out(folders: Folders) -> None:
    for folder in folders:
        write(folder, "a.png", np.array([[0, 7], [7, 8]]))
    assert scored(folders, "--labels", "voc", "--no-background")["scores"]["mIoU"] == 1
    done = run(folders, "--labels", "cityscapes", "--no-background")
    assert done.exit_code == 2
    assert "leaves out class 0, which is 'road' in --labels cityscapes" in done.stderr


def test_without_background_intervals_and_report_are_so(false_alarms: Folders) -> None:
    pytest.importorskip("jinja2")
    page = false_alarms[0].parent / "report.html"
    given = "--num-classes", 3, "--no-background", "--confidence", 0.9, "--html", page
    assert re.search(r"mIoU +0\.692 +\[0\.692, 0\.692\]", run(false_alarms, *given).stdout)
    assert ">0.692<" in page.read_text()
    assert ">0.789<" not in page.read_text()


def test_background_that_is_ignored_is_probably_to_be_left_out_of_means(
    false_alarms: Folders,
) -> None:
    done = run(false_alarms, "--num-classes", 3, "--ignore-index", 0)
    assert done.exit_code == 0, done.stderr
    assert "--no-background" in done.stderr


def test_unlabelled_pixels_are_no_background(folders: Folders) -> None:
    write(folders[0], "a.png", np.ones((4, 4)))
    write(folders[1], "a.png", np.tri(4))
    assert scored(folders, "--num-classes", 2, "--ignore-index", 0)["warnings"] == []


@pytest.mark.parametrize(("value", "mean"), [("0", 2 / 4), ("1", 3 / 4), ("nan", 2 / 3)])
def test_classes_that_are_nowhere_score_what_is_asked_for(
    folders: Folders, value: str, mean: float
) -> None:
    write(folders[0], "a.png", np.array([[0, 0, 2, 0]]))
    write(folders[1], "a.png", np.array([[0, 0, 2, 2]]))
    for name in "b":
        for folder in folders:
            write(folder, f"{name}.png", np.zeros((1, 1)))
    iou = {"0": 3 / 4, "2": 1 / 2}
    absent = {} if value == "nan" else {"1": float(value)}
    expected = np.mean([*iou.values(), *absent.values()])
    arguments = "--num-classes", 3, "--zero-division", value, "--confidence", 0.9
    found = scored(folders, *arguments)
    assert found["scores"]["mIoU"] == pytest.approx(expected)
    assert found["classes"][1]["iou"] == absent.get("1")
    interval = found["intervals"]["mIoU"]
    assert interval["low"] <= expected <= interval["high"]


# --- one file a class -----------------------------------------------------------------------------


@pytest.fixture
def organs(folders: Folders) -> Folders:
    """Two cases: in the second liver and spleen overlap."""
    for case in ("s1", "s2"):
        liver = np.zeros((4, 4, 4))
        liver[:2] = 1
        spleen = 1 - liver if case == "s1" else np.roll(liver, 1, 0) * 255
        for folder in folders:
            write(folder, f"{case}/liver.nii.gz", liver)
            write(folder, f"{case}/spleen.nii.gz", spleen)
    write(folders[0], "s1/spleen.nii.gz", np.zeros((4, 4, 4)))
    return folders


def test_files_of_one_class_each_are_scored_by_class(organs: Folders) -> None:
    found = scored(organs, *OF_CLASSES, "--per-image", "--boundary")
    assert {row["name"]: row["iou"] for row in found["classes"]} == {"liver": 1, "spleen": 0.5}
    assert found["scores"]["mIoU"] == 0.75
    assert "pixel_accuracy" not in found["scores"]
    assert found["pairs"] == 2
    assert [(row["name"], row["mIoU"]) for row in found["images"]] == [("s1", 0.5), ("s2", 1)]
    assert found["images"][0]["iou/spleen"] == 0
    assert found["confusion"] == [[[64, 0], [0, 64]], [[64, 0], [32, 32]]]
    assert [row["boundary_iou"] for row in found["classes"]] == [1, 0.5]
    assert found["missing_predictions"] == []


def test_a_missing_prediction_of_a_class_is_empty_and_listed(organs: Folders) -> None:
    before = scored(organs, *OF_CLASSES)
    (organs[0] / "s1/spleen.nii.gz").unlink()
    found = scored(organs, *OF_CLASSES)
    assert found["classes"] == before["classes"]
    assert found["missing_predictions"] == ["s1/spleen"]
    assert "s1/spleen" in found["warnings"][0]


def test_void_next_to_the_first_of_the_classes_is_no_lost_foreground(organs: Folders) -> None:
    for case in ("s1", "s2"):
        for folder in organs:
            write(folder, f"{case}/spleen.nii.gz", np.zeros((4, 4, 4)))
        liver = np.ones((4, 4, 4))
        liver[0] = 254
        write(organs[1], f"{case}/liver.nii.gz", liver)
    found = scored(organs, *OF_CLASSES, "--ignore-index", 254)
    assert {row["name"]: row["iou"] for row in found["classes"]} == {"liver": 1 / 3, "spleen": None}


@pytest.mark.parametrize(("number", "shown"), [(3, "s5/liver."), (4, "s5/liver and 1 more.")])
def test_three_missing_predictions_are_named(number: int, shown: str, organs: Folders) -> None:
    for i in range(number):
        for folder, name in ((organs[0], "spleen"), (organs[1], "spleen"), (organs[1], "liver")):
            write(folder, f"s{3 + i}/{name}.nii.gz", np.ones((2, 2, 2)))
    first = f"{number} predictions are missing and scored as empty masks: s3/liver, s4/liver"
    assert f"{first}, {shown}" in " ".join(run(organs, *OF_CLASSES).stderr.split())


def test_a_case_without_any_prediction_is_named(organs: Folders) -> None:
    for path in (organs[0] / "s1").iterdir():
        path.unlink()
    done = run(organs, *OF_CLASSES)
    assert done.exit_code == 2
    assert "targets without a prediction" in done.stderr


def test_a_predicted_class_without_a_target_is_named_unless_others_are_asked_for(
    organs: Folders,
) -> None:
    write(organs[0], "s1/heart.nii.gz", np.ones((4, 4, 4)))
    done = run(organs, *OF_CLASSES)
    assert done.exit_code == 2
    assert "s1/heart.nii.gz" in done.stderr
    labels = organs[0].parent / "organs.json"
    labels.write_text(json.dumps({"names": ["spleen", "liver"]}))
    found = scored(organs, *OF_CLASSES, "--labels", labels)
    assert [row["name"] for row in found["classes"]] == ["spleen", "liver"]


def test_a_class_may_be_in_the_name_of_a_file(folders: Folders) -> None:
    for folder in folders:
        write(folder, "s_1_lung_left.png", halves(1))
        write(folder, "s_1_lung.png", halves(1))
    labels = folders[0].parent / "organs.json"
    labels.write_text(json.dumps({"names": ["lung", "lung_left"]}))
    found = scored(folders, "--match", "{key}_{class}", "{key}_{class}", "--labels", labels)
    assert (found["pairs"], found["scores"]["mIoU"]) == (1, 1)


def test_files_of_one_class_each_go_on_from_a_checkpoint(organs: Folders) -> None:
    checkpoint = organs[0].parent / "checkpoint"
    first = scored(organs, *OF_CLASSES, "--checkpoint", checkpoint, "--per-image")
    second = scored(organs, *OF_CLASSES, "--checkpoint", checkpoint, "--per-image")
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_files_that_are_named_as_classes_are_told_of(organs: Folders) -> None:
    write(organs[0], "s2/spleen.nii.gz", np.zeros((4, 4, 4)))
    for folder in organs:
        write(folder, "s2/spleen.nii.gz", np.ones((4, 4, 4)))
    (warning,) = scored(organs, "--num-classes", 2)["warnings"]
    assert "masks of one class each (s1/liver, s1/spleen, s2/liver)" in warning
    assert "--match '{key}/{class}' '{key}/{class}'" in warning
    again = scored(organs, "--match", "{key}/{class}", "{key}/{class}")
    assert [row["name"] for row in again["classes"]] == ["liver", "spleen"]


@pytest.mark.parametrize(
    "names", [["a/1", "a/2", "b/1", "b/2"], ["x", "y"], ["a/x", "b/y"], ["a/m", "b/m"]]
)
def test_files_of_other_names_are_no_masks_of_classes(names: list[str], folders: Folders) -> None:
    for name in names:
        for folder in folders:
            write(folder, f"{name}.png", np.eye(8))
    assert scored(folders, "--num-classes", 2)["warnings"] == []


def test_sizes_of_a_class_are_compared(organs: Folders) -> None:
    write(organs[0], "s2/liver.nii.gz", np.ones((4, 4, 5)))
    done = run(organs, *OF_CLASSES)
    assert done.exit_code == 2
    assert "s2/liver.nii.gz: 4×4×5" in done.stderr


# --- regions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["option", "names", "dataset.json"])
def test_regions_are_scored_as_the_union_of_their_classes(folders: Folders, how: str) -> None:
    random = np.random.default_rng(0)
    masks = random.integers(0, 4, (2, 20, 30))
    for folder, mask in zip(folders, masks, strict=True):
        write(folder, "a.png", mask)
    labels = folders[0].parent / "dataset.json"
    classes: dict[str, Any] = {"background": 0, "edema": 1, "core": 2, "enhancing": 3}
    if how == "dataset.json":
        classes |= {"WT": [1, 2, 3], "TC": [2, 3], "ignore": 255}
    labels.write_text(json.dumps({"labels": classes}))
    arguments: list[object] = ["--labels", labels]
    if how == "option":
        arguments = ["--num-classes", 4, "--region", "WT=1,2,3", "--region", "TC=2,3"]
    if how == "names":
        arguments += ["--region", "WT=edema,core,enhancing", "--region", "TC=2,3"]
    table, page = folders[0].parent / "o.csv", folders[0].parent / "r.html"
    found = scored(folders, *arguments, "--csv", table, "--html", page)["regions"]
    assert [row["name"] for row in found] == ["WT", "TC"]
    with table.with_name("o.regions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    of_report = page.read_text().split('id="regions-table"')[1].split("</table>")[0]
    for row, in_table in zip(found, rows, strict=True):
        assert in_table["region"] == row["name"]
        assert [float(in_table[key]) for key in ("pixels", "iou", "dice")] == [
            row[key] for key in ("pixels", "iou", "dice")
        ]
        assert f'<th scope="row">{row["name"]}</th>' in of_report
        assert f">{row['dice']:.3f}</td>" in of_report
    for row, members in zip(found, ([1, 2, 3], [2, 3]), strict=True):
        preds, target = (np.isin(mask, members).ravel() for mask in masks)
        assert row["iou"] == pytest.approx(jaccard_score(target, preds))
        assert row["dice"] == pytest.approx(f1_score(target, preds))
        assert row["pixels"] == target.sum()


def test_categories_have_iou_and_dice_in_table_json_csv_and_report(folders: Folders) -> None:
    masks = np.random.default_rng(0).integers(0, 4, (2, 20, 30))
    for folder, mask in zip(folders, masks, strict=True):
        write(folder, "a.png", mask)
    names, groups = ["road", "path", "car", "bus"], {"flat": [0, 1], "moving": [2, 3]}
    space = {"names": names, "groups": {k: [names[c] for c in v] for k, v in groups.items()}}
    labels = folders[0].parent / "space.json"
    labels.write_text(json.dumps(space))
    table, page = folders[0].parent / "o.csv", folders[0].parent / "r.html"
    arguments = "--labels", labels, "--csv", table, "--html", page
    found = scored(folders, *arguments)["categories"]
    with table.with_name("o.categories.csv").open(newline="") as file:
        in_csv = list(csv.DictReader(file))
    of_report = page.read_text().split('id="categories-table"')[1].split("</table>")[0]
    printed = run(folders, *arguments).stdout.split("category")[1].splitlines()
    for row, of_file, line, members in zip(
        found, in_csv, printed[1:], groups.values(), strict=False
    ):
        preds, target = (np.isin(mask, members).ravel() for mask in masks)
        assert row["iou"] == pytest.approx(jaccard_score(target, preds))
        assert row["dice"] == pytest.approx(f1_score(target, preds))
        assert [of_file["category"], float(of_file["dice"])] == [row["name"], row["dice"]]
        assert line.split()[0] == row["name"]
        assert f"{row['dice']:.3f}" in line
        assert f">{row['dice']:.3f}</td>" in of_report
    mean = np.mean([row["dice"] for row in found])
    assert printed[3].split() == ["mean", *printed[3].split()[1:-1], f"{mean:.3f}"]


def test_the_table_of_categories_may_overwrite_nothing_that_is_read(folders: Folders) -> None:
    for folder in folders:
        write(folder, "a.png", halves(1))
    labels = folders[0].parent / "o.categories.csv"
    space = {"names": ["a", "b"], "groups": {"both": ["a", "b"]}}
    named = labels.with_suffix(".json")
    named.write_text(json.dumps(space))
    labels.mkdir()
    done = run(folders, "--labels", named, "--csv", folders[0].parent / "o.csv")
    assert done.exit_code == 2
    assert "the table of categories of --csv" in done.stderr


@pytest.mark.parametrize("region", ["WT", "=1", "WT=", "WT=1,4", "WT=1,1", "WT=-1"])
def test_a_region_that_is_none_is_named(folders: Folders, region: str) -> None:
    for folder in folders:
        write(folder, "a.png", np.zeros((4, 4)))
    done = run(folders, "--num-classes", 4, "--region", region)
    assert done.exit_code == 2
    assert "region" in done.stderr


def test_ignored_labels_of_nnunet_do_not_count(folders: Folders) -> None:
    mask = halves(1)
    mask[-1] = 2
    for folder in folders:
        write(folder, "a.nii.gz", mask[..., None])
    labels = folders[0].parent / "dataset.json"
    labels.write_text(json.dumps({"labels": {"background": 0, "tumour": 1, "ignore": 2}}))
    assert scored(folders, "--labels", labels)["pixels"] == 56


# --- files next to masks --------------------------------------------------------------------------


def test_what_nnunet_writes_next_to_masks_does_no_harm(folders: Folders) -> None:
    for case in "ab":
        for folder in folders:
            write(folder, f"{case}.nii.gz", np.ones((4, 4, 4)))
        np.savez(folders[0] / f"{case}.npz", probabilities=np.zeros((2, 4, 4, 4), np.float16))
        (folders[0] / f"{case}.pkl").write_bytes(b"settings")
    (folders[0] / "summary.json").write_text("{}")
    assert scored(folders, "--num-classes", 2)["pairs"] == 2


def test_files_that_share_a_name_are_told_apart_by_the_printed_match(folders: Folders) -> None:
    write(folders[0], "a.npy", halves(1))
    write(folders[0], "a.nii.gz", np.zeros((3, 3, 3)))
    write(folders[1], "a.png", halves(1))
    done = run(folders, "--num-classes", 2)
    assert done.exit_code == 2
    first, second = re.findall(r"--match '(.*)' '(.*)'", done.stderr)[0]
    assert second == "{key}.png"
    assert run(folders, "--num-classes", 2, "--match", "{key}.npy", second).exit_code == 0
    assert first in ("{key}.npy", "{key}.nii.gz")


# --- colours --------------------------------------------------------------------------------------


def test_colours_stand_for_classes_but_for_one_that_two_classes_have(folders: Folders) -> None:
    content: dict[str, Any] = {
        "names": list("abc"), "colors": [[0, 0, 0], [9, 0, 0], [0, 0, 9]],
    }  # fmt: skip
    labels, colors = folders[0].parent / "labels.json", np.array(content["colors"], np.uint8)
    for folder, mask in zip(folders, ([[0, 1], [2, 2]], [[0, 1], [2, 1]]), strict=True):
        Image.fromarray(colors[np.array(mask)]).save(folder / "a.png")
    labels.write_text(json.dumps(content))
    found = scored(folders, "--labels", labels)
    assert [row["iou"] for row in found["classes"]] == [1, 0.5, 0.5]
    labels.write_text(
        json.dumps(content | {"names": list("abcd"), "colors": [*colors.tolist(), [0, 0, 9]]})
    )
    done = run(folders, "--labels", labels)
    assert done.exit_code == 2
    assert "0, 0, 9" in done.stderr


# --- unknown labels -------------------------------------------------------------------------------


def test_labels_between_others_at_contours_look_interpolated(folders: Folders) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[8:31, 9:33] = 200
    for folder in folders:
        image = Image.fromarray(mask).resize((21, 21), Image.Resampling.BILINEAR)
        image.save(folder / "a.png")
    labels = folders[0].parent / "labels.json"
    labels.write_text(json.dumps({"names": ["bg", "fg"], "id_to_class": {"0": "bg", "200": "fg"}}))
    assert "resized by interpolation?" in run(folders, "--labels", labels).stderr


@pytest.mark.parametrize("number", [1, 2])
def test_binary_masks_that_look_interpolated_are_counted(number: int, folders: Folders) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[8:31, 9:33] = 200
    resized = np.asarray(Image.fromarray(mask).resize((20, 20), Image.Resampling.BILINEAR))
    for i in range(3):
        write(folders[0], f"{i}.png", resized if i < number else mask[::2, ::2])
        write(folders[1], f"{i}.png", mask[::2, ::2])
    said = " ".join(run(folders, "--binary").stderr.split())
    masks = "1 mask holds" if number == 1 else "2 masks hold"
    assert f"warning: {masks} values between 0 and the largest" in said


def test_unknown_objects_do_not_look_interpolated(folders: Folders) -> None:
    for folder in folders:
        write(folder, "a.png", np.kron(np.arange(9).reshape(3, 3), np.ones((9, 9))))
    done = run(folders, "--num-classes", 5)
    assert "interpolation" not in done.stderr
    assert "--num-classes 9?" in done.stderr


@pytest.mark.parametrize(("value", "told"), [(5, True), (7, True), (8, False)])
def test_predictions_that_hold_the_targets_values_are_hinted_at(
    value: int, told: bool, folders: Folders
) -> None:
    labels = folders[0].parent / "labels.json"
    labels.write_text(json.dumps({"names": ["a", "b"], "id_to_class": {"5": "a", "7": "b"}}))
    write(folders[0], "a.png", np.array([[0, value], [1, 0]]))
    write(folders[1], "a.png", np.array([[5, 7], [7, 5]]))
    done = run(folders, "--labels", labels, "--preds-are-classes")
    assert done.exit_code == 2
    assert ("Leave out --preds-are-classes." in " ".join(done.stderr.split())) == told


def test_negative_values_are_probably_void(folders: Folders) -> None:
    for folder in folders:
        write(folder, "a.npy", np.array([[0, 1], [-1, 1]], np.int16))
    done = run(folders, "--num-classes", 2)
    assert "--ignore-index -1" in done.stderr
    assert run(folders, "--num-classes", 2, "--ignore-index", -1).exit_code == 0


def test_an_unknown_zero_is_no_negative_value(folders: Folders) -> None:
    labels = folders[0].parent / "labels.json"
    labels.write_text(json.dumps({"names": ["a", "b"], "id_to_class": {"5": "a", "7": "b"}}))
    for folder in folders:
        write(folder, "a.png", np.array([[5, 7], [0, 7]]))
    done = run(folders, "--labels", labels)
    assert "neither a class nor ignored: 0 (1 pixel)" in done.stderr
    assert " more" not in done.stderr
    assert "Negative values" not in done.stderr


def test_the_largest_uint64_is_not_minus_one(folders: Folders) -> None:
    for folder in folders:
        write(folder, "a.npy", np.array([[0, 2**64 - 1]], np.uint64))
    done = run(folders, "--num-classes", 2, "--ignore-index", -1)
    assert done.exit_code == 2
    assert "18446744073709551615" in done.stderr


# --- scores that look wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preds", "arguments", "hint"),
    [
        (
            lambda t: t - 1,  # 0 is void, so that the first of 49 classes is lost
            ["--labels", "ade20k"],
            f"at least {48 / 49:.3f} if predictions held indices of classes: --preds-are-classes",
        ),
        (
            lambda t: t,
            ["--labels", "ade20k", "--preds-are-classes"],
            "at least 1.000 if predictions held ids as targets do, without --preds-are-classes",
        ),
        (lambda t: t - 1, ["--num-classes", 100], "larger by one"),
        (lambda t: t + 1, ["--num-classes", 101], "smaller by one"),
        (lambda t: 60 + t % 30, ["--num-classes", 100], "same values"),
    ],
)
def test_values_that_mean_something_else_are_hinted_at(
    folders: Folders, preds: Any, arguments: list[object], hint: str
) -> None:
    target = np.random.default_rng(0).integers(1, 50, (32, 32))
    write(folders[0], "a.png", preds(target))
    write(folders[1], "a.png", target)
    done = run(folders, *arguments)
    assert done.exit_code == 0, done.stderr
    assert hint in " ".join(done.stderr.split())
    assert done.stderr.count("warning") == 1


def test_an_inverted_foreground_is_hinted_at(folders: Folders) -> None:
    write(folders[0], "a.png", 1 - missed(halves(1)))
    write(folders[1], "a.png", halves(1))
    for arguments in (["--binary"], ["--num-classes", 2]):
        assert "inverted?" in run(folders, *arguments).stderr


def test_a_model_that_is_merely_bad_is_not_warned_of(folders: Folders) -> None:
    random = np.random.default_rng(0)
    write(folders[0], "a.png", random.integers(0, 5, (64, 64)))
    write(folders[1], "a.png", random.integers(0, 5, (64, 64)))
    write(folders[0], "b.png", np.ones((64, 64)))  # collapsed to one class
    write(folders[1], "b.png", np.tri(64))
    assert scored(folders, "--num-classes", 5)["warnings"] == []
