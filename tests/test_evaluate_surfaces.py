"""``segmetrics evaluate --surfaces``: distances in millimetres from files of every format."""

from __future__ import annotations

import csv
import json
from itertools import permutations, product
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion, generate_binary_structure
from scipy.spatial.distance import cdist
from typer.testing import CliRunner, Result

from segmetrics.evaluate.command import app
from test_files_dicom import write_seg
from test_files_medical import OBLIQUE, WRITERS, moved, nifti
from test_files_medical import write as write_volume

Array = NDArray[Any]
SPACING = (1.5, 0.7, 3.0)  # of OBLIQUE


def blobs(
    shape: tuple[int, ...], seed: int, classes: int = 3, moved_by: float = 1.5
) -> tuple[Array, Array]:
    """A target of ellipsoids, and a prediction of the same ones, moved and resized."""
    rng = np.random.default_rng(seed)
    places = np.mgrid[tuple(map(slice, shape))]
    masks = np.zeros((2, *shape), np.uint8)
    for c in range(1, classes):
        centre = [rng.uniform(0.3, 0.7) * n for n in shape]
        radius = [rng.uniform(0.12, 0.25) * n for n in shape]
        for mask in masks:
            inside = sum(((p - m) / r) ** 2 for p, m, r in zip(places, centre, radius, strict=True))
            mask[inside < 1] = c
            centre = [m + rng.normal(0, moved_by) for m in centre]
            radius = [r * rng.uniform(0.8, 1.2) for r in radius]
    return masks[1], masks[0]


def surface(mask: Array) -> Array:
    """Places of pixels with a direct neighbour outside the mask, or at the image's border."""
    inner = binary_erosion(mask, generate_binary_structure(mask.ndim, 1), border_value=0)
    return np.argwhere(mask & ~inner)


def longhand(
    preds: Array, target: Array, spacing: tuple[float, ...], percentile: float, tolerance: float
) -> dict[str, float]:
    """All distances of two masks, by all pairs of their surfaces' pixels."""
    a, b = surface(preds) * spacing, surface(target) * spacing
    pairs = cdist(a, b)
    there, back = pairs.min(1), pairs.min(0)
    both = np.concatenate([there, back])
    hd = f"hd{percentile:g}"
    return {
        "hd": both.max(),
        hd: max(np.percentile(there, percentile), np.percentile(back, percentile)),
        "assd": both.mean(),
        "nsd": np.mean(both <= tolerance + 1e-6),
        f"{hd}_to_target": np.percentile(there, percentile),
        f"{hd}_to_prediction": np.percentile(back, percentile),
        f"{hd}_pooled": np.percentile(both, percentile),
        "asd_to_target": there.mean(),
        "asd_to_prediction": back.mean(),
    }


def monais(
    preds: Array, target: Array, spacing: tuple[float, ...], tolerance: float
) -> dict[str, float]:
    """The usual four by MONAI."""
    maps = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (preds, target)]
    given = {"include_background": True, "spacing": list(spacing)}
    return {
        "hd": compute_hausdorff_distance(*maps, **given).item(),
        "hd95": compute_hausdorff_distance(*maps, percentile=95, **given).item(),
        "nsd": compute_surface_dice(*maps, class_thresholds=[tolerance], **given).item(),
        "asd_to_target": compute_average_surface_distance(*maps, **given).item(),
    }


def run(tmp_path: Path, *arguments: object) -> Result:
    folders = [str(tmp_path / name) for name in ("preds", "targets")]
    given = ["evaluate", *folders, "--workers", "1", "--json", str(tmp_path / "out.json")]
    return CliRunner().invoke(app, [*given, *map(str, arguments)])


def content(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    done = run(tmp_path, *arguments)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "out.json").read_text())
    return found


def refused(tmp_path: Path, *arguments: object) -> str:
    done = run(tmp_path, *arguments)
    assert done.exit_code == 2, done.output
    return " ".join(done.stderr.split())


def rows(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["case"], row["class"]): row for row in found["cases"]}


def save(tmp_path: Path, name: str, preds: Array, target: Array, affine: Any = None) -> None:
    """A pair, in the format of its name."""
    for folder, mask in (("preds", preds), ("targets", target)):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        if name.endswith(".png"):
            Image.fromarray(mask).save(path)
        elif name.endswith(".npy"):
            np.save(path, mask)
        else:
            nifti(path, mask, affine)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["nii.gz", "mgz", "mha", "mhd", "nrrd", "nhdr"])
def test_distances_are_in_millimetres_along_the_right_axes(suffix: str, tmp_path: Path) -> None:
    preds, target = blobs((20, 24, 14), seed=1)
    write_volume(tmp_path / "preds", suffix, *moved(preds, OBLIQUE, (2, 0, 1), (True, False, True)))
    write_volume(tmp_path / "targets", suffix, target, OBLIQUE)
    found = rows(content(tmp_path, "--num-classes", 3, "--surfaces", "--tolerance", 1.2))
    for c in (0, 1, 2):
        row = found["a", str(c)]
        for expected in (
            longhand(preds == c, target == c, SPACING, 95, 1.2),
            monais(preds == c, target == c, SPACING, 1.2),
        ):
            assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5)
        assert row["volume_target"] == pytest.approx(np.sum(target == c) * 3.15 / 1000, rel=1e-5)


def test_distances_do_not_depend_on_the_orientation_of_either_file(tmp_path: Path) -> None:
    preds, target = blobs((14, 16, 10), seed=2)
    orders = list(product(permutations(range(3)), product([False, True], repeat=3)))
    for folder, mask in (("preds", preds), ("targets", target)):
        (tmp_path / folder).mkdir()
        for i, (order, flips) in enumerate(orders if folder == "targets" else orders[::-1]):
            nifti(tmp_path / folder / f"{i:02}.nii", *moved(mask, OBLIQUE, order, flips))
    found = content(tmp_path, "--num-classes", 3, "--surfaces", "--tolerance", 2)
    assert len(found["cases"]) == 3 * 48
    for row in found["cases"]:
        c = int(row["class"])
        expected = longhand(preds == c, target == c, SPACING, 95, 2)
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_distances_of_dicom_seg(tmp_path: Path) -> None:
    preds, target = blobs((8, 10, 12), seed=3)
    for folder, mask in (("preds", preds), ("targets", target)):
        mask[[0, -1], 0, 0] = 1  # no slice is empty: those are not written
        (tmp_path / folder).mkdir()
        write_seg(tmp_path / folder / "a.dcm", mask)
    from segmetrics.files import read

    grid = read(tmp_path / "targets/a.dcm").grid
    assert grid is not None
    found = rows(content(tmp_path, "--num-classes", 3, "--surfaces"))
    for c in (1, 2):
        expected = longhand(preds == c, target == c, tuple(grid.spacing), 95, 1)
        row = found["a", str(c)]
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert len(set(np.round(grid.spacing, 6))) == 3  # so that the order of axes shows


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_ignored_grid_keeps_the_spacing_of_the_target(suffix: str, tmp_path: Path) -> None:
    preds, target = blobs((12, 14, 10), seed=4)
    write_volume(tmp_path / "preds", suffix, preds)
    write_volume(tmp_path / "targets", suffix, target, OBLIQUE)
    found = rows(content(tmp_path, "--num-classes", 3, "--surfaces", "--ignore-grid"))
    expected = longhand(preds == 1, target == 1, SPACING, 95, 1)
    assert {n: found["a", "1"][n] for n in expected} == pytest.approx(expected, rel=1e-5)


def test_images_without_spacing_are_measured_in_pixels_and_it_is_said(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    preds, target = blobs((40, 50), seed=5)
    save(tmp_path, "a.png", preds, target)
    done = run(tmp_path, "--num-classes", 3, "--surfaces", "--html", tmp_path / "o.html")
    assert "HD95 (pixels)" in done.stdout
    said = "Distances are in pixels, as the files have no spacing. Give it by --spacing."
    assert said in done.stdout
    found = json.loads((tmp_path / "out.json").read_text())
    assert said in found["notes"]
    assert any("within a tolerance (1 pixel) of the other" in note for note in found["notes"])
    assert {row["unit"] for row in found["case_statistics"]} == {"pixels", ""}
    assert said in (tmp_path / "o.html").read_text()
    expected = longhand(preds == 1, target == 1, (1, 1), 95, 1)
    row = rows(found)["a", "1"]
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row["volume_target"] == np.sum(target == 1)


@pytest.mark.parametrize("shape", [(20, 30), (8, 20, 12)])
def test_a_spacing_is_given_for_arrays_in_the_order_of_their_axes(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    preds, target = blobs(shape, seed=6)
    save(tmp_path, "a.npy", preds, target)
    spacing = (2.5, 0.5, 0.8)[: len(shape)]
    given = ",".join(map(str, spacing))
    found = content(tmp_path, "--num-classes", 3, "--surfaces", "--spacing", given)
    row = rows(found)["a", "2"]
    expected = longhand(preds == 2, target == 2, spacing, 95, 1)
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    volume = np.sum(target == 2) * np.prod(spacing) / (1000 if len(shape) == 3 else 1)
    assert row["volume_target"] == pytest.approx(volume)
    assert any(f"by --spacing {', '.join(map(str, spacing))}" in note for note in found["notes"])
    of = {row["measure"]: row["unit"] for row in found["case_statistics"]}
    assert (of["hd95"], of["volume_target"]) == ("mm", "ml" if len(shape) == 3 else "mm²")


def test_one_number_is_the_spacing_of_all_axes(tmp_path: Path) -> None:
    preds, target = blobs((20, 30), seed=6)
    save(tmp_path, "a.png", preds, target)
    found = rows(content(tmp_path, "--num-classes", 3, "--surfaces", "--spacing", 0.25))
    expected = longhand(preds == 2, target == 2, (0.25, 0.25), 95, 1)
    assert {n: found["a", "2"][n] for n in expected} == pytest.approx(expected, rel=1e-5)


def test_regions_are_measured_as_unions(tmp_path: Path) -> None:
    preds, target = blobs((16, 20, 12), seed=7, classes=4)
    save(tmp_path, "a.nii.gz", preds, target, np.diag([*SPACING, 1]))
    given = "--num-classes", 4, "--surfaces", "--region", "WT=1,2,3", "--region", "2=2,3"
    found = content(tmp_path, *given, "--tolerance", "WT=3,2", "--percentile", "90")
    for name, classes, tolerance in (
        ("WT", (1, 2, 3), 3),
        ("2 (region)", (2, 3), 2),
        ("3", (3,), 2),
    ):
        of_preds, of_target = np.isin(preds, classes), np.isin(target, classes)
        row = rows(found)["a", name]
        expected = longhand(of_preds, of_target, SPACING, 90, tolerance)
        expected["dice"] = 2 * np.sum(of_preds & of_target) / (of_preds.sum() + of_target.sum())
        assert {key: row[key] for key in expected} == pytest.approx(expected, rel=1e-5)


def test_tolerance_and_percentile_of_single_classes(tmp_path: Path) -> None:
    preds, target = blobs((40, 50), seed=8)
    save(tmp_path, "a.png", preds, target)
    (tmp_path / "l.json").write_text('{"names": ["rest", "liver", "a=b,c"]}')
    found = content(
        tmp_path, "--labels", tmp_path / "l.json", "--surfaces", "--percentile", "liver=50",
        "--tolerance", "0=2,1=0", "--tolerance", "a=b,c=3", "--percentile", 80,
    )  # fmt: skip
    for c, (name, percentile, tolerance) in enumerate(
        [("rest", 80, 2), ("liver", 50, 0), ("a=b,c", 80, 3)]
    ):
        expected = longhand(preds == c, target == c, (1, 1), percentile, tolerance)
        row = rows(found)["a", name]
        assert row["nsd"] == pytest.approx(expected["nsd"])
        assert row["hd_percentile"] == pytest.approx(expected[f"hd{percentile}"])
    assert any("rest 80, liver 50, a=b,c 80 %" in note for note in found["notes"])


def test_the_foreground_of_binary_masks_is_measured(tmp_path: Path) -> None:
    preds, target = blobs((40, 50), seed=9, classes=2)
    save(tmp_path, "a.png", preds, target * 255)
    found = rows(content(tmp_path, "--binary", "--surfaces"))
    assert list(found) == [("a", "foreground")]
    expected = longhand(preds > 0, target > 0, (1, 1), 95, 1)
    row = found["a", "foreground"]
    assert {name: row[name] for name in expected} == pytest.approx(expected)


def test_masks_of_one_class_each_are_measured(tmp_path: Path) -> None:
    affine = np.diag([*SPACING, 1])
    for case, classes in (("x", "ab"), ("y", "b")):
        for c in classes:
            preds, target = blobs((12, 14, 10), seed=ord(case) + ord(c), classes=2)
            save(tmp_path / case, f"{c}.nii.gz", preds, target, affine)
            for folder in ("preds", "targets"):
                (tmp_path / folder / case).mkdir(parents=True, exist_ok=True)
                (tmp_path / case / folder / f"{c}.nii.gz").rename(
                    tmp_path / folder / case / f"{c}.nii.gz"
                )
    (tmp_path / "preds/x/a.nii.gz").unlink()  # an empty mask
    pattern = "{key}/{class}.nii.gz"
    given = "--match", pattern, pattern, "--surfaces", "--tolerance", "b=2"
    found = rows(content(tmp_path, *given))
    preds, target = blobs((12, 14, 10), seed=ord("y") + ord("b"), classes=2)
    expected = longhand(preds > 0, target > 0, SPACING, 95, 2)
    assert {n: found["y", "b"][n] for n in expected} == pytest.approx(expected, rel=1e-5)
    assert (found["x", "a"]["hd"], found["x", "a"]["missed"]) == ("Infinity", True)
    assert found["y", "a"]["dice"] is None  # nobody knows
    assert found["y", "a"]["missed"] is False


def test_the_mask_of_a_class_whose_spacing_is_another_is_named(tmp_path: Path) -> None:
    preds, target = blobs((12, 14, 10), seed=3, classes=2)
    for folder, mask in (("preds", preds), ("targets", target)):
        (tmp_path / folder / "x").mkdir(parents=True)
        for c, step in (("a", 1), ("b", 2), ("c", 1)):
            image = nibabel.Nifti1Image(mask.astype(np.uint8), np.diag([step, step, step, 1]))
            nibabel.save(image, tmp_path / folder / "x" / f"{c}.nii.gz")
    pattern = "{key}/{class}.nii.gz"
    said = refused(tmp_path, "--match", pattern, pattern, "--surfaces", "--spacing", 1)
    assert "targets/x/b.nii.gz: its header says the spacing (2, 2, 2) mm" in said


def test_ignored_pixels_belong_to_no_mask(tmp_path: Path) -> None:
    preds, target = blobs((40, 50), seed=10)
    void = target.copy()
    void[10:30, 20:30] = 255
    save(tmp_path, "a.png", preds, void)
    found = content(tmp_path, "--num-classes", 3, "--surfaces", "--ignore-index", 255)
    there = void != 255
    for c in (1, 2):
        row = rows(found)["a", str(c)]
        expected = longhand((preds == c) & there, (target == c) & there, (1, 1), 95, 1)
        assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert row["pixels_prediction"] == np.sum((preds == c) & there)
    assert "Pixels whose target is ignored belong to no mask." in found["notes"]


@pytest.mark.parametrize("classes", [5, 600])
def test_overlap_of_few_and_of_many_classes(classes: int, tmp_path: Path) -> None:
    preds, target = blobs((30, 40), seed=18, classes=4)
    save(tmp_path, "a.png", preds, target)
    given = "--num-classes", classes, "--per-case", "--region", "two=1,2", "--region", "one=3"
    found = rows(content(tmp_path, *given))
    assert len(found) == classes + 2
    for name, members in (("0", [0]), ("1", [1]), ("two", [1, 2]), ("one", [3])):
        of_preds, of_target = np.isin(preds, members), np.isin(target, members)
        row, hits = found["a", name], np.sum(of_preds & of_target)
        assert row["iou"] == pytest.approx(hits / np.sum(of_preds | of_target))
        assert row["precision"] == pytest.approx(hits / of_preds.sum())
        assert row["sensitivity"] == pytest.approx(hits / of_target.sum())
    assert found["a", str(classes - 1)]["dice"] is None


# --- conventions ----------------------------------------------------------------------------------


@pytest.fixture
def empties(tmp_path: Path) -> Path:
    """Class 1 is in both masks, in one, in the other, in neither; an image of nothing but void."""
    there, nothing = np.zeros((2, 12, 16), np.uint8)
    there[3:6, 4:9] = 1
    for name, preds, target in (
        ("both", there, there), ("missed", nothing, there), ("invented", there, nothing),
        ("neither", nothing, nothing), ("void", there, np.full_like(there, 255)),
    ):  # fmt: skip
        save(tmp_path, f"{name}.png", preds, target)
    return tmp_path


@pytest.mark.parametrize(("number", "shown"), [(6, "5 in 1, 6 in 1 of"), (7, "5 in 1, 6 in 1… of")])
def test_six_classes_with_infinite_distances_are_named(
    number: int, shown: str, tmp_path: Path
) -> None:
    target = np.arange(number + 1, dtype=np.uint8).repeat(4)[:, None].repeat(5, 1)
    save(tmp_path, "a.png", np.zeros_like(target), target)
    found = content(tmp_path, "--num-classes", number + 1, "--surfaces")
    named = f"Distances are infinite for 1 in 1, 2 in 1, 3 in 1, 4 in 1, {shown} 1 cases"
    assert named in " ".join(found["notes"])


@pytest.mark.parametrize(
    ("given", "alone", "neither", "nsd"),
    [
        ((), inf, nan, nan),
        (("--both-empty", 0, "--empty-distance", 373.1), 373.1, 0, 1),
        (("--empty-distance", "diagonal"), 20, nan, nan),
        (("--empty-distance", 0), 0, nan, nan),
        (("--both-empty", 2), inf, 2, 1),
    ],
)
def test_conventions_of_empty_masks(
    given: tuple[object, ...], alone: float, neither: float, nsd: float, empties: Path
) -> None:
    found = content(
        empties, "--num-classes", 2, "--ignore-index", 255, "--no-background", "--surfaces", *given
    )
    of = {case: row for (case, _), row in rows(found).items()}
    for measure in ("hd", "hd95", "assd", "hd95_to_target", "hd95_pooled", "asd_to_prediction"):
        values = [of[case][measure] for case in ("both", "missed", "invented", "neither", "void")]
        expected = [0, alone, alone, neither, nan]
        assert values == ["Infinity" if v == inf else None if isnan(v) else v for v in expected]
    values = [of[case]["nsd"] for case in ("both", "missed", "invented", "neither", "void")]
    assert values == [1, 0, 0, None if isnan(nsd) else nsd, None]
    of_hd = next(row for row in found["case_statistics"] if row["measure"] == "hd95")
    defined = [v for v in (0, alone, alone, neither) if not isnan(v)]
    assert of_hd["cases"] == len(defined)
    assert of_hd["undefined"] == 5 - len(defined)
    assert of_hd["infinite"] == (2 if alone == inf else 0)
    mean = np.mean(defined)
    assert of_hd["mean"] == ("Infinity" if mean == inf else pytest.approx(mean))
    said = " ".join(found["notes"])
    shown = {inf: "inf", 20: "the diagonal of the image"}.get(alone, f"{alone:g} pixels")
    assert f"the distance is {shown}, NSD is 0" in said
    assert ("Distances are infinite for 1 in 2 of 5 cases" in said) == (alone == inf)


def test_missed_and_invented_classes_are_flagged_and_counted(empties: Path) -> None:
    found = content(
        empties, "--num-classes", 2, "--ignore-index", 255, "--no-background", "--per-case"
    )
    flags = {case: (row["missed"], row["false_alarm"]) for (case, _), row in rows(found).items()}
    assert flags == {
        "both": (False, False), "missed": (True, False), "invented": (False, True),
        "neither": (False, False), "void": (False, False),
    }  # fmt: skip
    (of_class,) = found["case_means"]
    assert (of_class["cases"], of_class["with_target"], of_class["with_prediction"]) == (4, 2, 2)
    assert (of_class["missed"], of_class["missed_rate"]) == (1, 0.5)
    assert (of_class["false_alarms"], of_class["false_alarm_rate"]) == (1, 0.5)
    dice = {case: row["dice"] for (case, _), row in rows(found).items()}
    assert dice == {"both": 1, "missed": 0, "invented": 0, "neither": None, "void": None}
    assert "hd95" not in of_class


def test_zero_division_is_the_score_of_a_class_in_neither_mask(empties: Path) -> None:
    given = "--num-classes", 2, "--ignore-index", 255, "--zero-division", 1, "--per-case"
    found = content(empties, *given)
    assert rows(found)["neither", "1"]["dice"] == 1
    assert rows(found)["void", "1"]["dice"] is None
    assert any("neither mask has the class count as 1" in note for note in found["notes"])


def test_a_class_that_no_case_has(tmp_path: Path) -> None:
    preds, target = blobs((20, 30), seed=11)
    save(tmp_path, "a.png", preds, target)
    save(tmp_path, "b.png", preds, target)
    found = content(tmp_path, "--num-classes", 4, "--surfaces", "--confidence", 0.9)
    of_class = found["case_means"][3]
    assert of_class["with_target"] == 0
    assert (of_class["hd95"], of_class["dice"], of_class["missed_rate"]) == (None, None, None)
    assert not any(row["class"] == "3" for row in found["worst_cases"])
    mean = np.mean([rows(found)["a", str(c)]["hd95"] for c in range(3)])
    assert found["scores"]["hd95"] == pytest.approx(mean)


def test_tolerance_zero_is_exact(tmp_path: Path) -> None:
    preds, target = blobs((30, 40), seed=12)
    save(tmp_path, "a.png", preds, target)
    found = rows(content(tmp_path, "--num-classes", 3, "--surfaces", "--tolerance", 0))
    a, b = surface(preds == 1), surface(target == 1)
    shared = len({tuple(p) for p in a.tolist()} & {tuple(p) for p in b.tolist()})
    assert found["a", "1"]["nsd"] == pytest.approx(2 * shared / (len(a) + len(b)))


# --- bad input ------------------------------------------------------------------------------------


def test_a_header_without_a_positive_spacing_is_named(tmp_path: Path) -> None:
    preds, target = blobs((10, 12, 8), seed=13)
    for name in ("good", "placed", "unplaced"):
        save(tmp_path, f"{name}.nii", preds, target, np.diag([*SPACING, 1]))
    for name, codes in (("placed", {}), ("unplaced", {"sform_code": 0, "qform_code": 0})):
        path = tmp_path / "targets" / f"{name}.nii"
        header = nibabel.Nifti1Header(path.read_bytes()[:348])
        header["pixdim"][2] = 0 if codes else -0.7
        for field, code in codes.items():
            header[field] = code
        path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    said = refused(tmp_path, "--num-classes", 3, "--surfaces")
    assert "2 files cannot be scored" in said
    assert "unplaced.nii: its header says the spacing (1.5, 0, 3) mm" in said
    found = content(tmp_path, "--num-classes", 3, "--surfaces", "--keep-going")
    assert {case for case, _ in rows(found)} == {"good"}
    assert sorted(problem["kind"] for problem in found["left_out"]) == ["grid", "spacing"]


@pytest.mark.parametrize("spacing", ["0 1 1", "-2 1 1"])
def test_an_impossible_spacing_of_nrrd_and_mha_is_named(spacing: str, tmp_path: Path) -> None:
    size = "sizes: 4 5 6\n"
    nrrd = f"NRRD0004\ntype: uint8\ndimension: 3\n{size}spacings: {spacing}\nencoding: raw\n\n"
    mha = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"ElementSpacing = {spacing}\nDimSize = 4 5 6\nElementType = MET_UCHAR\n"
        "ElementDataFile = LOCAL\n"
    )
    for name, header in (("n.nrrd", nrrd), ("m.mha", mha)):
        for folder in ("preds", "targets"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_bytes(header.encode() + bytes([0, 1] * 60))
    given = "--num-classes", 2, "--surfaces", "--ignore-grid"
    said = refused(tmp_path, *given)
    assert "masks with an impossible spacing: 2" in said
    shown = f"({max(int(spacing.split()[0]), 0)}, 1, 1)"
    assert said.count(f"its header says the spacing {shown} mm") == 2
    assert run(tmp_path, *given[:2], "--ignore-grid").exit_code == 0  # nobody asks for it


def test_a_spacing_that_contradicts_a_header_is_refused(tmp_path: Path) -> None:
    preds, target = blobs((10, 12, 8), seed=14)
    for suffix in ("nii.gz", "mha"):  # whose arrays are (x, y, z) and (z, y, x)
        for folder, mask in (("preds", preds), ("targets", target)):
            write_volume(tmp_path / folder, suffix, mask, np.diag([*SPACING, 1]))
        given = "--num-classes", 3, "--surfaces"
        said = refused(tmp_path, *given, "--spacing", "1,1,2")
        assert "its header says the spacing (1.5, 0.7, 3) mm, --spacing (1, 1, 2)" in said
        assert "--spacing is for files without one" in said
        row = rows(content(tmp_path, *given, "--spacing", "1.5,0.7,3"))["a", "1"]
        expected = longhand(preds == 1, target == 1, SPACING, 95, 1)
        assert row["hd95"] == pytest.approx(expected["hd95"], rel=1e-5)
        for folder in ("preds", "targets"):
            (tmp_path / folder / f"a.{suffix}").unlink()


def test_grids_that_differ_are_listed_and_the_rest_is_measured(tmp_path: Path) -> None:
    preds, target = blobs((10, 12, 8), seed=15)
    save(tmp_path, "a.nii", preds, target, OBLIQUE)
    save(tmp_path, "b.nii", preds, target, OBLIQUE)
    nifti(tmp_path / "preds/b.nii", preds, np.eye(4))
    assert "pairs on different grids: 1" in refused(tmp_path, "--num-classes", 3, "--surfaces")
    found = content(tmp_path, "--num-classes", 3, "--surfaces", "--keep-going")
    assert [problem["kind"] for problem in found["left_out"]] == ["grid"]
    assert {case for case, _ in rows(found)} == {"a"}


def test_cases_without_a_spacing_among_others_are_named(tmp_path: Path) -> None:
    preds, target = blobs((10, 12, 8), seed=16)
    for name in ("a.nii", "b.nii", "c.npy"):
        save(tmp_path, name, preds, target, np.diag([*SPACING, 1]))
    given = "--num-classes", 3, "--surfaces"
    found = content(tmp_path, *given)
    assert found["warnings"] == [
        "1 case is left out of distances and volumes, as their units are not those of the others: "
        "c, files without a spacing, among volumes with a spacing. Give --spacing for files "
        "without."
    ]
    row = rows(found)["c", "1"]
    assert (row["hd95"], row["volume_target"]) == (None, None)
    assert row["dice"] == rows(found)["a", "1"]["dice"]
    found = content(tmp_path, *given, "--spacing", "1.5,0.7,3")
    assert found["warnings"] == []
    assert rows(found)["c", "1"]["hd95"] == pytest.approx(rows(found)["a", "1"]["hd95"])


def test_volumes_with_a_spacing_among_images_are_named(tmp_path: Path) -> None:
    preds, target = blobs((10, 12, 8), seed=16)
    save(tmp_path, "v.nii", preds, target, np.diag([*SPACING, 1]))
    for name in "ab":
        save(tmp_path, f"{name}.png", preds[0], target[0])
    found = content(tmp_path, "--num-classes", 3, "--surfaces")
    (warning,) = found["warnings"]
    assert ": v, volumes with a spacing, among files without a spacing." in warning
    assert rows(found)["v", "0"]["volume_target"] is None
    assert rows(found)["a", "0"]["volume_target"] == np.sum(target[0] == 0)


def test_slices_among_volumes_have_distances_and_no_volumes(tmp_path: Path) -> None:
    preds, target = blobs((10, 12, 8), seed=20)
    for name in "ab":
        save(tmp_path, f"{name}.nii", preds, target, np.diag([*SPACING, 1]))
    place = int(((preds == 1).sum((0, 1)) * (target == 1).sum((0, 1))).argmax())
    preds, target = preds[:, :, [place]], target[:, :, [place]]
    save(tmp_path, "s.nii", preds, target, np.diag([*SPACING, 1]))
    found = content(tmp_path, "--num-classes", 3, "--surfaces")
    (warning,) = found["warnings"]
    assert warning.startswith("1 case is left out of volumes, as")
    assert warning.endswith("s, images with a spacing, among volumes with a spacing.")
    row = rows(found)["s", "1"]
    expected = longhand(preds[..., 0] == 1, target[..., 0] == 1, SPACING[:2], 95, 1)
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert row["volume_target"] is None
    assert row["relative_volume_difference"] is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--surfaces", "--tolerance", -1), "--tolerance must be at least 0, got -1."),
        (("--surfaces", "--tolerance", "inf"), "--tolerance must be at least 0"),
        (("--surfaces", "--tolerance", "much"), "--tolerance is a number, or NAME=NUMBER"),
        (("--surfaces", "--tolerance", "liver=1"), "'liver' is no class or region that is scored"),
        (("--surfaces", "--tolerance", "3=1"), "'3' is no class or region"),
        (("--surfaces", "--percentile", 0), "--percentile must be in (0, 100], got 0."),
        (("--surfaces", "--percentile", "1=100.5"), "--percentile must be in (0, 100], got 100.5."),
        (("--surfaces", "--spacing", "1,0,1"), "--spacing must be positive and finite"),
        (("--surfaces", "--spacing", "1,nan"), "--spacing must be positive and finite"),
        (("--surfaces", "--spacing", "wide"), "--spacing is one number in mm, or one per axis"),
        (("--surfaces", "--spacing", "1,1,1,1"), "--spacing is one number in mm"),
        (("--surfaces", "--spacing", "1,1,1"), "--spacing has 3 numbers, its mask 2 axes"),
        (("--surfaces", "--both-empty", -1), "--both-empty is a distance, at least 0"),
        (("--surfaces", "--empty-distance", "far"), "--empty-distance is inf, diagonal, nan or"),
        (("--surfaces", "--empty-distance", -1), "--empty-distance must be at least 0"),
        (("--tolerance", 1), "--tolerance is about surfaces: give --surfaces, too."),
        (("--empty-distance", 1), "--empty-distance is about surfaces"),
        (("--both-empty", 0, "--per-case"), "--both-empty is about surfaces"),
        (("--spacing", 1), "--spacing applies to distances and volumes: give --surfaces, too."),
    ],
)
def test_options_that_make_no_sense_are_refused_before_counting(
    given: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    save(tmp_path, "a.png", *blobs((10, 12), seed=17))
    assert message in refused(tmp_path, "--num-classes", 3, *given)


# --- the run --------------------------------------------------------------------------------------


def numbers(found: dict[str, Any]) -> dict[str, Any]:
    """What must be equal however a folder is scored."""
    kept = ("scores", "case_means", "case_statistics", "worst_cases", "cases", "intervals", "notes")
    return {key: found[key] for key in kept}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(7):
        save(tmp_path, f"{i}.nii", *blobs((9, 10, 8), seed=i), np.diag([*SPACING, 1]))
    return tmp_path


GIVEN = "--num-classes", 3, "--surfaces", "--region", "all=1,2", "--confidence", 0.9


def test_workers_and_checkpoints_carry_the_rows(folder: Path, monkeypatch: Any) -> None:
    expected = numbers(content(folder, *GIVEN))
    assert numbers(content(folder, *GIVEN, "--workers", 2)) == expected
    checkpoint = "--checkpoint", folder / "c"
    (folder / "later").mkdir()
    for name in ("preds", "targets"):
        (folder / name / "3.nii").rename(folder / "later" / f"{name}.nii")
    content(folder, *GIVEN, *checkpoint)
    for name in ("preds", "targets"):
        (folder / "later" / f"{name}.nii").rename(folder / name / "3.nii")
    assert numbers(content(folder, *GIVEN, *checkpoint)) == expected
    said = refused(folder, *GIVEN, *checkpoint, "--tolerance", 3)
    assert "was made with cases" in said
    from segmetrics.evaluate import workers

    monkeypatch.setattr(workers, "FORKS", False)
    assert numbers(content(folder, *GIVEN, "--workers", 2)) == expected


def test_processes_share_the_cases(folder: Path) -> None:
    from commands import finish, start

    expected = numbers(content(folder, *GIVEN))
    out = folder / "shared.json"
    started = start(
        2, folder / "output", folder / "preds", folder / "targets", *GIVEN, "--workers", 1,
        "--json", out,
    )  # fmt: skip
    assert finish(started, 120) == [0, 0]
    assert numbers(json.loads(out.read_text())) == expected


def test_csv_has_a_row_a_case_and_class(folder: Path) -> None:
    found = content(folder, *GIVEN, "--csv", folder / "o.csv")
    for key in ("cases", "case_means", "case_statistics", "worst_cases"):
        with (folder / f"o.{key}.csv").open() as file:
            written = list(csv.DictReader(file))
        assert len(written) == len(found[key])
        for of_csv, of_json in zip(written, found[key], strict=True):
            assert set(of_csv) == set(of_json)
            for name, value in of_json.items():
                shown = {"Infinity": "inf", None: ""}.get(value, str(value))
                assert of_csv[name] == shown
