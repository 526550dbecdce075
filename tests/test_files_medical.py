"""Volumes with grids: NIfTI, MGH, MetaImage and NRRD, through the command and bit by bit."""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image
from typer.testing import CliRunner, Result

from segmetrics.evaluate import examples
from segmetrics.evaluate.command import app
from segmetrics.evaluate.folders import evaluate
from segmetrics.evaluate.settings import Settings
from segmetrics.files import MaskError, Pair, Reading, aligned, read
from segmetrics.labels import LabelSpace

RANDOM = np.random.default_rng(0)
#: An oblique, left-handed affine with three spacings.
OBLIQUE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.2, -0.3, 0.4) @ np.diag([-1.5, 0.7, 3]), [-90.5, 120, 33.3]
)


def nifti(path: Path, values: np.ndarray, affine: Any = None, code: int = 1) -> None:
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    image.set_sform(image.affine, code)
    image.set_qform(image.affine, code)
    nibabel.save(image, path)


def itk(path: Path, values: np.ndarray, affine: Any = None, *, packed: bool = True) -> None:
    """Write (x, y, z) values by SimpleITK, on a grid in RAS+."""
    image = SimpleITK.GetImageFromArray(values.T)
    n = values.ndim
    lps = np.diag([-1, -1, 1, 1]) @ (np.eye(4) if affine is None else affine)
    spacing = np.linalg.norm(lps[:n, :n], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:n, :n] / spacing).ravel().tolist())
    image.SetOrigin(lps[:n, 3].tolist())
    SimpleITK.WriteImage(image, str(path), packed)


def mgh(path: Path, values: np.ndarray, affine: Any = None) -> None:
    nibabel.save(nibabel.MGHImage(values, np.eye(4) if affine is None else affine), path)


WRITERS: dict[str, Callable[..., None]] = {
    "nii": nifti, "nii.gz": nifti, "mgh": mgh, "mgz": mgh,
    "mha": itk, "mhd": itk, "nrrd": itk, "nhdr": itk,
}  # fmt: skip
COMPRESSED = ("nii.gz", "mgz", "mha", "mhd", "nrrd", "nhdr")


def write(folder: Path, suffix: str, values: np.ndarray, affine: Any = None) -> Path:
    folder.mkdir(exist_ok=True)
    WRITERS[suffix](folder / f"a.{suffix}", values, affine)
    return folder / f"a.{suffix}"


def run(tmp_path: Path, *arguments: object) -> Result:
    folders = [str(tmp_path / name) for name in ("preds", "targets")]
    return CliRunner().invoke(
        app, ["evaluate", *folders, "--json", str(tmp_path / "out.json"), *map(str, arguments)]
    )


def refused(tmp_path: Path, *arguments: object) -> str:
    done = run(tmp_path, "--num-classes", 5, *arguments)
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "out.json").exists()
    return done.stderr


def content(tmp_path: Path, *arguments: object) -> Any:
    done = run(tmp_path, "--num-classes", 5, *arguments)
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    (tmp_path / "out.json").unlink()
    return found


def longhand(preds: np.ndarray, target: np.ndarray) -> Any:
    counts = np.zeros((5, 5), int)
    np.add.at(counts, (target.ravel(), preds.ravel()), 1)
    return counts.tolist()


def volumes(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    return RANDOM.integers(0, 5, shape).astype(np.uint8), RANDOM.integers(0, 5, shape).astype(
        np.uint8
    )


def moved(
    values: np.ndarray, affine: np.ndarray, order: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The same object, its axes in another order and direction."""
    image = nibabel.Nifti1Image(values, affine)
    orientation = np.array([[order.index(i), -1 if flips[i] else 1] for i in range(3)])
    reoriented = image.as_reoriented(orientation)
    return np.asarray(reoriented.dataobj), reoriented.affine


# --- grids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("affine", [np.eye(4), OBLIQUE], ids=["straight", "oblique"])
def test_predictions_are_brought_to_the_axes_of_their_targets(
    affine: np.ndarray, tmp_path: Path
) -> None:
    preds, target = volumes(4, 5, 6)
    target_path = write(tmp_path / "targets", "nii.gz", target, affine)
    of_target = read(target_path)
    for order, flips in product(permutations(range(3)), product([False, True], repeat=3)):
        path = write(tmp_path / "preds", "nii.gz", *moved(preds, affine, order, flips))
        assert np.array_equal(aligned(read(path), of_target, (path, target_path)), preds)
    assert content(tmp_path)["confusion"] == longhand(preds, target)


@pytest.mark.parametrize("of_target", WRITERS)
@pytest.mark.parametrize("of_preds", WRITERS)
def test_formats_agree_on_where_voxels_lie(of_preds: str, of_target: str, tmp_path: Path) -> None:
    preds, target = volumes(4, 4, 4)  # of a cube only the grid says what is what
    path = write(tmp_path / "preds", of_preds, preds, OBLIQUE)
    target_path = write(tmp_path / "targets", of_target, target, OBLIQUE)
    of_preds_map, of_target_map = read(path), read(target_path)
    found = aligned(of_preds_map, of_target_map, (path, target_path))
    assert np.array_equal(found.T if of_target_map.grid.zyx else found, preds)  # type: ignore[union-attr]


OTHER_GRIDS = {
    "spacing": (np.diag([1.5, 1.5, 1.5, 1]), r"spacing \(1\.5, 1\.5, 1\.5\) mm"),
    "origin": (nibabel.affines.from_matvec(np.eye(3), [100, 0, 0]), r"origin \(100, 0, 0\) mm"),
    "half a voxel": (nibabel.affines.from_matvec(np.eye(3), [0.5, 0, 0]), r"origin \(0\.5, 0, 0\)"),
    "direction": (np.diag([-1, 1, 1, 1]), "6×6×6 voxels LAS"),
    "rotation": (
        nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.01), [0, 0, 0]),
        r"directions \(0\.99995, -?0\.00999983, 0\) ",
    ),
}


@pytest.mark.parametrize("suffix", ["nii.gz", "mha", "nrrd"])
@pytest.mark.parametrize("what", OTHER_GRIDS)
def test_another_grid_is_refused_and_both_are_named(what: str, suffix: str, tmp_path: Path) -> None:
    affine, message = OTHER_GRIDS[what]
    preds, target = volumes(6, 6, 6)
    write(tmp_path / "preds", suffix, preds, affine)
    write(tmp_path / "targets", suffix, target)
    said = refused(tmp_path)
    assert "pairs on different grids: 1" in said
    assert re.search(rf"preds/a\.\S+: .*{message}.*; its target .*: 6×6×6 voxels RAS", said)
    assert "--ignore-grid" in said
    found = content(tmp_path, "--ignore-grid", "--html", tmp_path / "out.html")
    assert found["confusion"] == longhand(preds, target)
    assert found["arguments"]["ignore-grid"] is True
    assert "ignore-grid" in (tmp_path / "out.html").read_text()


def test_grids_that_differ_by_less_than_a_thousandth_of_a_voxel_are_one(tmp_path: Path) -> None:
    preds, target = volumes(6, 6, 6)
    target_path = write(tmp_path / "targets", "nii", target)
    for shift, fits in ((0.0009, True), (0.0011, False)):
        affine = nibabel.affines.from_matvec(np.eye(3), [0, shift, 0])
        path = write(tmp_path / "preds", "nii", preds, affine)
        if fits:
            found = aligned(read(path), read(target_path), (path, target_path))
            assert np.array_equal(found, preds)
        else:
            with pytest.raises(MaskError, match="voxels RAS"):
                aligned(read(path), read(target_path), (path, target_path))


def test_other_sizes_and_spacings_are_named_as_grids(tmp_path: Path) -> None:
    write(tmp_path / "preds", "nii.gz", volumes(4, 4, 4)[0], np.diag([1.5, 1.5, 1.5, 1]))
    write(tmp_path / "targets", "nii.gz", volumes(6, 6, 6)[0])
    said = refused(tmp_path)
    assert "4×4×4 voxels RAS, spacing (1.5, 1.5, 1.5) mm" in said
    assert "6×6×6 voxels RAS, spacing (1, 1, 1) mm" in said


@pytest.mark.parametrize("of_preds", ["nii.gz", "npy"])
def test_reversed_axes_are_named(of_preds: str, tmp_path: Path) -> None:
    preds, target = volumes(12, 20, 5)
    (tmp_path / "preds").mkdir()
    if of_preds == "npy":
        np.save(tmp_path / "preds/a.npy", preds.T)
    else:
        write(tmp_path / "preds", of_preds, preds.T.copy())
    write(tmp_path / "targets", "nii.gz", target)
    said = refused(tmp_path)
    assert "axes are reversed: 1" in said
    assert "SimpleITK arrays are (z, y, x)" in said
    assert "Resize" not in said


@pytest.mark.parametrize("suffix", ["nii.gz", "mgz", "mha", "nrrd"])
def test_arrays_without_a_grid_are_compared_with_the_arrays_of_the_usual_libraries(
    suffix: str, tmp_path: Path
) -> None:
    preds, target = volumes(4, 4, 4)
    path = write(tmp_path / "targets", suffix, target)
    (tmp_path / "preds").mkdir()
    of_itk = suffix in ("mha", "nrrd")
    theirs = (
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        if of_itk
        else np.asarray(nibabel.load(path).dataobj)
    )
    np.save(tmp_path / "preds/a.npy", preds.T if of_itk else preds)
    assert content(tmp_path)["confusion"] == longhand(preds.T if of_itk else preds, theirs)


def test_an_image_of_simpleitk_is_that_of_pillow(tmp_path: Path) -> None:
    preds, target = volumes(7, 7)
    (tmp_path / "preds").mkdir()
    (tmp_path / "targets").mkdir()
    Image.fromarray(preds).save(tmp_path / "preds/a.png")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(target), str(tmp_path / "targets/a.mha"))
    assert content(tmp_path)["confusion"] == longhand(preds, target)


def test_where_grids_are_ignored_axes_keep_their_names_across_formats(tmp_path: Path) -> None:
    preds, target = volumes(4, 4, 4)
    write(tmp_path / "preds", "mha", preds, np.diag([2, 2, 2, 1]))
    write(tmp_path / "targets", "nii", target)
    assert content(tmp_path, "--ignore-grid")["confusion"] == longhand(preds, target)


def test_volumes_that_say_nothing_of_space_are_compared_index_by_index(tmp_path: Path) -> None:
    preds, target = volumes(4, 4, 4)
    (tmp_path / "preds").mkdir()
    nifti(tmp_path / "preds/a.nii", preds, code=0)
    path = write(tmp_path / "targets", "nrrd", target, OBLIQUE)
    assert content(tmp_path)["confusion"] == longhand(preds, target)
    bare = re.sub(rb"space[^\n]*\n", b"", path.read_bytes())
    path.write_bytes(bare)
    write(tmp_path / "preds", "nii", preds, OBLIQUE)
    assert content(tmp_path)["confusion"] == longhand(preds, target)


@pytest.mark.parametrize("suffix", ["nii", "mha"])
def test_a_volume_of_one_slice_is_an_image(suffix: str, tmp_path: Path) -> None:
    target, preds = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    target[20:29, 20:29], preds[23:26, 23:26] = 1, 1
    for axis in range(3):
        write(tmp_path / "preds", suffix, np.expand_dims(preds, axis), OBLIQUE)
        write(tmp_path / "targets", suffix, np.expand_dims(target, axis), OBLIQUE)
        found = content(tmp_path, "--boundary")
        assert found["classes"][1]["boundary_iou"] == 0
        assert found["classes"][1]["iou"] == 9 / 81
    write(tmp_path / "preds", suffix, np.expand_dims(preds, 2))
    assert "different grids" in refused(tmp_path)


@pytest.mark.parametrize("shape", [(6, 5, 4, 1, 1), (1, 6, 5, 4), (6, 5, 1, 4), (6, 5, 4, 1)])
def test_axes_of_length_one_are_dropped(shape: tuple[int, ...], tmp_path: Path) -> None:
    preds, target = volumes(6, 5, 4)
    write(tmp_path / "preds", "nii.gz", preds.reshape(shape))
    write(tmp_path / "targets", "nii.gz", target)
    assert content(tmp_path)["confusion"] == longhand(preds, target)


def test_several_volumes_are_named(tmp_path: Path) -> None:
    for folder in ("preds", "targets"):
        write(tmp_path / folder, "nii.gz", np.zeros((6, 6, 6, 3), np.uint8))
    said = refused(tmp_path)
    assert "files of several volumes" in said
    assert "6×6×6×3: several volumes" in said
    assert "one volume a file" in said


def test_one_hot_channels_of_a_nifti_file_are_read_on_its_grid(tmp_path: Path) -> None:
    preds, target = volumes(6, 5, 4)
    one_hot = np.eye(5, dtype=np.uint8)[preds]
    write(tmp_path / "preds", "nii.gz", one_hot, OBLIQUE)
    write(tmp_path / "targets", "nii.gz", target, OBLIQUE)
    assert "one-hot along axis 3" in refused(tmp_path)
    assert content(tmp_path, "--one-hot", 3)["confusion"] == longhand(preds, target)
    write(tmp_path / "targets", "nii.gz", target)
    assert "different grids" in refused(tmp_path, "--one-hot", 3)


def test_a_name_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    preds, target = volumes(4, 5, 6)
    write(tmp_path / "targets", "mha", target).rename(tmp_path / "targets/é.mha")
    write(tmp_path / "preds", "mha", preds).rename(tmp_path / "preds/é.mha")
    assert content(tmp_path)["confusion"] == longhand(preds, target)
    for folder in ("preds", "targets"):
        name = os.fsdecode(b"caf\xe9.mha")
        (tmp_path / folder / "é.mha").rename(tmp_path / folder / name)
    assert "its name is not UTF-8" in refused(tmp_path)
    assert content(tmp_path, "--ignore-grid")["confusion"] == longhand(preds, target)


def test_units_of_length_are_heeded(tmp_path: Path) -> None:
    values = volumes(4, 5, 6)[0]
    image = nibabel.Nifti1Image(values, np.diag([1500, 1500, 1500, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    path = write(tmp_path / "targets", "mha", values, np.diag([1.5, 1.5, 1.5, 1]))
    found = aligned(read(tmp_path / "a.nii"), read(path), (tmp_path / "a.nii", path))
    assert np.array_equal(found.T, values)


def test_the_pictures_of_the_report_are_brought_to_the_target_s_axes(tmp_path: Path) -> None:
    preds, target = volumes(4, 5, 1)
    order, flips = (1, 0, 2), (True, False, False)
    write(tmp_path / "preds", "nii.gz", *moved(preds, OBLIQUE, order, flips))
    write(tmp_path / "targets", "nii.gz", target, OBLIQUE)
    space = LabelSpace([str(i) for i in range(5)])
    result = evaluate(tmp_path / "preds", tmp_path / "targets", Settings(space, images=True))
    assert result is not None
    (example,) = examples.worst(result, None)
    assert np.array_equal(example.preds, preds[..., 0])
    assert np.array_equal(example.target, target[..., 0])


# --- headers that make no sense -------------------------------------------------------------------


def test_a_header_with_an_impossible_spacing_is_named(tmp_path: Path) -> None:
    preds, target = volumes(4, 5, 6)
    write(tmp_path / "targets", "nii", target)
    path = write(tmp_path / "preds", "nii", preds)
    for spacing in (0, -1, np.nan):
        data = bytearray(path.read_bytes())
        data[80:92] = np.array([spacing, 0.5, 2], np.float32).tobytes()
        path.write_bytes(data)
        assert "its header says the spacing" in refused(tmp_path)
        grid = read(path, Reading(ignore_grid=True)).grid
        assert grid is not None
        assert grid.spacing.tolist() == [0, 0.5, 2]
    assert content(tmp_path, "--ignore-grid")["confusion"] == longhand(preds, target)


@pytest.mark.parametrize("spacing", ["0 1 1", "-1 1 1"])
def test_a_metaimage_with_an_impossible_spacing_is_named(spacing: str, tmp_path: Path) -> None:
    preds, target = volumes(4, 5, 6)
    write(tmp_path / "targets", "mha", target)
    path = write(tmp_path / "preds", "mha", preds)
    header = f"ElementSpacing = {spacing}".encode()
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing = 1 1 1", header))
    assert "its header says the spacing" in refused(tmp_path)
    assert content(tmp_path, "--ignore-grid")["confusion"] == longhand(preds, target)


@pytest.mark.parametrize("spacing", ["0.5 -0.75 2", "0 0.75"])
def test_an_impossible_spacing_is_0_where_the_grid_is_ignored(spacing: str, tmp_path: Path) -> None:
    steps = [max(float(step), 0) for step in spacing.split()]
    sizes = "4 5 6" if len(steps) == 3 else "4 5"
    header = f"NRRD0004\ntype: uint8\ndimension: {len(steps)}\nsizes: {sizes}\n"
    data = f"{header}spacings: {spacing}\nencoding: raw\n\n".encode() + bytes(4 * 5 * 6)
    (tmp_path / "a.nrrd").write_bytes(data if len(steps) == 3 else data[:-100])
    grid = read(tmp_path / "a.nrrd", Reading(ignore_grid=True)).grid
    assert grid is not None
    assert (grid.placed, grid.measured) == (False, True)
    assert grid.spacing.tolist() == steps[::-1]


@pytest.mark.parametrize(
    ("name", "binary"),
    [("LIST", "True"), ("List", "True"), ("a%d.raw", "True"), ("LOCAL", "False"), ("LOCAL", "0")],
)
def test_a_metaimage_of_several_files_or_of_text_is_refused(
    name: str, binary: str, tmp_path: Path
) -> None:
    header = f"NDims = 3\nBinaryData = {binary}\nDimSize = 1 2 3\nElementType = MET_UCHAR\n"
    (tmp_path / "a.mha").write_text(f"{header}ElementDataFile = {name}\n0 1 2 ")
    with pytest.raises(MaskError, match=f"ElementDataFile = {name} is not read: write one binary"):
        read(tmp_path / "a.mha")


def test_a_singular_affine_is_named(tmp_path: Path) -> None:
    preds, target = volumes(4, 5, 6)
    write(tmp_path / "targets", "nii", target)
    path = write(tmp_path / "preds", "nii", preds)
    data = bytearray(path.read_bytes())
    data[280:296] = bytes(16)  # the first row of the sform
    path.write_bytes(data)
    assert "its affine is singular" in refused(tmp_path)
    path = write(tmp_path / "preds", "mha", preds)
    (tmp_path / "preds/a.nii").unlink()
    singular = b"TransformMatrix = 1 0 0 1 0 0 0 0 1"
    path.write_bytes(re.sub(rb"TransformMatrix = [^\n]*", singular, path.read_bytes()))
    said = refused(tmp_path)
    assert "singular" in said
    assert "preds/a.mha" in said


def test_colours_are_named(tmp_path: Path) -> None:
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(MaskError, match=r"R\+G\+B, colours"):
        read(write(tmp_path, "nii.gz", colours))
    image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    for suffix in ("mha", "nrrd"):
        SimpleITK.WriteImage(image, str(tmp_path / f"c.{suffix}"))
        with pytest.raises(MaskError, match=r"3 values a voxel|axis 0 of 3×6×5×4 is a vector"):
            read(tmp_path / f"c.{suffix}")


def test_an_nrrd_of_one_value_a_voxel_is_a_label_map(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 1 4 5\nkinds: vector domain domain\n"
    (tmp_path / "a.nrrd").write_bytes(f"{header}encoding: raw\n\n".encode() + bytes(range(20)))
    assert read(tmp_path / "a.nrrd").values.tolist() == np.arange(20).reshape(5, 4).tolist()


def test_complex_voxels_are_named(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="complex64, expected integers"):
        read(write(tmp_path, "nii", np.zeros((4, 5, 6), np.complex64)))


# --- slopes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_noise_of_a_slope_is_rounded(dtype: Any, tmp_path: Path) -> None:
    labels = np.zeros((4, 4, 4))
    labels[1:3] = 3
    image = nibabel.Nifti1Image(labels, np.eye(4))
    image.header.set_data_dtype(dtype)
    nibabel.save(image, tmp_path / "a.nii.gz")
    slope = nibabel.load(tmp_path / "a.nii.gz").dataobj.slope
    assert slope != 1
    assert np.array_equal(read(tmp_path / "a.nii.gz").values, labels)


def test_fractions_by_a_slope_are_refused_and_the_slope_named(tmp_path: Path) -> None:
    raw = np.zeros((4, 4, 4), np.int16)
    raw[0], raw[1], raw[2] = 21, 43, 64
    for folder in ("preds", "targets"):
        (tmp_path / folder).mkdir()
        image = nibabel.Nifti1Image(raw, np.eye(4))
        image.header.set_slope_inter(12 / 255, 0)
        nibabel.save(image, tmp_path / folder / "a.nii.gz")
    said = refused(tmp_path)
    assert "scl_slope 0.0470588" in said
    assert "0.98823" in said
    assert "argmax" not in said


def test_an_intercept_moves_labels(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(8, dtype=np.uint8).reshape(2, 2, 2), np.eye(4))
    image.header.set_slope_inter(2, -3)
    nibabel.save(image, tmp_path / "a.nii")
    assert read(tmp_path / "a.nii").values.ravel().tolist() == list(range(-3, 13, 2))


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_bit_that_flips_never_gives_other_labels(suffix: str, tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 4, (6, 5, 4)).astype(np.uint8)
    labels = labels.repeat(4, 0).repeat(4, 1)
    path = write(tmp_path, suffix, labels)
    of = read(path)
    stored = {"mhd": tmp_path / "a.zraw", "nhdr": tmp_path / "a.raw.gz"}.get(suffix, path)
    for file in {path, stored}:
        whole = file.read_bytes()
        for bit in RANDOM.integers(0, 8 * len(whole), 400).tolist():
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            file.write_bytes(damaged)
            try:
                found = read(path)
            except MaskError:
                continue
            assert np.array_equal(found.values, of.values)
        file.write_bytes(whole)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_cut_anywhere_is_refused(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path, suffix, volumes(6, 7, 8)[0])
    whole = path.read_bytes()
    end = len(whole) if suffix not in ("mgh", "nhdr") else len(whole) - 100  # a footer, a line
    for length in range(0, end, 17):
        path.write_bytes(whole[:length])
        with pytest.raises(MaskError):
            read(path)


def test_the_checksum_of_gzip_is_verified_by_the_command(tmp_path: Path) -> None:
    labels = volumes(8, 8, 8)[0]
    for folder in ("preds", "targets"):
        path = write(tmp_path / folder, "nii.gz", labels)
    path = tmp_path / "preds/a.nii.gz"
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    assert "preds/a.nii.gz: its compressed data are damaged" in refused(tmp_path)


def test_what_follows_gzip_is_no_part_of_it(tmp_path: Path) -> None:
    labels = volumes(8, 8, 8)[0]
    path = write(tmp_path, "nii.gz", labels)
    whole, raw = path.read_bytes(), gzip.decompress(path.read_bytes())
    for first in (0, 1, 200, 500):  # bytes of the first member
        members = gzip.compress(raw[:first]) + gzip.compress(raw[first:])
        path.write_bytes(members + bytes(512))
        assert np.array_equal(read(path).values, labels)
    path.write_bytes(whole + b"junk")
    with pytest.raises(MaskError, match="other bytes follow"):
        read(path)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "mha", "nrrd"])
def test_a_header_that_says_more_than_the_file_can_hold_is_refused_at_once(
    suffix: str, tmp_path: Path
) -> None:
    path = write(tmp_path, suffix, np.zeros((4, 5, 6), np.uint8))
    data = gzip.decompress(path.read_bytes()) if suffix == "nii.gz" else path.read_bytes()
    if suffix in ("nii", "nii.gz"):
        large = bytearray(data)
        large[42:48] = np.array([1000, 1000, 1000], "<i2").tobytes()
    else:
        large = data.replace(b"4 5 6", b"1000 1000 1000")
    path.write_bytes(gzip.compress(large) if suffix == "nii.gz" else large)
    with pytest.raises(MaskError, match=r"cannot hold|its header says"):
        read(path)


def test_more_voxels_than_are_read_at_once_are_refused_at_once(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((32000, 32000, 32000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(1000))
    with pytest.raises(MaskError, match="32,768,000,000,000 pixels"):
        read(tmp_path / "a.nii")


# --- suffixes and libraries -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "holds", "message"),
    [
        ("a.nii", "nii.gz", "its content is gzip, not NIfTI"),
        ("a.nii.gz", "nii", "its content is NIfTI, not NIfTI in gzip"),
        ("a.mgz", "mgh", "its content is MGH, not MGH in gzip"),
        ("a.mgh", "nii", "its content is NIfTI, not MGH"),
        ("a.nii.gz", "mgz", "not as its suffix says"),
        ("a.mha", "nrrd", "its content is NRRD"),
        ("a.nrrd", "mha", "its content is MetaImage"),
        ("a.npy", "nii", "its content is NIfTI"),
    ],
)
def test_a_wrong_suffix_is_named(named: str, holds: str, message: str, tmp_path: Path) -> None:
    for folder in ("preds", "targets"):
        path = write(tmp_path / folder, holds, volumes(4, 5, 6)[0])
        path.rename(path.with_name(named))
    said = refused(tmp_path)
    assert message in said
    assert "disk full" not in said or holds == "mgz"


def test_a_library_that_is_not_installed_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("preds", "targets"):
        for name in ("a", "b"):
            write(tmp_path / folder, "mha", volumes(4, 5, 6)[0]).rename(
                tmp_path / folder / f"{name}{folder}.mha".replace(folder, "")
            )
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    said = refused(tmp_path)
    assert said.count("pip install segmetrics[medical]") == 1
    assert "SimpleITK" in said


def test_two_files_of_a_format_that_is_not_read_are_named(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm", "a", "b"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(100))
    for a, b in (("a", "b"),):
        files = [str(tmp_path / a), str(tmp_path / b)]
        done = CliRunner().invoke(app, ["evaluate", *files, "--num-classes", "2"])
        assert done.exit_code == 2
        assert "DICOM" in done.stderr
        assert "KeyError" not in done.stderr


def test_dtypes_and_byte_orders_give_their_labels(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 100, (4, 5, 6))
    for dtype in ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
        for order in "<>":
            image = nibabel.Nifti1Image(
                labels.astype(dtype), np.eye(4), nibabel.Nifti1Header(endianness=order)
            )
            image.set_data_dtype(dtype)
            nibabel.save(image, tmp_path / "a.nii")
            assert np.array_equal(read(tmp_path / "a.nii").values, labels)
        for suffix in ("mha", "mhd", "nrrd", "nhdr"):
            for packed in (True, False):
                itk(tmp_path / f"a.{suffix}", labels.astype(dtype), packed=packed)
                assert np.array_equal(read(tmp_path / f"a.{suffix}").values.T, labels)
    nibabel.save(nibabel.Nifti2Image(labels.astype("i2"), np.eye(4)), tmp_path / "a.nii.gz")
    assert np.array_equal(read(tmp_path / "a.nii.gz").values, labels)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("suffix", ["mhd", "nhdr"])
def test_a_pair_s_files_are_those_next_to_its_headers_too(
    suffix: str, packed: bool, tmp_path: Path
) -> None:
    itk(tmp_path / f"a.{suffix}", volumes(4, 5, 6)[0], packed=packed)
    itk(tmp_path / "b.mha", volumes(4, 5, 6)[0])
    (data,) = (path for path in tmp_path.glob("a.*") if path.suffix != f".{suffix}")
    pair = Pair("a", tmp_path / f"a.{suffix}", tmp_path / "b.mha")
    assert pair.files == (tmp_path / f"a.{suffix}", tmp_path / "b.mha", data)


def test_only_the_spacing_is_known_where_a_grid_is_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, "nii", volumes(4, 5, 6)[0], OBLIQUE)
    grid = read(path, Reading(ignore_grid=True)).grid
    assert grid is not None
    assert not grid.placed


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_spacing_is_known_where_the_place_is_ignored(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path, suffix, volumes(4, 5, 6)[0], OBLIQUE)
    grid = read(path, Reading(ignore_grid=True)).grid
    assert grid is not None
    assert (grid.placed, grid.measured) == (False, True)
    expected = [1.5, 0.7, 3]
    assert np.allclose(grid.spacing, expected[::-1] if grid.zyx else expected, atol=1e-6)


def test_the_spacing_of_a_nifti_without_sform_and_qform_is_that_of_its_pixdim(
    tmp_path: Path,
) -> None:
    nifti(tmp_path / "a.nii", volumes(4, 5, 6)[0], np.diag([0.5, 0.75, 2, 1]), code=0)
    grid = read(tmp_path / "a.nii").grid
    assert grid is not None
    assert (grid.placed, grid.measured) == (False, True)
    assert grid.spacing.tolist() == [0.5, 0.75, 2]


def test_a_nifti_without_sform_lies_where_its_qform_says(tmp_path: Path) -> None:
    values, affine = volumes(4, 5, 6)[0], OBLIQUE @ np.diag([-1, 1, 1, 1])  # right-handed
    image = nibabel.Nifti1Image(values, affine)
    image.set_sform(None, 0)
    image.set_qform(affine, 1)
    nibabel.save(image, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[280:328] = bytes(48)  # the sform
    for handedness in (1, 0):  # the standard takes 0 for 1
        data[76:80] = np.float32(handedness).tobytes()
        (tmp_path / "a.nii").write_bytes(data)
        grid = read(tmp_path / "a.nii").grid
        assert grid is not None
        np.testing.assert_allclose(grid.steps, affine[:3, :3], atol=1e-6)
        np.testing.assert_allclose(grid.origin, affine[:3, 3], rtol=1e-6)


@pytest.mark.parametrize("spacing", ["spacings: 0.5 0.75 2\n", ""])
def test_an_nrrd_without_a_space_may_have_a_spacing(spacing: str, tmp_path: Path) -> None:
    header = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 5 6\n{spacing}encoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(header.encode() + bytes(120))
    grid = read(tmp_path / "a.nrrd").grid
    assert grid is not None
    assert (grid.placed, grid.measured) == (False, bool(spacing))
    assert grid.spacing.tolist() == ([2, 0.75, 0.5] if spacing else [1, 1, 1])
