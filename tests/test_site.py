"""README and site say what the package has: every name has its page, every link its target."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import segmetrics

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [page for page in DOCS.rglob("*.md") if "_generated" not in page.parts]
METRICS = [
    name
    for name in segmetrics.__all__
    if isinstance(getattr(segmetrics, name), type) and name != "LabelSpace"
]
#: Metrics that are several scores at once, whose formulas and pictures are on the pages of these.
SEVERAL = {
    *("CalibrationImageScores", "CurveImageScores", "ImageScores", "ObjectImageScores"),
    *("PanopticImageScores", "ProbabilityMetrics", "SegmentationMetrics", "SurfaceMetrics"),
}


def page_of(metric: str) -> str:
    """The page of a metric, by the link in the summary table."""
    (page,) = re.findall(rf"`{metric} <([\w-]+)>`", (DOCS / "metrics" / "index.md").read_text())
    return (DOCS / "metrics" / f"{page}.md").read_text()


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_has_a_row_in_the_table_and_a_page(metric: str) -> None:
    page = page_of(metric)
    parts = [f"# {metric}\n", "| range | better |", ">>> ", "**When it fools you.**", "**Source.**"]
    parts += [f"{{py:class}}`segmetrics.{metric}`"]
    parts += ["$$", "](../_generated/pictures/"] if metric not in SEVERAL else []
    assert [part for part in parts if part not in page] == []


def test_the_table_has_seven_columns_in_every_row() -> None:
    lines = (DOCS / "metrics" / "index.md").read_text().split("\n\n")
    (table,) = (block for block in lines if block.startswith("| metric | family |"))
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    assert rows[0] == ["metric", "family", "range", "better", "value when empty", "state", "source"]
    assert all(len(row) == 7 and all(row) for row in rows)


def test_the_readme_fits_on_two_hundred_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = set()
    for page in PAGES:
        for block in re.findall(r"^```{toctree}\n(.*?)^```", page.read_text(), re.S | re.M):
            listed |= {(page.parent / line).resolve() for line in block.split() if line[0] != ":"}
    lost = (
        {page.with_suffix("").resolve() for page in PAGES} - listed - {(DOCS / "index").resolve()}
    )
    assert lost == set()


def test_linked_names_of_torch_and_torchmetrics_exist() -> None:
    code = "import sys; sys.path.insert(0, 'docs'); import elsewhere; print(elsewhere.NAMES)"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    names = [
        name for site in ast.literal_eval(printed).values() for on in site.values() for name in on
    ]
    assert len(names) > 10
    for name in names:
        module, attribute = name.rsplit(".", 1)
        assert hasattr(import_module(module), attribute), name


def test_every_message_of_the_package_stands_in_troubleshooting() -> None:
    """Each file that raises belongs to a group of messages, whose usual cause the page names."""
    code = "import sys; sys.path.insert(0, 'docs'); import messages; print(messages.markdown())"
    page = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert page.count("\n- ") > 300
    for text in (
        "must have one size",
        "means nothing for binary masks",
        "does not exist. Make it first.",
    ):
        assert text in page


def test_the_page_of_speeds_shows_the_newest_rows_and_every_loss(tmp_path: Path) -> None:
    spec = spec_from_file_location("charts", DOCS / "charts.py")
    assert spec is not None
    assert spec.loader is not None
    charts = module_from_spec(spec)
    sys.modules["charts"] = charts
    spec.loader.exec_module(charts)
    charts.RESULTS = tmp_path

    def results(day: str, **seconds: float) -> None:
        row = {"form": "noise", "floor": 0.5, "seconds": seconds}
        machine, versions = {"processor": "X", "cores": 2}, {"torch": "2", "torchmetrics": "1"}
        found = {"date": day, "machine": machine, "versions": versions, "objects": [row]}
        found |= {part: [] for part in ("start", "share")}
        (tmp_path / f"{day}-cpu.json").write_text(json.dumps(found))

    results("2026-01-01", segmetrics=9.0, fast=1.0)
    results("2026-01-02", segmetrics=2.0, fast=1.0, slow=6.0)
    pages = charts.write(tmp_path / "pictures")
    assert "| noise | 2,000 ms | 0.25× | **0.5×** | 3× |" in pages["objects"]
    assert "2026-01-02, X, 2 cores" in pages["objects"]
    assert pages["losses"].splitlines()[2:] == [
        "| Components and pairs of objects | noise | fast | 50% |"
    ]
    assert (tmp_path / "pictures" / "objects.svg").read_text().count("<path") > 3
