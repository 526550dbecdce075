"""The guide for adding things: its diffs apply to the package, are short, and work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.S | re.M)
#: Section → the most lines that it may add.
SECTIONS = {"A score": 15, "A metric": 20, "A file format": 40}


def section(title: str) -> tuple[int, dict[str, str]]:
    """The number of lines that the heading promises, and the blocks by their language."""
    page = (ROOT / "docs" / "extending.md").read_text()
    (found,) = re.findall(rf"^## {title}: (\d+) lines\n(.*?)(?=^## |\Z)", page, re.S | re.M)
    return int(found[0]), dict(BLOCK.findall(found[1]))


@pytest.mark.parametrize("title", SECTIONS)
def test_a_diff_of_the_guide_is_short_and_does_what_stands_below_it(
    title: str, tmp_path: Path
) -> None:
    promised, blocks = section(title)
    added = re.findall(r"^\+(?!\+\+ )", blocks["diff"], re.M)
    assert len(added) == promised <= SECTIONS[title]

    shutil.copytree(
        ROOT / "segmetrics", tmp_path / "segmetrics", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "change.diff").write_text(blocks["diff"])
    command = ["git", "apply", "change.diff"]
    outside = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    subprocess.run(command, cwd=tmp_path, env=outside, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", blocks["python"]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == blocks["text"]
