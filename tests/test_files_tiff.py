"""TIFF: stored values of the full-resolution image, GeoTIFFs at one place, and what is refused."""

from __future__ import annotations

import json
import lzma
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio.transform import Affine, from_origin
from typer.testing import CliRunner, Result

from segmetrics.evaluate.command import app
from segmetrics.files import MaskError, read

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
RANDOM = np.random.default_rng(0)
#: Whether tifffile and imagecodecs are newer than those that Python 3.10 has.
NEW = tifffile.__version__ >= "2026"


def run(folder: Path, *arguments: object) -> Result:
    """The command on the folders ``p`` and ``t``."""
    return CliRunner().invoke(
        app, ["evaluate", str(folder / "p"), str(folder / "t"), *map(str, arguments)]
    )


def scores(folder: Path, *arguments: object) -> dict[str, Any]:
    done = run(folder, *arguments, "--json", folder / "out.json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return found


def ious(folder: Path, *arguments: object) -> list[float]:
    return [row["iou"] for row in scores(folder, *arguments)["classes"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "pt":
        (tmp_path / name).mkdir()
    return tmp_path


def raster(path: Path, values: np.ndarray, **profile: Any) -> None:
    """A GeoTIFF, written by GDAL."""
    bands = values[None] if values.ndim == 2 else values
    about = {"driver": "GTiff", "count": len(bands), "dtype": values.dtype.name, **profile}
    height, width = values.shape[-2:]
    with rasterio.open(path, "w", height=height, width=width, **about) as file:
        file.write(bands)


def packed(path: Path, labels: np.ndarray, bits: int, photometric: int = 1) -> None:
    """A TIFF longhand, of few bits: little-endian, one strip."""
    rows = b""
    for row in labels.tolist():
        line = "".join(format(value, f"0{bits}b") for value in row)
        line += "0" * (-len(line) % 8)
        rows += int(line, 2).to_bytes(len(line) // 8, "big")
    height, width = labels.shape
    start = 8 + 2 + 9 * 12 + 4
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, start),
            (277, 1), (278, height), (279, len(rows))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    header = b"II*\0" + struct.pack("<IH", 8, len(tags))
    path.write_bytes(header + entries + b"\0" * 4 + rows)


# --- stored values --------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("photometric", [0, 1])
def test_few_bits_and_white_is_zero_give_the_stored_values(
    bits: int, photometric: int, tmp_path: Path
) -> None:
    labels = RANDOM.integers(0, 2**bits, (9, 13))
    packed(tmp_path / "a.tif", labels, bits, photometric)
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


@pytest.mark.skipif(not NEW, reason="imagecodecs cannot write it")
@pytest.mark.parametrize("bits", [3, 5, 7, 9, 12, 14, 24, 31])
def test_odd_depths_give_the_stored_values(bits: int, tmp_path: Path) -> None:
    dtype = np.uint8 if bits < 8 else np.uint16 if bits < 16 else np.uint32
    labels = RANDOM.integers(0, 2**bits, (9, 13)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", labels, bitspersample=bits)
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


@pytest.mark.parametrize("bits", [1, 4, 9, 12, 17, 24, 31])
@pytest.mark.parametrize("endianness", ["LITTLE", "BIG"])
def test_packed_bits_of_gdal_in_both_byte_orders(
    bits: int, endianness: str, tmp_path: Path
) -> None:
    dtype = np.uint8 if bits < 8 else np.uint16 if bits < 16 else np.uint32
    labels = RANDOM.integers(0, 2**bits, (9, 13)).astype(dtype)
    raster(tmp_path / "a.tif", labels, nbits=bits, endianness=endianness)
    big = endianness == "BIG"
    if bits == 24 and (big or not NEW):
        with pytest.raises(MaskError, match=f"{'big-endian ' * big}samples of 24 bits"):
            read(tmp_path / "a.tif")
    else:
        assert np.array_equal(read(tmp_path / "a.tif").values, labels)


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_every_sample_type_gives_the_stored_values(
    dtype: str, byteorder: str, tmp_path: Path
) -> None:
    labels = RANDOM.integers(0 if dtype == "uint64" else -9, 100, (9, 13)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", labels, byteorder=byteorder, bigtiff=dtype == "int64")
    found = read(tmp_path / "a.tif").values
    assert np.array_equal(found, labels)
    assert found.dtype.kind in "iu"


def test_few_bits_are_scored_as_they_are_stored(folder: Path) -> None:  # row 12
    target = np.zeros((8, 16), int)
    target[:4] = 3
    preds = target.copy()
    preds[:, :8] = 0
    packed(folder / "t/a.tif", target, 2)
    packed(folder / "p/a.tif", preds, 2)
    for arguments in ([], ["--ignore-index", 255]):
        assert ious(folder, "--num-classes", 4, *arguments)[3] == 0.5


def test_gdals_nbits_are_scored_as_they_are_stored(folder: Path) -> None:  # row 12b
    labels = np.zeros((8, 16), np.uint8)
    labels[:4] = 1
    for name in "pt":
        raster(folder / name / "a.tif", labels, nbits=4)
    assert ious(folder, "--num-classes", 2) == [1, 1]


def test_white_is_zero_does_not_swap_classes(folder: Path) -> None:  # row 13
    target = np.zeros((8, 16), bool)
    target[:2] = True
    preds = target.copy()
    preds[2:4] = True
    for name, mask in (("p", preds), ("t", target)):
        tifffile.imwrite(folder / name / "a.tif", mask, photometric="miniswhite")
    assert ious(folder, "--num-classes", 2) == pytest.approx([64 / 96, 0.5])


def test_white_is_zero_of_eight_bits_is_not_inverted(folder: Path) -> None:  # row 13b
    labels = (np.arange(128).reshape(8, 16) % 3).astype(np.uint8)
    tifffile.imwrite(folder / "t/a.tif", labels, photometric="miniswhite")
    tifffile.imwrite(folder / "p/a.tif", labels)
    assert ious(folder, "--num-classes", 3) == [1, 1, 1]


def test_a_palette_gives_its_indices_and_its_colours(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 3, (9, 13)).astype(np.uint8)
    image = Image.fromarray(labels)
    image.putpalette(bytes(range(9)))
    image.save(tmp_path / "a.tif")
    found = read(tmp_path / "a.tif")
    assert np.array_equal(found.values, labels)
    assert found.palette[:9] == bytes(range(9))


@pytest.mark.parametrize("scale", [1, 256, 257])
def test_colours_of_a_palette_have_8_or_16_bits(scale: int, tmp_path: Path) -> None:
    colors = RANDOM.integers(0, 256, (256, 3))
    colormap = (colors.T * scale).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", np.eye(9, dtype=np.uint8), colormap=colormap)
    assert read(tmp_path / "a.tif").palette == colors.astype(np.uint8).tobytes()


@pytest.mark.parametrize("orientation", range(1, 10))
def test_the_orientation_says_where_rows_and_columns_lie(orientation: int, tmp_path: Path) -> None:
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3)
    tifffile.imwrite(tmp_path / "a.tif", stored, extratags=[(274, 3, 1, orientation, True)])
    # TIFF 6.0, page 36: what the first row and the first column of the stored values are
    seen = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
        5: stored.T, 6: np.rot90(stored, -1), 7: stored[::-1, ::-1].T, 8: np.rot90(stored),
        9: stored,  # there is none
    }  # fmt: skip
    assert np.array_equal(read(tmp_path / "a.tif").values, seen[orientation])


@pytest.mark.parametrize(
    ("tag", "value", "kind"),
    [
        (258, (5, 6, 5), "1 of (5, 6, 5)"),
        (258, (8, 8, 16), "1 of (8, 8, 16)"),
        (339, 5, "5 of 8"),  # complex integers
    ],
)
def test_samples_of_other_kinds_are_refused(
    tag: int, value: Any, kind: str, tmp_path: Path
) -> None:
    values = np.zeros((4, 5, 3), np.uint8) if tag == 258 else np.zeros((4, 5), np.int8)
    tifffile.imwrite(tmp_path / "a.tif", values)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags[tag].overwrite(value)
    with pytest.raises(MaskError) as raised:
        read(tmp_path / "a.tif")
    expected = f"sample format {kind} bits, expected integers"
    assert (raised.value.problem.kind, raised.value.problem.detail) == ("values", expected)


@pytest.mark.parametrize(
    ("text", "number"), [("255", 255), ("-9999.5", -9999.5), ("none", None), ("", None)]
)
def test_nodata_is_a_number_or_nothing(text: str, number: float | None, tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (8, 10)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", labels, extratags=[(42113, 2, 0, text, True)])
    found = read(tmp_path / "a.tif")
    assert np.array_equal(found.values, labels)
    assert found.nodata == number


# --- compressions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "compression",
    ["deflate", "lzw", "packbits", "lzma", "zstd", "lerc", "lerc_deflate", "lerc_zstd"],
)
@pytest.mark.parametrize("tiled", [False, True])
def test_gdals_lossless_compressions_give_the_stored_values(
    compression: str, tiled: bool, tmp_path: Path
) -> None:
    labels = RANDOM.integers(0, 9, (70, 90)).astype(np.uint16)
    blocks = {"blockxsize": 32, "blockysize": 16} if tiled else {}
    predictor = 1 if compression.startswith("lerc") or compression == "packbits" else 2
    raster(
        tmp_path / "a.tif", labels, compress=compression, tiled=tiled, predictor=predictor, **blocks
    )
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


@pytest.mark.skipif(not NEW, reason="imagecodecs cannot read it: such files are refused")
@pytest.mark.parametrize("compression", ["group4", "group3", "tiff_ccitt"])
def test_fax_compressions_give_the_stored_values(compression: str, tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 2, (40, 50)).astype(bool)
    Image.fromarray(labels).save(tmp_path / "a.tif", compression=compression)
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


def test_jpeg_in_a_tiff_is_refused(folder: Path) -> None:  # row 14a
    labels = np.kron(RANDOM.integers(0, 2, (8, 8)), np.full((16, 16), 15)).astype(np.uint8)
    tifffile.imwrite(folder / "p/a.tif", labels, compression="jpeg", photometric="minisblack")
    tifffile.imwrite(folder / "t/a.tif", labels)
    done = run(folder, "--labels", "voc")
    assert done.exit_code == 2
    assert "p/a.tif: compressed by JPEG, it changes labels" in done.stderr


@pytest.mark.parametrize("compression", ["jpeg2000", "jpegxl", "jpegxr"])
def test_a_compression_whose_loss_cannot_be_known_is_refused(
    compression: str, tmp_path: Path
) -> None:
    labels = RANDOM.integers(0, 9, (64, 64)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", labels, compression=compression)
    with pytest.raises(MaskError, match="whether it is lossless cannot be known"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
def test_lerc_of_every_version_is_read_without_errors_alone(version: int, tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (40, 50)).astype(np.uint8)
    for level in (0, 2):
        how = {"version": version, "level": level}
        tifffile.imwrite(tmp_path / "a.tif", labels, compression="lerc", compressionargs=how)
        if level:
            with pytest.raises(MaskError, match=r"LERC with errors up to 2$"):
                read(tmp_path / "a.tif")
        else:
            assert np.array_equal(read(tmp_path / "a.tif").values, labels)


def test_lerc_with_errors_is_refused(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (64, 64)).astype(np.uint8)
    raster(tmp_path / "a.tif", labels, compress="lerc", max_z_error=2)
    with pytest.raises(MaskError, match="LERC with errors up to 2"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint64"])
def test_wide_types_are_scored(dtype: str, folder: Path) -> None:  # row 14d
    for name in "pt":
        tifffile.imwrite(folder / name / "a.tif", np.ones((8, 8), dtype))
    assert ious(folder, "--num-classes", 2)[1] == 1


# --- pages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["COG", "GTiff"])
def test_overviews_are_left_alone(driver: str, folder: Path) -> None:  # row 10
    labels = np.kron(RANDOM.integers(0, 2, (64, 64)), np.ones((16, 16), int)).astype(np.uint8)
    for name in "pt":
        path = folder / name / "a.tif"
        if driver == "COG":
            raster(path, labels, driver="COG", blocksize=256)
        else:
            raster(path, labels)
            with rasterio.open(path, "r+") as file:
                file.build_overviews([2, 4])
    found = scores(folder, "--num-classes", 2)
    assert (found["pixels"], found["scores"]["mIoU"]) == (2**20, 1)


@pytest.mark.parametrize("inside", ["YES", "NO"])
def test_a_mask_of_valid_pixels_is_left_alone(inside: str, folder: Path) -> None:  # row 11
    labels = RANDOM.integers(0, 2, (64, 64)).astype(np.uint8)
    for name in "pt":
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside),
            rasterio.open(
                folder / name / "a.tif", "w", driver="GTiff", height=64, width=64, count=1,
                dtype="uint8",
            ) as file,
        ):  # fmt: skip
            file.write(labels[None])
            file.write_mask(labels == 0)
    assert scores(folder, "--num-classes", 2)["pixels"] == 4096


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": None},
        {"truncate": True},
        {"bigtiff": True, "tile": (16, 16)},
        {"volumetric": True, "tile": (16, 16, 16)},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
    ],
)
@pytest.mark.parametrize("slices", [2, 5])
def test_pages_of_one_size_are_a_volume(
    slices: int, options: dict[str, Any], tmp_path: Path
) -> None:
    labels = RANDOM.integers(0, 9, (slices, 20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack", **options)
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


def test_an_ome_pyramid_gives_its_full_resolution(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (64, 64)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(labels, subifds=1)
        file.write(labels[::2, ::2], subfiletype=1)
    assert np.array_equal(read(tmp_path / "a.ome.tif").values, labels)


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}])
@pytest.mark.parametrize("number", [2, 4])
def test_channels_of_a_microscope_are_refused(
    number: int, options: dict[str, Any], tmp_path: Path
) -> None:
    stack = RANDOM.integers(0, 9, (number, 20, 30)).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", stack, photometric="minisblack", metadata={"axes": "CYX"}, **options
    )
    with pytest.raises(MaskError, match=f"{number} channels") as error:
        read(tmp_path / "a.tif")
    assert error.value.problem.kind == "channels"


def test_pages_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((20, 30), np.uint8), metadata=None)
        file.write(np.zeros((10, 15), np.uint8), metadata=None)
    with pytest.raises(MaskError, match="20×30 of uint8 and 10×15 of uint8"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("number", [2, 7])
def test_bands_are_refused_and_counted(number: int, interleave: str, tmp_path: Path) -> None:
    bands = np.arange(number * 80, dtype=np.uint8).reshape(number, 8, 10)
    raster(tmp_path / "a.tif", bands, interleave=interleave)
    order = "pixel by pixel" if interleave == "pixel" else "band after band"
    with pytest.raises(MaskError, match=f"{number} bands, {order}$") as error:
        read(tmp_path / "a.tif")
    assert error.value.problem.kind == "channels"


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_equal_bands_of_a_colour_image_are_a_label_map(interleave: str, tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (30, 40)).astype(np.uint8)
    raster(tmp_path / "a.tif", np.stack([labels] * 3), interleave=interleave)
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_equal_bands_of_several_pages_are_a_volume(planarconfig: str, tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (4, 20, 30)).astype(np.uint8)
    bands = np.stack([labels] * 3, 1 if planarconfig == "separate" else -1)
    for options in ({"metadata": None}, {}):
        tifffile.imwrite(
            tmp_path / "a.tif", bands, photometric="rgb", planarconfig=planarconfig, **options
        )
        assert np.array_equal(read(tmp_path / "a.tif").values, labels)


def test_a_reduced_page_may_have_the_tag_of_older_programs(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (64, 64)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(labels, metadata=None, extratags=[(255, 3, 1, 1, True)])
        file.write(labels[::2, ::2], metadata=None, extratags=[(255, 3, 1, 2, True)])
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


def test_pages_of_different_layouts_are_a_volume(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (3, 20, 30)).astype(np.uint8)
    layouts: list[dict[str, Any]] = [{"rowsperstrip": 7}, {"tile": (16, 16)}, {"rowsperstrip": 6}]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page, layout in zip(labels, layouts, strict=True):
            file.write(page, compression="deflate", metadata=None, **layout)
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


def test_strips_and_tiles_of_one_size_are_a_volume(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (2, 20, 32)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(labels[0], compression="deflate", metadata=None, rowsperstrip=16)
        file.write(labels[1], compression="deflate", metadata=None, tile=(16, 32))
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


def test_grey_with_opaque_alpha_is_a_label_map(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (20, 30)).astype(np.uint8)
    bands = np.stack([labels, np.full_like(labels, 255)], -1)
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", bands, extrasamples=["unassalpha"], **options)
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


# --- places ---------------------------------------------------------------------------------------

HERE = from_origin(500_000, 5_000_000, 10, 10)


@pytest.mark.parametrize(
    ("crs", "transform", "said"),
    [
        ("EPSG:32634", HERE, "EPSG:32634, its target has EPSG:32633"),
        ("EPSG:32633", from_origin(500_010, 5_000_000, 10, 10), r"from \(500010, 5000000\)"),
        ("EPSG:32633", from_origin(500_000, 5_000_000, 20, 20), "pixels of 20 × 20"),
        ("EPSG:32633", from_origin(500_000, 5_000_000, 10.01, 10), "pixels of 10.01 × 10"),
        ("EPSG:32633", HERE @ Affine.rotation(1), "pixels of 10 × 10"),
    ],
)
def test_a_raster_of_another_place_is_refused(
    crs: str, transform: Affine, said: str, folder: Path
) -> None:
    labels = RANDOM.integers(0, 2, (30, 40)).astype(np.uint8)
    raster(folder / "p/a.tif", labels, crs=crs, transform=transform)
    raster(folder / "t/a.tif", labels, crs="EPSG:32633", transform=HERE)
    done = run(folder, "--num-classes", 2)
    assert done.exit_code == 2
    assert "pairs on different grids: 1" in done.stderr
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(done.stderr)


def test_places_are_not_compared_where_grids_are_ignored(folder: Path) -> None:
    labels = RANDOM.integers(0, 2, (30, 40)).astype(np.uint8)
    raster(folder / "p/a.tif", labels, crs="EPSG:32634", transform=HERE)
    raster(folder / "t/a.tif", labels, crs="EPSG:32633", transform=HERE)
    assert ious(folder, "--num-classes", 2, "--ignore-grid") == [1, 1]


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"crs": "EPSG:32633", "transform": from_origin(500_000.001, 5_000_000, 10, 10)},
        {"transform": HERE},
        {"crs": "EPSG:32633"},
        {"crs": "EPSG:32633", "transform": HERE, "driver": "COG"},
    ],
)
def test_a_raster_of_the_same_place_or_of_none_is_scored(
    profile: dict[str, Any], folder: Path
) -> None:
    labels = RANDOM.integers(0, 2, (30, 40)).astype(np.uint8)
    raster(folder / "p/a.tif", labels, **profile)
    raster(folder / "t/a.tif", labels, crs="EPSG:32633", transform=HERE)
    assert ious(folder, "--num-classes", 2) == [1, 1]


def test_a_coordinate_of_a_pixels_centre_is_no_other_place(folder: Path) -> None:
    labels = RANDOM.integers(0, 2, (30, 40)).astype(np.uint8)
    for name, point in (("p", "Point"), ("t", "Area")):
        with rasterio.open(
            folder / name / "a.tif", "w", driver="GTiff", height=30, width=40, count=1,
            dtype="uint8", crs="EPSG:32633", transform=HERE,
        ) as file:  # fmt: skip
            file.update_tags(AREA_OR_POINT=point)
            file.write(labels[None])
    with tifffile.TiffFile(folder / "p/a.tif") as file:  # GDAL has moved the coordinate
        assert file.pages[0].tags[33922].value[3] == 500_005
    assert ious(folder, "--num-classes", 2) == [1, 1]


def test_a_raster_is_compared_with_a_png_as_they_lie(folder: Path) -> None:
    labels = RANDOM.integers(0, 2, (30, 40)).astype(np.uint8)
    Image.fromarray(labels).save(folder / "p/a.png")
    raster(folder / "t/a.tif", labels, crs="EPSG:32633", transform=HERE)
    assert ious(folder, "--num-classes", 2) == [1, 1]


def test_nodata_is_offered_as_an_ignored_value(folder: Path) -> None:
    labels = RANDOM.integers(0, 2, (30, 40)).astype(np.int16)
    labels[0] = -9999
    for name in "pt":
        raster(folder / name / "a.tif", labels, nodata=-9999)
    done = run(folder, "--num-classes", 2)
    assert done.exit_code == 2
    assert "-9999 is its nodata value: --ignore-index -9999" in done.stderr
    assert scores(folder, "--num-classes", 2, "--ignore-index", -9999)["pixels"] == 29 * 40


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["deflate", "zstd"])
def test_flipped_bits_of_checked_data_are_no_other_labels(compression: str, tmp_path: Path) -> None:
    labels = np.kron(RANDOM.integers(0, 9, (16, 16)), np.ones((8, 8), int)).astype(np.uint8)
    path = tmp_path / "a.tif"
    if compression == "deflate":  # zlib's Adler-32
        tifffile.imwrite(path, labels, compression="deflate", tile=(64, 64))
    else:  # with the checksum that Zstandard may have
        write_checked_zstd(path, labels)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        places = np.concatenate(
            [
                np.arange(o, o + n)
                for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
        )
    whole, refused = path.read_bytes(), 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[RANDOM.choice(places)] ^= 1 << RANDOM.integers(8)
        path.write_bytes(damaged)
        try:
            assert np.array_equal(read(path).values, labels)
        except MaskError as error:
            assert error.problem.kind == "unreadable"  # noqa: PT017
            refused += 1
    assert refused > 380


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("compression", ["deflate", "packbits", "zstd", "lzma"])
def test_a_lost_depth_is_no_single_bit(compression: str, bits: int, tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 2, (64, 73)).astype(np.uint8)
    raster(tmp_path / "a.tif", labels, compress=compression, nbits=bits, blockysize=64)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        place = file.pages[0].tags[258].offset
    damaged = bytearray((tmp_path / "a.tif").read_bytes())
    damaged[place] ^= 2  # BitsPerSample becomes a tag that nobody knows
    (tmp_path / "a.tif").write_bytes(damaged)
    stored = {3: "1,792", 8: "4,672"}[bits]
    with pytest.raises(MaskError, match=f"of {stored} bytes, 1 bits need 640") as error:
        read(tmp_path / "a.tif")
    assert error.value.problem.kind == "unreadable"


ENCODERS = {
    "deflate": zlib.compress, "packbits": imagecodecs.packbits_encode,
    "zstd": imagecodecs.zstd_encode, "lzma": lzma.compress, "lzw": imagecodecs.lzw_encode,
}  # fmt: skip


@pytest.mark.parametrize("compression", ENCODERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("height", [17, 5])
def test_rows_that_pad_the_last_strip_are_left_out(
    compression: str, dtype: Any, height: int, tmp_path: Path
) -> None:
    """Of a volume every page has such a strip. Pillow and libtiff read them, too."""
    labels = RANDOM.integers(0, 9, (2, height, 5)).astype(dtype)
    full = np.pad(labels, ((0, 0), (0, -height % 16), (0, 0)), constant_values=77)
    strips = (ENCODERS[compression](part.tobytes()) for part in full.reshape(-1, 16, 5))
    about = {"shape": labels.shape, "dtype": dtype, "rowsperstrip": 16, "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", strips, photometric="minisblack", **about)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        for page in file.pages:
            page.tags[278].overwrite(16)  # it writes the height of a lower image
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)
    if dtype == np.uint8 and compression != "zstd":  # which Pillow lacked before 11.3
        assert np.array_equal(np.array(Image.open(tmp_path / "a.tif")), labels[0])


def test_a_predictor_acts_within_the_rows_that_are_left(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (17, 6)).astype(np.uint8)
    differences = np.diff(np.pad(labels, ((0, 15), (0, 0))), axis=1, prepend=0).astype(np.uint8)
    strips = (zlib.compress(part.tobytes()) for part in differences.reshape(2, 16, 6))
    tifffile.imwrite(tmp_path / "a.tif", strips, shape=labels.shape, dtype=np.uint8,
                     rowsperstrip=16, compression="deflate", predictor=2)  # fmt: skip
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


@pytest.mark.parametrize("height", [17, 8])
def test_a_last_strip_of_few_bits_that_is_padded_is_no_lost_depth(
    height: int, tmp_path: Path
) -> None:
    labels = RANDOM.integers(0, 2, (height, 16)).astype(bool)
    full = np.packbits(np.pad(labels, ((0, -height % 16), (0, 0))), axis=1)
    strips = (zlib.compress(part.tobytes()) for part in full.reshape(-1, 16, 2))
    tifffile.imwrite(tmp_path / "a.tif", strips, shape=labels.shape, dtype=bool,
                     rowsperstrip=16, compression="deflate")  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags[278].overwrite(16)  # it writes the height of a lower image
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)


def test_a_damaged_last_strip_is_refused(tmp_path: Path) -> None:
    """Rows that are too many are left out, data with another checksum are not read."""
    labels = RANDOM.integers(0, 9, (17, 5)).astype(np.uint8)
    full = np.pad(labels, ((0, 15), (0, 0))).reshape(2, 16, 5)
    first, last = (zlib.compress(part.tobytes()) for part in full)
    strips = iter([first, last[:-1] + bytes([last[-1] ^ 1])])
    tifffile.imwrite(tmp_path / "a.tif", strips, shape=labels.shape, dtype=np.uint8,
                     rowsperstrip=16, compression="deflate")  # fmt: skip
    with pytest.raises(MaskError) as error:
        read(tmp_path / "a.tif")
    assert error.value.problem.kind == "unreadable"


def write_checked_zstd(path: Path, labels: np.ndarray) -> None:
    """A TIFF whose strip is a Zstandard frame of one raw block, with its checksum."""
    import xxhash

    data = labels.tobytes()
    frame = b"\x28\xb5\x2f\xfd" + bytes([0b10100100]) + struct.pack("<I", len(data))
    frame += (1 | len(data) << 3).to_bytes(3, "little") + data
    frame += struct.pack("<I", xxhash.xxh64_intdigest(data) & 0xFFFFFFFF)
    height, width = labels.shape
    start = 8 + 2 + 9 * 12 + 4
    tags = [(256, width), (257, height), (258, 8), (259, 50000), (262, 1), (273, start), (277, 1),
            (278, height), (279, len(frame))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + frame)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 9, (64, 64)).astype(np.uint8)
    for options in ({}, {"compression": "lzw"}, {"tile": (16, 16)}):
        tifffile.imwrite(tmp_path / "a.tif", labels, **options)
        whole = (tmp_path / "a.tif").read_bytes()
        (tmp_path / "a.tif").write_bytes(whole[:-100])
        with pytest.raises(MaskError) as error:
            read(tmp_path / "a.tif")
        assert error.value.problem.kind == "unreadable"


@pytest.mark.parametrize("compression", ["deflate", "lzw", "packbits", "zstd", "lzma"])
def test_a_bomb_is_refused_before_memory_is_taken(compression: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64), np.uint8), compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        for tag in (256, 257):
            file.pages[0].tags[tag].overwrite(30_000)
        file.pages[0].tags[278].overwrite(30_000)
    with pytest.raises(MaskError, match="decompression bomb"):
        read(tmp_path / "a.tif")


def test_one_strip_that_is_a_bomb_is_found_among_others(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 256, (64, 64)).astype(np.uint8)
    labels[32:] = 0
    tifffile.imwrite(tmp_path / "a.tif", labels, compression="deflate", rowsperstrip=32)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags[256].overwrite(30_000)
    with pytest.raises(MaskError, match="decompression bomb"):
        read(tmp_path / "a.tif")


def test_a_constant_raster_of_any_codec_is_no_bomb(tmp_path: Path) -> None:
    labels = np.full((3000, 3000), 7, np.uint8)
    for compression in ("deflate", "lzw", "packbits", "zstd", "lzma", "lerc"):
        tifffile.imwrite(tmp_path / "a.tif", labels, compression=compression, rowsperstrip=3000)
        assert np.array_equal(read(tmp_path / "a.tif").values, labels)


def test_tiles_that_are_left_out_hold_nodata(tmp_path: Path) -> None:
    labels = np.full((600, 600), 9, np.uint8)
    labels[:100, :100] = 1
    raster(tmp_path / "a.tif", labels, tiled=True, compress="deflate", sparse_ok=True, nodata=9)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert 0 in file.pages[0].databytecounts
    assert np.array_equal(read(tmp_path / "a.tif").values, labels)
