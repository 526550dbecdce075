"""Large rasters are counted in parts, with thresholds that make small ones large."""

from __future__ import annotations

import json
import os
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from sklearn.metrics import confusion_matrix
from typer.testing import CliRunner, Result

from segmetrics.evaluate import workers
from segmetrics.evaluate.command import app
from segmetrics.evaluate.counter import Counter
from segmetrics.files import MaskError, Rows, limits, parts, read, read_rows, read_thinned
from segmetrics.files.masks import Buffer

RANDOM = np.random.default_rng(0)
#: The module, which the function of its name hides.
module = sys.modules["segmetrics.files.parts"]
TILED = {"tile": (32, 16), "compression": "deflate"}
STRIPED = {"rowsperstrip": 7, "compression": "lzw"}
PLAIN: dict[str, Any] = {"rowsperstrip": 1}


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 10_000)
    monkeypatch.setattr(module, "PART", 4_000)
    monkeypatch.setattr(module, "SMALLEST", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "pt":
        (tmp_path / name).mkdir()
    return tmp_path


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


def write(
    folder: Path, name: str, preds: np.ndarray, target: np.ndarray, how: Any = (TILED, STRIPED)
) -> None:
    for where, values, options in (("p", preds, how[0]), ("t", target, how[1])):
        tifffile.imwrite(
            folder / where / f"{name}.tif", values.astype(np.uint8), photometric="minisblack",
            metadata=None, **options,
        )  # fmt: skip


def masks(*size: int) -> tuple[np.ndarray, np.ndarray]:
    target = RANDOM.integers(0, 3, size)
    return np.where(RANDOM.random(size) < 0.2, 0, target), target


@pytest.mark.parametrize("how", [(TILED, STRIPED), (TILED, TILED), (STRIPED, PLAIN)])
def test_rows_of_any_layout_are_those_of_the_whole(how: Any, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "t").mkdir()
    values, _ = masks(130, 140)
    write(tmp_path, "a", values, values, how)
    for path in (tmp_path / "p/a.tif", tmp_path / "t/a.tif"):
        for first, last in ((0, 130), (0, 1), (31, 33), (7, 100), (129, 130)):
            found, shape = read_rows(path, Rows(first, last), buffer=Buffer())
            assert shape == (130, 140)
            assert np.array_equal(found.values, values[first:last])


def test_parts_cover_a_raster_and_follow_its_tiles(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "t").mkdir()
    values, _ = masks(130, 140)
    write(tmp_path, "a", values, values)
    found = parts(tmp_path / "p/a.tif", tmp_path / "t/a.tif")
    assert found == [Rows(0, 32), Rows(32, 64), Rows(64, 96), Rows(96, 128), Rows(128, 130)]
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "a.png")
    assert parts(tmp_path / "p/a.tif", tmp_path / "a.png") == [None]


def test_parts_add_up(folder: Path) -> None:
    pairs = [masks(130, 140), masks(20, 30), masks(200, 90)]
    for name, pair in zip("abc", pairs, strict=True):
        write(folder, name, *pair)
    found = scores(folder, "--num-classes", 3, "--per-image", "--confidence", 0.9)
    expected = [confusion_matrix(target.ravel(), preds.ravel()) for preds, target in pairs]
    assert found["confusion"] == sum(expected).tolist()
    assert [row["name"] for row in found["images"]] == ["a", "b", "c"]
    for row, counts in zip(found["images"], expected, strict=True):
        iou = counts.diagonal() / (counts.sum(0) + counts.sum(1) - counts.diagonal())
        assert row["mIoU"] == pytest.approx(iou.mean())
        assert row["pixels"] == counts.sum()


def test_slices_of_a_volume_are_parts_too(folder: Path) -> None:
    preds, target = masks(5, 60, 70)
    write(folder, "a", preds, target)
    assert len(parts(folder / "p/a.tif", folder / "t/a.tif")) > 3
    expected = confusion_matrix(target.ravel(), preds.ravel())
    assert scores(folder, "--num-classes", 3)["confusion"] == expected.tolist()


def test_all_workers_count_one_pair(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "a", *masks(400, 140))
    (folder / "who").mkdir()
    original = Counter.count_rows

    def noted(self: Any, pair: Any, rows: Rows) -> Any:
        (folder / "who" / str(os.getpid())).touch()
        time.sleep(0.05)  # so that nobody counts all
        return original(self, pair, rows)

    monkeypatch.setattr(Counter, "count_rows", noted)
    monkeypatch.setattr(workers, "CHUNK", 1)
    scores(folder, "--num-classes", 3, "--workers", 2)
    assert len(list((folder / "who").iterdir())) == 2


def test_threads_count_parts_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preds, target = masks(130, 140)
    write(folder, "a", preds, target)
    monkeypatch.setattr(workers, "FORKS", False)
    expected = confusion_matrix(target.ravel(), preds.ravel())
    assert scores(folder, "--num-classes", 3)["confusion"] == expected.tolist()


def test_a_pair_is_saved_when_all_its_parts_are_done(folder: Path) -> None:
    pairs = [masks(130, 140), masks(200, 90)]
    for name, pair in zip("ab", pairs, strict=True):
        write(folder, name, *pair)
    (folder / "p/b.tif").write_bytes(b"")
    arguments = ["--num-classes", 3, "--checkpoint", folder / "saved"]
    assert run(folder, *arguments).exit_code == 2
    with np.load(folder / "saved") as arrays:
        about = json.loads(bytes(arrays["about"]))
    assert list(about["digests"]) == ["a"]
    write(folder, "b", *pairs[1])
    expected = [confusion_matrix(target.ravel(), preds.ravel()) for preds, target in pairs]
    assert scores(folder, *arguments)["confusion"] == sum(expected).tolist()


def test_a_pair_with_a_bad_part_is_one_problem(folder: Path) -> None:
    preds, target = masks(130, 140)
    target[50:90, 3] = 77
    write(folder, "a", preds, target)
    write(folder, "b", *masks(130, 140))
    done = run(folder, "--num-classes", 3)
    assert done.exit_code == 2
    assert "1 file cannot be scored" in done.stderr
    assert "t/a.tif: neither a class nor ignored: 77" in done.stderr
    assert scores(folder, "--num-classes", 3, "--keep-going")["pixels"] == 130 * 140


def test_damage_in_a_part_is_refused(folder: Path) -> None:
    write(folder, "a", *masks(130, 140))
    with tifffile.TiffFile(folder / "p/a.tif") as file:
        offset = file.pages[0].dataoffsets[-1]
    whole = bytearray((folder / "p/a.tif").read_bytes())
    whole[offset + 20] ^= 1
    (folder / "p/a.tif").write_bytes(whole)
    done = run(folder, "--num-classes", 3)
    assert done.exit_code == 2
    assert "files that cannot be read: 1" in done.stderr


def test_rasters_of_different_sizes_are_named_in_full(folder: Path) -> None:
    write(folder, "a", masks(130, 140)[0], masks(131, 140)[1])
    done = run(folder, "--num-classes", 3)
    assert done.exit_code == 2
    assert "130×140, its target" in done.stderr
    assert "is 131×140" in done.stderr


def test_contours_need_a_raster_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "a", *masks(130, 140))
    in_parts = scores(folder, "--num-classes", 3)
    at_once = scores(folder, "--num-classes", 3, "--boundary")
    assert at_once["confusion"] == in_parts["confusion"]
    monkeypatch.setattr(limits, "AT_ONCE", 10_000)
    assert scores(folder, "--num-classes", 3)["confusion"] == in_parts["confusion"]
    done = run(folder, "--num-classes", 3, "--boundary")
    assert done.exit_code == 2
    assert "130×140, 18,200 pixels" in done.stderr
    assert "masks too large to be read at once: 1" in done.stderr


def test_a_strip_as_large_as_the_raster_is_read_at_once_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, _ = masks(130, 140)
    tifffile.imwrite(tmp_path / "a.tif", values.astype(np.uint8), rowsperstrip=130)
    assert parts(tmp_path / "a.tif", tmp_path / "a.tif") == [Rows(0, 130)]
    monkeypatch.setattr(limits, "AT_ONCE", 10_000)
    with pytest.raises(MaskError, match="a strip or tile of 130×140, 18,200 pixels"):
        read_rows(tmp_path / "a.tif", Rows(0, 10))


def test_the_report_shows_a_large_raster_in_fewer_rows_and_columns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIDE", 50)
    preds, target = masks(130, 140)
    write(folder, "a", preds, target)
    found = read_thinned(folder / "t/a.tif").values
    assert np.array_equal(found, target[::3, ::3])
    Image.fromarray(target.astype(np.uint8)).save(folder / "a.png")
    assert np.array_equal(read_thinned(folder / "a.png").values, read(folder / "a.png").values)
    done = run(folder, "--num-classes", 3, "--html", folder / "out.html")
    assert done.exit_code == 0, done.stderr
    assert (folder / "out.html").stat().st_size > 1000


def test_a_large_file_under_the_suffix_of_another_format_is_not_read_whole(tmp_path: Path) -> None:
    path, size = tmp_path / "a.png", 2**26
    path.write_bytes(b"II*\0")
    os.truncate(path, size)
    tracemalloc.start()
    try:
        with pytest.raises(MaskError, match=r"a\.png"):
            read(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < size / 2
