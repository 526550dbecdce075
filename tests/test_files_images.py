"""PNG, BMP, PNM, GIF and WebP: stored values or colours that are labels, and what is refused."""

from __future__ import annotations

import json
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from segmetrics import labels
from segmetrics.evaluate.command import app
from segmetrics.evaluate.settings import Readings
from segmetrics.files import Buffer, MaskError, read
from segmetrics.files.agreement import check_palettes
from segmetrics.files.bitmaps import read_bmp, read_pnm
from segmetrics.files.masks import LabelMap, Reading
from segmetrics.files.panoptic import read_segments
from segmetrics.files.png import _Png
from segmetrics.labels import LabelSpace

RANDOM = np.random.default_rng(0)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


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


def refused(folder: Path, *arguments: object) -> str:
    done = run(folder, *arguments)
    assert done.exit_code == 2, done.stdout
    return done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "pt":
        (tmp_path / name).mkdir()
    return tmp_path


def png(path: Path, values: np.ndarray) -> None:
    Image.fromarray(np.asarray(values, np.uint8)).save(path, format="PNG")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(
    size: tuple[int, int], stream: bytes, bits: int = 8, color: int = 0, interlaced: bool = False
) -> bytes:
    """A PNG longhand around compressed rows."""
    height, width = size
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlaced)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


def rows_of(values: np.ndarray, bits: int) -> bytes:
    """Rows of packed samples, each behind a filter byte 0."""
    found = b""
    for row in values.reshape(len(values), -1).tolist():
        line = "".join(format(value, f"0{bits}b") for value in row)
        line += "0" * (-len(line) % 8)
        found += b"\0" + int(line, 2).to_bytes(len(line) // 8, "big")
    return found


def interlaced_rows(values: np.ndarray, bits: int) -> bytes:
    """The seven passes of Adam7, after the specification of PNG, section 8.2."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1)]  # fmt: skip
    parts = [values[top::down, left::right] for top, left, down, right in passes]
    return b"".join(rows_of(part, bits) for part in parts if part.size)


# --- PNG ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 13)])
def test_an_interlaced_png_of_any_depth_gives_the_stored_values(
    bits: int, size: tuple[int, int], tmp_path: Path
) -> None:
    values = RANDOM.integers(0, 2**bits, size)
    stream = zlib.compress(interlaced_rows(values, bits))
    (tmp_path / "a.png").write_bytes(png_of(size, stream, bits, interlaced=True))
    read_values = read(tmp_path / "a.png").values
    assert read_values.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert np.array_equal(read_values, values)


@pytest.mark.parametrize("color", [2, 6])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 13)])
def test_interlaced_segments_are_those_of_the_pixels(
    color: int, size: tuple[int, int], tmp_path: Path
) -> None:
    values = RANDOM.integers(0, 256, (*size, {2: 3, 6: 4}[color]))
    stream = zlib.compress(interlaced_rows(values, 8))
    (tmp_path / "a.png").write_bytes(png_of(size, stream, 8, color, interlaced=True))
    starts, colors, found = read_segments(tmp_path / "a.png", Buffer())
    assert found == size
    ids = values[..., :3] @ [1, 256, 65536]
    assert np.array_equal(np.repeat(colors, np.diff(starts)).reshape(size), ids)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", ["LA", "RGB", "RGBA"])
def test_equal_channels_and_opaque_alpha_are_a_label_map(
    channels: str, depth: int, tmp_path: Path
) -> None:
    values = RANDOM.integers(0, 2**depth, (9, 13))
    planes = [np.full_like(values, 2**depth - 1) if name == "A" else values for name in channels]
    color = {"LA": 4, "RGB": 2, "RGBA": 6}[channels]
    stream = zlib.compress(rows_of(np.stack(planes, -1), depth))
    (tmp_path / "a.png").write_bytes(png_of(values.shape, stream, depth, color))
    assert np.array_equal(read(tmp_path / "a.png").values, values)


def test_labels_in_three_equal_channels_or_in_red_are_scored(folder: Path) -> None:  # row 8
    mask = np.arange(9).reshape(3, 3) % 3
    for name in "pt":
        png(folder / name / "a.png", np.dstack([mask] * 3))
        png(folder / name / "carla.png", np.dstack([mask, 0 * mask, 0 * mask]))
        Image.fromarray(mask.astype(np.uint8)).convert("LA").save(folder / name / "la.png")
    png(folder / "p/a.png", mask)
    found = scores(folder, "--num-classes", 3)
    assert [row["iou"] for row in found["classes"]] == [1, 1, 1]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_are_refused(mode: str, tmp_path: Path) -> None:
    image = Image.new(mode, (4, 3), (1,) * (len(mode) - 1) + (255,))
    image.putpixel((1, 1), (1,) * (len(mode) - 1) + (254,))
    image.save(tmp_path / "a.png")
    with pytest.raises(MaskError, match="1 of 12 pixels are transparent") as error:
        read(tmp_path / "a.png")
    assert error.value.problem.kind == "channels"


def test_an_animation_is_refused(tmp_path: Path) -> None:
    first, second = (Image.fromarray(np.full((8, 8), n, np.uint8)) for n in (0, 9))
    for suffix, options in (("png", {}), ("gif", {}), ("webp", {"lossless": True})):
        path = tmp_path / f"a.{suffix}"
        first.save(path, save_all=True, append_images=[second], **options)
        with pytest.raises(MaskError, match="expected one image") as error:
            read(path)
        assert error.value.problem.kind == "frames"


def test_an_apng_of_one_frame_is_an_image(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    png(tmp_path / "a.png", values)
    whole = (tmp_path / "a.png").read_bytes()
    control = chunk(b"acTL", struct.pack(">II", 1, 0))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 1, 0, 0))
    (tmp_path / "a.png").write_bytes(whole[:33] + control + frame + whole[33:])
    assert np.array_equal(read(tmp_path / "a.png").values, values)


# --- damage ---------------------------------------------------------------------------------------


def test_a_damaged_png_is_refused(folder: Path) -> None:  # row H2b
    mask = np.kron(RANDOM.integers(0, 3, (8, 8)), np.ones((8, 8), int))
    for name in "pt":
        png(folder / name / "a.png", mask)
    whole = bytearray((folder / "p/a.png").read_bytes())
    whole[whole.index(b"IDAT") + 20] ^= 4
    (folder / "p/a.png").write_bytes(whole)
    message = refused(folder, "--num-classes", 3)
    assert "p/a.png: the checksum of a PNG chunk (IDAT) is wrong" in message


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "I;16", "1"])
def test_flipped_bits_of_a_png_are_no_other_labels(mode: str, tmp_path: Path) -> None:
    mask = np.kron(RANDOM.integers(0, 9, (8, 8)), np.ones((4, 4), int)).astype(np.uint8)
    image = Image.fromarray(mask.astype(np.uint16) if mode == "I;16" else mask)
    if mode == "P":
        image.putpalette(bytes(range(27)))
    elif mode in ("RGB", "1"):
        image = image.convert(mode)
    path = tmp_path / "a.png"
    image.save(path)
    whole, expected, numbers = path.read_bytes(), read(path).values, 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[RANDOM.integers(len(whole))] ^= 1 << RANDOM.integers(8)
        path.write_bytes(damaged)
        try:
            assert np.array_equal(read(path).values, expected)
        except MaskError:
            numbers += 1
    assert numbers > 390


@pytest.mark.parametrize("bits", [1, 2, 8, 16])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_of_too_few_rows_is_refused(bits: int, interlaced: bool, tmp_path: Path) -> None:
    values = RANDOM.integers(0, 2**bits, (9, 13))
    rows = interlaced_rows(values, bits) if interlaced else rows_of(values, bits)
    row = 1 + -(-13 * bits // 8)  # which Pillow fills with zeros
    stream = zlib.compress(rows[:-row])
    (tmp_path / "a.png").write_bytes(png_of((9, 13), stream, bits, interlaced=interlaced))
    with pytest.raises(MaskError, match="bytes of pixels, expected") as error:
        read(tmp_path / "a.png")
    assert error.value.problem.kind == "unreadable"


@pytest.mark.parametrize("depth", [8, 16])
def test_a_colour_png_of_too_few_rows_is_refused(depth: int, tmp_path: Path) -> None:
    rows = rows_of(np.repeat(RANDOM.integers(0, 9, (9, 13)), 3, 1), depth)
    stream = zlib.compress(rows[: -len(rows) // 9])
    (tmp_path / "a.png").write_bytes(png_of((9, 13), stream, depth, 2))
    with pytest.raises(MaskError, match="bytes of pixels, expected"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("bits", [1, 2, 8, 16])
def test_an_interlaced_png_has_as_many_bytes_as_its_seven_passes(bits: int) -> None:
    for height, width in np.ndindex(10, 10):
        values = np.zeros((height, width), int)
        png_ = _Png((height, width), bits, 0, True, b"", b"")
        assert png_.bytes == len(interlaced_rows(values, bits))


def test_a_last_row_of_any_value_is_a_row(tmp_path: Path) -> None:
    for value in range(256):
        values = np.full((3, 5), value, np.uint8)
        png(tmp_path / "a.png", values)
        assert np.array_equal(read(tmp_path / "a.png").values, values)


def test_a_damaged_end_of_the_stream_is_refused(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 9, (9, 13))
    stream = bytearray(zlib.compress(rows_of(values, 8)))
    stream[-1] ^= 1  # Adler-32, all checksums of chunks being right
    (tmp_path / "a.png").write_bytes(png_of((9, 13), bytes(stream)))
    with pytest.raises(MaskError):
        read(tmp_path / "a.png")


# --- size -----------------------------------------------------------------------------------------


def test_honest_masks_of_any_size_up_to_a_billion_pixels_are_read(folder: Path) -> None:  # row H3
    rows = zlib.compressobj(1)
    row = b"\0" + bytes(np.repeat(np.arange(14), 1000).astype(np.uint8))
    stream = b"".join(rows.compress(row) for _ in range(14_000)) + rows.flush()
    (folder / "p/a.png").write_bytes(png_of((14_000, 14_000), stream))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read(folder / "p/a.png").values
    assert found.shape == (14_000, 14_000)
    assert found[-1, ::1000].tolist() == list(range(14))


def test_a_bomb_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_of((30_000, 30_000), zlib.compress(bytes(10_000))))
    with pytest.raises(MaskError, match="decompression bomb"):
        read(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(png_of((60_000, 60_000), zlib.compress(bytes(10_000))))
    with pytest.raises(MaskError, match="3,600,000,000 pixels") as error:
        read(tmp_path / "a.png")
    assert error.value.problem.kind == "large"


def test_pillows_limit_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    values = RANDOM.integers(0, 9, (40, 50)).astype(np.uint8)
    for suffix in ("png", "gif", "bmp", "pgm"):
        Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    errors: list[Exception] = []

    def work() -> None:
        for suffix in ("png", "gif", "bmp", "pgm"):
            try:
                assert read(tmp_path / f"a.{suffix}").values.shape == (40, 50)
            except Exception as error:  # noqa: PERF203
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert Image.MAX_IMAGE_PIXELS == 100


# --- other formats --------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("used", [2, 0, 300])  # 0 stands for all, and no more are there
@pytest.mark.parametrize("flipped", [False, True])
def test_a_bmp_gives_its_indices(bits: int, used: int, flipped: bool, tmp_path: Path) -> None:
    count = 2 if used == 2 else 2**bits
    values = RANDOM.integers(0, count, (9, 13))
    width = (13 * bits + 31) // 32 * 32 // bits
    padded = np.zeros((9, width), int)
    padded[:, :13] = values
    data = b"".join(rows_of(row[None], bits)[1:] for row in (padded if flipped else padded[::-1]))
    # black and white, by which Pillow takes 8 bits for 1
    palette = b"".join(bytes([level] * 3 + [0]) for level in np.linspace(0, 255, count, dtype=int))
    start = 54 + len(palette)
    info = struct.pack(
        "<IiiHHIIiiII", 40, 13, -9 if flipped else 9, 1, bits, 0, len(data), 0, 0, used, 0
    )
    header = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start)
    (tmp_path / "a.bmp").write_bytes(header + info + palette + data)
    assert np.array_equal(read(tmp_path / "a.bmp").values, values)
    found = read_bmp(tmp_path / "a.bmp", Reading(), Buffer()).palette
    assert found == np.linspace(0, 255, count, dtype=int).astype(np.uint8).repeat(3).tobytes()


@pytest.mark.parametrize("bits", [24, 32])
@pytest.mark.parametrize("height", [5, -5])
def test_a_bmp_of_colours_gives_them(bits: int, height: int, tmp_path: Path) -> None:
    colors = RANDOM.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    stored = np.zeros((5, -(-7 * bits // 32) * 4), np.uint8)  # blue, green, red; rows of words
    pixels = np.zeros((5, 7, bits // 8), np.uint8)
    pixels[..., :3] = colors[..., ::-1]
    stored[:, : 7 * bits // 8] = pixels.reshape(5, -1)
    info = struct.pack("<IiiHHIIiiII", 40, 7, height, 1, bits, 0, stored.size, 0, 0, 0, 0)
    header = struct.pack("<2sIHHI", b"BM", 54 + stored.size, 0, 0, 54)
    data = (stored if height < 0 else stored[::-1]).tobytes()
    (tmp_path / "a.bmp").write_bytes(header + info + data)
    found = read_bmp(tmp_path / "a.bmp", Reading(), Buffer())
    assert found.bands == "RGB"
    assert np.array_equal(found.values, colors)


def test_a_bmp_of_os_2_gives_its_indices_and_colours(tmp_path: Path) -> None:
    """Its header is shorter, and an entry of its palette has three bytes."""
    values = RANDOM.integers(0, 16, (5, 7))
    palette = RANDOM.integers(0, 256, (16, 3)).astype(np.uint8)
    data = b"".join(rows_of(np.pad(row, (0, 1))[None], 4)[1:] for row in values[::-1])
    header = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 26 + palette.size)
    info = struct.pack("<IHHHH", 12, 7, 5, 1, 4)
    (tmp_path / "a.bmp").write_bytes(header + info + palette[:, ::-1].tobytes() + data)
    found = read_bmp(tmp_path / "a.bmp", Reading(), Buffer())
    assert np.array_equal(found.values, values)
    assert found.palette == palette.tobytes()


@pytest.mark.parametrize("bits", [0, 3, 9, 16])
def test_a_bmp_of_other_bits_is_refused(bits: int, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.bmp")
    whole = bytearray((tmp_path / "a.bmp").read_bytes())
    whole[28] = bits
    (tmp_path / "a.bmp").write_bytes(whole)
    with pytest.raises(MaskError, match=f"BMP of {bits} bits"):
        read(tmp_path / "a.bmp")


@pytest.mark.parametrize("largest", [255, 256])
@pytest.mark.parametrize("text", [False, True])
def test_a_ppm_gives_its_colours(largest: int, text: bool, tmp_path: Path) -> None:
    colors = RANDOM.integers(0, largest + 1, (5, 7, 3))
    header = f"P{3 if text else 6} 7 5 {largest}\n".encode()
    binary = colors.astype(np.uint8 if largest < 256 else ">u2").tobytes()
    body = " ".join(map(str, colors.ravel())).encode() if text else binary
    (tmp_path / "a.ppm").write_bytes(header + body)
    found = read_pnm(tmp_path / "a.ppm", Reading(), Buffer())
    assert found.bands == "RGB"
    assert np.array_equal(found.values, colors)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"P2 2 1 0 0 0", "values up to 0, expected 1 to 65535"),
        (b"P2 2 1 65536 0 0", "values up to 65536"),
        (b"P2 2 1 8 0 9", "value 9, the header says 8"),
        (b"P5 two", "the header of the PNM is damaged"),
    ],
)
def test_a_damaged_pnm_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(content)
    with pytest.raises(MaskError, match=message):
        read(tmp_path / "a.pgm")


def test_a_run_length_coded_bmp_is_refused(tmp_path: Path) -> None:
    png(tmp_path / "a.bmp", np.zeros((8, 8)))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.bmp")
    whole = bytearray((tmp_path / "a.bmp").read_bytes())
    whole[30] = 1
    (tmp_path / "a.bmp").write_bytes(whole)
    with pytest.raises(MaskError, match="compression 1"):
        read(tmp_path / "a.bmp")


@pytest.mark.parametrize("largest", [1, 20, 255, 256, 65535])
@pytest.mark.parametrize("text", [False, True])
def test_a_pgm_is_not_scaled_by_its_largest_value(largest: int, text: bool, tmp_path: Path) -> None:
    values = RANDOM.integers(0, largest + 1, (9, 13))
    header = f"P{2 if text else 5}\n# 7 8 comment\n13 9\n# another\n{largest}\n".encode()
    binary = values.astype(np.uint8 if largest < 256 else ">u2").tobytes()
    data = " ".join(map(str, values.ravel())).encode() if text else binary
    (tmp_path / "a.pgm").write_bytes(header + data)
    assert np.array_equal(read(tmp_path / "a.pgm").values, values)


def test_a_pbm_is_read_as_image_libraries_write_it(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 2, (9, 13)).astype(bool)
    Image.fromarray(values).save(tmp_path / "a.pbm")
    assert np.array_equal(read(tmp_path / "a.pbm").values, values)
    for width in (1, 5, 8, 13):  # rows of whole bytes, and more behind them
        packed = np.packbits(~values[:, :width], axis=1).tobytes()
        (tmp_path / "c.pbm").write_bytes(f"P4 {width} 9\n".encode() + packed + b"\0\n")
        assert np.array_equal(read(tmp_path / "c.pbm").values, values[:, :width])
    text = "\n".join("".join("01"[not value] for value in row) for row in values)
    (tmp_path / "b.pbm").write_text(f"P1\n13 9\n{text}\n")
    assert np.array_equal(read(tmp_path / "b.pbm").values, values)


def test_a_gif_gives_its_indices(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 3, (40, 50)).astype(np.uint8)
    for interlace in (0, 1):
        image = Image.fromarray(values)
        image.putpalette(bytes([0, 0, 0, 128, 0, 0, 0, 128, 0]))
        image.save(tmp_path / "a.gif", optimize=False, interlace=interlace)
        assert np.array_equal(read(tmp_path / "a.gif").values, values)


def test_a_gif_of_more_than_a_billion_pixels_is_too_large(tmp_path: Path) -> None:
    Image.new("P", (4, 5)).save(tmp_path / "a.gif")
    data = bytearray((tmp_path / "a.gif").read_bytes())
    data[6:10] = struct.pack("<2H", 40_000, 40_000)
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(MaskError, match="40000×40000, 1,600,000,000 pixels"):
        read(tmp_path / "a.gif")


def test_a_lossless_webp_of_equal_channels_is_a_label_map(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 21, (40, 50)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.webp", lossless=True)
    assert np.array_equal(read(tmp_path / "a.webp").values, values)


@pytest.mark.parametrize("options", [{}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}])
def test_a_lossy_webp_is_refused(options: dict[str, bytes], tmp_path: Path) -> None:
    for mode in ("RGB", "RGBA"):
        Image.new(mode, (40, 50)).save(tmp_path / "a.webp", quality=100, **options)
        with pytest.raises(MaskError, match="lossy WebP"):
            read(tmp_path / "a.webp")


# --- content and suffix ---------------------------------------------------------------------------


def test_jpeg_under_any_name_is_refused(folder: Path) -> None:  # row H21
    mask = np.kron(RANDOM.integers(0, 2, (8, 8)), np.full((8, 8), 15)).astype(np.uint8)
    for suffix in ("png", "tif", "bmp", "gif", "webp", "pgm"):
        png(folder / f"t/{suffix}.png", mask)
        Image.fromarray(mask).save(folder / f"p/{suffix}.{suffix}", format="JPEG", quality=95)
    message = refused(folder, "--labels", "voc")
    assert "files in a format that is not read as masks: 6" in message
    named = re.findall(r"p/(\w+\.\w+): its content is JPEG, not (\w+)", message)
    assert named == [  # in this order, whichever worker is first
        ("bmp.bmp", "BMP"), ("gif.gif", "GIF"), ("pgm.pgm", "PNM"), ("png.png", "PNG"),
        ("tif.tif", "TIFF"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        (b"PK\3\4\0\0", "ZIP"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\x93NUMPY\1\0", "NPY"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_content_that_is_no_image_is_named(
    content: bytes, kind: str, folder: Path
) -> None:  # row H29
    png(folder / "t/a.png", np.zeros((8, 8)))
    (folder / "p/a.png").write_bytes(content)
    assert f"p/a.png: its content is {kind}, not PNG" in refused(folder, "--num-classes", 2)


@pytest.mark.parametrize("content", [b"\0\0\1\0\1\0", b"<svg/>" * 99, bytes(500), b"\x89PNG\n"])
def test_content_of_no_known_kind_is_no_png(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(MaskError, match="its content is no PNG"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF", "PPM", "WEBP"])
@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp"])
def test_an_image_under_another_images_name_is_read(kind: str, suffix: str, tmp_path: Path) -> None:
    values = RANDOM.integers(0, 9, (20, 30)).astype(np.uint8)
    options = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(values).save(tmp_path / f"a.{suffix}", format=kind, **options)
    found = read(tmp_path / f"a.{suffix}").values
    if kind == "GIF":  # Pillow drops entries of the palette that are not used
        return
    assert np.array_equal(found, values)


# --- colours --------------------------------------------------------------------------------------


def test_masks_in_vocs_colours_are_read(folder: Path) -> None:  # row 7
    values = np.arange(21).reshape(3, 7)
    colors = np.array(labels.VOC.colors, np.uint8)
    for name in "pt":
        image = colors[values]
        png(folder / name / "a.png", image)
    image[0, 0] = 224, 224, 192  # void
    png(folder / "t/a.png", image)
    png(folder / "p/b.png", values)  # and next to indices
    png(folder / "t/b.png", colors[values])
    found = scores(folder, "--labels", "voc")
    assert [row["iou"] for row in found["classes"]] == [1] * 21
    assert found["pixels"] == 41


@pytest.mark.parametrize("name", ["cityscapes", "cityscapes-train-ids", "ade20k"])
@pytest.mark.parametrize("options", [[], ["--preds-are-classes"]])
def test_colours_stand_for_the_values_of_their_classes(
    name: str, options: list[str], folder: Path
) -> None:
    space: LabelSpace = {
        "cityscapes": labels.CITYSCAPES,
        "cityscapes-train-ids": labels.CITYSCAPES_TRAIN_IDS,
        "ade20k": labels.ADE20K,
    }[name]
    classes = [c for c, color in enumerate(space.colors) if space.colors.count(color) == 1]
    colors = np.array(space.colors, np.uint8)[[classes, classes]]
    target = colors.copy()
    target[0, :3] = 0  # black is void there
    png(folder / "p/a.png", colors)
    png(folder / "t/a.png", target)
    found = scores(folder, "--labels", name, *options)
    assert found["pixels"] == 2 * len(classes) - 3
    assert found["scores"]["pixel_accuracy"] == 1
    if not options and name != "cityscapes-train-ids":  # colours against values
        value = {c: v for v, c in (space.id_to_class or {}).items()}
        png(folder / "t/a.png", np.array([[value[c] for c in classes]] * 2))
        assert scores(folder, "--labels", name)["scores"]["pixel_accuracy"] == 1


@pytest.mark.parametrize(
    ("unknown", "nearest"), [((129, 0, 1), (128, 0, 0)), ((255, 240, 200), (224, 224, 192))]
)
def test_an_unknown_colour_is_named_with_the_nearest(
    unknown: tuple[int, ...], nearest: tuple[int, ...], folder: Path
) -> None:
    image = np.array(labels.VOC.colors, np.uint8)[np.arange(21).reshape(3, 7)]
    png(folder / "t/a.png", image)
    image[1, 1:3] = unknown
    png(folder / "p/a.png", image)
    message = refused(folder, "--labels", "voc")
    assert f"no label has the colour {unknown} (2 pixels); the nearest is {nearest}" in message


def test_a_colour_of_two_classes_is_named(folder: Path) -> None:
    road = np.full((4, 5, 3), 140, np.uint8)  # grey, as of the label 140
    road[0] = 0  # void
    png(folder / "t/a.png", np.full((4, 5), 7))
    png(folder / "p/a.png", road)
    assert "several labels have the colour (140, 140, 140) (15 pixels)" in refused(
        folder, "--labels", "ade20k"
    )


def test_colours_of_a_file_are_labels_and_others_are_not(folder: Path) -> None:
    image = np.array([[[9, 9, 0], [0, 9, 9]]], np.uint8)
    for name in "pt":
        png(folder / name / "a.png", image)
    space: dict[str, object] = {"names": ["a", "b"], "id_to_class": {"5": "a", "6": "b"}}
    (folder / "without.json").write_text(json.dumps(space))
    assert "RGB, 3 channels" in refused(folder, "--labels", folder / "without.json")
    (folder / "with.json").write_text(json.dumps(space | {"colors": ["#090900", "#000909"]}))
    found = scores(folder, "--labels", folder / "with.json")
    assert [row["pixels"] for row in found["classes"]] == [1, 1]
    assert "RGB, 3 channels" in refused(folder, "--num-classes", 2)
    opaque = np.concatenate([image, np.full((1, 2, 1), 255, np.uint8)], axis=2)
    for name in "pt":
        png(folder / name / "a.png", opaque)
    assert "a.png: RGB, 3 channels" in refused(folder, "--num-classes", 2)


def test_a_grey_image_that_could_be_colours_or_labels_is_refused(tmp_path: Path) -> None:
    space = LabelSpace(["a", "b", "c"], [(0, 0, 0), (2, 2, 2), (1, 1, 1)])
    reading = Readings.of_colors(space).target
    png(tmp_path / "a.png", np.full((4, 5, 3), 2))
    with pytest.raises(MaskError, match="as colours and as numbers"):
        read(tmp_path / "a.png", reading)
    png(tmp_path / "a.png", np.full((4, 5), 2))
    assert (read(tmp_path / "a.png", reading).values == 2).all()


def test_a_palette_stays_indices_where_colours_are_labels(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 21, (9, 13)).astype(np.uint8)
    image = Image.fromarray(values)
    image.putpalette(np.array(labels.VOC.colors, np.uint8)[::-1].tobytes())
    image.save(tmp_path / "a.png")
    found = read(tmp_path / "a.png", Readings.of_colors(labels.VOC).target)
    assert np.array_equal(found.values, values)


# --- palettes -------------------------------------------------------------------------------------

PALETTE = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)


def with_palette(path: Path, values: np.ndarray, palette: np.ndarray) -> None:
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(palette.tobytes())
    image.save(path)


def test_palettes_that_give_colours_other_indices_are_named(folder: Path) -> None:  # row 9
    mask = RANDOM.integers(0, 3, (32, 32))
    with_palette(folder / "t/a.png", mask, PALETTE)
    with_palette(folder / "t/b.png", mask, PALETTE)
    with_palette(folder / "p/a.png", 2 - mask, PALETTE[::-1])
    adaptive = Image.fromarray(PALETTE[mask]).convert("P", palette=Image.Palette.ADAPTIVE, colors=3)
    adaptive.save(folder / "p/b.png")
    message = refused(folder, "--num-classes", 3)
    assert "palette gives the target's colours other indices: 2" in message
    assert "p/a.png: (0, 128, 0) has the index 0, in its target 2" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda mask, colors: (mask, colors[::-1] // 2 + 9),  # other colours altogether
        lambda mask, colors: (mask, np.vstack([colors, colors[:1]])),  # one that is not used
        lambda mask, colors: (np.zeros_like(mask), np.array([[0, 0, 0], [0, 128, 0], [128, 0, 0]])),
    ],
)
def test_palettes_of_other_colours_or_unused_entries_are_fine(
    change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], folder: Path
) -> None:
    mask = RANDOM.integers(0, 3, (32, 32))
    with_palette(folder / "t/a.png", mask, PALETTE)
    values, colors = change(mask, PALETTE)
    with_palette(folder / "p/a.png", values, colors.astype(np.uint8))
    assert scores(folder, "--num-classes", 3)["pixels"] == 1024


def test_an_incomplete_last_colour_of_a_palette_is_none() -> None:
    values = np.array([[0, 1], [2, 3]], np.uint8)
    masks = [LabelMap(values, palette=bytes(range(9)) + rest) for rest in (b"", b"\7", b"\7\7")]
    for preds in masks:
        check_palettes(preds, masks[0], Path("a.png"))
    with pytest.raises(MaskError, match=r"\(0, 1, 2\) has the index 3, in its target 0"):
        check_palettes(masks[0]._replace(palette=bytes(9) + bytes(range(3))), masks[1], Path("a"))


def test_indices_of_classes_may_have_another_palette_than_ids(folder: Path) -> None:
    space = {"names": ["a", "b"], "id_to_class": {"1": "b", "2": "a"}}
    (folder / "space.json").write_text(json.dumps(space))
    with_palette(folder / "t/a.png", np.array([[1, 2]]), PALETTE)
    with_palette(folder / "p/a.png", np.array([[1, 0]]), PALETTE[[2, 1, 0]])
    found = scores(folder, "--labels", folder / "space.json", "--preds-are-classes")
    assert found["scores"]["mIoU"] == 1


def test_a_png_of_16_bits_a_channel_keeps_them(tmp_path: Path) -> None:
    values = np.stack([RANDOM.integers(0, 60_000, (9, 13)).astype(np.uint16)] * 3, -1)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    assert np.array_equal(read(tmp_path / "a.png").values, values[..., 0])
    stream = zlib.compress(interlaced_rows(values, 16))
    (tmp_path / "a.png").write_bytes(png_of((9, 13), stream, 16, 2, interlaced=True))
    assert np.array_equal(read(tmp_path / "a.png").values, values[..., 0])
