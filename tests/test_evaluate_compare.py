"""``segmetrics compare``: models on the same targets, against ``evaluate`` and longhand figures."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from segmetrics import report
from segmetrics.evaluate import workers
from segmetrics.evaluate.command import app
from segmetrics.evaluate.counter import Counter
from segmetrics.evaluate.models import evaluate_models
from segmetrics.evaluate.settings import Settings
from segmetrics.files import Pair
from segmetrics.labels import LabelSpace
from segmetrics.statistics import (
    ImageCounts,
    class_differences,
    compare,
    confidence_interval,
    conventions,
    ranking,
    slices,
)

IMAGES, CLASSES = 36, 3
SITES = ["north" if i % 3 else "south" for i in range(IMAGES)]
#: The share of wrong pixels, and how much it varies over images.
MODELS = {"poor": (0.5, 0.0), "uneven": (0.3, 0.25), "good": (0.28, 0.02)}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def named(root: Path) -> list[str]:
    return [f"{name}={root / name}" for name in MODELS]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("models")
    for name in ("targets", "images", *MODELS):
        (root / name).mkdir()
    for i in range(IMAGES):
        target = rng.integers(0, CLASSES, (12, 15)).astype(np.uint8)
        Image.fromarray(target).save(root / "targets" / f"{i:02}.png")
        Image.fromarray(np.stack([80 * target] * 3, -1)).save(root / "images" / f"{i:02}.jpg")
        for name, (share, spread) in MODELS.items():
            wrong = rng.random(target.shape) < share + spread * np.sin(i)
            preds = np.where(wrong, rng.integers(0, CLASSES, target.shape), target)
            Image.fromarray(preds.astype(np.uint8)).save(root / name / f"{i:02}.png")
    rows = "".join(f"{i:02}.png,{site}\n" for i, site in enumerate(SITES))
    (root / "cases.csv").write_text(f"image,site\n{rows}")
    return root


@pytest.fixture(scope="module")
def counts(root: Path) -> dict[str, ImageCounts]:
    """Counts of every model, longhand."""
    found = {}
    for name in MODELS:
        rows = []
        for i in range(IMAGES):
            preds, target = (
                np.asarray(Image.open(root / f / f"{i:02}.png")) for f in (name, "targets")
            )
            rows.append([
                [((preds == c) & (target == c)).sum(), ((preds == c) & (target != c)).sum(),
                 ((preds != c) & (target == c)).sum()] for c in range(CLASSES)
            ])  # fmt: skip
        tp, fp, fn = torch.from_numpy(np.array(rows)).unbind(-1)
        ids = tuple(f"{i:02}" for i in range(IMAGES))
        found[name] = ImageCounts(tp, fp, fn, ids=ids, class_names=("0", "1", "2"))
    return found


@pytest.fixture(scope="module")
def results(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Everything that the command writes, once."""
    out = tmp_path_factory.mktemp("out")
    done = run(
        root / "targets", *named(root), "--num-classes", CLASSES, "--by", f"{root}/cases.csv:site",
        "--json", out / "o.json", "--csv", out / "o.csv", "--html", out / "o.html",
        "--markdown", out / "o.md", "--images", root / "images",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    return out, done


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def same(cell: object, text: str) -> bool:
    """A cell of the JSON and of the CSV."""
    if cell is None:
        return text == ""
    return text == str(cell)


# --- the numbers ----------------------------------------------------------------------------------


def test_json_has_the_rankings_of_the_counts(
    results: tuple[Path, Result], counts: dict[str, ImageCounts]
) -> None:
    found = json.loads((results[0] / "o.json").read_text())
    expected = ranking(counts)
    assert [row["model"] for row in found["models"]] == [m.name for m in expected.models]
    for row, model in zip(found["models"], expected.models, strict=True):
        tp, fp, fn = (
            part.sum(0).numpy()
            for part in (counts[model.name].tp, counts[model.name].fp, counts[model.name].fn)
        )
        assert row["value"] == pytest.approx((tp / (tp + fp + fn)).mean())
        assert [row["low"], row["high"]] == [model.low, model.high]
        assert (row["rank"], row["best"], row["worst"]) == (model.rank, model.best, model.worst)
        assert row["level_with"] == ", ".join(model.level_with)
        assert [row[f"rank_{i}"] for i in (1, 2, 3)] == list(model.rank_shares)
    assert found["tau"] == {
        "mean": expected.tau,
        "low": expected.tau_low,
        "high": expected.tau_high,
    }
    assert len(found["pairs"]) == 3
    for row in found["pairs"]:
        alone = compare(counts[row["a"]], counts[row["b"]])
        assert row["difference"] == pytest.approx(alone.difference)
        assert row["p"] == pytest.approx(alone.p_sign_flip, abs=0.01)
        assert row["p_holm"] >= row["p"]
        assert row["significant"] is (row["p_holm"] <= 0.05)
        assert row["low"] <= alone.low + 0.01
    assert (found["score"], found["level"], found["images_scored"]) == ("mIoU", 0.95, IMAGES)
    assert found["pixels"] == IMAGES * 12 * 15


def test_json_has_the_classes_groups_images_and_conventions_of_every_model(
    results: tuple[Path, Result], counts: dict[str, ImageCounts]
) -> None:
    found = json.loads((results[0] / "o.json").read_text())
    best = found["models"][0]["model"]
    by_class = {(row["class"], row["model"]): row for row in found["classes"]}
    assert len(by_class) == CLASSES * len(MODELS)
    for (name, model), row in by_class.items():
        alone = compare(counts[model], counts[best], f"iou/{name}")
        assert (row["value"], row["difference"]) == pytest.approx((alone.a, alone.difference))
        assert (row["low"], row["high"]) == pytest.approx((alone.low, alone.high))
        assert row["pixels"] == int((counts[model].tp + counts[model].fn)[:, int(name)].sum())
    by = dict(zip((f"{i:02}" for i in range(IMAGES)), SITES, strict=True))
    for model, those in counts.items():
        split = slices(those, by)
        rows = {row["group"]: row for row in found["groups"] if row["model"] == model}
        assert set(rows) == {"north", "south"}
        for label, row in rows.items():
            keep = torch.tensor([i for i, site in enumerate(SITES) if site == label])
            alone = confidence_interval(those.images(keep))
            values = [row["value"], row["low"], row["high"]]
            assert values == pytest.approx([alone.estimate, alone.low, alone.high])
            assert (row["images"], row["worst"]) == (len(keep), label == split.worst)
            assert row["few images"] is (len(keep) < 30)
            assert (row["difference"], row["p_value"]) == (split.difference, split.p_value)
    images = {(row["image"], row["model"]): row["value"] for row in found["images"]}
    assert len(images) == IMAGES * len(MODELS)
    for (image, model), value in images.items():
        row = int(image)
        tp, fp, fn = (
            part[row].double() for part in (counts[model].tp, counts[model].fp, counts[model].fn)
        )
        assert value == pytest.approx((tp / (tp + fp + fn)).mean().item())
    rows = conventions({row["model"]: counts[row["model"]] for row in found["models"]}).columns()
    for column, cells in rows.items():
        assert [row[column] for row in found["conventions"]] == cells


def test_csv_has_the_rows_of_the_json(results: tuple[Path, Result]) -> None:
    out, _ = results
    found = json.loads((out / "o.json").read_text())
    for key in ("models", "pairs", "classes", "groups", "images", "conventions"):
        rows = table(out / ("o.csv" if key == "models" else f"o.{key}.csv"))
        assert len(rows) == len(found[key]) > 0
        for ours, theirs in zip(rows, found[key], strict=True):
            assert list(ours) == list(theirs)
            assert all(same(theirs[column], ours[column]) for column in ours), (key, ours, theirs)


def test_results_are_tables_for_data_frames(counts: dict[str, ImageCounts]) -> None:
    import polars

    differences = class_differences(counts, "good")
    for result, rows in (
        (ranking(counts), len(MODELS)), (ranking(counts).by_pair(), 3),
        (differences, CLASSES * len(MODELS)), (conventions(counts), 22),
        (slices(counts["good"], dict(zip(counts["good"].ids or (), SITES, strict=True))), 2),
    ):  # fmt: skip
        assert len(result.to_dataframe()) == rows
        assert polars.DataFrame(result).columns == list(result.columns())


def test_the_terminal_and_markdown_say_what_the_json_says(results: tuple[Path, Result]) -> None:
    out, done = results
    found = json.loads((out / "o.json").read_text())
    marked = [
        [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in (out / "o.md").read_text().splitlines()
        if line.startswith("|")
    ]
    printed = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    for lines in (printed, marked):
        for row in found["models"]:
            place = (
                f"{row['best']}" if row["best"] == row["worst"] else f"{row['best']}–{row['worst']}"
            )
            bounds = f"[{row['low']:.3f}, {row['high']:.3f}]"
            cells = [row["model"], str(row["rank"]), f"{row['value']:.3f}", bounds, place]
            assert [*cells, row["level_with"] or "–"] in lines
            shares = [f"{100 * row[f'rank_{i}']:.0f} %" for i in (1, 2, 3)]
            assert [row["model"], *shares] in lines
        for row in found["pairs"]:
            cells = [f"{row['a']} − {row['b']}", f"{row['difference']:+.3f}",
                     f"[{row['low']:+.3f}, {row['high']:+.3f}]", f"{row['p_holm']:.2g}",
                     "yes" if row["significant"] else "no"]  # fmt: skip
            assert cells in lines
        order = [row["model"] for row in found["models"]]
        for name in map(str, range(CLASSES)):
            cells = [name]
            for row in (row for row in found["classes"] if row["class"] == name):
                text = f"{row['value']:.3f}"
                if row["model"] != order[0]:
                    surely = "*" if row["low"] > 0 or row["high"] < 0 else ""
                    text += f" ({row['difference']:+.3f}{surely})"
                cells.append(text)
            assert cells in lines
        for label in ("north", "south"):
            rows = [row for row in found["groups"] if row["group"] == label]
            cells = [label, str(rows[0]["images"])]
            for row in rows:
                cells += [f"{row['value']:.3f}", f"[{row['low']:.3f}, {row['high']:.3f}]"]
            assert cells in lines
        assert [widest(found)[0], *(f"{v:.3f}" for v in widest(found)[1])] in lines
    for text in (done.stdout, (out / "o.md").read_text().replace("\\", "")):
        tau = found["tau"]
        assert f"resamples: {tau['mean']:.2f} [{tau['low']:.2f}, {tau['high']:.2f}]." in text
        assert re.search(r"\d+ of 22 give this order", text)


def widest(found: dict[str, Any]) -> tuple[str, list[float]]:
    """The image where models differ most, with their scores."""
    order, images = [row["model"] for row in found["models"]], dict[str, dict[str, float]]()
    for row in found["images"]:
        images.setdefault(row["image"], {})[row["model"]] = row["value"]
    name = max(images, key=lambda image: np.ptp(list(images[image].values())))
    return name, [images[name][model] for model in order]


def test_the_page_says_what_the_json_says(results: tuple[Path, Result]) -> None:
    out, _ = results
    text, found = (out / "o.html").read_text(), json.loads((out / "o.json").read_text())

    def rows(identifier: str) -> dict[str, list[str]]:
        body = text[text.index(f'<table id="{identifier}"') :]
        body = body[: body.index("</table>")]
        parsed = {}
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", body[body.index("<tbody>") :], re.S):
            first, *cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
            shown = [html.unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in cells]
            parsed.setdefault(html.unescape(first), shown)
        return parsed

    ranked, ranks, map_ = rows("ranking-table"), rows("ranks-table"), rows("map-table")
    for row in found["models"]:
        place = f"{row['best']}" if row["best"] == row["worst"] else f"{row['best']}–{row['worst']}"
        assert ranked[row["model"]] == [
            str(row["rank"]), f"{row['value']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}",
            place, row["level_with"] or "–",
        ]  # fmt: skip
        for i, share in enumerate(ranks[row["model"]], 1):
            assert float(share.split("\u202f")[0] or 0) == pytest.approx(
                100 * row[f"rank_{i}"], abs=0.051
            )
    order = [row["model"] for row in found["models"]]
    for row in found["pairs"]:
        a, b = order.index(row["a"]), order.index(row["b"])
        assert map_[row["a"]][b] == f"{row['difference']:+.3f}"
        assert map_[row["b"]][a] == f"{-row['difference']:+.3f}"
    better = text[text.index('id="map-table"') :]
    better = better[: better.index("</table>")].count('class="number better"')
    assert better == sum(row["significant"] for row in found["pairs"])
    classes = rows("classes-table")
    for name in map(str, range(CLASSES)):
        cells = []
        for row in (row for row in found["classes"] if row["class"] == name):
            cells.append(f"{row['value']:.3f}")
            if row["model"] != order[0]:
                cells.append(f"{row['difference']:+.3f}")
        assert classes[name][1:] == cells
    groups = rows("groups-table")
    for label in ("north", "south"):
        cells = []
        for row in (row for row in found["groups"] if row["group"] == label):
            cells += [f"{row['value']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}"]
        assert groups[label][1:] == cells
    image, values = widest(found)
    images = rows("images-table")
    assert next(iter(images)) == image
    assert images[image] == [f"{np.ptp(values):.3f}", *(f"{value:.3f}" for value in values)]
    assert len(images) == IMAGES
    shown = re.findall(r"<h3>(\d\d)</h3>", text)
    assert (len(shown), shown[0]) == (8, image)
    assert text.count('alt="Target of') == 8
    for model, value in zip(order, values, strict=True):
        assert f'alt="{model} {value:.3f} of {image}"' in text
    assert "Plotly" not in text
    assert len(rows("conventions-table")) == 3
    assert text.count('<td class="text">mIoU_D</td>') == 1


# --- how it is counted ----------------------------------------------------------------------------


def test_a_target_is_read_once_for_all_models(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "00.png"
    shutil.copy(root / "targets" / "00.png", target)
    counter = Counter(Settings(LabelSpace([str(c) for c in range(CLASSES)])))
    pairs = [Pair("00", root / name / "00.png", target) for name in MODELS]
    first = counter.count(pairs[0])
    target.unlink()
    for pair in pairs[1:]:
        assert counter.count(pair).sums[:12].sum() == first.sums[:12].sum()


@pytest.mark.parametrize("number", [1, 3, 50])
@pytest.mark.parametrize("models", [7, 11])
def test_predictions_of_a_target_stay_with_one_worker(number: int, models: int) -> None:
    pairs = [
        Pair(f"{i}", Path(f"{m}/{i}"), Path(f"t/{i}")) for i in range(40) for m in range(models)
    ]
    chunks = workers._chunks([(pair, None) for pair in pairs], number)
    assert [i for chunk in chunks for i in chunk] == list(range(40 * models))
    of_chunk = [{pairs[i].target for i in chunk} for chunk in chunks]
    assert sum(map(len, of_chunk)) == 40


@pytest.mark.parametrize("forks", [True, False])
def test_any_number_of_workers_gives_the_same_counts(
    root: Path, counts: dict[str, ImageCounts], forks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "FORKS", forks)
    settings = replace(Settings(LabelSpace(["0", "1", "2"])), images=True)
    for number in (1, 3):
        told: list[tuple[int, int, int]] = []
        found = evaluate_models(
            root / "targets", {name: root / name for name in MODELS}, settings, workers=number,
            progress=lambda *numbers, told=told: told.append(numbers),
        )  # fmt: skip
        every = len(MODELS) * IMAGES
        assert told == [(done, every, 0) for done in range(every + 1)]
        for name, expected in counts.items():
            images = found.evaluations[name].images
            assert images is not None
            assert images.ids == expected.ids
            for part in ("tp", "fp", "fn"):
                assert torch.equal(getattr(images, part), getattr(expected, part))


@pytest.mark.parametrize(
    ("values", "score", "key", "title"),
    [
        (["--binary"], [], "iou", "IoU"),
        (["--binary"], ["--score", "recall"], "recall", "recall"),
        (["--num-classes", "3"], ["--score", "mean_accuracy"], "mean_accuracy", "mean accuracy"),
    ],
)
def test_a_score_has_the_name_that_evaluate_gives_it(
    values: list[str], score: list[str], key: str, title: str, root: Path, tmp_path: Path
) -> None:
    out, page, summary = tmp_path / "o.json", tmp_path / "o.html", tmp_path / "o.md"
    done = run(
        root / "targets", *named(root), *values, *score, "--by", f"{root}/cases.csv:site",
        "--json", out, "--html", page, "--markdown", summary,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["score"] == key
    heads = [re.split(r"\s{2,}", line)[:3] for line in done.stdout.splitlines()]
    assert ["model", "rank", title] in heads
    assert f"{title} by site" in {head[0] for head in heads}
    assert summary.read_text().startswith(f"## 3 models by {title}\n")
    assert f"<span>compared by {title}</span>" in page.read_text()
    assert f"{title} of every image" in page.read_text()
    best = found["models"][0]
    folders = str(root / best["model"]), str(root / "targets")
    alone = CliRunner().invoke(app, ["evaluate", *folders, *values, "--json", str(out)])
    assert json.loads(out.read_text())["scores"][key] == pytest.approx(best["value"])
    assert title in {re.split(r"\s{2,}", line)[0] for line in alone.stdout.splitlines()}


def test_other_scores_levels_and_labels_are_compared(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.json"
    for score, binary in (("mDice", False), ("mIoU_I_10", False), ("acc/2", False), ("iou", True)):
        values = ("--binary",) if binary else ("--num-classes", CLASSES)
        done = run(
            root / "targets", *named(root), *values, "--score", score, "--confidence", 0.8,
            "--json", out,
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        found = json.loads(out.read_text())
        assert found["level"] == 0.8
        for row in found["models"]:
            alone = CliRunner().invoke(app, [
                "evaluate", str(root / row["model"]), str(root / "targets"),
                *map(str, values), "--per-image", "--json", "-",
            ])  # fmt: skip
            theirs = json.loads(alone.stdout)
            if score == "acc/2":
                expected = theirs["classes"][2]["accuracy"]
            else:
                expected = theirs["scores"][score]
            assert row["value"] == pytest.approx(expected)


@pytest.mark.parametrize("score", ["IoU", "Dice", "Acc"])
def test_differences_of_classes_are_those_of_two_models_alone(
    counts: dict[str, ImageCounts], score: str
) -> None:
    names = {"reference": "uneven", "score": score, "level": 0.9, "n_resamples": 500}
    by = {image: i // 6 for i, image in enumerate(counts["good"].ids or ())}
    for groups in (None, by):
        found = class_differences(counts, groups=groups, **names)  # type: ignore[arg-type]
        for row in found.rows:
            alone = compare(
                counts[row.model], counts["uneven"], f"{score.lower()}/{row.name}", level=0.9,
                n_resamples=500, groups=groups,
            )  # fmt: skip
            assert (row.value, row.difference) == pytest.approx((alone.a, alone.difference))
            assert (row.low, row.high) == pytest.approx((alone.low, alone.high))
        assert found.groups == (None if groups is None else 6)
    with pytest.raises(ValueError, match="`reference` must be one of poor, uneven, good, got 'x'"):
        class_differences(counts, "x")
    with pytest.raises(ValueError, match="`score` must be"):
        class_differences(counts, "good", "mIoU")


def test_a_class_that_no_image_has_is_undefined_and_ignored_ones_have_no_row() -> None:
    tp = torch.tensor([[5, 0, 3], [4, 0, 2]])
    a = ImageCounts(tp, 0 * tp, 6 * (tp > 0) - tp, ignored=(2,))
    found = class_differences({"a": a, "b": replace(a, fp=a.fp)}, "a")
    assert [(row.name, row.model) for row in found.rows] == [
        ("0", "a"), ("0", "b"), ("1", "a"), ("1", "b"),
    ]  # fmt: skip
    assert all(row.value != row.value and row.low != row.low for row in found.rows[2:])


def test_the_page_refuses_results_of_other_models(
    counts: dict[str, ImageCounts], tmp_path: Path
) -> None:
    found, classes = ranking(counts), class_differences(counts, "good")
    path = tmp_path / "o.html"
    two = {name: counts[name] for name in ("good", "poor")}
    with pytest.raises(
        ValueError, match=r"`classes` must be of the models of `ranking`, .*got good"
    ):
        report.write_comparison(path, found, class_differences(two, "good"))
    with pytest.raises(ValueError, match="`conventions` must be of the models"):
        report.write_comparison(path, found, classes, conventions=conventions(two))
    with pytest.raises(ValueError, match="`examples` need `labels`"):
        report.write_comparison(path, found, classes, examples=[{}])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        report.write_comparison(tmp_path / "no" / "o.html", found, classes)
    assert not path.exists()
    report.write_comparison(path, found, classes, title="Night <models>", warnings=["a & b"])
    text = path.read_text()
    assert "<h1>Night &lt;models&gt;</h1>" in text
    assert '<p class="warning">a &amp; b</p>' in text
    assert 'id="images"' not in text


def test_groups_of_images_are_drawn_and_exchanged_as_one(
    root: Path, counts: dict[str, ImageCounts], tmp_path: Path
) -> None:
    patients = {f"{i:02}": f"patient {i // 3}" for i in range(IMAGES)}
    cases, out = tmp_path / "patients.csv", tmp_path / "o.json"
    cases.write_text("image,patient\n" + "".join(f"{i},{p}\n" for i, p in patients.items()))
    given = (root / "targets", *named(root), "--num-classes", CLASSES)
    split = ("--by", f"{root}/cases.csv:site")
    done = run(
        *given, *split, "--groups", f"{cases}:patient", "--json", out, "--html", tmp_path / "o.html"
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(out.read_text())
    expected = ranking(counts, groups=patients)
    assert found["groups_drawn"] == 12
    assert [row["low"] for row in found["models"]] == [model.low for model in expected.models]
    assert [row["p"] for row in found["pairs"]] == [pair.p for pair in expected.pairs]
    best = expected.models[0].name
    rows = class_differences(counts, best, groups=patients).rows
    theirs = {(row.name, row.model): row.low for row in rows}
    assert {(row["class"], row["model"]): row["low"] for row in found["classes"]} == theirs
    by = {f"{i:02}": site for i, site in enumerate(SITES)}
    for name, those in counts.items():
        alone = slices(those, by, groups=patients)
        row = next(row for row in found["groups"] if row["model"] == name)
        assert (row["low"], row["p_value"]) == (alone.by_group[row["group"]].low, alone.p_value)
    notes = done.stdout.partition("Intervals of models")[2].splitlines()
    assert notes[1].startswith("Whole groups of images are drawn")
    assert notes[1].endswith("the 12 of patient.")
    assert "<span>in 12 groups</span>" in (tmp_path / "o.html").read_text()
    cases.write_text("image,patient\n" + "".join(f"{i},x\n" for i in patients))
    done = run(*given, "--groups", f"{cases}:patient")
    assert (done.exit_code, "all images are of one group" in done.stderr) == (2, True)
    done = run(*given, "--groups", f"{cases}:patient", "--csv", cases)
    assert (done.exit_code, "would overwrite an input" in done.stderr) == (2, True)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a=good"], "two models or more"),
        (["good", "b=poor"], "a model is NAME=FOLDER"),
        (["=good", "b=poor"], "a model is NAME=FOLDER"),
        (["a=good", "a=poor"], "two models are called 'a'"),
        (["a=good", "b=good/../good"], "a and b are the same, good"),
        (["a=good", "b=nowhere"], "nowhere: there is no such file or folder"),
        (["a=good", "b=poor", "--score", "mIou"], "--score mIou: `score` must be"),
        (["a=good", "b=poor", "--score", "iou/7"], "names no scored class. The classes: 0, 1, 2."),
        (["a=good", "b=poor", "--confidence", "95"], "--confidence must be in (0, 1), got 95."),
        (["a=good", "b=poor", "--confidence", "1"], "--confidence must be in (0, 1), got 1."),
        (["a=good", "b=poor", "--by", "cases.csv"], "--by is FILE.csv:COLUMN"),
        (["a=good", "b=poor", "--images", "images"], "give --html FILE, too"),
        (["a=good", "b=poor", "--csv", "good/00.png"], "would overwrite an input"),
        (["a=good", "b=poor", "--csv", "o.csv", "--json", "o.pairs.csv"], "are the same file"),
        (["a=good", "b=poor", "--html", "-"], "--html must be a file"),
    ],
)
def test_mistakes_are_named_before_anything_is_counted(
    root: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    before = sorted(root.rglob("*"))
    done = run("targets", *arguments, "--num-classes", CLASSES)
    assert done.exit_code == 2
    assert message in done.stderr
    assert sorted(root.rglob("*")) == before


@pytest.fixture
def spoiled(root: Path, tmp_path: Path) -> Path:
    """One model lacks an image, another has one too many, and one of its files is broken."""
    for name in ("targets", *MODELS):
        shutil.copytree(root / name, tmp_path / name)
    (tmp_path / "poor" / "07.png").unlink()
    shutil.copy(tmp_path / "good" / "00.png", tmp_path / "good" / "99.png")
    (tmp_path / "good" / "11.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return tmp_path


def test_images_that_one_model_lacks_are_named_never_dropped_in_silence(spoiled: Path) -> None:
    done = run(spoiled / "targets", *named(spoiled), "--num-classes", CLASSES)
    assert done.exit_code == 2
    assert "targets without a prediction: 1" in done.stderr
    assert f"07.png: poor has no prediction, in {spoiled / 'poor'}" in done.stderr
    assert "predictions without a target: 1" in done.stderr
    assert "good/99.png" in done.stderr
    assert done.stdout == ""


def test_keep_going_leaves_an_image_out_of_all_models_and_lists_it(
    spoiled: Path, counts: dict[str, ImageCounts]
) -> None:
    out = spoiled / "o.json"
    done = run(
        spoiled / "targets", *named(spoiled), "--num-classes", CLASSES, "--keep-going",
        "--json", out, "--markdown", spoiled / "o.md", "--html", spoiled / "o.html",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["dropped"] == ["07", "11"]
    assert found["images_scored"] == IMAGES - 2
    assert sorted((row["model"], row["kind"]) for row in found["left_out"]) == [
        ("good", "no target"), ("good", "unreadable"), ("poor", "no prediction"),
    ]  # fmt: skip
    keep = torch.tensor([i for i in range(IMAGES) if i not in (7, 11)])
    expected = ranking({name: those.images(keep) for name, those in counts.items()})
    assert [row["value"] for row in found["models"]] == [m.value for m in expected.models]
    for text in (done.stdout, (spoiled / "o.md").read_text(), (spoiled / "o.html").read_text()):
        assert all(name in text for name in ("07.png", "11.png", "99.png"))
    assert "left out of all models: 2 images (07, 11)" in done.stdout


@pytest.mark.parametrize(("number", "shown"), [(5, "03, 04)"), (6, "03, 04, …)")])
def test_five_images_that_are_left_out_are_named(
    number: int, shown: str, root: Path, tmp_path: Path
) -> None:
    shutil.copytree(root / "poor", tmp_path / "poor")
    for i in range(number):
        (tmp_path / "poor" / f"{i:02}.png").unlink()
    models = f"good={root / 'good'}", f"poor={tmp_path / 'poor'}"
    done = run(root / "targets", *models, "--num-classes", CLASSES, "--keep-going")
    assert done.exit_code == 0, done.stderr
    assert f"left out of all models: {number} images (00, 01, 02, {shown}" in done.stdout


def test_a_mask_that_turns_out_to_be_broken_ends_the_comparison(root: Path, tmp_path: Path) -> None:
    for name in ("targets", *MODELS):
        shutil.copytree(root / name, tmp_path / name)
    broken = tmp_path / "good" / "11.png"
    broken.write_bytes(broken.read_bytes()[:-30])
    given = tmp_path / "targets", *named(tmp_path), "--num-classes", CLASSES
    done = run(*given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{broken}: " in done.stderr
    assert "To score the rest: --keep-going" in done.stderr
    for path in (tmp_path / "good").iterdir():
        path.write_bytes(path.read_bytes()[:-30])
    done = run(*given, "--keep-going")
    assert (done.exit_code, "nothing is left to score" in done.stderr) == (2, True)


@pytest.mark.parametrize("number", [1, 2])
def test_progress_counts_the_predictions_that_cannot_be_scored(
    number: int, root: Path, tmp_path: Path
) -> None:
    for name in ("targets", "good", "poor"):
        shutil.copytree(root / name, tmp_path / name)
    for image in ("03", "04")[:number]:
        (tmp_path / "good" / f"{image}.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    told: list[tuple[int, int, int]] = []
    evaluate_models(
        tmp_path / "targets", {name: tmp_path / name for name in ("good", "poor")},
        Settings(LabelSpace(["0", "1", "2"]), images=True), keep_going=True,
        progress=lambda *numbers: told.append(numbers),
    )  # fmt: skip
    assert told[0] == (0, 2 * IMAGES, 0)
    assert told[-1] == (2 * IMAGES, 2 * IMAGES, number)


def test_one_image_is_not_enough(root: Path, tmp_path: Path) -> None:
    for name in ("targets", "good", "poor"):
        (tmp_path / name).mkdir()
        shutil.copy(root / name / "00.png", tmp_path / name / "00.png")
    models = [f"{name}={tmp_path / name}" for name in ("good", "poor")]
    done = run(tmp_path / "targets", *models, "--num-classes", CLASSES)
    assert (done.exit_code, "needs at least two images" in done.stderr) == (2, True)


def test_the_folder_of_a_model_may_lie_within_that_of_another(tmp_path: Path) -> None:
    def save(path: Path, value: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)

    for name in "xy":
        for where in ("", "sub/"):
            save(tmp_path / f"targets/{where}{name}.png", 1)
        save(tmp_path / f"outer/{name}.png", 0)
        save(tmp_path / f"outer/sub/{name}.png", 1)  # outer's sub/x, and inner's x
        save(tmp_path / f"outer/sub/sub/{name}.png", 0)
    models = f"outer={tmp_path / 'outer'}", f"inner={tmp_path / 'outer/sub'}"
    out = tmp_path / "o.json"
    options = "--num-classes", 2, "--score", "iou/1", "--keep-going", "--json", out
    done = run(tmp_path / "targets", *models, *options)
    assert done.exit_code == 0, done.stderr
    rows = json.loads(out.read_text())["images"]
    assert {(row["model"], row["image"]): row["value"] for row in rows} == {
        ("outer", "x"): 0, ("outer", "y"): 0, ("outer", "sub/x"): 1, ("outer", "sub/y"): 1,
        ("inner", "x"): 1, ("inner", "y"): 1, ("inner", "sub/x"): 0, ("inner", "sub/y"): 0,
    }  # fmt: skip


def test_warnings_name_the_model(root: Path) -> None:
    folders = [f"good={root / 'good'}", f"same={root / 'targets'}"]
    done = run(root / "targets", *folders, "--num-classes", CLASSES)
    assert done.exit_code == 0, done.stderr
    assert "warning: same: " in done.stderr
    assert "compared with themselves" in done.stderr


def test_json_on_standard_output_is_there_alone(root: Path) -> None:
    models = [f"{name}={root / name}" for name in ("good", "poor")]
    done = run(root / "targets", *models, "--num-classes", CLASSES, "--json", "-")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["images_scored"] == IMAGES
    assert "images that differ most" in done.stderr


def test_every_pair_of_models_is_there(results: tuple[Path, Result]) -> None:
    found = json.loads((results[0] / "o.json").read_text())
    pairs = {frozenset((row["a"], row["b"])) for row in found["pairs"]}
    assert pairs == set(map(frozenset, combinations(MODELS, 2)))
