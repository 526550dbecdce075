"""Files and situations that users of the command have: each is scored right."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from commands import finish, start
from segmetrics.evaluate.command import app

Folders = tuple[Path, Path]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    found = tmp_path / "p", tmp_path / "t"
    for folder in found:
        folder.mkdir()
    return found


def scored(folders: Folders, *arguments: object) -> dict[str, Any]:
    """The JSON of a run that ends well."""
    path = folders[0].parent / "scores.json"
    given = ["evaluate", *map(str, (*folders, *arguments)), "--json", str(path)]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def png(path: Path, values: Any, dtype: Any = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype)).save(path, format="PNG")


# --- labels ---------------------------------------------------------------------------------------


def test_labels_of_16_bits_are_told_apart(folders: Folders) -> None:  # row 15
    labels = np.arange(512).reshape(16, 32)
    png(folders[1] / "a.png", labels, np.uint16)
    labels[labels == 300] = 299
    png(folders[0] / "a.png", labels, np.uint16)
    iou = [row["iou"] for row in scored(folders, "--num-classes", 512)["classes"]]
    assert (iou[299], iou[300]) == (0.5, 0)
    assert sum(iou) == 510.5


def test_8_and_16_bits_are_the_same_labels(folders: Folders) -> None:  # row 15
    labels = np.arange(64).reshape(8, 8) % 7
    for folder, dtype in zip(folders, (np.uint8, np.uint16), strict=True):
        png(folder / "a.png", labels, dtype)
    assert scored(folders, "--num-classes", 7)["scores"]["mIoU"] == 1


def test_ids_of_five_digits_in_floats_are_exact(folders: Folders) -> None:  # rows 5 and 17
    random = np.random.default_rng(0)
    masks = random.choice([0, 7001, 7015, 14175], (2, 6, 5, 4))
    for folder, mask in zip(folders, masks, strict=True):
        image = nibabel.Nifti1Image(mask.astype(np.float32), np.eye(4))
        nibabel.save(image, folder / "a.nii.gz")
    labels = folders[0].parent / "l.yaml"
    labels.write_text("names: [o, a, b, c]\nid_to_class: {0: o, 7001: a, 7015: b, 14175: c}\n")
    preds, target = masks
    for row, value in zip(
        scored(folders, "--labels", labels)["classes"], (0, 7001, 7015, 14175), strict=True
    ):
        one, other = preds == value, target == value
        assert row["iou"] == (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("slope", [0, np.nan])
def test_a_slope_that_means_none_is_none(slope: float, folders: Folders) -> None:  # row H34
    mask = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.uint8)
    for folder in folders:
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / "a.nii.gz")
    content = bytearray(gzip.decompress((folders[0] / "a.nii.gz").read_bytes()))
    content[112:116] = np.float32(slope).tobytes()
    (folders[0] / "a.nii.gz").write_bytes(gzip.compress(content))
    assert scored(folders, "--num-classes", 4)["scores"]["mIoU"] == 1


@pytest.mark.parametrize("form", ["qform", "sform", "4D", "5D"])
def test_a_flipped_volume_lies_where_its_affine_says(form: str, folders: Folders) -> None:  # row 2
    mask = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    flipped, affine = mask[::-1].copy(), np.diag([-1.0, 1, 1, 1])
    affine[0, 3] = 4
    flipped = flipped.reshape(*mask.shape, *{"4D": [1], "5D": [1, 1]}.get(form, []))
    image = nibabel.Nifti1Image(flipped, affine)
    if form in ("qform", "sform"):
        image.set_qform(affine, int(form == "qform"))
        image.set_sform(affine, int(form == "sform"))
    nibabel.save(image, folders[0] / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folders[1] / "a.nii.gz")
    assert scored(folders, "--num-classes", 3)["scores"]["mIoU"] == 1


def test_a_note_on_how_to_turn_a_png_is_not_heeded(folders: Folders) -> None:  # row H41
    mask = np.arange(64).reshape(8, 8) % 3
    png(folders[1] / "a.png", mask)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(mask.astype(np.uint8)).save(folders[0] / "a.png", exif=exif)
    assert scored(folders, "--num-classes", 3)["scores"]["mIoU"] == 1


# --- names ----------------------------------------------------------------------------------------

NAMES = [
    "with space", "ünï", "two\nlines", "[bold]x[/bold]", "[/]", "{key}", "-dash", "%s%d",
    "n" * 240, "\x1b[31mred", "\"'", "img_1", "img_10",
]  # fmt: skip


def test_odd_names_are_scored_under_their_names(folders: Folders) -> None:  # rows H6a and H33
    random = np.random.default_rng(0)
    expected = {}
    for name in NAMES:
        preds, target = random.integers(0, 2, (2, 8, 8))
        png(folders[0] / f"{name}.png", preds)
        png(folders[1] / f"{name}.png", target)
        expected[name] = (preds == target).mean()
    tables = folders[0].parent / "o.csv"
    found = scored(folders, "--num-classes", 2, "--per-image", "--csv", tables)
    assert {row["name"]: row["accuracy"] for row in found["images"]} == expected
    with tables.with_name("o.images.csv").open(newline="") as file:
        rows = {row["image"]: float(row["accuracy"]) for row in csv.DictReader(file)}
    assert rows == {f"'{name}" if name[0] == "-" else name: expected[name] for name in expected}


def test_markup_in_the_name_of_a_class_is_printed_as_it_is(folders: Folders) -> None:  # row H40
    for folder in folders:
        png(folder / "a.png", np.arange(4).reshape(2, 2) % 3)
    labels = folders[0].parent / "l.json"
    labels.write_text(json.dumps({"names": ["[bold]x[/bold]", "[/]", "a\nb\x1b[31m"]}))
    done = CliRunner().invoke(app, ["evaluate", *map(str, folders), "--labels", str(labels)])
    assert done.exit_code == 0, done.stderr
    assert "[bold]x[/bold]" in done.stdout
    assert "\n[/]" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("of_preds", "of_target"),
    [("a.PNG", "a.png"), ("a.nii", "a.nii.gz"), ("a.b.c.png", "a.b.c.npy"), ("d.e/a.png",) * 2],
)
def test_suffixes_may_differ_and_names_have_dots(  # row H6c
    of_preds: str, of_target: str, folders: Folders
) -> None:
    mask = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3
    for folder, name in zip(folders, (of_preds, of_target), strict=True):
        path = folder / name
        if ".nii" in name:
            nibabel.save(nibabel.Nifti1Image(mask[..., None], np.eye(4)), path)
        elif name.endswith("npy"):
            np.save(path, mask)
        else:
            png(path, mask)
        (folder / "._a.png").write_bytes(b"\0\5\x16\7")  # what macOS leaves on foreign disks
        (folder / ".hidden").mkdir()
        (folder / ".hidden" / "a.png").write_bytes(b"")
    found = scored(folders, "--num-classes", 3)
    assert (found["pairs"], found["scores"]["mIoU"]) == (1, 1)


# --- outputs --------------------------------------------------------------------------------------


def test_what_a_killed_process_left_behind_is_removed(folders: Folders) -> None:
    for folder in folders:
        png(folder / "a.png", np.arange(9).reshape(3, 3) % 3)
    out = folders[0].parent
    old, new, others = (
        out / f".{name}.partial" for name in ("[c]k.0123abcd", "[c]k.4567cdef", "ck.0123abcd")
    )
    for path in (old, new, others):
        path.write_bytes(b"half")
    for path in (old, others):
        os.utime(path, (time.time() - 7200,) * 2)
    scored(folders, "--num-classes", 3, "--checkpoint", out / "[c]k")
    assert not old.exists()
    assert new.exists()  # another process may be writing it
    assert others.exists()


# --- runs -----------------------------------------------------------------------------------------


def test_hundreds_of_tiny_pairs_are_exact(folders: Folders) -> None:  # row H8
    random = np.random.default_rng(0)
    masks = random.integers(0, 3, (2, 300, 4, 5))
    for folder, some in zip(folders, masks, strict=True):
        for i, mask in enumerate(some):
            png(folder / f"{i:03}.png", mask)
    found = scored(folders, "--num-classes", 3, "--per-image", "--confidence", 0.9)
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (masks[1], masks[0]), 1)
    assert found["confusion"] == confusion.tolist()
    accuracy = (masks[0] == masks[1]).mean((1, 2))
    assert [row["accuracy"] for row in found["images"]] == pytest.approx(accuracy)


def command(folders: Folders, *arguments: object) -> list[str]:
    given = [*folders, "--num-classes", 3, *arguments]
    return [sys.executable, "-m", "segmetrics", "evaluate", *map(str, given)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("more", [[], ["--json", "-"]])
def test_a_full_standard_output_ends_with_a_line(  # row H12c
    more: list[str], folders: Folders
) -> None:
    for folder in folders:
        png(folder / "a.png", np.arange(64).reshape(8, 8) % 3)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(folders, *more), stdout=full, stderr=subprocess.PIPE, text=True, timeout=120
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(
    not Path("/proc/thread-self/children").exists(), reason="children are looked for in /proc"
)
def test_a_worker_that_is_killed_ends_the_run_with_a_line(  # row H11b
    folders: Folders, tmp_path: Path
) -> None:
    mask = np.random.default_rng(0).integers(0, 3, (700, 700))
    for folder in folders:
        png(folder / "0.png", mask)
        for i in range(1, 300):
            os.link(folder / "0.png", folder / f"{i}.png")
    options = "--num-classes", 3, "--workers", 2, "--boundary"
    (process,) = started = start(1, tmp_path / "said", *folders, *options)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while not (found := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(int(found[-1]), signal.SIGKILL)
    assert finish(started) == [2]
    assert "a worker died with status -9" in (tmp_path / "said.0").read_text()
