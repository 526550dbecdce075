"""``segmetrics compare --probabilities``, and subgroups of probabilities, against scikit-learn."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from typer.testing import CliRunner, Result

from segmetrics.evaluate.command import app

Array = NDArray[Any]
IMAGES, SIZE = 8, (20, 31)
#: How much the logits of a model say, and how they are scaled.
MODELS = {"poor": (1.0, 1.0), "good": (3.0, 1.0), "loud": (3.0, 4.0)}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--workers", "1"])


@pytest.fixture(scope="module")
def foreground() -> dict[str, Array]:
    """Masks, and logits of the models ``(IMAGES, *SIZE)``."""
    rng = np.random.default_rng(2)
    masks = (rng.random((IMAGES, *SIZE)) < 0.3).astype(np.uint8)
    noise = {name: rng.normal(size=masks.shape) for name in MODELS}
    return {"targets": masks} | {
        name: (scale * (noise[name] + says * (masks - 0.5))).astype(np.float32)
        for name, (says, scale) in MODELS.items()
    }


@pytest.fixture(scope="module")
def root(foreground: dict[str, Array], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("probabilities")
    for name, maps in foreground.items():
        for folder in (name, f"{name}-logits"):
            (root / folder).mkdir()
        for i, one in enumerate(maps):
            if name == "targets":
                Image.fromarray(one).save(root / name / f"{i}.png")
            else:
                np.save(root / name / f"{i}.npy", 1 / (1 + np.exp(-one)))
                np.save(root / f"{name}-logits" / f"{i}.npy", one)
    rows = "".join(f"{i},{'ab'[i % 2]}\n" for i in range(IMAGES))
    (root / "cases.csv").write_text(f"image,site\n{rows}")
    return root


def compared(root: Path, out: Path, *options: object, suffix: str = "") -> dict[str, Any]:
    models = [f"{name}={root / (name + suffix)}" for name in MODELS]
    done = run("compare", root / "targets", *models, *options, "--probabilities", "--json", out)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.mark.parametrize("logits", [False, True])
def test_models_are_ranked_by_their_probabilities(
    root: Path, foreground: dict[str, Array], tmp_path: Path, logits: bool
) -> None:
    given: list[object] = ["--binary", *["--from-logits"] * logits, "--score"]
    suffix = "-logits" * logits
    y = foreground["targets"].ravel()
    p = {name: 1 / (1 + np.exp(-foreground[name].astype(np.float64))) for name in MODELS}
    for score, oracle, sign in (
        ("AUROC", roc_auc_score, -1),
        ("AP", average_precision_score, -1),
        ("brier", brier_score_loss, 1),
    ):
        found = compared(root, tmp_path / "o.json", *given, score, suffix=suffix)
        expected = {name: oracle(y, p[name].ravel()) for name in MODELS}
        assert [row["model"] for row in found["models"]] == sorted(
            MODELS, key=lambda name: sign * expected[name]
        )
        for row in found["models"]:
            assert row["value"] == pytest.approx(expected[row["model"]], abs=2e-3)
    rows = {(row["score"], row["model"]): row for row in found["scores"]}
    for name, of_model in p.items():
        of_model, bins = of_model.ravel(), np.minimum((15 * of_model).astype(int).ravel(), 14)
        gaps = [abs((y[bins == b] - of_model[bins == b]).sum()) for b in range(15)]
        assert rows["ECE", name]["value"] == pytest.approx(sum(gaps) / len(y), abs=1e-5)
    assert {rows[key, "good"]["higher_is_better"] for key in ("ECE", "MCE", "NLL", "FPR95")} == {
        False
    }
    assert rows["AUROC", "good"]["higher_is_better"] is True
    assert rows["best_threshold", "good"]["higher_is_better"] is None


def test_differences_come_with_intervals_that_resample_images(
    root: Path, foreground: dict[str, Array], tmp_path: Path
) -> None:
    options = ("--binary", "--score", "brier", "--confidence", "0.9", "--csv", tmp_path / "o.csv")
    found = compared(root, tmp_path / "o.json", *options, "--html", tmp_path / "o.html")
    of_images = {
        name: ((1 / (1 + np.exp(-foreground[name])) - foreground["targets"]) ** 2).mean((1, 2))
        for name in MODELS
    }
    best = found["models"][0]["model"]
    draws = np.random.default_rng(0).multinomial(IMAGES, [1 / IMAGES] * IMAGES, 20_000) / IMAGES
    for row in (row for row in found["scores"] if row["score"] == "brier"):
        difference = of_images[row["model"]] - of_images[best]
        assert row["difference"] == pytest.approx(difference.mean(), abs=1e-6)
        low, high = np.quantile(draws @ difference, [0.05, 0.95])
        assert [row["low"], row["high"]] == pytest.approx([low, high], abs=2e-3)
    with (tmp_path / "o.scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(found["scores"])
    assert "ECE" in (tmp_path / "o.html").read_text()


def test_classes_of_one_file_are_compared_without_those_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 3, (4, *SIZE)).astype(np.uint8)
    p = {}
    for name, says in (("a", 2.0), ("b", 1.0)):
        z = rng.normal(size=(4, 3, *SIZE)) + says * (
            targets[:, None] == np.arange(3)[:, None, None]
        )
        p[name] = (np.exp(z) / np.exp(z).sum(1, keepdims=True)).astype(np.float32)
        (tmp_path / name).mkdir()
        for i in range(4):
            np.save(tmp_path / name / f"{i}.npy", p[name][i])
    (tmp_path / "targets").mkdir()
    for i in range(4):
        Image.fromarray(targets[i]).save(tmp_path / "targets" / f"{i}.png")
    models = [f"{name}={tmp_path / name}" for name in p]
    given = ("compare", tmp_path / "targets", *models, "--num-classes", 3, "--no-background")
    out = tmp_path / "o.json"
    for score, classes in (("AUROC", (1, 2)), ("AUROC/2", (2,))):
        done = run(*given, "--probabilities", "--score", score, "--json", out)
        assert done.exit_code == 0, done.output
        found = json.loads(out.read_text())
        assert [row["model"] for row in found["models"]] == ["a", "b"]
        for row in found["models"]:
            of = p[row["model"]]
            aurocs = [roc_auc_score(targets.ravel() == c, of[:, c].ravel()) for c in classes]
            assert row["value"] == pytest.approx(np.mean(aurocs), abs=2e-3)
    done = run(*given, "--probabilities", "--score", "AUROC/0")
    assert done.exit_code == 2
    assert "AUROC, AP, FPR95" in " ".join(done.stderr.split())


def test_subgroups_have_scores_of_probabilities(
    root: Path, foreground: dict[str, Array], tmp_path: Path
) -> None:
    by = ("--by", f"{root / 'cases.csv'}:site")
    y, z = foreground["targets"], foreground["good"]
    expected = [roc_auc_score(y[i::2].ravel(), z[i::2].ravel()) for i in range(2)]
    out = tmp_path / "o.json"
    given = ("evaluate", root / "good", root / "targets", "--binary", "--probabilities", *by)
    done = run(*given, "--json", out)
    assert done.exit_code == 0, done.output
    rows = [row for row in json.loads(out.read_text())["by_scores"] if row["score"] == "AUROC"]
    assert {row["group"]: row["value"] for row in rows} == pytest.approx(
        dict(zip("ab", expected, strict=True)), abs=2e-3
    )
    found = compared(root, out, "--binary", "--score", "AUROC", *by)
    rows = [row for row in found["groups"] if row["model"] == "good"]
    assert {row["group"]: row["value"] for row in rows} == pytest.approx(
        dict(zip("ab", expected, strict=True)), abs=2e-3
    )


def test_infinite_losses_are_shown_and_refused_as_the_score(root: Path, tmp_path: Path) -> None:
    (tmp_path / "sure").mkdir()
    for i in range(IMAGES):
        np.save(tmp_path / "sure" / f"{i}.npy", np.zeros(SIZE, np.float32))
    given = ("compare", root / "targets", f"good={root / 'good'}", f"sure={tmp_path / 'sure'}",
             "--binary", "--probabilities")  # fmt: skip
    done = run(*given)
    assert done.exit_code == 0, done.output
    assert re.search(r"^NLL +0\.\d+ +inf \(\+inf\*?\)", done.stdout, re.M), done.stdout
    done = run(*given, "--score", "NLL")
    assert done.exit_code == 2
    message = " ".join(done.stderr.split())
    assert "--score NLL is infinite for sure" in message
    assert "Compare brier" in message


@pytest.mark.parametrize(
    ("high", "message"),
    [(1, "No probability is above 0.0059"), (255, "Every probability is 0 or 1")],
)
def test_masks_among_the_models_are_told(
    root: Path, tmp_path: Path, high: int, message: str
) -> None:
    (tmp_path / "masks").mkdir()
    for i in range(IMAGES):
        labels = np.load(root / "good" / f"{i}.npy") > 0.5
        Image.fromarray((high * labels).astype(np.uint8)).save(tmp_path / "masks" / f"{i}.png")
    models = f"good={root / 'good'}", f"masks={tmp_path / 'masks'}"
    for folders in (["compare", root / "targets", *models],
                    ["evaluate", tmp_path / "masks", root / "targets"]):  # fmt: skip
        done = run(*folders, "--binary", "--probabilities")
        assert done.exit_code == 0, done.output
        assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--score", "ECE"], "Other scores need --objects, --surfaces or --probabilities."),
        (["--probabilities", "--score", "AUC"], "Or one of ECE, MCE, ACE, brier, NLL, AUROC"),
        (["--probabilities", "--score", "best_threshold"], "neither better nor worse"),
        (["--from-logits"], "--from-logits applies to scores: give --probabilities, too."),
        (["--region-channels"], "--region-channels means nothing without --probabilities."),
    ],
)
def test_mistakes_are_named(root: Path, options: list[str], message: str) -> None:
    models = [f"{name}={root / name}" for name in MODELS]
    done = run("compare", root / "targets", *models, "--binary", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
