"""Confusion matrices of many classes: only cells that are not zero are kept, and all are exact."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from commands import finish, start
from segmetrics import ImageScores, LabelSpace, SegmentationMetrics, files, scores
from segmetrics.counting import Counting, plain, raise_if_bad, sparse
from segmetrics.counting.inputs import read
from segmetrics.counting.sparse import SparseMatrix
from segmetrics.evaluate.command import app

Array = np.ndarray[Any, Any]
Folders = tuple[Path, Path]
MANY = 14_176


def matrix_of(dense: Array) -> SparseMatrix:
    """A sparse matrix, summed from its cells in two parts and in any order."""
    row, column = np.nonzero(dense)
    cells, counts = row * dense.shape[1] + column, dense[row, column]
    order = np.random.default_rng(len(cells)).permutation(len(cells))
    half = counts // 2
    parts = [(cells, half), (cells[order], (counts - half)[order])]
    return SparseMatrix.sum_of(dense.shape, parts)


@st.composite
def matrices(draw: st.DrawFn) -> Array:
    classes = draw(st.integers(1, 6))
    cells = st.sampled_from([0, 0, 0, 1, 7, 2**40])
    size = classes * (classes + 1)
    counts = draw(st.lists(cells, min_size=size, max_size=size))
    return np.array(counts, np.int64).reshape(classes, classes + 1)


@given(matrices())
def test_a_sparse_matrix_reads_like_the_dense_one(dense: Array) -> None:
    found = matrix_of(dense)
    assert np.array_equal(found.dense(), dense)
    assert np.array_equal((found + found).dense(), 2 * dense)
    assert found.sum() == dense.sum()
    for axis in (0, 1, -1, -2):
        assert np.array_equal(found.sum(axis), dense.sum(axis))
    assert np.array_equal(found.diagonal(0, -2, -1), dense.diagonal())
    rows, columns = np.indices(dense.shape).reshape(2, -1)
    assert np.array_equal(found[rows, columns], dense.ravel())
    for row in range(len(dense)):
        assert np.array_equal(found[..., row, :], dense[row])


@given(matrices(), st.data())
def test_scores_of_a_sparse_matrix_are_those_of_the_dense_one(dense: Array, data: Any) -> None:
    classes = st.lists(st.integers(0, len(dense) - 1), min_size=1, unique=True)
    groups = data.draw(st.lists(classes, max_size=3))
    one, other = (str(scores.usual(m, groups=groups)) for m in (matrix_of(dense), dense))
    assert one == other


@given(st.data())
def test_label_maps_are_counted_as_defined(data: Any) -> None:
    ids = data.draw(
        st.sampled_from([None, {7: 0, 500: 1, 40_000: 2}, {3 * i: i for i in range(9)}])
    )
    names = [str(i) for i in range(len(ids) if ids else 5)]
    space = LabelSpace(names, None, data.draw(st.sampled_from([(), (255,), (2, 255)])) , ids,
                       map_preds=data.draw(st.booleans()))  # fmt: skip
    counting = Counting.of(space, input_format="index")
    dtype = data.draw(st.sampled_from([np.uint8, np.uint16, np.int64]))
    known = [*(ids or range(5)), *space.ignore_index, *range(len(names))]
    values = [value for value in known if value <= np.iinfo(dtype).max] + [99]
    drawn = st.lists(st.sampled_from(values), min_size=12, max_size=12)
    preds, target = (np.array(data.draw(drawn), dtype).reshape(3, 4) for _ in range(2))
    tensors = (torch.from_numpy(side.astype(np.int64))[None] for side in (preds, target))
    counts = plain.count(read(*tensors, counting), counting)
    found = sparse.count(preds, target, counting)
    if counting.bad(counts).any():
        with pytest.raises(ValueError, match="pixels"):
            raise_if_bad(counting.bad(counts), counting)
        assert found is None
    else:
        assert found is not None
        assert np.array_equal(found.dense(), counting.matrices(counts).numpy())


@pytest.mark.parametrize("classes", [70_000, 10])  # more than compiled kernels have codes for
@pytest.mark.parametrize("shape", [(3, 400_000), (0, 5), (1, 1)])  # in parts, none, one pixel
def test_maps_of_every_size_are_counted_longhand(classes: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    preds, target = rng.integers(0, classes, (2, *shape))
    found = sparse.count(preds, target, Counting.of(classes))
    assert found is not None
    pairs, counts = np.unique(np.stack([target.ravel(), preds.ravel()]), axis=1, return_counts=True)
    assert np.array_equal(np.stack([found.rows, found.columns]), pairs)
    assert np.array_equal(found.counts, counts)


# --- The command ----------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def scored(*arguments: object) -> dict[str, Any]:
    done = run(*arguments)
    assert done.exit_code == 0, done.stderr
    return json.loads(Path(arguments[arguments.index("--json") + 1]).read_text())


def write(folder: Path, masks: dict[str, tuple[Array, Array]]) -> Folders:
    """Pairs of TIFF files, ``(preds, target)`` by name."""
    for side in ("preds", "targets"):
        (folder / side).mkdir()
        for name, (preds, target) in masks.items():
            values = (preds if side == "preds" else target).astype(np.uint16)
            tifffile.imwrite(folder / side / f"{name}.tif", values)
    return folder / "preds", folder / "targets"


def drawn(pairs: int, classes: int, size: tuple[int, int] = (64, 64)) -> dict[str, Any]:
    random = np.random.default_rng(0)
    masks = {}
    for i in range(pairs):
        target = random.integers(0, classes, size)
        preds = np.where(random.random(size) < 0.5, target, random.integers(0, classes, size))
        masks[str(i)] = preds, target
    return masks


def longhand(
    masks: dict[str, tuple[Array, Array]], ignored: int = -1
) -> dict[tuple[int, int], int]:
    """Pixels by target and prediction."""
    found: dict[tuple[int, int], int] = {}
    for preds, target in masks.values():
        for pair in zip(target.ravel().tolist(), preds.ravel().tolist(), strict=True):
            if pair[0] != ignored:
                found[pair] = found.get(pair, 0) + 1
    return found


def cells(content: dict[str, Any]) -> dict[tuple[int, int], int]:
    of = content["confusion"]
    pairs = list(zip(of["target"], of["prediction"], strict=True))
    assert pairs == sorted(set(pairs))
    return dict(zip(pairs, of["pixels"], strict=True))


def test_what_is_predicted_on_an_ignored_pixel_does_not_matter() -> None:
    counting = Counting.of(3, ignore_index=255, input_format="index")
    target = np.array([[255, 1]])
    found = sparse.count(np.array([[9, 1]]), target, counting)
    assert found is not None
    assert found.dense().tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert sparse.count(np.array([[9, 9]]), target, counting) is None


def test_thousands_of_classes_are_exact(tmp_path: Path) -> None:
    masks = drawn(6, MANY)
    folders, out = write(tmp_path, masks), tmp_path / "out.json"
    content = scored(*folders, "--num-classes", MANY, "--json", out)
    assert content["confusion"]["shape"] == [MANY, MANY]
    assert cells(content) == longhand(masks)
    assert content["abstained"] == [0] * MANY
    both = [np.stack([pair[i] for pair in masks.values()]).ravel() for i in range(2)]
    predicted, target = (np.bincount(side, minlength=MANY) for side in both)
    hits = np.bincount(both[0][both[0] == both[1]], minlength=MANY)
    with np.errstate(invalid="ignore"):
        iou = hits / (predicted + target - hits)
    assert content["scores"]["mIoU"] == pytest.approx(np.nanmean(iou), abs=1e-12)
    found = [np.nan if row["iou"] is None else row["iou"] for row in content["classes"]]
    assert np.array_equal(found, iou, equal_nan=True)
    assert out.stat().st_size < 5e6


def test_ignored_values_regions_and_boundaries_of_many_classes(tmp_path: Path) -> None:
    masks = drawn(2, 600, (24, 32))
    for preds, target in masks.values():
        target[:4], preds[:2] = 65_535, 65_535
    folders, out = write(tmp_path, masks), tmp_path / "out.json"
    options = "--ignore-index", 65_535, "--region", "low=0,1,2", "--boundary", "--per-image"
    content = scored(*folders, "--num-classes", 600, *options, "--json", out)
    metric, images = (
        SegmentationMetrics(600, ignore_index=65_535),
        ImageScores(600, ignore_index=65_535),
    )
    for pair in masks.values():
        metric.update(*(torch.from_numpy(side)[None] for side in pair))
        images.update(*(torch.from_numpy(side)[None] for side in pair))
    for key, value in metric.compute_scalars().items():
        if "/" not in key:
            assert content["scores"][key] == pytest.approx(value, abs=1e-6)
    assert content["scores"]["mIoU_I"] == pytest.approx(images.compute()["mIoU_I"].item(), abs=1e-6)
    counted = {pair: n for pair, n in longhand(masks, 65_535).items() if pair[1] < 600}
    assert cells(content) == counted
    low = {pair: n for pair, n in counted.items() if pair[0] < 3 or pair[1] < 3}
    hits = sum(n for pair, n in low.items() if max(pair) < 3)
    assert content["regions"][0]["iou"] == pytest.approx(hits / sum(low.values()))
    assert 0 < content["scores"]["boundary_iou"] < 1


def test_an_unknown_label_among_many_classes_is_named(tmp_path: Path) -> None:
    masks = drawn(2, 1000)
    masks["1"][1][5, 5] = 1000
    done = run(*write(tmp_path, masks), "--num-classes", 1000)
    assert done.exit_code == 2
    assert "1.tif: neither a class nor ignored: 1000 (1 pixel)" in done.stderr


def test_a_run_of_many_classes_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    masks = drawn(5, 2000)
    folders, out = write(tmp_path, masks), tmp_path / "out.json"
    given = "--num-classes", 2000, "--checkpoint", tmp_path / "state", "--json", out
    (folders[0] / "4.tif").rename(tmp_path / "4.tif")
    assert run(*folders, *given, "--keep-going").exit_code == 0
    part = {name: pair for name, pair in masks.items() if name != "4"}
    assert cells(json.loads(out.read_text())) == longhand(part)
    (tmp_path / "4.tif").rename(folders[0] / "4.tif")
    assert cells(scored(*folders, *given)) == longhand(masks)
    done = run(*folders, "--num-classes", 1999, "--checkpoint", tmp_path / "state")
    assert done.exit_code == 2
    assert "was made with classes" in done.stderr


def test_processes_add_up_many_classes(tmp_path: Path) -> None:
    masks = drawn(5, 3000)
    folders, out = write(tmp_path, masks), tmp_path / "out.json"
    started = start(2, tmp_path / "printed", *folders, "--num-classes", 3000, "--json", out)
    assert finish(started) == [0, 0], (tmp_path / "printed.0").read_text()
    assert cells(json.loads(out.read_text())) == longhand(masks)


def test_a_large_mask_of_many_classes_is_counted_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = drawn(1, 5000, (300, 200))
    folders, out = (tmp_path / "preds", tmp_path / "targets"), tmp_path / "out.json"
    for folder, side in zip(folders, masks["0"], strict=True):
        folder.mkdir()
        tifffile.imwrite(folder / "0.tif", side.astype(np.uint16), rowsperstrip=16)
    module = sys.modules["segmetrics.files.parts"]
    for name, value in (("LARGE", 10_000), ("SMALLEST", 0), ("PART", 10_000)):
        monkeypatch.setattr(module, name, value)
    assert len(files.parts(*(folder / "0.tif" for folder in folders))) > 3
    assert cells(scored(*folders, "--num-classes", 5000, "--json", out)) == longhand(masks)


def test_a_report_of_too_many_classes_is_refused_first(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    folders = write(tmp_path, drawn(1, 10))
    done = run(*folders, "--num-classes", 5000, "--html", tmp_path / "report.html")
    assert done.exit_code == 2
    assert "confusion matrix of up to 4,096 classes, got 5,000" in done.stderr
    assert run(*folders, "--num-classes", 600, "--html", tmp_path / "report.html").exit_code == 0


def test_values_of_16_bits_may_all_be_classes(tmp_path: Path) -> None:
    masks = drawn(2, 65_536, (20, 20))
    folders, out = write(tmp_path, masks), tmp_path / "out.json"
    assert cells(scored(*folders, "--num-classes", 65_536, "--json", out)) == longhand(masks)
