"""PNG decoded by kernels: every filter, depth and width, against rows filtered longhand."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segmetrics.files import MaskError, png, png_runs, read
from segmetrics.files.masks import Buffer, Reading
from segmetrics.files.meaning import to_labels
from segmetrics.files.panoptic import read_segments
from segmetrics.files.png import read_png
from segmetrics.files.png_runs import ColorRuns, read_color_runs

COLORS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def filtered(rows: np.ndarray, filters: list[int], step: int) -> bytes:
    """Rows of bytes behind their filters, after the specification of PNG, section 9.2."""
    rows, out = rows.astype(int), b""
    for y, row in enumerate(rows):
        above = rows[y - 1] if y else np.zeros_like(row)
        left, corner = (
            np.r_[np.zeros(step, int), line[:-step]][: len(row)] for line in (row, above)
        )
        p = left + above - corner
        distances = np.stack([abs(p - left), abs(p - above), abs(p - corner)])
        nearest = np.choose(distances.argmin(0), [left, above, corner])
        predicted = [0 * row, left, above, (left + above) // 2, nearest][filters[y]]
        out += bytes([filters[y]]) + ((row - predicted) % 256).astype(np.uint8).tobytes()
    return out


def png_of(
    size: tuple[int, int], bits: int, color: int, content: bytes, level: int = 6, parts: int = 1
) -> bytes:
    """A PNG longhand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    stream = zlib.compress(content, level)
    cuts = np.linspace(0, len(stream), parts + 1).astype(int)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], bits, color, 0, 0, 0))
        + (chunk(b"PLTE", bytes(range(256)) * 3) if color == 3 else b"")
        + b"".join(chunk(b"IDAT", stream[a:b]) for a, b in pairwise(cuts))
        + chunk(b"IEND", b"")
    )


@given(
    st.sampled_from([(0, b) for b in (1, 2, 4, 8, 16)] + [(3, b) for b in (1, 2, 4, 8)]
                    + [(c, b) for c in (2, 4, 6) for b in (8, 16)]),
    st.integers(1, 40), st.integers(1, 9), st.sampled_from([1, 2, 3, 12]),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_every_filter_gives_the_stored_values(
    tmp_path_factory: pytest.TempPathFactory,
    kind: tuple[int, int],
    width: int,
    height: int,
    block: int,
    seed: int,
) -> None:
    pytest.importorskip("imagecodecs")
    (color, bits), rng = kind, np.random.default_rng(seed)
    samples = COLORS[color]
    few = rng.integers(0, 2**bits, 3)  # flat areas, so that zeros stand in line
    values = few[rng.integers(0, 3, (-(-height // block), -(-width // block), samples))]
    values = values.repeat(block, 0).repeat(block, 1)[:height, :width]
    noisy = rng.random(values.shape) < rng.choice([0, 0.02, 1])
    values = np.where(noisy, rng.integers(0, 2**bits, values.shape), values)
    if bits == 16:
        rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    else:
        packed = values.astype(np.uint8).reshape(height, -1, 1) >> np.arange(bits)[::-1] & 1
        rows = np.packbits(packed.reshape(height, -1), axis=1)
    content = filtered(rows, rng.integers(0, 5, height).tolist(), max(1, samples * bits // 8))
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(png_of((height, width), bits, color, content, parts=rng.integers(1, 4)))
    stored = read_png(path, Reading(), Buffer())
    expected = values if samples > 1 else values[..., 0]
    assert stored.values.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert np.array_equal(stored.values, expected)
    assert stored.bands == {1: "", 2: "LA", 3: "RGB", 4: "RGBA"}[samples]


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16", "RGB", "LA", "RGBA"])
def test_files_of_pillow_are_read_as_pillow_reads_them(
    mode: str, optimize: bool, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).integers(0, 4, (15, 20)).repeat(9, 0).repeat(7, 1)
    image = Image.fromarray(values.astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray((values * 777).astype(np.uint16))
    elif mode == "P":
        image.putpalette(bytes(range(12)))
    else:
        image = image.convert(mode)
    image.save(tmp_path / "a.png", optimize=optimize)
    stored = read_png(tmp_path / "a.png", Reading(), Buffer())
    with Image.open(tmp_path / "a.png") as again:
        assert np.array_equal(stored.values, np.asarray(again))
        assert stored.palette == (again.palette.palette if mode == "P" else b"")


@given(
    st.sampled_from([2, 6]), st.integers(1, 120), st.integers(1, 9),
    st.sampled_from([1, 2, 5, 30]), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_segments_are_runs_of_the_colours_of_pixels(
    tmp_path_factory: pytest.TempPathFactory,
    color: int,
    width: int,
    height: int,
    block: int,
    seed: int,
) -> None:
    rng, size = np.random.default_rng(seed), (height, width)
    some = rng.choice([0, 1, 255, 256, 65536, 2**24 - 1, *rng.integers(0, 2**24, 3)], 4)
    ids = some[rng.integers(0, 4, (-(-height // block), -(-width // block)))]
    ids = ids.repeat(block, 0).repeat(block, 1)[:height, :width]
    ids = np.where(rng.random(size) < rng.choice([0, 0.02, 1]), rng.integers(0, 2**24, size), ids)
    values = ids[..., None] >> np.array([0, 8, 16]) & 255
    if color == 6:  # whose alpha says nothing
        values = np.dstack([values, rng.integers(0, 256, size)])
    filters = rng.choice(5, height, p=rng.permutation([0.5, 0.3, 0.1, 0.1, 0])).tolist()
    content = filtered(values.reshape(height, -1).astype(np.uint8), filters, COLORS[color])
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(png_of(size, 8, color, content))
    assert_runs(read_segments(path, Buffer()), ids)


def test_segments_of_a_size_whose_bytes_overflow_are_too_large(tmp_path: Path) -> None:
    size = 4294705160, 1431743149  # whose rows of RGB have 2**64 + 64 bytes
    (tmp_path / "a.png").write_bytes(png_of(size, 8, 2, bytes(64)))
    assert read_color_runs(tmp_path / "a.png", Buffer()) is None
    with pytest.raises(MaskError, match="4294705160×1431743149"):
        read_segments(tmp_path / "a.png", Buffer())


@pytest.mark.parametrize("kind", range(5))
def test_a_first_row_without_any_difference_is_black(kind: int, tmp_path: Path) -> None:
    rows = bytes([kind]) + bytes(30) + b"\2" + bytes(27) + b"\1\0\0"
    (tmp_path / "a.png").write_bytes(png_of((2, 10), 8, 2, rows))
    ids = np.zeros((2, 10), int)
    ids[1, 9] = 1
    assert_runs(read_segments(tmp_path / "a.png", Buffer()), ids)


def as_colors(ids: np.ndarray) -> np.ndarray:
    return (ids[..., None] >> np.array([0, 8, 16]) & 255).astype(np.uint8)


def assert_runs(found: ColorRuns, ids: np.ndarray) -> None:
    """Each row is cut where the colour changes, and nowhere else."""
    assert found.size == ids.shape
    cut = np.ones(ids.shape, bool)
    cut[:, 1:] = ids[:, 1:] != ids[:, :-1]
    assert found.starts.tolist() == [*np.flatnonzero(cut), ids.size]
    assert found.colors.tolist() == ids[cut].tolist()


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_segments_of_pillows_files_are_those_that_pillow_reads(
    mode: str, optimize: bool, tmp_path: Path
) -> None:
    y, x = np.mgrid[:150, :333]
    rng, ids = np.random.default_rng(1), np.zeros(y.shape, int)
    for number in range(1, 40):  # discs, each of its own colour
        (j, i), r = rng.integers(0, y.shape), rng.integers(1, 40)
        ids[(y - j) ** 2 + (x - i) ** 2 < r * r] = number * 314159 % 2**24
    Image.fromarray(as_colors(ids)).convert(mode).save(tmp_path / "a.png", optimize=optimize)
    assert_runs(read_segments(tmp_path / "a.png", Buffer()), ids)


def test_segments_of_larger_files_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one byte more than what the kernel reads, in the file or its rows; and without it."""
    pytest.importorskip("imagecodecs")
    path, noise = tmp_path / "a.png", np.random.default_rng(2).integers(0, 2**24, (40, 7))
    for ids in (noise, np.zeros((40, 7), int)):
        Image.fromarray(as_colors(ids)).save(path)
        most = max(path.stat().st_size + 1, 40 * 22)
        for room, by_kernel in ((most, True), (most - 1, False)):
            monkeypatch.setattr(png_runs, "MOST", room)
            assert (read_color_runs(path, Buffer()) is not None) == by_kernel
            assert_runs(read_segments(path, Buffer()), ids)
    monkeypatch.setattr(png_runs, "libraries", lambda: None)
    assert_runs(read_segments(path, Buffer()), ids)


@pytest.mark.parametrize(
    ("bits", "color", "content"),
    [(8, 0, bytes(12)), (8, 3, bytes(12)), (16, 2, bytes(62)), (8, 4, bytes(22))],
)
def test_segments_have_colours_of_eight_bits(
    bits: int, color: int, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(png_of((2, 5), bits, color, content))
    with pytest.raises(MaskError, match=r"no colours of 8 bits, which say the ids"):
        read_segments(tmp_path / "a.png", Buffer())


def test_damaged_segments_are_refused(tmp_path: Path) -> None:
    path, row = tmp_path / "a.png", bytes(16)
    sound = png_of((2, 5), 8, 2, row + row)
    damaged = [
        png_of((2, 5), 8, 2, row + b"\5" + row[1:]),  # an unknown filter
        png_of((2, 5), 8, 2, row),  # a row is missing
        sound[:-20],
        sound.replace(b"IDAT", b"IDAT\0", 1)[: len(sound)],
        png_of((30_000, 30_000), 8, 2, row),  # a bomb
        png_of((2**16, 2**16), 8, 2, row),
    ]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(MaskError, match=r"a\.png"):
            read_segments(path, Buffer())
    path.write_bytes(sound)
    assert_runs(read_segments(path, Buffer()), np.zeros((2, 5), int))


def test_an_unknown_filter_is_refused(tmp_path: Path) -> None:
    content = b"\0" + bytes(5) + b"\5" + bytes(5)
    (tmp_path / "a.png").write_bytes(png_of((2, 5), 8, 0, content))
    with pytest.raises(MaskError, match=r"a\.png"):
        read(tmp_path / "a.png")


def test_more_data_than_rows_are_read_as_before(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_of((2, 5), 8, 0, bytes(12) + b"more"))
    assert read(tmp_path / "a.png").values.tolist() == [[0] * 5] * 2


@pytest.mark.parametrize(("bits", "color", "length"), [(4, 2, 14), (3, 0, 6)])
def test_a_depth_that_a_colour_type_has_not_is_refused(
    bits: int, color: int, length: int, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(png_of((2, 4), bits, color, bytes(length)))
    with pytest.raises(MaskError, match=r"a\.png"):
        read(tmp_path / "a.png")


def test_the_memory_of_one_image_serves_the_next(tmp_path: Path) -> None:
    buffer = Buffer()
    for i, size in enumerate([(40, 30), (7, 9), (40, 30)]):
        mask = np.random.default_rng(i).integers(0, 256, size).astype(np.uint8)
        Image.fromarray(mask).save(tmp_path / "a.png")
        stored = read_png(tmp_path / "a.png", Reading(), buffer)
        assert np.array_equal(to_labels(tmp_path / "a.png", stored, Reading()).values, mask)


@pytest.mark.parametrize(("color", "bits"), [(0, 1), (0, 8), (0, 16), (3, 4), (2, 8), (6, 16)])
def test_sound_images_need_no_other_decoder(
    color: int, bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("imagecodecs")

    def other(*_: object) -> None:
        raise AssertionError("decoded by a library, which takes five times as long")

    monkeypatch.setattr(png, "_decoded_by_libraries", other)
    rows = b"\0" + bytes(-(-5 * COLORS[color] * bits // 8))
    path = tmp_path / "a.png"
    path.write_bytes(png_of((2, 5), bits, color, 2 * rows))
    assert not png.read_png(path, Reading(), Buffer()).values.any()
    runs = read_color_runs(path, Buffer())
    assert (runs is None) == ((color, bits) != (2, 8))


def test_a_png_that_is_cut_anywhere_is_named_as_such(tmp_path: Path) -> None:
    whole = png_of((2, 5), 8, 0, bytes(12))
    for kept in range(9, len(whole)):
        (tmp_path / "a.png").write_bytes(whole[:kept])
        with pytest.raises(MaskError, match="the PNG is truncated"):
            read_png(tmp_path / "a.png", Reading(), Buffer())
