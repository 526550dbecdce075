"""``segmetrics evaluate --format nnunet`` against nnU-Net's own evaluation of the same folders.

nnunetv2 brings more than the test environment should have: it is installed without its
dependencies, with the few that its evaluation imports, into a folder of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from math import isnan
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from segmetrics.evaluate.command import app

#: nnU-Net, and what the module of its evaluation imports beyond torch, SciPy and SimpleITK.
REQUIREMENTS = [
    "nnunetv2==2.8.1", "acvl_utils", "batchgenerators", "blosc2", "dynamic_network_architectures",
    "msgpack", "ndindex", "numexpr",
]  # fmt: skip
#: Evaluates every data set below a folder, as ``nnUNetv2_evaluate_folder`` does.
SCRIPT = """
import sys
from pathlib import Path
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder2

if __name__ == "__main__":
    for folder in sorted(filter(Path.is_dir, Path(sys.argv[1]).iterdir())):
        compute_metrics_on_folder2(
            f"{folder}/labels", f"{folder}/preds", f"{folder}/dataset.json", f"{folder}/plans.json",
            f"{folder}/theirs.json", num_processes=1,
        )
"""
LABELS: dict[str, dict[str, Any]] = {
    "labels": {"background": 0, "spleen": 1, "liver": 2, "kidney": 3, "nowhere": 4, "ignore": 5},
    "regions": {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3], "enhancing": 3},
    "lists": {"background": 0, "whole tumor": [1, 2, 3], "core": [3, 2], "enhancing": [3]},
    "single lists": {"background": 0, "one": [1], "two": 2, "three": 3},
    "values": {"background": 0, "left": 500, "right": 85, "heart": [85, 500]},
    "ignored in regions": {"background": 0, "tumor": [1, 2], "core": 2, "ignore": 3},
}


@pytest.fixture(scope="module")
def nnunet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where nnunetv2 is imported from."""
    if find_spec("nnunetv2"):
        return ""
    cache = getattr(request.config, "cache", None)
    made = cache.mkdir("nnunet") if cache else tmp_path_factory.mktemp("nnunet")
    if not (made / "nnunetv2").is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", made]
        done = subprocess.run([*install, *REQUIREMENTS], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"nnunetv2 cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return str(made)


@pytest.fixture(scope="module")
def datasets(nnunet: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn data sets in nnU-Net's form, each with what nnU-Net says of it."""
    root = tmp_path_factory.mktemp("datasets")
    for seed, (name, labels) in enumerate(LABELS.items()):
        write_dataset(root / name, labels, seed)
    (root / "evaluate.py").write_text(SCRIPT)
    paths = [path for path in (nnunet, os.environ.get("PYTHONPATH")) if path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    environment |= dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), str(root))
    done = subprocess.run(
        [sys.executable, root / "evaluate.py", root],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root


def write_dataset(folder: Path, labels: dict[str, Any], seed: int) -> None:
    """Cases with anisotropic spacing; not every case has every label."""
    rng = np.random.default_rng(seed)
    for side in ("labels", "preds"):
        (folder / side).mkdir(parents=True)
    entries = [name for name in labels if name not in ("background", "ignore")]
    dataset = {
        "labels": labels,
        "file_ending": ".nii.gz",
        "channel_names": {"0": "CT"},
        "regions_class_order": [*range(1, len(entries) + 1)],
    }
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text("{}")
    listed = [value if isinstance(value, list) else [value] for value in labels.values()]
    values = sorted({value for some in listed for value in some})
    values = [v for v in values if labels.get("nowhere") != v]
    for case in ("a", "a-1", "b_0"):  # in the order of files a-1 is the first, in ours a
        kept = [v for v in values if v == 0 or rng.random() < 0.8]
        target = rng.choice(kept, (6, 5, 4)).astype(np.int16)
        classes = [v for v in kept if v != labels.get("ignore")]
        wrong = rng.random(target.shape) < 0.3
        preds = np.where(wrong, rng.choice(classes, target.shape), target)
        preds[preds == labels.get("ignore")] = 0
        for side, mask in (("labels", target), ("preds", preds)):
            image = nibabel.Nifti1Image(mask.astype(np.int16), np.diag([0.7, 0.7, 3, 1]))
            nibabel.save(image, folder / side / f"{case}.nii.gz")
    empty = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.int16), np.diag([0.7, 0.7, 3, 1]))
    for side in ("labels", "preds"):
        nibabel.save(empty, folder / side / "empty.nii.gz")


def run(folder: Path, *arguments: object) -> Result:
    """The command in this process."""
    folders = folder / "preds", folder / "labels"
    given = ["evaluate", *folders, "--workers", 1, *arguments]
    return CliRunner().invoke(app, [str(argument) for argument in given])


@pytest.mark.parametrize("name", LABELS)
def test_the_summary_is_nnunets_own(name: str, datasets: Path) -> None:
    folder = datasets / name
    out = folder / "preds" / "summary.json"  # where nnU-Net writes it, among the masks
    done = run(folder, "--labels", folder / "dataset.json", "--format", "nnunet", "--json", out)
    assert done.exit_code == 0, done.stderr
    ours, theirs = (json.loads(path.read_text()) for path in (out, folder / "theirs.json"))
    numbers = list(leaves(ours)), list(leaves(theirs))
    assert [key for key, _ in numbers[0]] == [key for key, _ in numbers[1]]
    for (key, found), (_, expected) in zip(*numbers, strict=True):
        assert type(found) is type(expected), key
        if isinstance(expected, str):
            assert found == expected
        else:
            assert found == pytest.approx(expected, rel=1e-14, nan_ok=True), key
    assert any(isinstance(x, float) and isnan(x) for _, x in numbers[1])  # the empty case


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What is not a dict or a list, with the keys that lead there, in the order of the file."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, f"{path}/{key}")
    else:
        yield path, value


# --- Without nnunetv2 -----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dataset(tmp_path, LABELS["regions"], seed=7)
    return tmp_path


def summary(folder: Path, *arguments: object) -> dict[str, Any]:
    out = folder / "out.json"
    done = run(folder, *arguments, "--format", "nnunet", "--json", out)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_labels_are_keys_as_values_and_regions_as_tuples(folder: Path) -> None:
    plain = summary(folder, "--num-classes", 4)
    assert list(plain["mean"]) == ["1", "2", "3"]
    regions = summary(folder, "--num-classes", 4, "--region", "WT=1,2,3", "--region", "ET=3")
    assert list(regions["mean"]) == ["(1, 2, 3)", "(3,)"]
    assert regions["mean"]["(3,)"] == plain["mean"]["3"]
    assert list(summary(folder, "--binary")["mean"]) == ["1"]
    assert summary(folder, "--binary")["mean"]["1"] == regions["mean"]["(1, 2, 3)"]
    named = folder / "space.json"
    space = {"names": ["bg", "tumour"], "id_to_class": {"0": "bg", "1-3": "tumour"}}
    named.write_text(json.dumps(space))
    mean = summary(folder, "--labels", named)["mean"]
    assert mean == {"(1, 2, 3)": regions["mean"]["(1, 2, 3)"]}


@pytest.mark.parametrize(
    ("target", "preds", "dice"),
    [([0, 1, 1], [0, 0, 0], 0.0), ([0, 0, 0], [1, 0, 0], 0.0), ([0, 0, 0], [0, 0, 0], None),
     ([1, 1, 0], [1, 0, 0], 2 / 3)],
)  # fmt: skip
def test_a_label_has_a_score_where_target_or_prediction_has_it(
    target: list[int], preds: list[int], dice: float | None, tmp_path: Path
) -> None:
    for side, row in (("labels", target), ("preds", preds)):
        (tmp_path / side).mkdir()
        image = nibabel.Nifti1Image(np.tile(np.array(row, np.int16), (4, 5, 1)), np.eye(4))
        nibabel.save(image, tmp_path / side / "a.nii.gz")
    (case,) = summary(tmp_path, "--num-classes", 2)["metric_per_case"]
    found = case["metrics"]["1"]
    np.testing.assert_allclose(found["Dice"], np.nan if dice is None else dice)
    assert (found["n_ref"], found["n_pred"]) == (20 * sum(target), 20 * sum(preds))


def test_regions_of_one_value_each_are_labels(folder: Path) -> None:
    plain = summary(folder, "--num-classes", 4)
    single = summary(folder, "--num-classes", 4, "--region", "A=1", "--region", "B=3")
    assert single["mean"] == plain["mean"]


def test_an_ignored_class_is_no_label(folder: Path) -> None:
    assert list(summary(folder, "--num-classes", 4, "--ignore-index", 2)["mean"]) == ["1", "3"]


def test_workers_and_a_checkpoint_change_nothing(folder: Path) -> None:
    expected = summary(folder, "--num-classes", 4)
    more = "--num-classes", 4, "--workers", 2, "--checkpoint", folder / "checkpoint"
    for _ in range(2):
        np.testing.assert_equal(summary(folder, *more), expected)


def test_standard_output_gets_the_summary_alone(folder: Path) -> None:
    done = run(folder, "--num-classes", 4, "--format", "nnunet", "--json", "-")
    np.testing.assert_equal(json.loads(done.stdout), summary(folder, "--num-classes", 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-classes", "4", "--format", "nnunet"], "give --json FILE, too"),
        (["--num-classes", "4", "--format", "csv", "--json", "o"], "'csv' is not"),
        (
            ["--match", "{key}/{class}.nii.gz", "{key}/{class}.nii.gz", "--format", "nnunet",
             "--json", "o"],
            "masks of one class each",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named(arguments: list[str], message: str, folder: Path) -> None:
    for side in ("labels", "preds"):
        (folder / side / "x").mkdir()
        (folder / side / "b_0.nii.gz").rename(folder / side / "x" / "organ.nii.gz")
    done = run(folder, *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", "").split())  # the box breaks lines
    assert not (folder / "o").exists()
