"""``segmetrics compare`` with objects and surfaces, against figures longhand and by SciPy."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial.distance import directed_hausdorff
from typer.testing import CliRunner, Result

from segmetrics import ObjectImageScores
from segmetrics.evaluate.command import app
from segmetrics.statistics import ImageCounts, compare, ranking, score_differences, slices

Masks = NDArray[np.uint8]
IMAGES = 10
#: The share of lesions that a model misses, and how many it invents in an image.
MODELS = {"poor": (0.6, 2), "good": (0.1, 0), "fair": (0.35, 1)}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--workers", "1"])


def dots(places: list[tuple[int, int, int]]) -> Masks:
    """A mask with a square at every place, of its size."""
    mask = np.zeros((40, 48), np.uint8)
    for row, column, size in places:
        mask[row : row + size, column : column + size] = 1
    return mask


@pytest.fixture(scope="module")
def masks() -> dict[str, list[Masks]]:
    """Lesions on a grid, so that they never touch; models miss some and invent others."""
    rng = np.random.default_rng(4)
    found: dict[str, list[Masks]] = {name: [] for name in ("targets", *MODELS)}
    for _ in range(IMAGES):
        cells = [(8 * r + 1, 8 * c + 1) for r in range(5) for c in range(6)]
        rng.shuffle(cells)
        lesions = [(r, c, int(rng.integers(2, 6))) for r, c in cells[:9]]
        found["targets"].append(dots(lesions))
        for name, (missed, invented) in MODELS.items():
            seen = [(r, c, size) for r, c, size in lesions if rng.random() > missed]
            others = [(r, c, 3) for r, c in cells[9 : 9 + invented]]
            found[name].append(dots(seen[1:] + [(r, c, 5) for r, c, _ in seen[:1]] + others))
    return found


@pytest.fixture(scope="module")
def root(masks: dict[str, list[Masks]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name, of_folder in masks.items():
        (root / name).mkdir()
        for i, mask in enumerate(of_folder):
            Image.fromarray(mask).save(root / name / f"{i}.png")
    rows = "".join(f"{i},{'ab'[i % 2]},{i // 2}\n" for i in range(IMAGES))
    (root / "cases.csv").write_text(f"image,site,patient\n{rows}")
    return root


def named(root: Path) -> list[str]:
    return [f"{name}={root / name}" for name in MODELS]


def compared(root: Path, folder: Path, *options: object) -> dict[str, Any]:
    done = run(
        "compare", root / "targets", *named(root), "--binary", "--json", folder / "o.json", *options
    )
    assert done.exit_code == 0, done.stderr
    content: dict[str, Any] = json.loads((folder / "o.json").read_text())
    return content


def lesions(preds: Masks, target: Masks) -> tuple[int, int, int, int]:
    """Found and all lesions of the target, right and all predicted ones, by SciPy."""
    numbers = []
    for one, other in ((target, preds), (preds, target)):
        parts, number = ndimage.label(one, np.ones((3, 3)))
        numbers += [len(set(parts[other > 0].tolist()) - {0}), number]
    return numbers[0], numbers[1], numbers[2], numbers[3]


def f1(sums: NDArray[Any]) -> Any:
    """F1 of sums ``(..., 4)`` of lesions."""
    recall, precision = sums[..., 0] / sums[..., 1], sums[..., 2] / sums[..., 3]
    return 2 * precision * recall / (precision + recall)


@pytest.fixture(scope="module")
def sums(masks: dict[str, list[Masks]]) -> dict[str, NDArray[Any]]:
    """Lesions of every image ``(N, 4)``, by model."""
    return {
        name: np.array([lesions(*pair) for pair in zip(masks[name], masks["targets"], strict=True)])
        for name in MODELS
    }


# --- objects --------------------------------------------------------------------------------------


def test_models_are_ranked_by_the_f1_of_lesions(
    root: Path, sums: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    """Values longhand, p-values of all 2¹⁰ sign flips, intervals of a bootstrap in NumPy."""
    found = compared(root, tmp_path, "--objects", "--score", "object_f1")
    values = {name: f1(of_model.sum(0)) for name, of_model in sums.items()}
    order = sorted(values, key=values.__getitem__, reverse=True)
    assert found["score"] == "object_f1"
    assert [row["model"] for row in found["models"]] == order == ["good", "fair", "poor"]
    for row in found["models"]:
        assert row["value"] == pytest.approx(values[row["model"]])
    flips = np.array(list(product((0, 1), repeat=IMAGES)))
    draws = np.random.default_rng(0).multinomial(IMAGES, [1 / IMAGES] * IMAGES, 20_000)
    assert len(found["pairs"]) == 3
    for row in found["pairs"]:
        a, b = sums[row["a"]], sums[row["b"]]
        assert row["difference"] == pytest.approx(values[row["a"]] - values[row["b"]])
        swapped = f1((1 - flips) @ a + flips @ b) - f1(flips @ a + (1 - flips) @ b)
        as_extreme = np.abs(swapped) >= abs(row["difference"]) - 1e-12
        assert row["p"] == pytest.approx(as_extreme.mean())
        drawn = np.quantile(f1(draws @ a) - f1(draws @ b), [0.025, 0.975])
        assert row["low"] < drawn[0] + 0.01
        assert row["high"] > drawn[1] - 0.01
    for row in found["scores"]:
        if row["score"] != "object_f1":
            continue
        a, b = sums[row["model"]], sums["good"]
        assert row["value"] == pytest.approx(values[row["model"]])
        assert row["difference"] == pytest.approx(values[row["model"]] - values["good"])
        drawn = np.quantile(f1(draws @ a) - f1(draws @ b), [0.025, 0.975])
        assert [row["low"], row["high"]] == pytest.approx(drawn, abs=0.015)
    images = {(row["image"], row["model"]): row["value"] for row in found["images"]}
    assert len(images) == IMAGES * len(MODELS)
    for (image, model), value in images.items():
        assert value == pytest.approx(f1(sums[model][int(image)]))


def test_scores_of_objects_are_those_of_each_model_alone(root: Path, tmp_path: Path) -> None:
    """The ranking is by pixels, and the same as without objects."""
    plain = compared(root, tmp_path)
    found = compared(root, tmp_path, "--objects", "--object-sizes", "10")
    for key in ("models", "pairs", "classes", "images", "conventions"):
        assert found[key] == plain[key]
    assert plain["scores"] == []
    best = found["models"][0]["model"]
    by_key = {(row["score"], row["model"]): row for row in found["scores"]}
    for name in MODELS:
        alone = run(
            "evaluate", root / name, root / "targets", "--binary", "--objects",
            "--object-sizes", "10", "--json", tmp_path / "e.json",
        )  # fmt: skip
        assert alone.exit_code == 0, alone.stderr
        theirs = json.loads((tmp_path / "e.json").read_text())
        keys = [key for key in theirs["scores"] if key.startswith("object_")]
        assert {"object_dice", "object_recall/small", "object_recall/large"} < set(keys)
        for key in keys:
            row = by_key[key, name]
            assert row["value"] == pytest.approx(theirs["scores"][key])
            difference = theirs["scores"][key] - by_key[key, best]["value"]
            assert row["difference"] == pytest.approx(difference)
            assert row["low"] <= row["difference"] <= row["high"]
        assert by_key["missed_objects", name]["value"] == theirs["objects"][0]["missed_objects"]
        assert by_key["missed_objects", name]["higher_is_better"] is False


def test_every_output_has_the_scores(root: Path, tmp_path: Path) -> None:
    done = run(
        "compare", root / "targets", *named(root), "--binary", "--objects", "--score", "object_f1",
        "--json", tmp_path / "o.json", "--csv", tmp_path / "o.csv", "--html", tmp_path / "o.html",
        "--markdown", tmp_path / "o.md",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "o.json").read_text())
    with (tmp_path / "o.scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["score"], row["model"]) for row in rows] == [
        (row["score"], row["model"]) for row in found["scores"]
    ]
    for row, theirs in zip(rows, found["scores"], strict=True):
        assert float(row["value"] or "nan") == pytest.approx(
            float("nan") if theirs["value"] is None else theirs["value"], nan_ok=True
        )
    assert not (tmp_path / "o.conventions.csv").exists()  # of scores of pixels alone
    order = [row["model"] for row in found["models"]]
    of_f1 = [row for row in found["scores"] if row["score"] == "object_f1"]
    cells = [f"{of_f1[0]['value']:.3f}"]
    for row in of_f1[1:]:
        star = "*" if row["low"] > 0 or row["high"] < 0 else ""
        cells.append(f"{row['value']:.3f} ({row['difference']:+.3f}{star})")
    assert [row["model"] for row in of_f1] == order
    assert re.search(r"^object_f1 +" + " +".join(map(re.escape, cells)) + "$", done.stdout, re.M)
    marked = (tmp_path / "o.md").read_text().replace("\\", "")
    assert f"| object_f1 | {' | '.join(cells)} |" in marked
    assert "An object is connected pixels of one class" in done.stdout
    assert "IoU by class" in done.stdout
    assert "give this order" not in done.stdout
    page = (tmp_path / "o.html").read_text()
    body = page[page.index('<table id="further-table"') :]
    line = next(row for row in re.findall(r"<tr.*?</tr>", body, re.S) if ">object_f1<" in row)
    shown = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>([^<]*)</td>", line)]
    assert shown[0] == f"{of_f1[0]['value']:.3f}"
    assert shown[1::2] == [f"{row['value']:.3f}" for row in of_f1[1:]]
    assert shown[2::2] == [f"{row['difference']:+.3f}" for row in of_f1[1:]]
    false = next(row for row in re.findall(r"<tr.*?</tr>", body, re.S) if ">false_objects<" in row)
    assert false.count('class="number worse"') == 2  # more of them, which is worse
    amount = next(r for r in re.findall(r"<tr.*?</tr>", body, re.S) if ">predicted_objects<" in r)
    assert 'class="number worse"' not in amount  # fewer objects are neither better nor worse
    assert "object_f1 of every image" in page
    assert 'id="conventions"' not in page


def test_classes_regions_and_presets_have_keys(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in ("targets", "a", "b"):
        (tmp_path / name).mkdir()
    for i in range(4):
        target = ndimage.zoom(rng.integers(0, 3, (6, 6)), 6, order=0).astype(np.uint8)
        Image.fromarray(target).save(tmp_path / "targets" / f"{i}.png")
        for name, share in (("a", 0.1), ("b", 0.4)):
            gone = ndimage.zoom(rng.random((6, 6)) < share, 6, order=0)
            Image.fromarray(np.where(gone, 0, target)).save(tmp_path / name / f"{i}.png")
    given = ("compare", "targets", "a=a", "b=b", "--num-classes", 3, "--region", "both=1,2")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for options in (("--objects",), ("--object-preset", "brats-2023-met")):
            for score in ("object_dice/2", "object_dice_region/both"):
                done = run(*given, *options, "--score", score, "--json", "o.json")
                assert done.exit_code == 0, done.stderr
                found = json.loads(Path("o.json").read_text())
                alone = run("evaluate", "a", "targets", *given[4:], *options, "--json", "e.json")
                assert alone.exit_code == 0, alone.stderr
                rows = {r["name"]: r for r in json.loads(Path("e.json").read_text())["objects"]}
                value = rows["2" if score.endswith("2") else "both"]["object_dice"]
                row = next(row for row in found["models"] if row["model"] == "a")
                assert row["value"] == pytest.approx(value)


def test_groups_and_subgroups_of_objects(
    root: Path, masks: dict[str, list[Masks]], tmp_path: Path
) -> None:
    given = ("--objects", "--score", "object_f1", "--by", f"{root}/cases.csv:site",
             "--groups", f"{root}/cases.csv:patient")  # fmt: skip
    found = compared(root, tmp_path, *given)
    tables = {name: ObjectImageScores(task="binary") for name in MODELS}
    for name, metric in tables.items():
        metric.update(
            *(torch.from_numpy(np.stack(masks[side])) for side in (name, "targets")),
            image_ids=list(map(str, range(IMAGES))),
        )
    patients = {str(i): str(i // 2) for i in range(IMAGES)}
    expected = ranking(tables, "object_f1", groups=patients)
    assert found["groups_drawn"] == IMAGES // 2
    assert [row["low"] for row in found["models"]] == [model.low for model in expected.models]
    sites = {str(i): "ab"[i % 2] for i in range(IMAGES)}
    for name, metric in tables.items():
        alone = slices(metric, sites, "object_f1", groups=patients)
        rows = {row["group"]: row for row in found["groups"] if row["model"] == name}
        for label, interval in alone.by_group.items():
            assert rows[str(label)]["value"] == pytest.approx(interval.estimate)
            assert rows[str(label)]["low"] == pytest.approx(interval.low)
        assert rows["a"]["p_value"] == alone.p_value


def test_evaluate_scores_objects_of_subgroups(
    root: Path, sums: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    done = run(
        "evaluate", root / "poor", root / "targets", "--binary", "--objects",
        "--by", f"{root}/cases.csv:site", "--json", tmp_path / "o.json",
        "--csv", tmp_path / "o.csv", "--html", tmp_path / "o.html",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    rows = json.loads((tmp_path / "o.json").read_text())["by_scores"]
    of_f1 = {row["group"]: row for row in rows if row["score"] == "object_f1"}
    values = [f1(sums["poor"][i::2].sum(0)) for i in range(2)]
    assert [of_f1[site]["value"] for site in "ab"] == pytest.approx(values)
    assert of_f1["a"]["difference"] == pytest.approx(abs(values[0] - values[1]))
    assert of_f1["a"]["worst"] is bool(values[0] < values[1])
    assert {"object_recall", "object_precision", "object_dice"} < {row["score"] for row in rows}
    with (tmp_path / "o.by_scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    assert "scores by site" in done.stdout
    assert "Scores by site" in (tmp_path / "o.html").read_text()


# --- surfaces -------------------------------------------------------------------------------------


def hausdorff(preds: Masks, target: Masks) -> float:
    """The Hausdorff distance of the surfaces, by SciPy."""
    sides = [
        np.argwhere(mask & ~ndimage.binary_erosion(mask).astype(np.uint8))
        for mask in (preds, target)
    ]
    return max(directed_hausdorff(*sides)[0], directed_hausdorff(*sides[::-1])[0])


def test_models_are_ranked_by_distances_the_least_first(
    root: Path, masks: dict[str, list[Masks]], tmp_path: Path
) -> None:
    options = ("--surfaces", "--spacing", "0.5", "--empty-distance", "diagonal")
    found = compared(root, tmp_path, *options, "--score", "hd", "--confidence", 0.9)
    of_cases = {
        name: np.array(
            [0.5 * hausdorff(*pair) for pair in zip(masks[name], masks["targets"], strict=True)]
        )
        for name in MODELS
    }
    means = {name: distances.mean() for name, distances in of_cases.items()}
    assert [row["model"] for row in found["models"]] == sorted(means, key=means.__getitem__)
    for row in found["models"]:
        assert row["value"] == pytest.approx(means[row["model"]])
    best = found["models"][0]["model"]
    draws = np.random.default_rng(0).multinomial(IMAGES, [1 / IMAGES] * IMAGES, 20_000) / IMAGES
    rows = {(row["score"], row["model"]): row for row in found["scores"]}
    for name, distances in of_cases.items():
        row = rows["hd", name]
        difference = distances - of_cases[best]
        assert row["difference"] == pytest.approx(difference.mean())
        drawn = np.quantile(draws @ difference, [0.05, 0.95])
        assert [row["low"], row["high"]] == pytest.approx(drawn, abs=0.3)
        assert row["higher_is_better"] is False
        assert rows["nsd/foreground", name]["higher_is_better"] is True
        assert rows["volume_target", name]["higher_is_better"] is None
    worst = max(means, key=means.__getitem__)
    text = run("compare", root / "targets", *named(root), "--binary", *options).stdout
    assert re.search(r"^hd95 .*\(\+\d+\.\d+", text, re.M) is not None, worst
    assert "Distances are in mm, by --spacing 0.5" in text


def test_infinite_distances_are_shown_and_refused_as_the_score(root: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for i in range(IMAGES):
        Image.fromarray(dots([])).save(empty / f"{i}.png")
    given = ("compare", root / "targets", f"good={root / 'good'}", f"empty={empty}", "--binary",
             "--surfaces")  # fmt: skip
    done = run(*given, "--json", tmp_path / "o.json")
    assert done.exit_code == 0, done.stderr
    rows = json.loads((tmp_path / "o.json").read_text())["scores"]
    row = next(r for r in rows if (r["score"], r["model"]) == ("hd95", "empty"))
    assert row["value"] == row["difference"] == "Infinity"
    assert re.search(r"^hd95 +\S+ +inf( \(\+inf\*\))?$", done.stdout, re.M)
    assert "nan" not in done.stdout
    done = run(*given, "--score", "hd95")
    assert done.exit_code == 2
    assert "--score hd95 is infinite for empty" in " ".join(done.stderr.split())
    assert "--empty-distance diagonal" in " ".join(done.stderr.split())


# --- from Python ----------------------------------------------------------------------------------


def test_differences_of_scores_are_those_of_two_models_alone(
    masks: dict[str, list[Masks]],
) -> None:
    tables = {name: ObjectImageScores(task="binary") for name in MODELS}
    for name, metric in tables.items():
        metric.update(
            *(torch.from_numpy(np.stack(masks[side])) for side in (name, "targets")),
            image_ids=list(range(IMAGES)),
        )
    counts = {name: metric.image_counts() for name, metric in tables.items()}
    keys = ("object_f1", "false_objects", "object_dice")
    arguments: dict[str, Any] = {"level": 0.9, "n_resamples": 300, "seed": 3}
    for groups in (None, {i: i // 2 for i in range(IMAGES)}):
        found = score_differences(tables, "fair", keys, groups=groups, **arguments)
        assert found.groups == (None if groups is None else IMAGES // 2)
        for row in found.rows:
            alone = compare(
                counts[row.model], counts["fair"], row.score, groups=groups, **arguments
            )
            assert (row.value, row.difference) == pytest.approx((alone.a, alone.difference))
            assert (row.low, row.high) == pytest.approx((alone.low, alone.high))
    assert len(found.columns()["score"]) == len(keys) * len(MODELS)
    every = score_differences(tables, "good", n_resamples=20)
    assert set(every.columns()["score"]) == set(counts["good"].keys())
    with pytest.raises(ValueError, match="`reference` must be one of poor, good, fair, got 'x'"):
        score_differences(tables, "x")
    with pytest.raises(ValueError, match="object_f2"):
        score_differences(tables, "good", ["object_f2"])
    with pytest.raises(ValueError, match="at least two"):
        score_differences({"good": tables["good"]}, "good")


def test_infinite_and_undefined_scores_have_bounds_where_they_can() -> None:
    """One infinite case: a resample is infinite where it was drawn, which no bound hides."""
    from segmetrics.statistics import CaseScores

    def table(values: list[float]) -> CaseScores:
        scores = torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)
        return CaseScores(scores, ("hd",), ("liver",), torch.ones(len(values), 1))

    inf, nan = float("inf"), float("nan")
    models = {"a": table([1.0, 2.0, 3.0, 4.0]), "b": table([inf, 2.0, 3.0, 4.0])}
    row = next(r for r in score_differences(models, "a", ["hd"]).rows if r.model == "b")
    assert (row.value, row.difference, row.low, row.high) == (inf, inf, 0.0, inf)
    models = {"a": table([inf, 2.0, 3.0, 4.0]), "b": table([inf, inf, 3.0, 4.0])}
    row = next(r for r in score_differences(models, "a", ["hd"]).rows if r.model == "b")
    assert row.value == inf
    assert all(x != x for x in (row.difference, row.low, row.high))  # ∞ − ∞
    models = {"a": table([nan] * 4), "b": table([1.0, 2.0, 3.0, 4.0])}
    row = next(r for r in score_differences(models, "a", ["hd"]).rows if r.model == "b")
    assert row.value == 2.5
    assert all(x != x for x in (row.difference, row.low, row.high))


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--score", "object_f1"], "Other scores need --objects, --surfaces or --probabilities."),
        (["--objects", "--score", "object_f2"], "Or one of object_precision, object_recall"),
        (["--objects", "--score", "hd95"], "Or one of object_precision"),
        (["--surfaces", "--score", "hd95/liver"], "Or one of dice, iou"),
        (["--min-size", "5"], "--min-size applies to objects: give --objects, too."),
        (["--tolerance", "2"], "--tolerance is about surfaces: give --surfaces, too."),
        (["--object-preset", "brats"], "--object-preset is one of brats-2023-gli"),
        (["--objects", "--csv", "o.csv", "--json", "o.scores.csv"], "are the same file"),
    ],
)
def test_mistakes_are_named_before_anything_is_counted(
    root: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    before = sorted(root.rglob("*"))
    done = run("compare", "targets", "a=good", "b=poor", "--binary", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert sorted(root.rglob("*")) == before


def test_the_page_refuses_scores_of_other_models(tmp_path: Path) -> None:
    from segmetrics import report
    from segmetrics.statistics import class_differences

    tp = torch.tensor([[9, 5], [8, 4], [7, 6]])
    make: Callable[[int], ImageCounts] = lambda less: ImageCounts(tp - less, 0 * tp, 10 - tp + less)  # noqa: E731
    counts = {"a": make(0), "b": make(1), "c": make(2)}
    two = {name: counts[name] for name in "ab"}
    found, classes = ranking(two), class_differences(two, "a")
    with pytest.raises(ValueError, match="`scores` must be of the models of `ranking`"):
        report.write_comparison(
            tmp_path / "o.html", found, classes, scores=score_differences(counts, "a", ["mIoU_D"])
        )
