"""``segmetrics compare --panoptic``: numbers longhand, and those of single evaluations."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from longhand_panoptic import panoptic_counts, qualities
from segmetrics.evaluate.command import app
from test_evaluate_panoptic import THINGS, Drawn, drawn, write_cityscapes, write_coco

IMAGES = 8
#: The share of segments that a model loses.
MODELS = {"poor": 0.5, "good": 0.0, "fair": 0.25}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--workers", "1"])


@pytest.fixture(scope="module")
def images() -> dict[str, Drawn]:
    """The same targets, with the predictions of each model."""
    rng, found = np.random.default_rng(2), {}
    for model, share in MODELS.items():
        found[model] = [
            (target, segments, np.where(np.isin(preds, kept), preds, 0), {i: all_[i] for i in kept})
            for target, segments, preds, all_ in drawn(IMAGES)
            for kept in [[i for i in all_ if rng.random() >= share]]
        ]
    return found


@pytest.fixture(scope="module")
def root(images: dict[str, Drawn], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for model, of_model in images.items():
        write_coco(root / model, of_model)
    rows = "".join(f"{i},{'ab'[i % 2]},{i // 2}\n" for i in range(IMAGES))
    (root / "of.csv").write_text(f"image,site,video\n{rows}")
    return root


@pytest.fixture(scope="module")
def counts(images: dict[str, Drawn]) -> dict[str, NDArray[Any]]:
    """Segments and IoUs of every image and category ``(N, C, 4)``, longhand, by model."""
    found = {}
    for model, of_model in images.items():
        rows = [panoptic_counts(target, preds, s, f) for target, s, preds, f in of_model]
        found[model] = np.array([[row[category] for category in THINGS] for row in rows])
    return found


def given(root: Path) -> list[object]:
    models = [f"{name}={root / name / 'preds.json'}" for name in MODELS]
    return ["compare", root / "poor" / "target.json", *models, "--panoptic"]


def compared(root: Path, folder: Path, *options: object) -> dict[str, Any]:
    done = run(*given(root), "--json", folder / "o.json", *options)
    assert done.exit_code == 0, done.stderr
    content: dict[str, Any] = json.loads((folder / "o.json").read_text())
    return content


def pq(sums: NDArray[Any]) -> float:
    """Panoptic quality of the segments of all categories ``(C, 4)``."""
    return float(qualities(dict(zip(THINGS, sums, strict=True)), THINGS)["PQ"])


def drawn_pq(weights: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    return np.array([pq(sums) for sums in np.einsum("bn,nck->bck", weights, counts)])


def test_models_are_ranked_by_their_panoptic_quality(
    root: Path, counts: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    """Values longhand, p-values of all 2⁸ exchanges, intervals of a bootstrap in NumPy."""
    found = compared(root, tmp_path)
    values = {model: pq(of_model.sum(0)) for model, of_model in counts.items()}
    assert found["score"] == "PQ"
    assert [row["model"] for row in found["models"]] == ["good", "fair", "poor"]
    for row in found["models"]:
        assert row["value"] == pytest.approx(values[row["model"]])
    flips = np.array(list(product((0, 1), repeat=IMAGES)))
    draws = np.random.default_rng(0).multinomial(IMAGES, [1 / IMAGES] * IMAGES, 3000)
    assert len(found["pairs"]) == 3
    for row in found["pairs"]:
        a, b = counts[row["a"]], counts[row["b"]]
        assert row["difference"] == pytest.approx(values[row["a"]] - values[row["b"]])
        one = np.einsum("bn,nck->bck", 1 - flips, a) + np.einsum("bn,nck->bck", flips, b)
        other = np.einsum("bn,nck->bck", flips, a) + np.einsum("bn,nck->bck", 1 - flips, b)
        swapped = np.array([pq(x) - pq(y) for x, y in zip(one, other, strict=True)])
        as_extreme = np.abs(swapped) >= abs(row["difference"]) - 1e-9
        assert row["p"] == pytest.approx(as_extreme.mean())
    scores = {(row["score"], row["model"]): row for row in found["scores"]}
    for model in ("fair", "poor"):
        row = scores["PQ", model]
        bounds = np.quantile(
            drawn_pq(draws, counts[model]) - drawn_pq(draws, counts["good"]), [0.025, 0.975]
        )
        assert [row["low"], row["high"]] == pytest.approx(bounds, abs=0.02)
    of_images = {(row["image"], row["model"]): row["value"] for row in found["images"]}
    assert len(of_images) == IMAGES * len(MODELS)
    for (image, model), value in of_images.items():
        assert value == pytest.approx(pq(counts[model][int(image)]))


@pytest.mark.parametrize("boundary", [False, True])
def test_scores_are_those_of_each_model_alone(root: Path, tmp_path: Path, boundary: bool) -> None:
    option = ["--boundary"] * boundary
    found = compared(root, tmp_path, "--score", "RQ_things", *option)
    by_key = {(row["score"], row["model"]): row for row in found["scores"]}
    best = found["models"][0]["model"]
    alone = {}
    for model in MODELS:
        files = root / model / "preds.json", root / "poor" / "target.json"
        done = run("evaluate", *files, "--panoptic", *option, "--json", tmp_path / "e.json")
        assert done.exit_code == 0, done.stderr
        alone[model] = json.loads((tmp_path / "e.json").read_text())["scores"]
    for model, scores in alone.items():
        assert {key for key, of_model in by_key if of_model == model} == set(scores)
        for key, value in scores.items():
            row = by_key[key, model]
            assert row["value"] == value
            if value is not None and alone[best][key] is not None:
                assert row["difference"] == pytest.approx(value - alone[best][key])
    ranked = {row["model"]: row["value"] for row in found["models"]}
    assert ranked == {model: scores["RQ_things"] for model, scores in alone.items()}


def test_every_output_has_the_ranking_and_the_scores(root: Path, tmp_path: Path) -> None:
    done = run(
        *given(root), "--json", tmp_path / "o.json", "--csv", tmp_path / "o.csv",
        "--html", tmp_path / "o.html", "--markdown", tmp_path / "o.md",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "o.json").read_text())
    assert found["images_scored"] == IMAGES
    assert found["classes"] == found["conventions"] == []
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {
        "o.json", "o.csv", "o.html", "o.md", "o.pairs.csv", "o.scores.csv", "o.images.csv",
    }  # fmt: skip
    with (tmp_path / "o.scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["score"], row["model"]) for row in rows] == [
        (row["score"], row["model"]) for row in found["scores"]
    ]
    of_car = [row for row in found["scores"] if row["score"] == "pq/car"]
    assert [row["model"] for row in of_car] == ["good", "fair", "poor"]
    cells = [f"{of_car[0]['value']:.3f}"]
    for row in of_car[1:]:
        star = "*" if row["low"] > 0 or row["high"] < 0 else ""
        cells.append(f"{row['value']:.3f} ({row['difference']:+.3f}{star})")
    assert re.search(r"^pq/car +" + " +".join(map(re.escape, cells)) + "$", done.stdout, re.M)
    assert f"| pq/car | {' | '.join(cells)} |" in (tmp_path / "o.md").read_text().replace("\\", "")
    assert "Scores: the value, and in brackets its difference to good" in done.stdout
    assert "by class" not in done.stdout
    assert f"3 models, {IMAGES} images counted in" in done.stdout
    page = (tmp_path / "o.html").read_text()
    assert 'id="classes"' not in page
    body = page[page.index('<table id="further-table"') :]
    line = next(row for row in re.findall(r"<tr.*?</tr>", body, re.S) if ">pq/car<" in row)
    shown = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>([^<]*)</td>", line)]
    assert shown[::2] == [
        f"{of_car[0]['value']:.3f}",
        *(f"{r['difference']:+.3f}" for r in of_car[1:]),
    ]
    assert "PQ of every image" in page


def test_groups_and_subgroups(root: Path, counts: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    plain = compared(root, tmp_path)
    options = ("--by", f"{root}/of.csv:site", "--groups", f"{root}/of.csv:video")
    found = compared(root, tmp_path, *options)
    assert (plain["groups_drawn"], found["groups_drawn"]) == (None, IMAGES // 2)
    assert found["models"][0]["low"] != plain["models"][0]["low"]
    for model, of_model in counts.items():
        rows = {row["group"]: row for row in found["groups"] if row["model"] == model}
        values = {"a": pq(of_model[::2].sum(0)), "b": pq(of_model[1::2].sum(0))}
        assert {group: row["value"] for group, row in rows.items()} == pytest.approx(values)
        assert rows["a"]["difference"] == pytest.approx(abs(values["a"] - values["b"]))


def test_an_image_that_one_model_lacks_is_left_out_of_all(
    root: Path, counts: dict[str, NDArray[Any]], images: dict[str, Drawn], tmp_path: Path
) -> None:
    for model, of_model in images.items():
        write_coco(tmp_path / model, of_model)
    content = json.loads((tmp_path / "good/preds.json").read_text())
    del content["annotations"][3]
    (tmp_path / "good/preds.json").write_text(json.dumps(content))
    (tmp_path / "poor/target/000000000005.png").write_bytes(b"damaged")
    strict = run(*given(tmp_path))
    assert strict.exit_code == 2
    assert "image 3 is not in" in strict.stderr
    found = compared(tmp_path, tmp_path, "--keep-going")
    assert found["dropped"] == ["3", "5"]
    assert [Path(row["file"]).parent.name for row in found["left_out"]] == ["target", "target"]
    kept = [i for i in range(IMAGES) if i not in (3, 5)]
    for row in found["models"]:
        assert row["value"] == pytest.approx(pq(counts[row["model"]][kept].sum(0)))


def test_folders_of_cityscapes_masks(tmp_path: Path) -> None:
    # road 7, car 26; b takes the second car for road
    target = [7, 7, 26001, 26001, 26002, 26002]
    sides: dict[str, Sequence[list[int]]] = {
        "a": ([7, 7, 26005, 26005, 26003, 26003], target),
        "b": ([7, 7, 26005, 26005, 7, 7], target),
    }
    for model, pair in sides.items():
        masks = {f"x_00000{i}_000019": (list(pair[0]), list(pair[1])) for i in range(3)}
        write_cityscapes(tmp_path / model, masks)
    done = run(
        "compare", tmp_path / "a/target", f"a={tmp_path}/a/preds", f"b={tmp_path}/b/preds",
        "--panoptic", "--labels", "cityscapes", "--score", "pq/car", "--json", tmp_path / "o.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "o.json").read_text())
    ranked = [(row["model"], row["value"]) for row in found["models"]]
    assert ranked == [("a", 1), ("b", pytest.approx(1 / (1 + 0.5)))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--score", "mIoU"], "with --panoptic it is one of PQ, SQ, RQ, PQ_things"),
        (["--score", "pq/bus"], "or pq/CATEGORY, as pq/person."),
        (["--objects"], "--objects does not go with --panoptic. Leave it out."),
        (["--images", "."], "--images does not go with --panoptic."),
        (["--labels", "voc"], "--labels means nothing for JSON"),
        (["--confidence", "95"], "--confidence must be in (0, 1), got 95."),
        (["--json", "good/preds.json"], "would overwrite an input, good/preds.json"),
        (["--csv", "poor/target.json"], "would overwrite an input, poor/target.json"),
        (["--by", "of.csv:site", "--markdown", "of.csv"], "would overwrite an input"),
        (["--groups", "one.csv:video"], "all images are of one group"),
    ],
)
def test_mistakes_are_named_before_anything_is_counted(
    root: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    rows = "".join(f"{i},0\n" for i in range(IMAGES))
    Path("one.csv").write_text(f"image,video\n{rows}")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    done = run(*given(Path()), *options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_boundary_is_of_panoptic_quality(root: Path) -> None:
    done = run("compare", root, f"a={root}/good", f"b={root}/poor", "--binary", "--boundary")
    assert done.exit_code == 2
    assert "--boundary applies to panoptic quality here: give --panoptic, too." in done.stderr


def test_one_image_is_too_few(tmp_path: Path) -> None:
    for model in MODELS:
        write_coco(tmp_path / model, drawn(1))
    done = run(*given(tmp_path))
    assert done.exit_code == 2
    assert "compare needs at least two images" in done.stderr
