"""Nothing depends on the sizes at which work is cut into pieces, shared out or summed up."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from every_metric import EVERY, images
from segmetrics import LabelSpace, PanopticQuality
from segmetrics.counting import cpu, plain, sparse
from segmetrics.evaluate import checkpoint, counter, ledger, unknown
from segmetrics.evaluate.command import app
from segmetrics.evaluate.distributions import _line
from segmetrics.evaluate.settings import Settings
from segmetrics.files import checksums
from segmetrics.metrics import panoptic
from segmetrics.probabilities import cpu as probabilities_cpu
from segmetrics.probabilities import cpu_cells
from segmetrics.report import numbers
from segmetrics.statistics import (
    CurveCounts,
    ImageCounts,
    bootstrap,
    class_differences,
    compare,
    confidence_interval,
    curves,
    differences,
    ranking,
)
from segmetrics.surfaces import host

#: Sizes of pieces, so small that the inputs here have several, and odd.
OF_METRICS: list[tuple[ModuleType, str, int]] = [
    *((cpu, "BOX", 31), (cpu, "RESULTS", 1), (cpu, "OF_IMAGES", 50), (cpu, "PIXELS_A_CELL", 0)),
    *((cpu, "SCORES_A_THREAD", 1), (cpu, "LABELS_ARE", 1), (cpu, "PAIRS_A_THREAD", 1)),
    *((plain, "BLOCK", 29), (host, "CHUNK", 23), (host, "A_THREAD", 1), (panoptic, "FEWEST", 0)),
    *((cpu_cells, "BOX", 19), (cpu_cells, "TABLES", 1)),
    (probabilities_cpu, "BOX", 13),
]


@pytest.fixture
def two_threads() -> Iterator[None]:
    """What is cut into pieces is shared out, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def patch(monkeypatch: pytest.MonkeyPatch, sizes: list[tuple[ModuleType, str, int]]) -> None:
    for module, name, size in sizes:
        assert getattr(module, name) > size
        monkeypatch.setattr(module, name, size)


# --- metrics --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", EVERY)
def test_a_metric_has_the_state_of_its_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for _ in range(2):
        metric = EVERY[name]()
        metric.update(*images(3, 5))
        found.append(list(metric.metric_state.values()))
        if len(found) == 1:
            patch(monkeypatch, OF_METRICS)
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["ConfusionMatrix", "ImageScores", "MeanIoU samplewise"])
def test_more_classes_than_the_kernels_take_are_counted_all_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for most in (cpu.MOST_LABELS, 3):
        monkeypatch.setattr(cpu, "MOST_LABELS", most)
        metric = EVERY[name]()
        metric.update(*images(4))
        found.append(list(metric.metric_state.values()))
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_images_that_are_shared_out_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Panoptic maps of a batch: the counts of every image lie where the image lay."""
    target = torch.stack([torch.full((6, 6, 2), i % 2) for i in range(7)])
    preds = target.where(torch.arange(7)[:, None, None, None] % 3 > 0, 1 - target)
    metric = PanopticQuality([0], [1])
    expected = torch.stack([metric._counts(*pair, None) for pair in zip(
        preds.split(1), target.split(1), strict=True
    )])  # fmt: skip
    monkeypatch.setattr(panoptic, "FEWEST", 0)
    assert torch.equal(metric._counts(preds, target, None), expected.squeeze(1))


# --- statistics -----------------------------------------------------------------------------------


def counts_of(seed: int, number: int = 17) -> ImageCounts:
    generator = torch.Generator().manual_seed(seed)
    tp, fp = torch.randint(1, 50, (2, number, 5), generator=generator)
    return ImageCounts(tp, fp, 60 - tp, class_names=tuple("abcde"))


def of_statistics() -> list[Any]:
    a, b = counts_of(0), counts_of(1)
    few = counts_of(2, 6), counts_of(3, 6)  # whose exchanges are all tried
    tables = torch.randint(0, 9, (7, 1, 512, 2), generator=torch.Generator().manual_seed(0))
    scores = CurveCounts(tables)
    return [
        confidence_interval(a, "mIoU_C_10", n_resamples=101),
        confidence_interval(a, "mDice_D", n_resamples=101, method="bca"),
        compare(a, b, n_resamples=101),
        compare(*few, n_resamples=101),
        class_differences({"a": a, "b": b}, "a", n_resamples=101),
        str(ranking({"a": a, "b": b, "c": counts_of(4)}, n_resamples=101)),
        *(confidence_interval(scores, key, n_resamples=51) for key in ("AP", "best_dice", "OIS")),
    ]


def test_resamples_are_the_same_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = of_statistics()
    small = [(bootstrap, "BLOCK", 50), (differences, "COLUMNS", 2), (curves, "AT_ONCE", 5000)]
    patch(monkeypatch, small)
    for one, other in zip(whole, of_statistics(), strict=True):
        assert repr(one) == repr(other)


def test_scores_of_worst_images_are_the_same_in_blocks_of_any_size() -> None:
    """More resamples than ``worst_of`` weighs at once."""
    score = counts_of(0, 300).statistic("mIoU_C_10")
    weights = torch.randint(3, (3600, 300), generator=torch.Generator().manual_seed(0)).double()
    in_blocks = torch.cat([score(block) for block in weights.split(500)])
    torch.testing.assert_close(score(weights), in_blocks, rtol=1e-12, atol=0)


def test_exchanges_that_are_sampled_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    few = counts_of(2, 8), counts_of(3, 8)
    exact = compare(*few, n_resamples=4000).p_sign_flip
    assert exact * 2**8 == pytest.approx(round(exact * 2**8))
    monkeypatch.setattr(bootstrap, "EXACT_FLIPS", 2**8 - 1)
    sampled = compare(*few, n_resamples=4000).p_sign_flip
    assert sampled * 4001 == pytest.approx(round(sampled * 4001))
    assert abs(sampled - exact) < 4 * (exact * (1 - exact) / 4000) ** 0.5 + 1 / 4001
    monkeypatch.setattr(bootstrap, "EXACT_FLIPS", 2**8)
    assert compare(*few, n_resamples=10).p_sign_flip == exact


# --- files and the command ------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Five pairs of 9 classes."""
    random, found = np.random.default_rng(0), (tmp_path / "preds", tmp_path / "targets")
    for folder in found:
        folder.mkdir()
        for i in range(5):
            mask = random.integers(0, 9, (20, 30 + i)).astype(np.uint8)
            Image.fromarray(mask).save(folder / f"{i}.png")
    return found


def results(tmp_path: Path, folders: tuple[Path, Path], *more: object) -> dict[str, Any]:
    """The JSON of a run that ends well, without what differs from run to run."""
    given = ["evaluate", *folders, "--num-classes", 9, "--json", tmp_path / "out.json", *more]
    done = CliRunner().invoke(app, [str(argument) for argument in given])
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    return {k: v for k, v in found.items() if k not in ("seconds", "workers", "arguments")}


def test_sparse_matrices_are_added_up_to_the_dense_one(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = results(tmp_path, folders)
    monkeypatch.setattr(counter, "MOST_DENSE", 8)
    monkeypatch.setattr(sparse, "BLOCK", 7)
    for few in (0, ledger.FEW_CELLS):  # added up after every pair, and at the end
        monkeypatch.setattr(ledger, "FEW_CELLS", few)
        found = results(tmp_path, folders)
        for key in ("scores", "classes"):
            assert found[key] == expected[key]


def test_sums_have_places_for_bands_only_where_these_are_counted() -> None:
    space = LabelSpace(list("abc"))
    for boundary, places in ((False, 12), (True, 12 + 9)):
        layout = counter.Layout.of(Settings(space, boundary=boundary))
        assert layout.size == places + counter.EXTRA


def test_a_digest_is_that_of_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)))
    monkeypatch.setattr(checkpoint, "BLOCK", 100)
    expected = hashlib.blake2b(bytes(range(256)), digest_size=16).hexdigest()
    assert checkpoint.digests([tmp_path / "file", tmp_path / "none"]) == (expected, "")


@pytest.mark.parametrize("part", [1, 7, 1000])
def test_compressed_files_are_read_in_parts_of_any_size(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several members, with zeros behind them; damage in any of them is found."""
    content = np.random.default_rng(0).bytes(5000)
    members = gzip.compress(content[:3000]), gzip.compress(content[3000:])
    path = tmp_path / "file.gz"
    monkeypatch.setattr(checksums, "PART", part)
    monkeypatch.setattr(checksums, "HEAD", min(part, 348))
    for behind in (b"", b"\0" * 11):
        path.write_bytes(b"".join(members) + behind)
        assert bytes(checksums.read_checked(path, lambda _: 4000)) == content[:4000]
    for damaged in (members[0][:-1] + b"\1" + members[1], b"".join(members)[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged|end early|other bytes"):
            checksums.read_checked(path, lambda _: 4000)


def test_two_hundred_cases_are_drawn_as_dots_and_more_are_not() -> None:
    for number in (200, 201):
        svg = _line("liver", np.linspace(0, 1, number), 1.0, 20.0)
        assert svg.count("<circle") == (200 if number == 200 else 0)
        assert "<rect" in svg


def test_masks_look_interpolated_whatever_the_share_of_pixels_that_is_examined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ramps = np.tile(np.arange(0, 80, 2, np.uint8), (41, 1))  # each between its neighbours
    noise = np.random.default_rng(0).permutation(ramps.ravel()).reshape(ramps.shape)
    strange = (ramps > 10) & (ramps < 70)
    for looked_at in (unknown.LOOKED_AT, 200, 41 * 40 - 1):
        monkeypatch.setattr(unknown, "LOOKED_AT", looked_at)
        assert unknown.graded(ramps, strange)
        assert not unknown.graded(noise, strange)


def test_only_direct_neighbours_say_that_a_mask_looks_interpolated() -> None:
    rises = [value for label in (10, 20, 30, 40) for value in (0, label, 50)]
    peaks = [value for label in (60, 70, 80, 90) for value in (0, label, 50)]
    for row, looks in ((rises, True), (rises[::-1], True), (peaks, False)):
        values = np.tile(np.array(row, np.uint8), (9, 1))
        for mask in (values, np.ascontiguousarray(values.T)):
            assert unknown.graded(mask, (mask != 0) & (mask != 50)) == looks


def test_three_values_between_labels_look_interpolated_and_two_do_not() -> None:
    for row, looks in (([0, 10, 20, 30, 50], True), ([0, 10, 20, 50], False)):
        values = np.tile(np.array(row, np.uint8), (9, 1))
        assert unknown.graded(values, (values > 0) & (values < 50)) == looks


@pytest.mark.parametrize(("behind", "looks"), [(3, True), (2, True), (1, False)])
def test_a_mask_looks_interpolated_if_half_of_it_or_less_is_strange(
    behind: int, looks: bool
) -> None:
    row = [0, 0, 10, 20, 30, 40, *[50] * behind]  # a ramp of 4 strange values
    values = np.tile(np.array(row, np.uint8), (9, 1))
    assert unknown.interpolated(values, (values > 0) & (values < 50)) == looks


def test_of_many_confusions_the_largest_and_three_of_every_class_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    confusion = torch.zeros(6, 7, dtype=torch.int64)
    confusion[0, 1:6] = torch.tensor([90, 80, 70, 60, 50])
    confusion[1, [0, 2, 3, 4]] = torch.tensor([4, 3, 2, 1])
    result = numbers.Result(confusion, LabelSpace(list("abcdef")), None, 0.95, None)
    every = [("a", p, n) for p, n in zip("bcdef", (90, 80, 70, 60, 50), strict=True)]
    every += [("b", p, n) for p, n in zip("acde", (4, 3, 2, 1), strict=True)]
    assert [pair[:3] for pair in result.confusions()] == every
    monkeypatch.setattr(numbers, "LISTED_CONFUSIONS", 4)
    assert [pair[:3] for pair in result.confusions()] == [*every[:4], *every[5:8]]
