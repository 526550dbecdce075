"""``segmetrics evaluate --objects``: the numbers of ObjectMetrics, in every output."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from segmetrics import LabelSpace, ObjectImageScores, ObjectMetrics
from segmetrics.evaluate.command import app
from segmetrics.evaluate.object_pictures import (
    BOTH,
    INVENTED,
    MARGIN,
    MISSED,
    SIDE,
    Shown,
    figures,
    picture,
)
from segmetrics.statistics import confidence_interval

Pairs = list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]


def run(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, [*map(str, arguments), "--workers", "1"])


def drawn(number: int, size: tuple[int, ...] = (60, 80), classes: int = 3) -> Pairs:
    """Boxes of classes; the prediction shifts, drops and adds some. Void pixels here and there."""
    rng = np.random.default_rng(number)
    pairs: Pairs = []
    for _ in range(number):
        maps = np.zeros((2, *size), np.uint8)
        for _ in range(9):
            corner = rng.integers(0, np.array(size) - 2)
            extent = rng.integers(2, 12, len(size))
            label = rng.integers(1, classes)
            for side, shift in ((0, 0), (1, rng.integers(0, 3, len(size)))):
                if rng.random() < 0.8:
                    ends = zip(corner + shift, corner + shift + extent, strict=True)
                    maps[side][tuple(slice(*end) for end in ends)] = label
        maps[0][rng.random(size) < 0.01] = 255
        pairs.append((maps[1], maps[0]))
    return pairs


def stored(folder: Path, pairs: Pairs) -> tuple[Path, Path]:
    for side, name in enumerate("pt"):
        (folder / name).mkdir()
        for i, pair in enumerate(pairs):
            Image.fromarray(pair[side]).save(folder / name / f"{i:02}.png")
    return folder / "p", folder / "t"


def scored(metric: ObjectMetrics, pairs: Pairs) -> dict[str, float]:
    for preds, target in pairs:
        metric.update(torch.from_numpy(preds)[None], torch.from_numpy(target)[None])
    return {key: value.item() for key, value in metric.compute().items()}


def results(folder: Path, *arguments: Any) -> dict[str, Any]:
    found = run("evaluate", *arguments, "--json", folder / "found.json")
    assert found.exit_code == 0, found.output
    content: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return content


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ([], {}),
        (["--object-threshold", "0.5"], {"threshold": 0.5}),
        (
            ["--object-matching", "iou", "--connectivity", "faces", "--min-size", "9"],
            {"matching": "iou", "connectivity": "faces", "min_size": 9},
        ),
        (
            ["--object-matching", "iou", "--object-threshold", "0.3,0.6"],
            {"matching": "iou", "threshold": [0.3, 0.6]},
        ),
        (
            ["--object-distances", "--object-sizes", "30,60"],
            {"distances": True, "sizes": [30, 60]},
        ),
    ],
)
def test_the_command_gives_the_numbers_of_the_metric(
    options: list[str], arguments: dict[str, Any], tmp_path: Path
) -> None:
    pairs = drawn(5)
    found = results(
        tmp_path, *stored(tmp_path, pairs), "--num-classes", 3, "--ignore-index", 255,
        "--objects", *options,
    )  # fmt: skip
    metric = ObjectMetrics(3, ignore_index=255, **arguments)
    expected = scored(metric, pairs)
    for key in ("object_precision", "object_recall", "object_f1", "object_dice"):
        assert found["scores"][key] == pytest.approx(expected[key], rel=1e-6)
    if isinstance(arguments.get("threshold"), list):
        for key in ("object_f1_iou", "object_f1_iou/0.3", "object_accuracy_iou/0.6"):
            assert found["scores"][key] == pytest.approx(expected[key], rel=1e-6)
    sizes = [key for key in expected if key.startswith("object_recall/")][:3]
    for key in sizes:
        assert found["scores"].get(key) == pytest.approx(expected[key]) or np.isnan(expected[key])
    if "distances" in arguments:
        assert found["scores"]["object_hd95"] == pytest.approx(expected["object_hd95"], rel=1e-6)
    names = {"all classes": "", "1": "/1", "2": "/2"}
    assert [row["name"] for row in found["objects"]] == list(names)
    for row in found["objects"]:
        for key in ("missed_objects", "false_objects", "object_f1", "object_dice"):
            assert row[key] == pytest.approx(expected[key + names[row["name"]]], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ([], "connected pixels of one class, 8 (in volumes 26) neighbours; found where any pixel "
         "of its class overlaps."),
        (["--object-threshold", 0.4],
         "connected pixels of one class, 8 (in volumes 26) neighbours; found where its class "
         "covers more than 0.4 of it."),
        (["--object-matching", "iou", "--connectivity", "faces", "--min-size", 9],
         "connected pixels of one class, 4 (in volumes 6) neighbours of at least 9 pixels; matched "
         "one to one above an IoU of 0.5."),
        (["--object-matching", "iou", "--object-threshold", 0.25],
         "connected pixels of one class, 8 (in volumes 26) neighbours; matched one to one above an "
         "IoU of 0.25."),
        (["--instances"],
         "the pixels of one id; found where any pixel of its class overlaps."),
    ],
)  # fmt: skip
def test_a_note_says_what_an_object_is_and_when_it_is_found(
    options: list[object], note: str, tmp_path: Path
) -> None:
    folders = stored(tmp_path, drawn(1, (20, 20)))
    classes = ["--binary"] if "--instances" in options else ["--num-classes", 3, "--objects"]
    done = run("evaluate", *folders, *classes, "--ignore-index", 255, *options)
    assert f"An object is {note}" in done.stdout.splitlines(), done.output


def test_an_image_without_counted_pixels_is_listed_as_one_without_errors(tmp_path: Path) -> None:
    box = np.zeros((20, 20), np.uint8)
    box[3:9, 3:9] = 1
    empty = np.zeros_like(box)
    pairs = [(box, box), (empty, np.full_like(box, 255)), (empty, box), (box, box), (empty, box)]
    found = results(
        tmp_path, *stored(tmp_path, pairs), "--num-classes", 2, "--ignore-index", 255, "--objects"
    )
    rows = {row["image"]: row["missed_objects"] for row in found["objects_images"]}
    assert list(rows) == ["02", "04", "00", "01", "03"]
    assert rows["01"] is None


def test_pictures_have_the_legend_of_their_colours_if_there_are_some() -> None:
    assert figures({}) == []
    mask = np.zeros((9, 9), np.uint8)
    of_images = {"<a>": [Shown("missed", "b & c", 1200, mask)], "d": []}
    legend, first, second = figures(of_images)
    assert re.findall(r"rgb\((.*?)\)\"></span> ([a-z ]+)<", legend) == [
        (", ".join(map(str, color)), text)
        for color, text in (
            (MISSED, "target only"), (INVENTED, "prediction only"), (BOTH, "both"),
        )
    ]  # fmt: skip
    assert "<h3>&lt;a&gt;</h3>" in first
    assert "missed: b &amp; c, 1,200 pixels</figcaption>" in first
    assert second == "<h3>d</h3><div></div>"


def test_images_have_rows_and_intervals_and_are_shown_the_worst_first(tmp_path: Path) -> None:
    pairs = drawn(7)
    folders = stored(tmp_path, pairs)
    found = results(
        tmp_path, *folders, "--num-classes", 3, "--ignore-index", 255, "--objects",
        "--confidence", 0.9, "--csv", tmp_path / "f.csv", "--html", tmp_path / "f.html",
    )  # fmt: skip
    metric = ObjectImageScores(3, ignore_index=255)
    for i, (preds, target) in enumerate(pairs):
        metric.update(
            torch.from_numpy(preds)[None], torch.from_numpy(target)[None], image_ids=[f"{i:02}"]
        )
    errors = [row["missed_objects"] + row["false_objects"] for row in found["objects_images"]]
    assert errors == sorted(errors, reverse=True)
    by_name = {row["image"]: row for row in found["objects_images"]}
    counts = metric.image_counts()
    assert counts.ids is not None
    for key in ("object_f1", "missed_objects", "target_objects"):
        for name, value in zip(counts.ids, counts.values(key).tolist(), strict=True):
            assert by_name[name][key] == pytest.approx(value)
    interval = confidence_interval(metric, "object_f1", level=0.9)
    given = found["intervals"]["object_f1"]
    ends = given if isinstance(given, list) else [given["low"], given["high"]]
    assert ends == pytest.approx([interval.low, interval.high])
    with (tmp_path / "f.objects_images.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 7
    with (tmp_path / "f.objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["all classes", "1", "2"]
    assert float(rows[0]["object_f1"]) == pytest.approx(found["scores"]["object_f1"])
    page = (tmp_path / "f.html").read_text()
    assert "Images with the most missed and false objects" in page
    worst = found["objects_images"][0]["image"]
    assert f"<h3>{worst}</h3>" in page
    assert "<figcaption>missed: " in page or "<figcaption>false: " in page
    assert page.count("data:image/png;base64,") >= 5


@pytest.mark.parametrize("instances", [False, True])
def test_the_report_shows_the_largest_missed_and_false_objects_of_an_image(
    instances: bool, tmp_path: Path
) -> None:
    """Squares with sides 1 to 6 are missed, one of 4 by 5 is invented, and one of 9 is found."""
    target, preds = np.zeros((2, 40, 90), np.uint8)
    target[20:29, 2:11] = preds[20:29, 2:11] = 50
    for side in range(1, 7):
        target[2 : 2 + side, 12 * side : 13 * side] = side
    preds[20:24, 40:45] = 9
    pairs = [(preds, target) if instances else (preds > 0, target > 0)]
    folders = stored(tmp_path, [tuple(side.astype(np.uint8) for side in pair) for pair in pairs])  # type: ignore[misc]
    options = ["--instances"] if instances else ["--binary", "--objects"]
    results(tmp_path, *folders, *options, "--html", tmp_path / "f.html")
    page = (tmp_path / "f.html").read_text()
    shown = re.findall(r"<figcaption>(missed|false): foreground, ([\d,]+) pixels", page)
    assert shown == [("missed", "36"), ("missed", "25"), ("false", "20")]
    figures = re.findall(r'src="data:image/png;base64,([^"]+)" alt="(missed|false): ', page)
    for (image, kind), pixels in zip(figures, (36, 25, 20), strict=True):
        drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(image))))
        color = MISSED if kind == "missed" else INVENTED
        assert (drawn == color).all(-1).sum() >= pixels
    assert page.index("36 pixels") < page.index("25 pixels") < page.index("20 pixels")


def test_regions_presets_and_spacings_of_volumes(tmp_path: Path) -> None:
    """BraTS' regions, as NIfTI; autoPET's volumes in ml of voxels of 2 · 2 · 3 mm³."""
    pairs = [
        (np.where(p == 255, 0, p).astype(np.uint8), np.where(t == 255, 0, t).astype(np.uint8))
        for p, t in drawn(2, (14, 18, 20), classes=4)
    ]
    for side, name in enumerate("pt"):
        (tmp_path / name).mkdir()
        for i, pair in enumerate(pairs):
            volume = nibabel.Nifti1Image(pair[side], np.diag([2.0, 2.0, 3.0, 1.0]))
            nibabel.save(volume, tmp_path / name / f"{i}.nii.gz")
    folders = tmp_path / "p", tmp_path / "t"
    names = ["background", "necrosis", "edema", "enhancing"]
    regions = {"WT": names[1:], "TC": ["necrosis", "enhancing"], "ET": ["enhancing"]}
    (tmp_path / "labels.json").write_text(json.dumps({"names": names, "regions": regions}))
    found = results(
        tmp_path,
        *folders,
        "--labels",
        tmp_path / "labels.json",
        "--object-preset",
        "brats-2023-met",
    )
    space = LabelSpace(names, regions=regions)
    metric = ObjectMetrics.preset("brats-2023-met", space, spacing=(2.0, 2.0, 3.0))
    expected = scored(metric, pairs)
    by_name = {row["name"]: row for row in found["objects"]}
    for region in regions:
        for key in ("object_dice", "object_hd95"):
            value = expected[f"{key}_region/{region}"]
            assert by_name[region][key] == pytest.approx(value, rel=1e-6)
    assert "Objects as in brats-2023-met; scores are means over images." in found["notes"]
    found = results(tmp_path, *folders, "--binary", "--object-preset", "autopet")
    metric = ObjectMetrics.preset("autopet", task="binary", spacing=(2.0, 2.0, 3.0))
    expected = scored(metric, [(p > 0, t > 0) for p, t in pairs])  # type: ignore[misc]
    for key in ("false_negative_volume", "false_positive_volume"):
        assert found["scores"][key] == pytest.approx(expected[key], rel=1e-6)


@pytest.mark.parametrize("preset", [None, "autopet", "wmh-2017"])
def test_the_spacing_of_files_without_one_is_that_of_the_metric(
    preset: str | None, tmp_path: Path
) -> None:
    pairs = [(p == 1, t == 1) for p, t in drawn(3)]
    folders = stored(tmp_path, [(p.astype(np.uint8), t.astype(np.uint8)) for p, t in pairs])
    options: list[Any] = ["--object-preset", preset] if preset else ["--objects", "--min-size", 9]
    found = results(tmp_path, *folders, "--binary", "--spacing", "0.5,3", *options)
    arguments: dict[str, Any] = {"task": "binary", "spacing": (0.5, 3.0)}
    metric = (
        ObjectMetrics.preset(preset, **arguments)
        if preset
        else ObjectMetrics(min_size=9, **arguments)
    )
    expected = scored(metric, pairs)  # type: ignore[arg-type]
    (row,) = found["objects"]
    for key in ("object_f1", "target_objects", "false_negative_volume", "false_positive_volume"):
        assert row[key] == pytest.approx(expected[key], rel=1e-6), key
    unit = results(tmp_path, *folders, "--binary", *options)["objects"][0]
    assert row["false_positive_volume"] > unit["false_positive_volume"] > 0
    wrong = run("evaluate", *folders, "--binary", "--spacing", "1,2,3", *options)
    assert wrong.exit_code == 2
    assert "--spacing has 3 numbers, its mask 2 axes" in " ".join(wrong.output.split())


@pytest.mark.parametrize("preset", [None, "brats-2023-met"])
def test_intervals_of_objects_draw_groups(preset: str | None, tmp_path: Path) -> None:
    pairs = [(np.where(p == 255, 0, p), np.where(t == 255, 0, t)) for p, t in drawn(8)]
    patients = {f"{i:02}": f"patient {i // 2}" for i in range(8)}
    table = "\n".join(["image,patient", *(f"{i},{group}" for i, group in patients.items())])
    (tmp_path / "of.csv").write_text(table)
    options = ["--object-preset", preset] if preset else ["--objects"]
    found = results(
        tmp_path, *stored(tmp_path, pairs), "--num-classes", 3, *options,
        "--confidence", 0.9, "--groups", f"{tmp_path / 'of.csv'}:patient",
    )  # fmt: skip
    metric = ObjectImageScores.preset(preset, 3) if preset else ObjectImageScores(3)
    for (preds, target), name in zip(pairs, patients, strict=True):
        sides = (torch.from_numpy(side)[None] for side in (preds, target))
        metric.update(*sides, image_ids=[name])
    for key in ("object_dice", "object_f1"):
        interval = confidence_interval(metric, key, level=0.9, groups=patients)
        given = found["intervals"][key]
        assert [given["low"], given["high"]] == pytest.approx([interval.low, interval.high])
    alone = confidence_interval(metric, "object_f1", level=0.9)
    assert (alone.low, alone.high) != (interval.low, interval.high)


def test_subgroups_and_objects_are_scored_together(tmp_path: Path) -> None:
    pairs = drawn(6)
    rows = [f"{i:02},{'day' if i % 2 else 'night'}" for i in range(6)]
    (tmp_path / "of.csv").write_text("\n".join(["image,light", *rows]))
    folders = stored(tmp_path, pairs)
    options = "--num-classes", 3, "--ignore-index", 255, "--by", f"{tmp_path / 'of.csv'}:light"
    alone = results(tmp_path, *folders, *options)
    found = results(tmp_path, *folders, *options, "--objects")
    assert found["by"] == alone["by"]
    assert found["scores"]["object_f1"] == pytest.approx(
        scored(ObjectMetrics(3, ignore_index=255), pairs)["object_f1"]
    )


def test_classes_with_masks_of_their_own_are_rows(tmp_path: Path) -> None:
    pairs = drawn(3)
    for side, name in enumerate("pt"):
        for i, pair in enumerate(pairs):
            folder = tmp_path / name / f"{i}"
            folder.mkdir(parents=True)
            for c, of_class in ((1, "cell"), (2, "nucleus")):
                mask = (pair[side] == c).astype(np.uint8) * 255
                Image.fromarray(mask).save(folder / f"{of_class}.png")
    found = results(
        tmp_path, tmp_path / "p", tmp_path / "t", "--objects",
        "--match", "{key}/{class}.png", "{key}/{class}.png",
    )  # fmt: skip
    metric = ObjectMetrics(2, task="multilabel", class_names=["cell", "nucleus"])
    for preds, target in pairs:
        sides = (np.stack([side == 1, side == 2])[None] for side in (preds, target))
        metric.update(*map(torch.from_numpy, sides))
    expected = {key: value.item() for key, value in metric.compute().items()}
    by_name = {row["name"]: row for row in found["objects"]}
    assert by_name["cell"]["object_f1"] == pytest.approx(expected["object_f1/cell"])
    assert by_name["nucleus"]["missed_objects"] == expected["missed_objects/nucleus"]
    assert found["scores"]["object_f1"] == pytest.approx(expected["object_f1"])


def test_scores_of_objects_can_be_required(tmp_path: Path) -> None:
    folders = stored(tmp_path, drawn(2))
    options = "--num-classes", 3, "--ignore-index", 255, "--objects", "--fail-under"
    assert run("evaluate", *folders, *options, "object_f1=0.999").exit_code == 3
    assert run("evaluate", *folders, *options, "object_f1=0.001").exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-size", "5"], "--min-size applies to objects: give --objects, too."),
        (["--min-size", "0"], "--min-size applies to objects: give --objects, too."),
        (["--objects", "--object-threshold", "1"], "`threshold` is a share of an object or an IoU"),
        (["--objects", "--object-matching", "dice"], "`matching` must be one of 'overlap', 'iou'"),
        (["--objects", "--object-sizes", "a,b"], "--object-sizes is numbers, as in 100,1000"),
        (["--object-preset", "brats"], "--object-preset is one of brats-2023-gli"),
        (
            ["--object-preset", "autopet", "--connectivity", "faces"],
            "--object-preset autopet fixes what --connectivity says. Leave it out.",
        ),
    ],
)
def test_options_that_do_not_fit_are_named(
    options: list[str], message: str, tmp_path: Path
) -> None:
    found = run("evaluate", *stored(tmp_path, drawn(1)), "--num-classes", 3, *options)
    assert found.exit_code == 2
    assert message in " ".join(found.output.split())


@pytest.mark.parametrize(("length", "step"), [(4, 1), (4 * SIDE - 2 * MARGIN, 2)])
def test_the_picture_of_an_object_shows_both_masks_around_it(length: int, step: int) -> None:
    """Red where only the target is, blue where only the prediction is, on dark grey."""
    size = length + 3 * MARGIN
    target, preds = np.zeros((2, 5, size, size), bool)
    box = [slice(1, 4), slice(2 * MARGIN, 2 * MARGIN + 2), slice(2 * MARGIN, 2 * MARGIN + length)]
    target[2][box[1], box[2]] = True
    preds[2, 2 * MARGIN + 1 : 2 * MARGIN + 3, 2 * MARGIN :] = True
    target[:2] = preds[3:] = True  # not in the middle
    expected = np.full((size, size, 3), 30, np.uint8)
    for is_target, is_preds, color in (
        (1, 0, (238, 102, 119)), (0, 1, (68, 119, 170)), (1, 1, (200, 200, 200)),
    ):  # fmt: skip
        expected[(target[2] == is_target) & (preds[2] == is_preds)] = color
    side = length + 2 * MARGIN
    first = 2 * MARGIN + 1 - side // 2, MARGIN
    window = tuple(slice(max(0, start), start + side) for start in first)
    np.testing.assert_array_equal(picture(target, preds, box), expected[window][::step, ::step])
