"""The example of medical volumes, run as a user runs it: what it draws, and what it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import monai.metrics as monai
import nibabel
import numpy as np
import pytest
import torch

EXAMPLE = Path(__file__).parents[1] / "examples" / "medical_volumes.py"
ROWS = ["liver", "tumour", "kidney", "spleen", "whole liver", "organs"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("example") / "volumes"


@pytest.fixture(scope="module")
def printed(folder: Path) -> str:
    run = subprocess.run(
        [sys.executable, EXAMPLE, "--folder", folder], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def table(text: str) -> dict[str, list[str]]:
    """Names of rows, each with its first four numbers of three digits."""
    lines = (re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in text.splitlines())
    found = {line[0]: re.findall(r"\d+\.\d{3}", line[-1])[:4] for line in lines}
    return {name: found[name] for name in ROWS if name in found}


def test_python_and_the_command_print_the_same_numbers(printed: str) -> None:
    for rater in ("careful", "hasty"):
        of_python = printed.split(f"The {rater} rater, by Python")[1].split("===")[0]
        of_command = printed.split(f"The {rater} rater, by the command")[1].split("===")[0]
        of_command = of_command.split("mean over cases")[1].split("worst cases")[0]
        assert list(table(of_python)) == ROWS
        assert all(len(numbers) == 4 for numbers in table(of_python).values())
        assert table(of_command) == table(of_python)
    assert printed.count("Both give the same 24 numbers") == 2


def test_the_distances_are_monais(printed: str, folder: Path) -> None:
    distances = []
    for target in sorted((folder / "labels").iterdir()):
        images = [nibabel.load(folder / name / target.name) for name in ("hasty", "labels")]
        images = [nibabel.as_closest_canonical(image) for image in images]
        # the second region: every organ
        masks = [torch.tensor(np.asarray(image.dataobj)[None, None] > 0) for image in images]
        spacing = [float(step) for step in images[1].header.get_zooms()]
        found = monai.compute_hausdorff_distance(
            *masks, percentile=95, include_background=True, spacing=spacing
        )
        distances.append(found.item())
    shown = table(printed.split("The hasty rater, by Python")[1])["organs"][1]
    assert shown == f"{np.mean(distances):.3f}"


def test_the_data_set_is_as_described(printed: str, folder: Path) -> None:
    spacings, axes, tumours = set(), set(), []
    for rater in ("careful", "hasty"):
        for path in (folder / rater).iterdir():
            preds, target = nibabel.load(path), nibabel.load(folder / "labels" / path.name)
            spacings.add(tuple(round(float(step), 3) for step in target.header.get_zooms()))
            axes.add((rater, "".join(nibabel.aff2axcodes(preds.affine))))
            has = tuple((np.asarray(image.dataobj) == 2).any() for image in (preds, target))
            tumours.append((rater, *has))
    assert len(spacings) > 1
    assert all(steps[2] > 3 * steps[0] for steps in spacings)
    assert axes == {("careful", "RAS"), ("hasty", "LPS")}
    assert ("hasty", False, True) in tumours  # overlooked
    assert ("careful", False, True) not in tumours
    assert any(not has_target for _, _, has_target in tumours)


def test_a_second_run_draws_nothing(printed: str, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.nii.gz")}
    code = "import sys; sys.path.insert(0, sys.argv[1]); from medical_volumes import *; "
    code += "write_dataset(Path(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", code, EXAMPLE.parent, folder], check=True)
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*/*.nii.gz")}
