"""Random label maps in every image format, and all its variants, are read back or refused.

``SEGMETRICS_DRAWS`` says how many are drawn, by default 500 of all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from segmetrics.files import MaskError, read

DRAWS = int(os.environ.get("SEGMETRICS_DRAWS", 500))
Draw = st.DrawFn
quickly = settings(
    max_examples=DRAWS // 4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
pytestmark = pytest.mark.filterwarnings("ignore")

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
          "float16", "float32", "float64"]  # fmt: skip


#: Compressions of tifffile with which a predictor goes.
PREDICTED = ("deflate", "lzw", "packbits", "lzma", "zstd")


#: Bits a sample that GDAL packs.
PACKED = {"uint8": (1, 7), "uint16": (9, 15), "uint32": (17, 31)}


@st.composite
def maps(draw: Draw, dtype: str, bits: int | None = None, volumes: bool = False) -> np.ndarray:
    """Labels in blocks, as masks have them, with the values that the type has."""
    least = 2 if volumes else 1  # tifffile squeezes volumes
    size = draw(st.integers(least, 70)), draw(st.integers(least, 70))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = np.dtype(dtype)
    if kind.kind == "f":
        low, high = 0, 2**11
    elif kind.kind == "b":
        low, high = 0, 2
    else:
        low, high = np.iinfo(kind).min, np.iinfo(kind).max + 1
    if bits is not None:
        low, high = 0, 2**bits
    if draw(st.booleans()):
        low, high = max(low, 0), min(high, 21)
    depth = draw(st.integers(2, 4)) if volumes else 1
    draws = [random.integers(low, high - 1, (depth, *size), endpoint=True, dtype=np.uint64
                             if high > 2**63 else np.int64)]  # fmt: skip
    values = np.repeat(draws[0], draw(st.integers(1, 4)), 1)[:, : size[0]].astype(kind)
    return values if volumes else values[0]


def check(path: Path, expected: np.ndarray) -> None:
    """The same labels, or a refusal in words."""
    try:
        found = read(path).values
    except MaskError as error:
        assert "Error" not in str(error)  # noqa: PT017
        event(f"refused: {error.problem.kind} {str(error).partition(': ')[2][:60]}")
        return
    event("read")
    assert found.dtype.isnative
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


@quickly
@given(data=st.data())
def test_tiffs_of_tifffile(data: st.DataObject, tmp_path: Path) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    unsigned = dtype in ("uint8", "uint16", "uint32")
    bits = None
    if unsigned and data.draw(st.integers(0, 3)) == 0:
        bits = data.draw(st.integers(2, 8 * np.dtype(dtype).itemsize))
    volume = data.draw(st.booleans())
    values = data.draw(maps(dtype, bits, volume))
    compression = data.draw(
        st.sampled_from([None, "deflate", "lzw", "packbits", "lzma", "zstd", "lerc", "png",
                         "jpeg2000", "jpegxl", "jpeg"])
    )  # fmt: skip
    whole = bits is None or bits in (8, 16, 32)
    if not whole or dtype == "bool":
        compression = data.draw(st.sampled_from([None, "packbits", "deflate"]))
    options: dict[str, Any] = {
        "photometric": data.draw(st.sampled_from(["minisblack", "miniswhite"])),
        "byteorder": data.draw(st.sampled_from("<>")),
        "bigtiff": data.draw(st.booleans()),
        "metadata": data.draw(st.sampled_from([None, {}])),
        "compression": compression,
        "predictor": compression in PREDICTED
        and whole
        and dtype != "bool"
        and data.draw(st.booleans()),
    }
    if not whole:  # which tifffile packs with swapped bytes if the file is big-endian
        options |= {"bitspersample": bits, "byteorder": "<"}
    if data.draw(st.booleans()):
        options["tile"] = data.draw(st.sampled_from([(16, 16), (16, 32), (64, 16)]))
    else:
        options["rowsperstrip"] = data.draw(st.integers(1, 80))
    try:
        tifffile.imwrite(tmp_path / "a.tif", values, **options)
    except (ValueError, NotImplementedError, RuntimeError, KeyError, TypeError):
        event("not written")
        return
    check(tmp_path / "a.tif", values)


@quickly
@given(data=st.data())
def test_tiffs_of_gdal(data: st.DataObject, tmp_path: Path) -> None:
    dtype = data.draw(st.sampled_from([d for d in DTYPES if d not in ("bool", "float16")]))
    bits = None
    if dtype in PACKED and data.draw(st.booleans()):
        bits = data.draw(st.integers(*PACKED[dtype]))
    values = data.draw(maps(dtype, bits))
    compression = data.draw(
        st.sampled_from(["none", "deflate", "lzw", "packbits", "lzma", "zstd", "lerc",
                         "lerc_zstd", "lerc_deflate", "jpeg", "ccittfax4"])
    )  # fmt: skip
    predictors = [1, 2, 3] if dtype.startswith("float") else [1, 2]
    options: dict[str, Any] = {
        "compress": compression,
        "predictor": data.draw(st.sampled_from(predictors)),
        "endianness": data.draw(st.sampled_from(["LITTLE", "BIG"])),
        "interleave": data.draw(st.sampled_from(["pixel", "band"])),
        "photometric": data.draw(st.sampled_from(["minisblack", "miniswhite"])),
        "bigtiff": data.draw(st.sampled_from(["YES", "NO"])),
        "driver": data.draw(st.sampled_from(["GTiff", "GTiff", "COG"])),
        "sparse_ok": data.draw(st.booleans()),
    }
    if data.draw(st.booleans()):
        options |= {"tiled": True, "blockxsize": 32, "blockysize": 16}
    if bits:
        options["nbits"] = bits
    if options["driver"] == "COG":
        options = {"driver": "COG", "compress": compression, "blocksize": 128}
    try:
        with rasterio.open(
            tmp_path / "a.tif", "w", count=1, dtype=dtype, height=values.shape[0],
            width=values.shape[1], **options,
        ) as file:  # fmt: skip
            file.write(values[None])
        with rasterio.open(tmp_path / "a.tif") as file:
            if options.get("compress") != "jpeg" and not np.array_equal(file.read(1), values):
                event("GDAL reads something else than it wrote: 1 bit in LERC")
                return
    except (rasterio.errors.RasterioError, rasterio._err.CPLE_BaseError):
        event("not written")
        return
    check(tmp_path / "a.tif", values)


@quickly
@given(data=st.data())
def test_images_of_pillow(data: st.DataObject, tmp_path: Path) -> None:
    suffix = data.draw(st.sampled_from(["png", "bmp", "gif", "pgm", "pbm", "ppm", "webp", "tif"]))
    mode = data.draw(st.sampled_from(["L", "P", "1", "I;16", "RGB", "LA", "RGBA"]))
    dtype = {"1": "bool", "I;16": "uint16"}.get(mode, "uint8")
    bits = data.draw(st.sampled_from([1, 2, 4, 8])) if mode == "P" else None
    values = data.draw(maps(dtype, bits))
    image = Image.fromarray(values)
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    if mode == "P":
        random = np.random.default_rng(0)
        image.putpalette(random.integers(0, 256, 3 * 2**bits).astype(np.uint8).tobytes())
        options |= {"bits": bits} if suffix == "png" else {}
    elif mode not in ("L", "1", "I;16"):
        image = image.convert(mode)
    if suffix == "gif":
        options |= {"optimize": False, "interlace": data.draw(st.integers(0, 1))}
        if mode != "P" or len(np.unique(values)) < 2**bits:
            return  # Pillow drops entries of the palette that are not used
    if suffix == "tif":
        options["compression"] = data.draw(
            st.sampled_from([None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "group4", "jpeg",
                             "zstd", "lzma"])
        )  # fmt: skip
    if suffix == "webp" and mode in ("P", "1", "I;16"):
        return  # written as colours
    try:
        image.save(tmp_path / f"a.{suffix}", **options)
    except (OSError, ValueError, KeyError, RuntimeError):
        event("not written")
        return
    with Image.open(tmp_path / f"a.{suffix}") as stored:
        if suffix in ("pgm", "ppm", "pbm") and stored.mode != mode and mode not in ("I;16", "1"):
            event("written in another mode")
    check(tmp_path / f"a.{suffix}", values)


@quickly
@given(data=st.data())
def test_images_of_imageio(data: st.DataObject, tmp_path: Path) -> None:
    suffix = data.draw(st.sampled_from(["png", "bmp", "tif", "tiff", "pgm"]))
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "bool", "int32", "float32"]))
    values = data.draw(maps(dtype))
    channels = data.draw(st.sampled_from([1, 1, 3])) if dtype == "uint8" else 1
    image = values if channels == 1 else np.stack([values] * 3, -1)
    try:
        imageio.imwrite(tmp_path / f"a.{suffix}", image)
    except (OSError, ValueError, TypeError, KeyError):
        event("not written")
        return
    stored = imageio.imread(tmp_path / f"a.{suffix}")
    if suffix == "pgm" and not np.array_equal(stored, image):
        event("changed by the writer")
        return
    check(tmp_path / f"a.{suffix}", values)
