"""Pages whose code needs more than doctest: another library, or several processes."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from segmetrics import SegmentationMetrics

PAGES = Path(__file__).parents[1] / "docs" / "howto"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page."""
    text = (PAGES / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def test_the_recipe_for_mmengine_runs() -> None:
    pytest.importorskip("mmengine", reason="it needs another build of OpenCV")
    results = doctest.testfile(
        str(PAGES / "mmengine.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert results.attempted > 5
    assert not results.failed


@pytest.mark.parametrize("processes", [1, 2])
def test_the_script_of_several_processes_prints_what_the_page_says(
    tmp_path: Path, processes: int
) -> None:
    page = "several-processes.md"
    script, expected = blocks(page, "python")[0], blocks(page, "console")[0].splitlines()
    (tmp_path / "score.py").write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), "score.py"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected[expected.index(_call(processes)) + 1]


def _call(processes: int) -> str:
    return f"$ torchrun --nproc-per-node {processes} score.py"


def test_the_lines_for_mlflow_log_scores_and_a_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path}")
    mlflow.set_experiment("scenes")
    seg = SegmentationMetrics(2, class_names=["road", "car"])
    seg.update(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 0, 1]]))
    scalars: dict[str, Any] = seg.compute_scalars()
    (lines,) = (block for block in blocks("loggers.md", "python") if block.startswith("mlflow."))
    with mlflow.start_run() as run:
        exec(lines, {"mlflow": mlflow, "scalars": scalars, "figure": seg.plot()[0]})
    logged = mlflow.get_run(run.info.run_id).data.metrics
    assert logged == pytest.approx(scalars)
    assert list(tmp_path.rglob("scores.png"))
