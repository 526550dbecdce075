"""What works without which extra, as the page of installation says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: What each extra brings, by the names that are imported.
EXTRAS = {
    "plot": ["matplotlib"],
    "lightning": ["pytorch_lightning", "lightning"],
    "report": ["jinja2", "plotly", "PIL"],
    "cli": ["typer", "rich", "tifffile", "imagecodecs"],
    "medical": ["nibabel", "SimpleITK", "highdicom", "scipy"],
    "arrow": ["nanoarrow"],
    "transformers": ["transformers"],
}
#: As if these were not installed, for segmetrics. Other libraries look in the list of packages.
BLOCK = """
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        ours = frame.f_globals.get("__name__", "").startswith("segmetrics")
        if ours and name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
blocked = set(%r)
sys.meta_path.insert(0, Block())
"""
EVERY_METRIC = """
import torch, segmetrics
from segmetrics import statistics
target = torch.zeros(2, 24, 24, dtype=torch.long)
target[:, 4:14, 4:14] = 1
preds = target.roll(1, 2)
probability = target.float() * 0.8 + 0.1
def inputs(name, metric):
    if name.startswith("Panoptic"):
        return metric(things=[1], stuffs=[0]), [torch.stack([x, x], -1) for x in (preds, target)]
    if name in %r:
        return metric(task="binary"), (probability, target)
    more = {"tolerance": 1} if name in ("SurfaceDice", "SurfaceMetrics") else {}
    return metric(2, **more), (preds, target)
for name in segmetrics.__all__:
    metric = getattr(segmetrics, name)
    if isinstance(metric, type) and name != "LabelSpace":
        made, given = inputs(name, metric)
        made.update(*given)
        made.compute()
images = segmetrics.ImageScores(2)
images.update(preds, target)
statistics.confidence_interval(images, n_resamples=50)
print("fine")
"""
PROBABILITIES = [
    *("AURC", "AUROC", "AveragePrecision", "BestThreshold", "BrierScore", "CalibrationError"),
    *("CalibrationImageScores", "CurveImageScores", "FPRAtRecall", "NegativeLogLikelihood"),
    *("PrecisionRecallCurve", "ProbabilityMetrics", "ROC"),
]
#: Extra → what needs it.
NEED = {
    "plot": "import segmetrics, torch; zeros = torch.zeros(1, 2, 2).long(); "
    "matrix = segmetrics.ConfusionMatrix(2); matrix.update(zeros, zeros); "
    "sys.modules.update({n: None for n in sys.modules if n.startswith('matplotlib')}); "
    "matrix.plot()",
    "lightning": "import segmetrics.lightning",
    "report": "import torch; from segmetrics import report; "
    "report.write('report.html', torch.eye(2).long(), 2)",
    "cli": "from segmetrics.__main__ import main; "
    "sys.argv = ['segmetrics', 'evaluate', 'a', 'b']; main()",
    "medical": "from segmetrics.files.formats import load_readers; from pathlib import Path; "
    "load_readers([Path('volume.nii.gz')])",
}


def python(blocked: list[str], code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK % (blocked,) + code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_metrics_and_statistics_work_without_any_extra() -> None:
    every = [name for names in EXTRAS.values() for name in names]
    done = python(every, EVERY_METRIC % (PROBABILITIES,))
    assert done.stdout == "fine\n", done.stderr


def test_the_command_says_that_it_needs_numba() -> None:
    blocked = f"import sys; sys.modules['numba'] = None; {NEED['cli']}"
    command = [sys.executable, "-c", blocked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the command needs numba")
    assert "pip install" in done.stderr


@pytest.mark.parametrize("extra", NEED)
def test_what_needs_an_extra_says_which(extra: str) -> None:
    done = python(EXTRAS[extra], NEED[extra])
    assert done.returncode != 0
    assert f"segmetrics[{extra}]" in done.stderr + done.stdout
    assert f"`{extra}`" in (ROOT / "docs" / "install.md").read_text()
