"""The report of masks of one class each: ``segmetrics evaluate --match {key}/{class} --html``."""

from __future__ import annotations

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from segmetrics.evaluate.command import app

pytest.importorskip("jinja2")
Masks = dict[tuple[str, str], NDArray[np.uint8]]
CLASSES = "liver", "spleen"
TARGET_ONLY, PREDICTION_ONLY, BOTH = (238, 102, 119), (68, 119, 170), (200, 200, 200)


def boxes(*, errors: int) -> NDArray[np.uint8]:
    """A volume with a box, moved along its rows by so many voxels."""
    volume = np.zeros((6, 20, 20), np.uint8)
    volume[1:5, 4 + errors : 12 + errors, 5:13] = 1
    return volume


@pytest.fixture
def masks() -> tuple[Masks, Masks]:
    """Predictions and targets of two cases; the second case is worse, its spleen worst."""
    errors = {("a", "liver"): 0, ("a", "spleen"): 1, ("b", "liver"): 2, ("b", "spleen"): 5}
    preds = {name: boxes(errors=by) for name, by in errors.items()}
    return preds, {name: boxes(errors=0) for name in errors}


@pytest.fixture
def folders(masks: tuple[Masks, Masks], tmp_path: Path) -> list[Path]:
    sides = [tmp_path / "p", tmp_path / "t"]
    for folder, of_side in zip(sides, masks, strict=True):
        for (case, name), volume in of_side.items():
            (folder / case).mkdir(parents=True, exist_ok=True)
            # files hold (x, y, z); slices lie across the last axis
            image = nibabel.Nifti1Image(volume.T, np.diag([1.0, 1.0, 3.0, 1.0]))
            nibabel.save(image, folder / case / f"{name}.nii.gz")
    return sides


def run(folders: list[Path], *arguments: object) -> Result:
    pattern = "{key}/{class}.nii.gz"
    given = ["evaluate", *folders, "--match", pattern, pattern, "--workers", 1, *arguments]
    return CliRunner().invoke(app, [*map(str, given)])


def rows_of(page: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, as text."""
    section = page.split(f">{heading}</h2>")[1].split("</section>")[0]
    body = section.split("<tbody>")[1].split("</tbody>")[0]
    texts = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", body, re.S)
    rows = len(re.findall("<tr", body))
    cells = [re.sub(r"<[^>]*>", "", text).strip() for text in texts]
    return np.reshape(cells, (rows, -1)).tolist()


def iou(preds: NDArray[Any], target: NDArray[Any]) -> float:
    return float((preds & target).sum() / (preds | target).sum())


def test_classes_and_images_have_their_scores(
    folders: list[Path], masks: tuple[Masks, Masks], tmp_path: Path
) -> None:
    done = run(folders, "--html", tmp_path / "r.html")
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "r.html").read_text()
    preds, targets = masks
    for name, row in zip(CLASSES, rows_of(page, "Classes"), strict=True):
        both = [np.stack([side[case, name] for case in "ab"]) for side in (preds, targets)]
        assert row[0] == name
        assert f"{iou(*both):.3f}" in row
        assert f"{2 * iou(*both) / (1 + iou(*both)):.3f}" in row
    of_images = {
        case: np.mean([iou(preds[case, name], targets[case, name]) for name in CLASSES])
        for case in "ab"
    }
    assert rows_of(page, "Images") == [[case, f"{of_images[case]:.3f}"] for case in "ba"]
    of_classes = [iou(*(np.stack([s[c, n] for c in "ab"]) for s in masks)) for n in CLASSES]
    assert f'"value">{np.mean(of_classes):.3f}<' in page
    assert "Below a score its 95&nbsp;% interval" in page


def test_the_worst_masks_of_the_worst_images_are_shown(folders: list[Path], tmp_path: Path) -> None:
    assert run(folders, "--html", tmp_path / "r.html").exit_code == 0
    page = (tmp_path / "r.html").read_text()
    shown = re.findall(r'src="data:image/png;base64,([^"]+)".*?<figcaption>(.*?)</', page, re.S)
    # 8 columns, 4 slices, and twice as many rows as the box moved by
    assert [caption for _, caption in shown] == [
        "wrong: spleen, 320 pixels", "wrong: liver, 128 pixels", "wrong: spleen, 64 pixels",
    ]  # fmt: skip
    picture = np.asarray(Image.open(BytesIO(b64decode(shown[0][0]))))
    for color, pixels in ((TARGET_ONLY, 40), (PREDICTION_ONLY, 40), (BOTH, 24)):
        assert (picture == color).all(-1).sum() == pixels


def test_ignored_pixels_are_no_errors_in_a_picture(
    folders: list[Path], masks: tuple[Masks, Masks], tmp_path: Path
) -> None:
    target = 255 * masks[1]["a", "spleen"]
    target[:, 12:13] = 254  # what is predicted beyond the box
    path = folders[1] / "a" / "spleen.nii.gz"
    nibabel.save(nibabel.Nifti1Image(target.T, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    done = run(folders, "--ignore-index", 254, "--html", tmp_path / "r.html")
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "r.html").read_text()
    shown = re.findall(r'src="data:image/png;base64,([^"]+)".*?<figcaption>(.*?)</', page, re.S)
    (picture,) = [picture for picture, caption in shown if caption == "wrong: spleen, 32 pixels"]
    pixels = np.asarray(Image.open(BytesIO(b64decode(picture))))
    for color, number in ((TARGET_ONLY, 8), (PREDICTION_ONLY, 0), (BOTH, 56)):
        assert (pixels == color).all(-1).sum() == number


def test_a_class_that_is_right_everywhere_needs_no_picture(
    folders: list[Path], tmp_path: Path
) -> None:
    same = [folders[1], folders[1]]
    assert run(same, "--html", tmp_path / "r.html").exit_code == 0
    page = (tmp_path / "r.html").read_text()
    assert "<figure" not in page
    assert "<h3>a</h3>" not in page
    assert [row[1] for row in rows_of(page, "Images")] == ["1.000", "1.000"]


def test_images_behind_the_masks_are_refused(folders: list[Path], tmp_path: Path) -> None:
    done = run(folders, "--html", tmp_path / "r.html", "--images", folders[0])
    assert done.exit_code == 2
    assert "masks of one class each shows the masks only" in " ".join(done.stderr.split())
    assert not (tmp_path / "r.html").exists()


def test_models_with_masks_of_one_class_each_are_compared_in_a_report(
    folders: list[Path], tmp_path: Path
) -> None:
    pattern = "{key}/{class}.nii.gz"
    given = [
        "compare", folders[1], f"one={folders[0]}", f"two={folders[1]}", "--match", pattern,
        pattern, "--workers", 1, "--html", tmp_path / "r.html",
    ]  # fmt: skip
    done = CliRunner().invoke(app, [*map(str, given)])
    assert done.exit_code == 0, done.stderr
    assert "spleen" in (tmp_path / "r.html").read_text()
