"""Kinds of errors and scores near boundaries: longhand by SciPy, and published code's figures."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from segmetrics.errors import error_types, trimap_iou
from segmetrics.evaluate.command import app
from segmetrics.labels import LabelSpace

KINDS = ("boundary", "extent", "segment")
NAMES = ["right", *(f"{way}_{kind}" for way in ("false", "missed") for kind in KINDS)]
VOID = 255


def drawn(
    size: tuple[int, ...], classes: int, seed: int, smooth: float, void: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth regions, and a prediction of them that is partly wrong."""
    rng = np.random.default_rng(seed)

    def fields(width: float) -> np.ndarray:
        return np.stack(
            [ndimage.gaussian_filter(rng.normal(size=size), width) for _ in range(classes)]
        )

    truth = fields(smooth)
    target = truth.argmax(0)
    preds = (truth + 0.6 * fields(0.6 * smooth)).argmax(0)
    if void:
        target = np.where(rng.random(size) < 0.02, VOID, target)
        target[size[0] // 3 : size[0] // 3 + 2] = VOID
    return preds, target


def near(places: np.ndarray, seeds: np.ndarray, width: int) -> np.ndarray:
    """Places whose distance to a seed rounds to at most the width."""
    if not seeds.any():
        return np.zeros_like(places)
    return places & (np.round(ndimage.distance_transform_edt(~seeds)) <= width)


def by_hand(preds: np.ndarray, target: np.ndarray, classes: int, width: int) -> np.ndarray:
    """Counts ``(classes, 7)`` as section 3 of the paper defines them, class by class."""
    structure = np.ones((3,) * target.ndim, bool)
    counts = np.zeros((classes, 7), int)
    for c in range(classes):
        p, t = preds == c, target == c
        right, neither = p & t, ~p & ~t
        counts[c, 0] = right.sum()
        for column, wrong, whole in ((1, p & ~t, p), (4, t & ~p, t)):
            between = wrong & near(wrong, right, width) & near(wrong, neither, width)
            boundary = near(wrong, between, width)
            pieces, number = ndimage.label(boundary, structure)
            for k in range(1, number + 1):
                around = ndimage.binary_dilation(pieces == k, structure)
                if not ((around & right).any() and (around & neither).any()):
                    boundary[pieces == k] = False
            segments, _ = ndimage.label(whole, structure)
            hit = np.isin(segments, np.unique(segments[right]))
            counted = wrong & (target != VOID)
            kinds = boundary, ~boundary & hit, ~boundary & ~hit
            counts[c, column : column + 3] = [(counted & kind).sum() for kind in kinds]
    return counts


def ours(preds: np.ndarray, target: np.ndarray, classes: int, width: float) -> np.ndarray:
    found = error_types(
        torch.from_numpy(preds)[None], torch.from_numpy(target)[None], classes,
        width=width, ignore_index=VOID,
    )  # fmt: skip
    assert list(found) == NAMES
    return torch.stack(list(found.values()), 1).numpy()


@given(
    st.integers(0, 10**6), st.sampled_from([(14, 19), (25, 12), (1, 30), (2, 30), (9, 8, 11)]),
    st.integers(2, 4), st.integers(1, 4), st.floats(0.5, 3), st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_kinds_of_errors_are_those_of_the_paper_longhand(seed, size, classes, width, smooth, void):
    preds, target = drawn(size, classes, seed, smooth, void)
    found = ours(preds, target, classes, width / np.hypot.reduce(np.array(size, float)))
    assert np.array_equal(found, by_hand(preds, target, classes, width))


#: What github.com/mxbh/beyond-iou of 2024-05-06 counts in ``drawn((40, 52), 3, seed, 3,
#: void=seed == 1)`` with boundaries 1, 2 and 3 wide: TP, then FP and FN at boundaries, of extent,
#: and of whole segments.
PUBLISHED = {
    0: [
        [
            [279, 107, 175, 61, 61, 42, 4],
            [417, 83, 101, 26, 191, 176, 0],
            [586, 144, 88, 13, 160, 164, 0],
        ],
        [
            [279, 234, 48, 61, 92, 11, 4],
            [417, 140, 44, 26, 333, 34, 0],
            [586, 208, 24, 13, 314, 10, 0],
        ],
        [[279, 264, 18, 61, 98, 5, 4], [417, 150, 34, 26, 361, 6, 0], [586, 226, 6, 13, 324, 0, 0]],
    ],
    1: [
        [
            [309, 72, 118, 38, 109, 83, 21],
            [407, 92, 108, 35, 88, 167, 25],
            [498, 130, 116, 15, 118, 113, 0],
        ],
        [
            [309, 166, 24, 38, 163, 29, 21],
            [407, 168, 32, 35, 186, 69, 25],
            [498, 218, 28, 15, 207, 24, 0],
        ],
        [
            [309, 185, 5, 38, 163, 29, 21],
            [407, 186, 14, 35, 210, 45, 25],
            [498, 237, 9, 15, 218, 13, 0],
        ],
    ],
}


@pytest.mark.parametrize("seed", PUBLISHED)
def test_kinds_of_errors_are_those_of_the_published_code(seed: int) -> None:
    preds, target = drawn((40, 52), 3, seed, 3, void=seed == 1)
    for width, figures in enumerate(PUBLISHED[seed], 1):
        assert ours(preds, target, 3, width / np.hypot(40, 52)).tolist() == figures


def test_kinds_sum_to_the_union_of_every_class() -> None:
    preds, target = drawn((60, 50), 4, 0, 2, void=True)
    counted = target != VOID
    for c, row in enumerate(ours(preds, target, 4, 0.02)):
        assert row.sum() == (((preds == c) | (target == c)) & counted).sum()
        assert row[1:4].sum() == ((preds == c) & (target != c) & counted).sum()


def test_counts_add_up_over_images_and_abstentions_are_misses() -> None:
    pairs = [drawn((20, 24), 3, seed, 2) for seed in range(3)]
    preds, target = (torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))
    preds[0, :4] = VOID
    together = error_types(preds, target, 3, ignore_index=VOID, width=0.1)
    one_by_one = [
        error_types(p[None], t[None], 3, ignore_index=VOID, width=0.1)
        for p, t in zip(preds, target, strict=True)
    ]
    for name, counts in together.items():
        assert torch.equal(counts, sum(found[name] for found in one_by_one))
    missed = sum(together[f"missed_{kind}"] for kind in KINDS)
    for c in range(3):
        assert missed[c] == ((target == c) & (preds != c)).sum()


def test_scores_ids_and_single_slices_are_read_as_metrics_read_them() -> None:
    preds, target = map(torch.from_numpy, drawn((20, 24), 3, 0, 2))
    plain = error_types(preds[None], target[None], 3)
    scores = torch.nn.functional.one_hot(preds, 3).permute(2, 0, 1).float()
    space = LabelSpace(["a", "b", "c"], ignore_index=VOID, id_to_class={7: 0, 8: 1, 9: 2})
    for given_preds, given_target, classes in (
        (scores[None], target[None], 3),
        (preds[None], target[None] + 7, space),
        (preds[None, None], target[None, None], 3),
    ):
        found = error_types(given_preds, given_target, classes)
        assert all(torch.equal(found[name], plain[name]) for name in NAMES)
        trimap = trimap_iou(given_preds, given_target, classes)
        assert torch.equal(trimap, trimap_iou(preds[None], target[None], 3))
    assert error_types(preds[None][:0], target[None][:0], 3)["right"].tolist() == [0, 0, 0]


@given(
    st.integers(0, 10**6), st.sampled_from([(14, 19), (25, 12), (1, 30), (2, 30), (8, 7, 9)]),
    st.integers(2, 4), st.floats(0.5, 3), st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_trimaps_of_all_widths_are_those_of_distance_transforms(seed, size, classes, smooth, void):
    preds, target = drawn(size, classes, seed, smooth, void)
    away = np.full(size, np.inf)
    for label in np.unique(target):
        if (target != label).any():
            inside = ndimage.distance_transform_edt(target == label)
            away = np.where(target == label, inside, away)
    found = trimap_iou(
        torch.from_numpy(preds)[None], torch.from_numpy(target)[None], classes,
        reach=6, ignore_index=VOID,
    )  # fmt: skip
    for d in range(1, 7):
        band = (away <= d) & (target != VOID)
        for c in range(classes):
            p, t = band & (preds == c), band & (target == c)
            union = (p | t).sum()
            expected = (p & t).sum() / union if union else np.nan
            assert found[d - 1, c].item() == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, t: error_types(p, t, 2, width=0), "`width` must be greater than 0"),
        (lambda p, t: error_types(p, t, 2, width=float("inf")), "`width` must be greater than 0"),
        (lambda p, t: trimap_iou(p, t, 2, reach=0), "`reach` must be at least 1 pixel, got 0"),
        (lambda p, t: error_types(p, t[:, :2], 2), "same size"),
        (lambda p, t: error_types(p, t + 5, 2), "`target`"),
        (lambda p, t: trimap_iou(p[:, 0], t[:, 0], 2), "two or three spatial dimensions"),
    ],
)
def test_bad_input_is_named(call, message):
    zeros = torch.zeros(1, 4, 4, dtype=torch.int64)
    with pytest.raises((ValueError, TypeError), match=message):
        call(zeros, zeros)


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("errors")
    for name in "pt":
        (root / name).mkdir()
    for i in range(5):
        size = (30 + 5 * i, 41)
        for name, mask in zip("pt", drawn(size, 3, i, 2.5, void=i == 2), strict=True):
            Image.fromarray(mask.astype(np.uint8)).save(root / name / f"{i}.png")
    return root / "p", root / "t"


def masks(folders: tuple[Path, Path]) -> list[tuple[np.ndarray, ...]]:
    return [
        tuple(np.asarray(Image.open(f / f"{i}.png")).astype(int) for f in folders) for i in range(5)
    ]


def run(*arguments: object):
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert done.exit_code == 0, done.stderr
    return done


@pytest.mark.parametrize("number", [1, 3])
def test_the_command_has_both_tables_in_all_outputs(
    folders: tuple[Path, Path], tmp_path: Path, number: int
) -> None:
    (tmp_path / "labels.yaml").write_text("names: [a, b, c]\nignore_index: 255\n")
    out = tmp_path / "o.json"
    done = run(
        *folders, "--labels", tmp_path / "labels.yaml", "--errors", "--workers", number,
        "--json", out, "--csv", tmp_path / "o.csv", "--html", tmp_path / "o.html",
        "--markdown", tmp_path / "o.md",
    )  # fmt: skip
    found = json.loads(out.read_text())
    counts = sum(
        by_hand(preds, target, 3, max(1, round(0.01 * np.hypot(*target.shape))))
        for preds, target in masks(folders)
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    page = re.sub(r"<[^>]*>", " ", (tmp_path / "o.html").read_text())
    marked = (tmp_path / "o.md").read_text()
    shares = []
    for name, row, c in zip("abc", found["errors"], counts, strict=True):
        kinds = [(c[1 + k] + c[4 + k]) / c.sum() for k in range(3)]
        shares.append(kinds)
        assert row["name"] == name
        assert [row["iou"], *(row[kind] for kind in KINDS)] == pytest.approx(
            [c[0] / c.sum(), *kinds]
        )
        assert row["iou"] + sum(kinds) == pytest.approx(1)
        assert [row[key] for key in NAMES] == c.tolist()
        assert row["iou"] == pytest.approx(found["classes"]["abc".index(name)]["iou"])
        shown = [f"{value:.3f}" for value in (row["iou"], *kinds)]
        assert [name, *shown] in lines
        assert re.search(rf"\b{name}\s+" + r"\s+".join(map(re.escape, shown)), page)
        assert f"| {name} | {' | '.join(shown)} |" in marked
    for kind, mean in zip(KINDS, np.mean(shares, 0), strict=True):
        assert found["scores"][f"{kind}_error"] == pytest.approx(mean)
        assert [kind, "errors", f"{mean:.3f}"] in lines

    widths = trimap_by_hand(folders)
    assert [row["width"] for row in found["trimap"]] == [str(d) for d in range(1, 21)]
    for row, (miou, accuracy, pixels) in zip(found["trimap"], widths, strict=True):
        assert [row["mIoU"], row["accuracy"]] == pytest.approx([miou, accuracy])
        assert row["pixels"] == pixels
    for row in (found["trimap"][d - 1] for d in (1, 2, 3, 5, 10, 20)):
        cells = [row["width"], f"{row['mIoU']:.3f}", f"{row['accuracy']:.3f}", f"{row['pixels']:,}"]
        assert cells in lines
        assert f"| {' | '.join(cells)} |" in marked
    check_curve((tmp_path / "o.html").read_text(), [miou for miou, _, _ in widths])
    for key in ("errors", "trimap"):
        with (tmp_path / f"o.{key}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [list(row.values()) for row in rows] == [
            [str(cell) for cell in row.values()] for row in found[key]
        ]


def check_curve(page: str, values: list[float]) -> None:
    """The picture shows values from left to right, on the scale of its ticks."""
    picture = re.search(r'<svg [^>]*aria-label="mIoU over the width.*?</svg>', page, re.S)
    assert picture is not None
    ticks = re.findall(
        r'y="(\d+)" text-anchor="end">([\d.]+)</text><path d="M40 (\d+)H', picture[0]
    )
    assert [tick for _, tick, _ in ticks] == ["0", "0.5", "1"]
    zero, half, one = (int(line) for _, _, line in ticks)
    assert half == pytest.approx((zero + one) / 2, abs=1)
    assert [int(text) - int(line) for text, _, line in ticks] == pytest.approx([4] * 3, abs=1)
    (points,) = re.findall(r'<polyline points="([^"]*)"', picture[0])
    xs, ys = np.array([point.split(",") for point in points.split()], float).T
    right = float(re.findall(r"H(\d+)", picture[0])[0])
    np.testing.assert_allclose(xs, np.linspace(40, right, len(values)), atol=0.06)
    np.testing.assert_allclose(ys, zero + (one - zero) * np.array(values), atol=0.06)
    assert f">{len(values)} px from a boundary</text>" in picture[0]


def trimap_by_hand(folders: tuple[Path, Path]) -> list[tuple[float, float, int]]:
    """mIoU, accuracy and pixels over the trimaps of all images, by width."""
    tables = np.zeros((20, 3, 3), int)
    for preds, target in masks(folders):
        away = np.full(target.shape, np.inf)
        for label in np.unique(target):
            inside = ndimage.distance_transform_edt(target == label)
            away = np.where(target == label, inside, away)
        for d in range(1, 21):
            band = (away <= d) & (target != VOID)
            for c in range(3):
                p, t = band & (preds == c), band & (target == c)
                tables[d - 1, c] += [(p & t).sum(), (p | t).sum(), t.sum()]
    return [
        (
            (table[:, 0] / table[:, 1]).mean(),
            table[:, 0].sum() / table[:, 2].sum(),
            table[:, 2].sum(),
        )
        for table in tables
    ]


def test_foregrounds_and_masks_of_one_class_are_split_too(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "o.json"
    run(*folders, "--binary", "--ignore-index", VOID, "--errors", "--json", out)
    (row,) = json.loads((tmp_path / "o.json").read_text())["errors"]
    expected = np.zeros((2, 7), int)
    for preds, target in masks(folders):
        p, t = ((side > 0).astype(int) for side in (preds, target))
        t[target == VOID] = VOID
        width = max(1, round(0.01 * np.hypot(*target.shape)))
        expected += by_hand(p, t, 2, width)
    assert [row[key] for key in NAMES] == expected[1].tolist()

    for side, folder in zip("pt", folders, strict=True):
        for i in range(5):
            mask = np.asarray(Image.open(folder / f"{i}.png"))
            for c, name in enumerate("abc"):
                path = tmp_path / side / str(i) / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((mask == c).astype(np.uint8)).save(path)
    run(
        tmp_path / "p", tmp_path / "t", "--match", "{key}/{class}.png", "{key}/{class}.png",
        "--errors", "--json", tmp_path / "o.json",
    )  # fmt: skip
    found = json.loads((tmp_path / "o.json").read_text())
    for c, row in enumerate(found["errors"]):
        counts = np.zeros((2, 7), int)
        for preds, target in masks(folders):
            width = max(1, round(0.01 * np.hypot(*target.shape)))
            counts += by_hand((preds == c).astype(int), (target == c).astype(int), 2, width)
        assert [row[key] for key in NAMES] == counts[1].tolist()


def test_without_a_boundary_the_trimap_has_no_pixels_and_no_scores(tmp_path: Path) -> None:
    for name in "pt":
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / name / "a.png")
    out = tmp_path / "o.json"
    run(tmp_path / "p", tmp_path / "t", "--num-classes", 2, "--errors", "--json", out)
    for row in json.loads(out.read_text())["trimap"]:
        assert [row[key] for key in ("mIoU", "accuracy", "pixels")] == [None, None, 0]


def test_ids_are_classes_and_a_checkpoint_goes_on(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    space = LabelSpace(["one", "two"], ignore_index=(255,), id_to_class={0: 0, range(1, 3): 1})
    (tmp_path / "labels.yaml").write_text(
        'names: [one, two]\nignore_index: 255\nid_to_class: {0: one, "1-2": two}\n'
    )
    given = (*folders, "--labels", tmp_path / "labels.yaml", "--errors")
    run(*given, "--json", tmp_path / "a.json", "--checkpoint", tmp_path / "ck")
    run(*given, "--json", tmp_path / "b.json", "--checkpoint", tmp_path / "ck")
    first, again = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    assert first["errors"] == again["errors"]
    expected = np.zeros((2, 7), int)
    for preds, target in masks(folders):
        width = max(1, round(0.01 * np.hypot(*target.shape)))
        p, t = (np.where(side == VOID, VOID, np.minimum(side, 1)) for side in (preds, target))
        expected += by_hand(p, t, 2, width)
    assert [[row[key] for key in NAMES] for row in first["errors"]] == expected.tolist()
    assert space.num_classes == 2
