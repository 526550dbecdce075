"""Reading files of masks bit by bit, and pairing them by their names."""

from __future__ import annotations

import os
import struct
import tempfile
import unicodedata
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from segmetrics.files import (
    CITYSCAPES,
    Buffer,
    MaskError,
    Match,
    Pair,
    Problem,
    find_images,
    find_pairs,
    printable,
    read,
    with_instances,
)

RANDOM = np.random.default_rng(0)


def write_png(path: Path, values: np.ndarray, bits: int, *, palette: bool = False) -> None:
    """A PNG longhand: rows of packed bits behind a filter byte 0, after the specification."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    rows = b""
    for row in values.tolist():
        line = "".join(format(value, f"0{bits}b") for value in row)
        line += "0" * (-len(line) % 8)
        rows += b"\0" + int(line, 2).to_bytes(len(line) // 8, "big")
    height, width = values.shape
    header = struct.pack(">IIBBBBB", width, height, bits, 3 if palette else 0, 0, 0, 0)
    colors = chunk(b"PLTE", RANDOM.bytes(3 * 2**bits)) if palette else b""
    data = chunk(b"IDAT", zlib.compress(rows))
    end = chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + colors + data + end)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_grey_png_of_any_depth_gives_the_stored_values(bits: int, tmp_path: Path) -> None:
    values = RANDOM.integers(0, 2**bits, (9, 13))
    write_png(tmp_path / "mask.png", values, bits)
    found = read(tmp_path / "mask.png").values
    assert np.array_equal(found, values)
    assert found.dtype == (np.uint16 if bits == 16 else np.uint8)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_png_gives_its_indices_not_its_colours(bits: int, tmp_path: Path) -> None:
    values = RANDOM.integers(0, 2**bits, (9, 13))
    write_png(tmp_path / "mask.png", values, bits, palette=True)
    assert np.array_equal(read(tmp_path / "mask.png").values, values)


def test_a_palette_with_transparency_gives_its_indices(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 21, (9, 13)).astype(np.uint8)
    image = Image.fromarray(values)
    image.putpalette(RANDOM.bytes(768))
    image.save(tmp_path / "mask.png", transparency=0)
    assert np.array_equal(read(tmp_path / "mask.png").values, values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_gives_the_stored_values(
    dtype: type[np.generic], compression: str | None, tmp_path: Path
) -> None:
    values = RANDOM.integers(0, 200, (9, 13)).astype(dtype)
    Image.fromarray(values).save(tmp_path / "mask.tif", compression=compression)
    assert np.array_equal(read(tmp_path / "mask.tif").values, values)


def test_a_tiff_of_several_pages_is_a_volume(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 60000, (4, 9, 13)).astype(np.uint16)
    first, *rest = map(Image.fromarray, values)
    first.save(tmp_path / "mask.tiff", save_all=True, append_images=rest)
    assert np.array_equal(read(tmp_path / "mask.tiff").values, values)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", ">i4", "int64", "uint64", "float64"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_an_array_gives_its_values(dtype: str, suffix: str, tmp_path: Path) -> None:
    values = RANDOM.integers(0, 2 if dtype == "bool" else 100, (9, 13)).astype(dtype)
    path = tmp_path / f"mask.{suffix}"
    np.save(path, values) if suffix == "npy" else np.savez(path, labels=values)
    found = read(path).values
    assert np.array_equal(found, values)
    assert found.dtype.isnative


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_nifti_gives_its_values(dtype: type[np.generic], suffix: str, tmp_path: Path) -> None:
    values = RANDOM.integers(0, 100, (5, 6, 7)).astype(dtype)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"mask.{suffix}")
    assert np.array_equal(read(tmp_path / f"mask.{suffix}").values, values)


def test_memory_that_is_used_again_holds_the_new_mask_only(tmp_path: Path) -> None:
    buffer = Buffer()
    for shape, dtype in (((20, 30), np.uint16), ((7, 5), np.uint8), ((40, 30), np.uint8)):
        values = RANDOM.integers(0, 200, shape).astype(dtype)
        Image.fromarray(values).save(tmp_path / "mask.png")
        assert np.array_equal(read(tmp_path / "mask.png", buffer=buffer).values, values)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_mask_of_several_channels_is_refused(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("mask.tif" if mode == "CMYK" else "mask.png")
    Image.new(mode, (4, 3), tuple(range(len(mode)))).save(path)
    with pytest.raises(MaskError, match=f"mask.*{mode}, {len(mode)} channels") as error:
        read(path)
    assert error.value.problem.kind == "channels"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", ["png", "tif", "npy", "npz", "nii", "nii.gz"])
def test_a_file_cut_anywhere_is_refused_or_complete(suffix: str, tmp_path: Path) -> None:
    values = RANDOM.integers(0, 9, (40, 50)).astype(np.uint8)
    path = tmp_path / f"mask.{suffix}"
    if suffix in ("png", "tif"):
        Image.fromarray(values).save(path)
    elif suffix in ("npy", "npz"):
        np.save(path, values) if suffix == "npy" else np.savez(path, values)
    else:
        nibabel.save(nibabel.Nifti1Image(values[None], np.eye(4)), path)
    whole = path.read_bytes()
    refused = []
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        try:
            assert np.array_equal(read(path).values.squeeze(), values)
        except MaskError as error:
            refused.append(error.problem)
    assert len(refused) > 50
    assert {(problem.kind, problem.file) for problem in refused} == {("unreadable", str(path))}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0.5, 1.0]]), "float64 with fractions, 0.5 the first.* Pass --probabilities"),
        (np.array([[0.5, 1.0]], np.float16), "float16 with fractions"),
        (np.array([[0.5, 1.0]], ">f4"), "float32 with fractions"),
        (np.array([[np.nan, 1.0]]), "NaN in 1 of 2 pixels"),
        (np.array([[1j, 2]]), "complex128, expected integers"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((2, 3, 4, 5), np.uint8), "2×3×4×5: several volumes"),
    ],
)
def test_what_holds_no_labels_is_refused(values: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", values)
    with pytest.raises(MaskError, match=message):
        read(tmp_path / "mask.npy")


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(MaskError, match="an array of Python objects"):
        read(tmp_path / "mask.npy")


def test_an_archive_of_two_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "mask.npz", preds=np.zeros((2, 2)), scores=np.zeros((2, 2)))
    with pytest.raises(MaskError, match="2 arrays: preds, scores"):
        read(tmp_path / "mask.npz")


# --- pairs ----------------------------------------------------------------------------------------


def folder(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names_of(preds: Path, targets: Path, match: Match | None = None) -> dict[str, tuple[str, str]]:
    pairs, problems = find_pairs(preds, targets, match)
    assert not problems
    return {
        pair.name: (
            pair.preds.relative_to(preds).as_posix(),
            pair.target.relative_to(targets).as_posix(),
        )
        for pair in pairs
    }


def test_partners_have_the_same_path_but_for_the_suffix(tmp_path: Path) -> None:
    preds = folder(tmp_path / "a", "b/2.npy", "1.png", "b/1.nii.gz", ".hidden.png", "notes.txt")
    targets = folder(tmp_path / "b", "1.tif", "b/1.nii", "b/2.PNG", ".git/x.png")
    assert names_of(preds, targets) == {
        "1": ("1.png", "1.tif"),
        "b/1": ("b/1.nii.gz", "b/1.nii"),
        "b/2": ("b/2.npy", "b/2.PNG"),
    }


def test_what_has_no_partner_is_named(tmp_path: Path) -> None:
    preds = folder(tmp_path / "a", "1.png", "2.png")
    targets = folder(tmp_path / "b", "2.png", "3.png", "x/1.png")
    pairs, problems = find_pairs(preds, targets)
    assert [pair.name for pair in pairs] == ["2"]
    assert {(p.kind, p.file) for p in problems} == {
        ("no target", str(preds / "1.png")),
        ("no prediction", str(targets / "3.png")),
        ("no prediction", str(targets / "x" / "1.png")),
    }


def test_two_files_of_one_name_are_named(tmp_path: Path) -> None:
    preds, targets = folder(tmp_path / "a", "1.png", "1.npy"), folder(tmp_path / "b", "1.tif")
    pairs, [problem] = find_pairs(preds, targets)
    assert not pairs
    assert problem.kind == "ambiguous"
    assert "1.npy" in problem.file
    assert "1.png" in problem.detail


@pytest.mark.parametrize("number", [2, 3, 4, 6])
def test_of_several_files_of_one_name_three_are_named(number: int, tmp_path: Path) -> None:
    suffixes = ["bmp", "gif", "npy", "nrrd", "png", "tif"][:number]
    preds = folder(tmp_path / "a", *(f"1.{suffix}" for suffix in suffixes))
    targets = folder(tmp_path / "b", "1.webp")
    pairs, [problem] = find_pairs(preds, targets)
    assert (pairs, problem.file) == ([], str(preds / "1.bmp"))
    also = ", ".join(str(preds / f"1.{suffix}") for suffix in suffixes[1:3])
    more = {4: " and 1 more", 6: " and 3 more"}.get(number, "")
    assert problem.detail == f"'1' is also {also}{more}"
    assert problem.hint == "To take these: --match '{key}.bmp' '{key}.webp'"
    _, [problem] = find_pairs(targets, preds)
    assert problem.hint == "To take these: --match '{key}.webp' '{key}.bmp'"


def test_of_files_of_one_name_the_one_in_its_partners_format_is_taken(tmp_path: Path) -> None:
    preds = folder(tmp_path / "a", "1.png", "1.npz", "2.nii", "2.nii.gz", "3.png", "3.npz")
    targets = folder(tmp_path / "b", "1.PNG", "2.nii.gz")
    pairs, problems = find_pairs(preds, targets)
    assert [(pair.name, pair.preds.name) for pair in pairs] == [("1", "1.png")]
    found = {(problem.kind, Path(problem.file).name, problem.hint) for problem in problems}
    assert found == {
        ("ambiguous", "2.nii", "To take these: --match '{key}.nii' '{key}.nii.gz'"),
        ("ambiguous", "3.npz", ""),
        ("no target", "3.npz", ""),
        ("no target", "3.png", ""),
    }


def test_names_that_look_alike_are_told_to_be_other_characters(tmp_path: Path) -> None:
    preds = folder(tmp_path / "a", unicodedata.normalize("NFC", "ä.png"))
    folder(preds, unicodedata.normalize("NFD", "ä.png"))
    targets = folder(tmp_path / "b", "ä.png")
    _, [problem] = find_pairs(preds, targets)
    assert "the names look alike, but are other characters" in problem.detail


def test_a_jpeg_is_named_unless_a_mask_stands_next_to_it(tmp_path: Path) -> None:
    preds = folder(tmp_path / "a", "1.png", "2.png", "2.jpg", "3.jpg")
    targets = folder(tmp_path / "b", "1.png", "2.png")
    pairs, [problem] = find_pairs(preds, targets)
    assert [pair.name for pair in pairs] == ["1", "2"]
    assert (problem.kind, problem.file) == ("format", str(preds / "3.jpg"))


def test_names_of_cityscapes_match_across_folders(tmp_path: Path) -> None:
    preds = folder(
        tmp_path / "a", "ulm_000001_000019.png", "deep/bonn_000002_000019_leftImg8bit_pred.png"
    )
    targets = folder(
        tmp_path / "b",
        *(
            f"{city}/{city}_{frame}_000019_gtFine_{kind}"
            for city, frame in (("ulm", "000001"), ("bonn", "000002"))
            for kind in ("labelIds.png", "instanceIds.png", "color.png", "polygons.json")
        ),
    )
    assert names_of(preds, targets, CITYSCAPES) == {
        "ulm_000001_000019": (
            "ulm_000001_000019.png",
            "ulm/ulm_000001_000019_gtFine_labelIds.png",
        ),
        "bonn_000002_000019": (
            "deep/bonn_000002_000019_leftImg8bit_pred.png",
            "bonn/bonn_000002_000019_gtFine_labelIds.png",
        ),
    }
    pairs, problems = with_instances(find_pairs(preds, targets, CITYSCAPES)[0])
    assert not problems
    assert [pair.instances.name for pair in pairs if pair.instances] == [
        "bonn_000002_000019_gtFine_instanceIds.png",
        "ulm_000001_000019_gtFine_instanceIds.png",
    ]


def test_a_target_without_a_mask_of_instances_is_a_problem(tmp_path: Path) -> None:
    masks = folder(tmp_path, "a_labelIds.png", "b_labelIds.png", "b_instanceIds.png", "c.png")
    pairs = [Pair(name, masks / name, masks / name) for name in ("a_labelIds.png", "c.png")]
    found, problems = with_instances([*pairs, Pair("b", masks, masks / "b_labelIds.png")])
    assert [(pair.name, pair.instances) for pair in found] == [("b", masks / "b_instanceIds.png")]
    assert [(problem.kind, problem.file, problem.detail) for problem in problems] == [
        ("instances", str(masks / "a_labelIds.png"), "there is no a_instanceIds.png"),
        ("instances", str(masks / "c.png"), "there is no c.png"),
    ]


def test_a_key_is_never_a_part_of_another(tmp_path: Path) -> None:
    preds = folder(tmp_path / "a", "img_1.png", "img_10.png", "img_1_x.png")
    targets = folder(tmp_path / "b", "img_1.png", "img_1_x.png")
    pairs, [problem] = find_pairs(preds, targets, Match("{key}*", "{key}"))
    assert [(pair.name, pair.preds.name) for pair in pairs] == [
        ("img_1", "img_1.png"),
        ("img_1_x", "img_1_x.png"),
    ]
    assert (problem.kind, problem.file) == ("no target", str(preds / "img_10.png"))


def test_a_pattern_with_a_slash_is_of_the_path(tmp_path: Path) -> None:
    preds = folder(tmp_path / "a", "run/p/7.png", "run/q/7.png")
    targets = folder(tmp_path / "b", "case7/mask.png", "case7/other.png")
    assert names_of(preds, targets, Match("*/q/{key}.png", "case{key}/mask")) == {
        "7": ("run/q/7.png", "case7/mask.png")
    }


@pytest.mark.parametrize("pattern", ["*.png", "{key}_{key}.png"])
def test_a_pattern_has_one_key(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"one \{key\}"):
        Match("{key}", pattern)


def test_folders_without_masks_are_refused(tmp_path: Path) -> None:
    masks = folder(tmp_path / "masks", "1.png")
    empty = folder(tmp_path / "empty", "1.jpg")
    for preds, targets, message in (
        (tmp_path / "nowhere", masks, "nowhere: there is no such file or folder"),
        (masks, empty, "empty: there is no PNG.* but 1.jpg.*JPEG"),
        (masks, masks / "1.png", "1.png: is a file, the other is a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            find_pairs(preds, targets)
    with pytest.raises(ValueError, match=r"none of its 1 masks fits .*1\.png"):
        find_pairs(masks, masks, CITYSCAPES)
    volumes = folder(tmp_path / "volumes", "s1/liver.nii")
    of_classes = "{key}/{class}.nii"
    said = rf"volumes: none of its 1 masks fits '{of_classes}' and is of tumour, kidney, among them"
    with pytest.raises(ValueError, match=said):
        find_pairs(volumes, volumes, Match(of_classes, of_classes, ("tumour", "kidney")))
    with pytest.raises(ValueError, match=r"fits '{key}_{class}', among them s1/liver\.nii"):
        find_pairs(volumes, volumes, Match("{key}_{class}", "{key}_{class}"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe: is no regular file\."):
        find_pairs(tmp_path / "pipe", masks)


def test_a_folder_that_may_not_be_read_is_a_problem() -> None:
    me = os.geteuid()
    with tempfile.TemporaryDirectory() as found:
        masks = folder(Path(found), "1.png", "closed/2.png")
        masks.chmod(0o755)
        (masks / "closed").chmod(0)
        try:
            if me == 0:  # who may read everything
                os.seteuid(65534)
            pairs, problems = find_pairs(masks, masks)
        finally:
            os.seteuid(me)
            (masks / "closed").chmod(0o755)
        assert [pair.name for pair in pairs] == ["1"]
        assert {(of.kind, of.file, of.detail) for of in problems} == {
            ("inaccessible", str(masks / "closed"), "Permission denied")
        }


def test_two_files_are_a_pair_if_both_are_masks(tmp_path: Path) -> None:
    files = folder(tmp_path, "1.png", "2.tif", "3.jpg", "4.jpg")
    pairs, problems = find_pairs(files / "1.png", files / "2.tif")
    assert [(pair.name, pair.preds, pair.target) for pair in pairs] == [
        ("2.tif", files / "1.png", files / "2.tif")
    ]
    assert not problems
    for preds, target, wrong in (("1.png", "3.jpg", ["3"]), ("4.jpg", "3.jpg", ["4", "3"])):
        pairs, problems = find_pairs(files / preds, files / target)
        assert not pairs
        assert [(p.kind, Path(p.file).stem) for p in problems] == [("format", x) for x in wrong]


def test_a_folder_is_searched_once_however_many_links_lead_to_it(tmp_path: Path) -> None:
    masks = folder(tmp_path / "masks", "1.png", "b/2.png")
    (masks / "a").symlink_to(masks / "b")
    (masks / "b" / "up").symlink_to(masks)
    (masks / "out").symlink_to(folder(tmp_path / "others", "3.png"))
    names = ["1", "b/2", "out/3"]
    assert list(names_of(masks, masks)) == names


def test_two_files_of_a_class_of_a_case_are_named(tmp_path: Path) -> None:
    preds = folder(tmp_path / "a", "s1_liver.nii", "s1_liver.nii.gz", "s1_spleen.nii")
    targets = folder(tmp_path / "b", "s1_liver.nii", "s1_spleen.nii")
    _, [problem] = find_pairs(preds, targets, Match("{key}_{class}", "{key}_{class}"))
    assert (problem.kind, Path(problem.file).name) == ("ambiguous", "s1_liver.nii")
    assert problem.detail == f"'liver' of 's1' is also {preds / 's1_liver.nii.gz'}"


def test_a_case_whose_classes_have_no_prediction_goes_by_its_first_target(tmp_path: Path) -> None:
    preds = folder(tmp_path / "a", "s1/liver.nii")
    targets = folder(tmp_path / "b", "s1/kidney.nii", "s1/spleen.nii")
    [pair], [problem] = find_pairs(preds, targets, Match("{key}/{class}.nii", "{key}/{class}.nii"))
    assert (pair.preds, pair.target) == (targets / "s1" / "kidney.nii",) * 2
    assert [(of.name, of.preds) for of in pair.classes] == [("kidney", None), ("spleen", None)]
    assert (problem.kind, problem.file) == ("no target", str(preds / "s1" / "liver.nii"))


@pytest.mark.parametrize("byte", [0x80, 0x81, 0xFE, 0xFF])
def test_bytes_of_names_that_are_no_text_are_shown_as_bytes(byte: int) -> None:
    name = b"a" + bytes([byte]) + b".png"
    assert printable(os.fsdecode(name)) == f"a\\x{byte:02x}.png"


def test_images_behind_masks_are_found_by_path_or_key(tmp_path: Path) -> None:
    images = folder(tmp_path, "a/1.jpg", "ulm/ulm_1_2_leftImg8bit.png", "b/1.jpg")
    found = find_images(images, ["a/1", "ulm_1_2", "none"])
    assert {name: path.relative_to(images).as_posix() for name, path in found.items()} == {
        "a/1": "a/1.jpg",
        "ulm_1_2": "ulm/ulm_1_2_leftImg8bit.png",
    }


def test_a_problem_has_the_fix_and_the_reason_of_its_kind_unless_it_says_others() -> None:
    plain = Problem("ambiguous", "a.png")
    assert plain.fix == "Keep one of them, or say by --match which is meant."
    assert plain.reason == "files that share a name"
    assert Problem("no target", "a.png").reason == "it has no target"
    assert Problem("no prediction", "a.png").reason == "it has no prediction"
    told = Problem("no target", "a.png", "as told", "as hinted")
    assert (told.reason, told.fix) == ("as told", "as hinted")
