"""NPY and NPZ through the command: keys, one-hot arrays, volumes, and what is no label."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from segmetrics.evaluate.command import app
from segmetrics.files import MaskError, Reading, read

RANDOM = np.random.default_rng(0)


def run(tmp_path: Path, *arguments: object) -> Result:
    """The command on two folders, with JSON."""
    folders = [str(tmp_path / name) for name in ("preds", "targets")]
    return CliRunner().invoke(
        app, ["evaluate", *folders, "--json", str(tmp_path / "out.json"), *map(str, arguments)]
    )


def refused(tmp_path: Path, *arguments: object) -> str:
    """What the command says of what it refuses."""
    done = run(tmp_path, *arguments)
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "out.json").exists()
    return done.stderr


def confusion(tmp_path: Path, *arguments: object) -> Any:
    """The counts of a run that ends well."""
    done = run(tmp_path, *arguments)
    assert done.exit_code == 0, done.stderr
    return json.loads((tmp_path / "out.json").read_text())["confusion"]


def longhand(preds: np.ndarray, target: np.ndarray, classes: int) -> Any:
    """The confusion matrix, pixel by pixel."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (target.ravel(), preds.ravel()), 1)
    return counts.tolist()


@pytest.fixture
def masks(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and its target, and empty folders for both."""
    for name in ("preds", "targets"):
        (tmp_path / name).mkdir()
    return RANDOM.integers(0, 3, (8, 9)), RANDOM.integers(0, 3, (8, 9))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("slices", [3, 4])
def test_a_volume_of_three_or_four_slices_is_no_colour_image(
    suffix: str, slices: int, tmp_path: Path, masks: Any
) -> None:
    volumes = RANDOM.integers(0, 3, (2, 6, 5, slices)).astype(np.uint8)
    for name, volume in zip(("preds", "targets"), volumes, strict=True):
        path = tmp_path / name / f"a.{suffix}"
        np.save(path, volume) if suffix == "npy" else np.savez_compressed(path, volume)
    assert confusion(tmp_path, "--num-classes", 3) == longhand(*volumes, 3)


def test_an_array_with_channels_is_named_where_its_target_has_none(
    tmp_path: Path, masks: Any
) -> None:
    np.save(tmp_path / "preds/a.npy", np.zeros((8, 9, 3), np.uint8))
    Image.fromarray(masks[1].astype(np.uint8)).save(tmp_path / "targets/a.png")
    said = refused(tmp_path, "--num-classes", 3)
    assert "8×9×3" in said
    assert "3 channels" in said


@pytest.mark.parametrize("shape", [(8, 9, 1), (1, 8, 9), (1, 8, 1, 9)])
def test_axes_of_length_one_are_dropped(shape: tuple[int, ...], tmp_path: Path, masks: Any) -> None:
    np.save(tmp_path / "preds/a.npy", masks[0].reshape(shape))
    Image.fromarray(masks[1].astype(np.uint8)).save(tmp_path / "targets/a.png")
    assert confusion(tmp_path, "--num-classes", 3) == longhand(*masks, 3)


def test_the_mask_in_an_archive_is_named_by_its_key(tmp_path: Path, masks: Any) -> None:
    preds, target = masks
    np.savez(tmp_path / "preds/a.npz", image=np.zeros((8, 9)), pred=preds)
    np.savez_compressed(tmp_path / "targets/a.npz", image=np.zeros((8, 9)), label=target)
    said = refused(tmp_path, "--num-classes", 3)
    assert "2 arrays: image, pred" in said or "2 arrays: image, label" in said
    assert "--key" in said
    assert "disk full" not in said
    said = refused(tmp_path, "--num-classes", 3, "--key", "mask")
    assert "none of --key mask" in said
    found = confusion(tmp_path, "--num-classes", 3, "--key", "pred", "--key", "label")
    assert found == longhand(preds, target, 3)


def test_an_archive_that_has_two_of_the_keys_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros((2, 2)), b=np.ones((2, 2)), c=np.ones((2, 2)))
    with pytest.raises(MaskError, match="3 arrays: a, b, c"):
        read(tmp_path / "a.npz", Reading(keys=("a", "b")))
    assert read(tmp_path / "a.npz", Reading(keys=("b", "d"))).values.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("more", [0, 1, 2])
def test_eight_arrays_of_an_archive_are_named(more: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{f"a{i}": np.zeros(2) for i in range(8 + more)})
    rest = f" and {more} more" if more else ""
    with pytest.raises(MaskError) as raised:
        read(tmp_path / "a.npz")
    names = ", ".join(f"a{i}" for i in range(8))
    assert raised.value.problem.detail == f"{8 + more} arrays: {names}{rest}"


@pytest.mark.parametrize("name", ["probabilities", "softmax", "scores"])
def test_probabilities_of_nnunet_have_the_axes_of_simpleitk(name: str, tmp_path: Path) -> None:
    scores = RANDOM.random((3, 4, 5, 6))
    scores /= scores.sum(0)
    np.savez(tmp_path / "a.npz", **{name: scores})
    found = read(tmp_path / "a.npz", Reading(probabilities=True, channels=3))
    assert np.array_equal(found.values, scores.argmax(0))
    assert (found.grid is None) == (name == "scores")
    if found.grid is not None:
        assert (found.grid.zyx, found.grid.placed, found.grid.measured) == (True, False, False)
        assert found.grid.spacing.tolist() == [1, 1, 1]


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float32])
def test_a_one_hot_array_is_named_and_read_along_the_axis_that_is_given(
    axis: int, dtype: type, tmp_path: Path, masks: Any
) -> None:
    preds, target = masks
    one_hot = np.moveaxis(np.eye(3, dtype=dtype)[preds], -1, axis)
    np.save(tmp_path / "preds/a.npy", one_hot)
    np.save(tmp_path / "targets/a.npy", target)
    said = refused(tmp_path, "--num-classes", 3)
    assert f"one-hot along axis {axis}" in said
    assert "--one-hot AXIS" in said
    found = confusion(tmp_path, "--num-classes", 3, "--one-hot", axis)
    assert found == longhand(preds, target, 3)
    if axis == 2:
        found = confusion(tmp_path, "--num-classes", 3, "--one-hot", -1)
        assert found == longhand(preds, target, 3)


@pytest.mark.parametrize("wrong", ["none", "two"])
def test_a_pixel_of_a_one_hot_array_has_exactly_one_1(
    wrong: str, tmp_path: Path, masks: Any
) -> None:
    one_hot = np.eye(3, dtype=np.uint8)[masks[0]]
    one_hot[4, 5] = wrong == "two"
    for folder in ("preds", "targets"):
        np.save(tmp_path / folder / "a.npy", one_hot)
    assert "1 pixels have not exactly one 1" in refused(
        tmp_path, "--num-classes", 3, "--one-hot", 2
    )


def test_one_hot_volumes_are_named_and_read(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 4, (3, 5, 6))
    np.save(tmp_path / "a.npy", np.moveaxis(np.eye(4, dtype=np.uint8)[labels], -1, 0))
    with pytest.raises(MaskError, match="one-hot along axis 0"):
        read(tmp_path / "a.npy")
    assert np.array_equal(read(tmp_path / "a.npy", Reading(one_hot=0)).values, labels)
    with pytest.raises(MaskError, match="--one-hot 7"):
        read(tmp_path / "a.npy", Reading(one_hot=7))


def test_masks_next_to_one_hot_ones_are_label_maps(tmp_path: Path) -> None:
    for mask in (np.eye(4, dtype=np.uint8), np.arange(24).reshape(2, 3, 4)):
        np.save(tmp_path / "a.npy", mask)
        assert np.array_equal(read(tmp_path / "a.npy", Reading(one_hot=0)).values, mask)


def test_a_binary_volume_is_no_one_hot_image(tmp_path: Path) -> None:
    volume = (RANDOM.random((5, 6, 7)) < 0.5).astype(np.uint8)
    np.save(tmp_path / "a.npy", volume)
    assert np.array_equal(read(tmp_path / "a.npy").values, volume)
    np.save(tmp_path / "a.npy", np.ones((1, 6, 7)))
    assert np.array_equal(read(tmp_path / "a.npy").values, np.ones((6, 7)))


def test_half_precision_labels_are_read_without_a_warning(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0, 2047], [3, 255]], np.float16))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path / "a.npy").values.tolist() == [[0, 2047], [3, 255]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[1, np.nan], [2, 3]], np.float32), "NaN in 1 of 4 pixels: no data?.*255"),
        (np.array([[1, np.inf], [2, 3]]), "float64 with fractions, inf the first"),
        (np.array([[7000.4, 1]], np.float32), "float32 with fractions, 7000.4 the first"),
        (np.array([[0.25, 0.75]], np.float32), "0.25 the first: scores become labels"),
        (np.array([[0.25, 1.75]], np.float32), "0.25 the first$"),
        (np.array([[-0.25, 0.75]], np.float32), "-0.25 the first$"),
        (np.zeros((2, 2), [("r", "u1"), ("g", "u1")]), r"structured values \(r, g\)"),
        (np.array([["a"]]), "<U1, expected integers"),
        (np.zeros((2, 2, 3, 4)), "2×2×3×4: several volumes"),
        (np.full((2, 2, 3, 4), 0.25), "2×2×3×4 with fractions: scores become labels"),
    ],
)
def test_what_holds_no_labels_is_named(values: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(MaskError, match=message):
        read(tmp_path / "a.npy")


def test_values_that_are_integers_to_a_thousandth_are_these_integers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[2.9999999993, 7000.9995], [-1.0002, 0.001]]))
    assert read(tmp_path / "a.npy").values.tolist() == [[3, 7001], [-1, 0]]
    np.save(tmp_path / "a.npy", np.array([[1.0011, 2]]))
    with pytest.raises(MaskError, match=r"1\.0011 the first"):
        read(tmp_path / "a.npy")


def test_floats_are_labels_below_2_to_the_53_where_all_integers_are_floats(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[2.0**53 - 1, 1 - 2.0**53]]))
    assert read(tmp_path / "a.npy").values.tolist() == [[2**53 - 1, 1 - 2**53]]
    for value in (2.0**53, -(2.0**53)):
        np.save(tmp_path / "a.npy", np.array([[value, 1]]))
        with pytest.raises(MaskError, match=f"{value} the first"):
            read(tmp_path / "a.npy")


@pytest.mark.parametrize("folder", ["preds", "targets"])
def test_the_largest_uint64_is_named_with_its_file(folder: str, tmp_path: Path, masks: Any) -> None:
    for name in ("preds", "targets"):
        values = np.zeros((4, 4), np.uint64)
        values[0, 0] = 2**64 - 1 if name == folder else 0
        np.save(tmp_path / name / "a.npy", values)
    said = refused(tmp_path, "--num-classes", 3, "--ignore-index", -1)
    assert f"{folder}/a.npy: 18446744073709551615 (1 pixels)" in said
    assert "AssertionError" not in said


def test_an_archive_whose_bits_flip_never_gives_other_labels(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 4, (24, 25)).astype(np.uint8)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", values)
        whole = (tmp_path / "a.npz").read_bytes()
        for bit in RANDOM.integers(0, 8 * len(whole), 400).tolist():
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            (tmp_path / "a.npz").write_bytes(damaged)
            try:
                found = read(tmp_path / "a.npz").values
            except MaskError:
                continue
            assert np.array_equal(found, values)


def test_headers_that_say_more_than_files_hold_are_refused_at_once(tmp_path: Path) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (8_000_000, 1_000_000)}
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(100))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "a.npy")
    for name in ("a.npy", "a.npz"):
        with pytest.raises(MaskError):
            read(tmp_path / name)
