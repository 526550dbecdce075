"""Pairs of PNGs that one kernel reads and counts: its counts, and what it leaves to the readers."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from commands import finish, start
from segmetrics import LabelSpace, labels
from segmetrics.evaluate import png_pairs
from segmetrics.evaluate.counter import UNCOUNTED, Counted, Counter
from segmetrics.evaluate.folders import evaluate
from segmetrics.evaluate.models import evaluate_models
from segmetrics.evaluate.settings import NotScored, Settings
from segmetrics.files import ClassFiles, MaskError, Pair, png_files
from test_files_png import filtered, png_of

pytest.importorskip("imagecodecs")  # whose functions the kernel calls

THREE = Settings(LabelSpace([*"abc"], ignore_index=255))
SIZE = 12, 20


def counted(pairs: Sequence[Pair], settings: Settings = THREE) -> list[Counted | None]:
    count = Counter(settings).many()
    assert count is not None
    return count(pairs)


def confusion(preds: np.ndarray, target: np.ndarray) -> list[list[int]]:
    """The counts ``(3, 4)`` of three classes, longhand; 255 does not count, or is an abstention."""
    table = [[0] * 4 for _ in range(3)]
    for p, t in zip(preds.ravel().tolist(), target.ravel().tolist(), strict=True):
        if t != 255:
            table[t][3 if p == 255 else p] += 1
    return table


def blocks(rng: np.random.Generator, size: tuple[int, int], block: int) -> np.ndarray:
    """Labels in blocks, with a few pixels of their own."""
    values = rng.choice([0, 1, 2, 255], [-(-length // block) for length in size])
    values = values.repeat(block, 0).repeat(block, 1)[: size[0], : size[1]]
    alone = rng.random(size) < 0.05
    return np.where(alone, rng.choice([0, 1, 2, 255], size), values).astype(np.uint8)


@pytest.fixture
def sound(tmp_path: Path) -> Pair:
    """A pair of grey images."""
    rng = np.random.default_rng(0)
    for name in ("p.png", "t.png"):
        Image.fromarray(blocks(rng, SIZE, 5)).save(tmp_path / name)
    return Pair("sound", tmp_path / "p.png", tmp_path / "t.png")


def spoiled(pair: Pair, content: bytes) -> Pair:
    """A pair with another prediction."""
    path = pair.preds.with_name("spoiled.png")
    path.write_bytes(content)
    return Pair("spoiled", path, pair.target)


# --- what is counted ------------------------------------------------------------------------------


@given(
    st.integers(1, 150), st.integers(1, 40), st.sampled_from([1, 3, 20]),
    st.tuples(*[st.sampled_from([0, 3])] * 2), st.integers(1, 4), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_counts_are_those_of_the_pixels_whatever_filters_and_chunks(
    tmp_path_factory: pytest.TempPathFactory,
    width: int,
    height: int,
    block: int,
    colors: tuple[int, int],
    parts: int,
    seed: int,
) -> None:
    rng, size, folder = np.random.default_rng(seed), (height, width), tmp_path_factory.mktemp("p")
    masks = [blocks(rng, size, block) for _ in range(2)]
    paths = folder / "pred.PNG", folder / "target.png"
    for path, mask, color in zip(paths, masks, colors, strict=True):
        filters = rng.choice(5, height, p=rng.permutation([0.5, 0.3, 0.1, 0.1, 0])).tolist()
        path.write_bytes(png_of(size, 8, color, filtered(mask, filters, 1), parts=parts))
    [found] = counted([Pair("a", *paths)])
    assert found is not None
    expected = confusion(*masks)
    assert found.sums[:12].reshape(3, 4).tolist() == expected
    assert found.sums[UNCOUNTED] == height * width - np.sum(expected)
    assert (found.sums == Counter(THREE).count(Pair("a", *paths)).sums).all()


def test_pairs_of_a_call_are_counted_each_by_itself(tmp_path: Path) -> None:
    """Of several sizes, targets that several predictions have, and names that are not UTF-8."""
    rng, pairs, masks = np.random.default_rng(0), [], []
    for i, size in enumerate([(40, 50), (3, 2), (90, 71)]):
        target = blocks(rng, size, 4)
        target_path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/t\xe9%d.png" % i))
        Image.fromarray(target).save(target_path)
        for j in range(3):
            masks.append((blocks(rng, size, 4), target))
            pairs.append(Pair(f"{i}{j}", tmp_path / f"{i}{j}.png", target_path))
            Image.fromarray(masks[-1][0]).save(pairs[-1].preds)
    pairs[4].preds.write_bytes(b"damaged")
    found = counted(pairs)
    assert found[4] is None
    for i, (one, both) in enumerate(zip(found, masks, strict=True)):
        if i != 4:
            assert one is not None
            assert one.sums[:12].reshape(3, 4).tolist() == confusion(*both)


def test_mapped_ids_and_abstentions_are_counted_as_by_the_readers(tmp_path: Path) -> None:
    space = replace(labels.CITYSCAPES, map_preds=True)
    rng = np.random.default_rng(0)
    for name in "pt":
        Image.fromarray(rng.integers(0, 34, SIZE).astype(np.uint8)).save(tmp_path / f"{name}.png")
    pair = Pair("a", tmp_path / "p.png", tmp_path / "t.png")
    [found] = counted([pair], Settings(space))
    assert found is not None
    assert (found.sums == Counter(Settings(space)).count(pair).sums).all()


# --- what is left to the readers ------------------------------------------------------------------


def other_pngs() -> dict[str, bytes]:
    """Contents that are no PNG of one byte a pixel, or are damaged."""
    rows = bytes(SIZE[0] * (SIZE[1] + 1))
    grey = png_of(SIZE, 8, 0, rows)
    header = b"IHDR" + struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 8, 0, 0, 0, 0)

    def changed(header_: bytes) -> bytes:
        """With another header, whose checksum is right."""
        checked = [part + zlib.crc32(part).to_bytes(4, "big") for part in (header, header_)]
        assert checked[0] in grey
        return grey.replace(*checked)

    def of_size(width: int, height: int) -> bytes:
        return changed(b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))

    frames = b"acTL" + struct.pack(">II", 2, 0)
    animated = b"\0\0\0\x08" + frames + zlib.crc32(frames).to_bytes(4, "big")
    idat = grey.index(b"IDAT") - 4
    return {
        "interlaced": changed(header[:-1] + b"\1"),
        "method of filters": changed(header[:-2] + b"\1\0"),
        "method of compression": changed(header[:-3] + b"\1\0\0"),
        "4 bits": png_of(SIZE, 4, 0, bytes(SIZE[0] * 11)),
        "16 bits": png_of(SIZE, 16, 0, bytes(SIZE[0] * 41)),
        "RGB": png_of(SIZE, 8, 2, bytes(SIZE[0] * 61)),
        "an animation": grey[:idat] + animated + grey[idat:],
        "no palette": changed(header[:-4] + b"\3\0\0\0"),
        "another size": png_of((5, 4), 8, 0, bytes(25)),
        "no pixels": of_size(0, 12),
        "an unknown filter": png_of(SIZE, 8, 0, b"\5" + rows[1:]),
        "rows that are missing": png_of(SIZE, 8, 0, rows[:-3]),
        "more data than rows": png_of(SIZE, 8, 0, rows + b"more"),
        "a cut end": grey[:-9],
        "a cut chunk": grey[: idat + 20],
        "a wrong checksum": grey[:-1] + b"\0",
        "only a signature": grey[:8],
        "a long header": grey.replace(b"\0\0\0\x0dIHDR", b"\0\0\0\x0eIHDR"),
        "a large image": of_size(3000, 3000),
        "a bomb": of_size(2**15, 2**15),
        "a size beyond int64": of_size(2**32 - 1, 2**32 - 1),
        "a size that is 20 modulo 2⁶⁴": of_size(2**31 + 4, 2**31),
        "a TIFF": b"II*\0" + bytes(100),
        "nothing": b"",
        "labels that no class has": png_of(SIZE, 8, 0, (b"\0" + b"\7" * SIZE[1]) * SIZE[0]),
    }


@pytest.mark.parametrize("what", other_pngs())
def test_other_files_are_left_to_the_readers_and_their_neighbours_counted(
    what: str, sound: Pair
) -> None:
    other = spoiled(sound, other_pngs()[what])
    found = counted([sound, other, replace(other, preds=sound.target, target=other.preds), sound])
    assert found[1] is found[2] is None
    assert found[0] is not None
    assert found[3] is not None
    expected = Counter(THREE).count(sound).sums
    assert (found[0].sums == expected).all()
    assert (found[3].sums == expected).all()


def test_files_that_cannot_be_opened_and_other_pairs_are_left(sound: Pair, tmp_path: Path) -> None:
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "a.tif")
    (tmp_path / "folder.png").mkdir()
    others = [
        replace(sound, preds=tmp_path / "missing.png"),
        replace(sound, target=tmp_path / "folder.png"),
        replace(sound, preds=tmp_path / "a.tif"),
        replace(sound, classes=(ClassFiles("a", sound.target, sound.preds),)),
    ]
    assert counted(others) == [None] * 4


def test_files_beyond_the_memory_of_a_thread_are_left(
    sound: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sound.target.stat().st_size
    monkeypatch.setattr(png_pairs, "MOST", max(size + 1, 2000))
    assert counted([sound]) != [None]
    monkeypatch.setattr(png_pairs, "MOST", size)
    assert counted([sound]) == [None]


def test_palettes_that_differ_are_left(sound: Pair, tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (20, 3))  # with fewer pixels have 4 bits
    palettes = {"target": colors, "same": colors, "short": colors[:18], "other": colors[::-1]}
    for name, palette in palettes.items():
        with Image.open(sound.preds) as image:
            image.putpalette(palette.ravel().tolist())
            image.save(tmp_path / f"{name}.png")
    with_palette = replace(sound, target=tmp_path / "target.png")
    pairs = [replace(with_palette, preds=tmp_path / f"{name}.png") for name in palettes]
    found = counted([*pairs, with_palette, replace(sound, preds=tmp_path / "other.png")])
    assert [one is None for one in found] == [False, False, True, True, False, False]


@given(st.integers(0, 2**32 - 1))
def test_changed_bytes_never_count_as_anything_else(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Also under checksums that were made anew."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("p")
    mask = blocks(rng, SIZE, 5)
    rows = filtered(mask, rng.integers(0, 5, SIZE[0]).tolist(), 1)
    content = bytearray(png_of(SIZE, 8, int(rng.choice([0, 3])), rows, parts=2))
    for place in rng.integers(0, len(content), rng.integers(1, 4)):
        content[place] = rng.choice([0, 1, 3, 255, rng.integers(0, 256)])
    place = 8
    while place + 12 <= len(content) and rng.random() < 0.9:
        end = place + 8 + int.from_bytes(content[place : place + 4], "big")
        if end + 4 > len(content):
            break
        content[end : end + 4] = zlib.crc32(content[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    pair = Pair("a", folder / "a.png", folder / "b.png")
    pair.preds.write_bytes(content)
    pair.target.write_bytes(png_of(SIZE, 8, 0, filtered(mask, [0] * SIZE[0], 1)))
    [found] = counted([pair])
    try:
        expected = Counter(THREE).count(pair).sums
    except MaskError:
        assert found is None
    else:
        assert found is None or (found.sums == expected).all()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(LabelSpace([*"abc"]), boundary=True),
        Settings(LabelSpace([*"ab"]), task="binary"),
        Settings(LabelSpace([*"abc"], ignore_index=0)),
        Settings(LabelSpace([str(c) for c in range(700)])),
    ],
)
def test_more_than_pixels_of_label_maps_is_counted_by_the_readers(settings: Settings) -> None:
    assert Counter(settings).many() is None


# --- folders --------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Fifty pairs: most of grey images, others of 16 bits, interlaced, or TIFF."""
    rng = np.random.default_rng(0)
    for side in "pt":
        (tmp_path / side).mkdir()
        for i in range(50):
            mask = blocks(rng, (30, 41), 6)
            if i % 10 == 3:
                Image.fromarray(mask.astype(np.uint16)).save(tmp_path / side / f"{i}.png")
            elif i % 10 == 7:
                Image.fromarray(mask).save(tmp_path / side / f"{i}.tif")
            else:
                Image.fromarray(mask).save(tmp_path / side / f"{i}.png")
    return tmp_path / "p", tmp_path / "t"


def expected(preds: Path, targets: Path) -> list[list[int]]:
    tables = [
        confusion(*(np.asarray(Image.open(path)) for path in (path, targets / path.name)))
        for path in preds.iterdir()
    ]
    return np.sum(tables, 0).tolist()


@pytest.mark.parametrize("workers", [1, 3])
def test_folders_are_counted_by_both_ways_together(
    workers: int, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, names, many = set(), list[str](), png_pairs.counter_of

    def watched(*given: Any) -> Any:
        found = many(*given)
        assert found is not None

        def count(pairs: Sequence[Pair]) -> list[Counted | None]:
            outcomes = found(pairs)
            threads.add(threading.get_ident())
            names.extend(p.name for p, one in zip(pairs, outcomes, strict=True) if one)
            return outcomes

        return count

    monkeypatch.setattr(png_pairs, "counter_of", watched)
    result = evaluate(*folders, THREE, workers=workers)
    assert result is not None
    assert result.confusion.tolist() == expected(*folders)
    assert sorted(names) == sorted(str(i) for i in range(50) if i % 10 not in (3, 7))
    assert len(result.scored) == 50
    assert len(threads) > 1  # one loads the kernel, others count


def test_without_the_libraries_the_readers_count_everything(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png_pairs, "libraries", lambda: None)
    assert Counter(THREE).many() is None
    result = evaluate(*folders, THREE, workers=2)
    assert result is not None
    assert result.confusion.tolist() == expected(*folders)


def test_libraries_that_hide_their_functions_are_not_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert png_files.libraries() is not None
    monkeypatch.setattr(png_files.ctypes, "CDLL", lambda path: object())
    assert png_files.libraries.__wrapped__() is None


def test_a_damaged_file_among_sound_ones_is_named(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "1.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(NotScored) as raised:
        evaluate(*folders, THREE, workers=2)
    [problem] = raised.value.problems
    assert (problem.file, problem.kind) == (str(path), "unreadable")
    result = evaluate(*folders, THREE, workers=2, keep_going=True)
    assert result is not None
    path.unlink()
    (folders[1] / "1.png").unlink()
    assert result.confusion.tolist() == expected(*folders)


def test_models_are_counted_as_each_alone(folders: tuple[Path, Path]) -> None:
    preds, targets = folders
    settings = replace(THREE, images=True)
    found = evaluate_models(targets, {"a": preds, "b": targets}, settings, workers=2)
    for name, folder in (("a", preds), ("b", targets)):
        assert found.evaluations[name].confusion.tolist() == expected(folder, targets)


def test_an_error_of_a_thread_ends_the_run(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = png_pairs.counter_of

    def failing(*given: Any) -> Any:
        def count(pairs: Sequence[Pair]) -> list[Counted | None]:
            if threading.current_thread() is not threading.main_thread():
                raise IndexError("out of luck")
            return []

        assert many(*given)
        return count

    monkeypatch.setattr(png_pairs, "counter_of", failing)
    with pytest.raises(IndexError, match="out of luck"):
        evaluate(*folders, THREE, workers=2)


def interrupt() -> None:
    """Interrupt the process once, as soon as a thread counts."""
    many, signals = png_pairs.counter_of, [signal.SIGINT]

    def interrupting(*given: Any) -> Any:
        count = many(*given)
        assert count is not None

        def count_and_interrupt(pairs: Sequence[Pair]) -> list[Counted | None]:
            if pairs and signals:
                os.kill(os.getpid(), signals.pop())
            return count(pairs)

        return count_and_interrupt

    png_pairs.counter_of = interrupting


def test_an_interrupt_while_threads_count_ends_the_command(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    given = *folders, "--num-classes", 3, "--ignore-index", 255, "--workers", 2
    [process] = start(1, tmp_path / "printed", *given, before=interrupt)
    assert finish([process], 180) == [130]
    assert (tmp_path / "printed.0").read_text() == ""


def test_a_second_interrupt_does_not_wait_for_threads(folders: tuple[Path, Path]) -> None:
    code = f"""
import os, signal, sys, time
from segmetrics.__main__ import main
from segmetrics.evaluate import png_pairs
counter_of = png_pairs.counter_of
def interrupting(*given):
    def count(pairs):
        for _ in pairs and range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        if pairs:
            time.sleep(300)
        return counter_of(*given)(pairs)
    return count
png_pairs.counter_of = interrupting
sys.argv = ["segmetrics", "evaluate", *{list(map(str, folders))}, "--num-classes", "3"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=240)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
