"""``--panoptic`` with ``--groups`` and ``--by``: videos drawn as one, and the PQ of subgroups."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap

from longhand_panoptic import panoptic_counts, qualities
from test_evaluate_panoptic import THINGS, Drawn, drawn, run, write_coco

#: Category → matched, false and missed segments and the sum of IoUs.
Counts = dict[int, Any]
IMAGES = 8


@pytest.fixture(scope="module")
def images() -> Drawn:
    return drawn(IMAGES)


@pytest.fixture
def given(images: Drawn, tmp_path: Path) -> tuple[Path, ...]:
    """The two JSON files, and a table: two images are of one video, each second one by night."""
    rows = [f"{i},{i // 2},{'night' if i % 2 else 'day'}" for i in range(IMAGES)]
    (tmp_path / "of.csv").write_text("\n".join(["image,video,light", *rows]) + "\n")
    return write_coco(tmp_path, images)


@pytest.fixture(scope="module")
def counts(images: Drawn) -> list[Counts]:
    """The segments of every image by category, longhand."""
    return [
        panoptic_counts(target, preds, segments, found) for target, segments, preds, found in images
    ]


def pq(counts: Iterable[Counts]) -> float:
    """Panoptic quality of some images."""
    total: Counts = defaultdict(lambda: np.zeros(4))
    for of_image in counts:
        for category, of_category in of_image.items():
            total[category] += of_category
    return float(qualities(total, THINGS)["PQ"])


def test_groups_of_images_are_drawn_as_one(
    counts: list[Counts], given: tuple[Path, ...], tmp_path: Path
) -> None:
    """The interval of four videos is that of SciPy's bootstrap over videos."""
    out = tmp_path / "o.json"
    options = ("--panoptic", "--confidence", 0.9, "--json", out)
    assert run(*given, *options).exit_code == 0
    alone = json.loads(out.read_text())["intervals"]["PQ"]
    done = run(
        *given, *options, "--groups", f"{tmp_path}/of.csv:video", "--html", tmp_path / "o.html"
    )
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    interval = found["intervals"]["PQ"]
    assert (interval["groups"], alone["groups"]) == (IMAGES // 2, None)
    assert (interval["low"], interval["high"]) != (alone["low"], alone["high"])
    videos = [counts[i : i + 2] for i in range(0, IMAGES, 2)]

    def of_videos(drawn: Any) -> float:
        return pq(of_image for video in drawn for of_image in videos[video])

    expected = bootstrap(
        (range(len(videos)),), of_videos, confidence_level=0.9, n_resamples=600,
        vectorized=False, method="percentile", rng=0,
    ).confidence_interval  # fmt: skip
    assert [interval["low"], interval["high"]] == pytest.approx(expected, abs=0.03)
    note = f"Intervals draw 4 groups of images, by {tmp_path}/of.csv:video."
    assert note in found["notes"]
    assert note in " ".join(done.stdout.split())
    assert f"{interval['low']:.3f} to {interval['high']:.3f}" in (tmp_path / "o.html").read_text()


def test_subgroups_have_a_pq_of_their_own(
    counts: list[Counts], given: tuple[Path, ...], tmp_path: Path
) -> None:
    done = run(
        *given, "--panoptic", "--by", f"{tmp_path}/of.csv:light", "--json", tmp_path / "o.json",
        "--csv", tmp_path / "o.csv", "--html", tmp_path / "o.html", "--markdown", tmp_path / "o.md",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "o.json").read_text())
    values = {"day": pq(counts[::2]), "night": pq(counts[1::2])}
    rows = {row["group"]: row for row in found["by"]}
    assert {group: row["PQ"] for group, row in rows.items()} == pytest.approx(values)
    worst = min(values, key=values.__getitem__)
    assert [group for group, row in rows.items() if row["worst"]] == [worst]
    assert found["scores"]["PQ_worst/light"] == pytest.approx(values[worst])
    assert found["scores"]["PQ"] == pytest.approx(pq(counts))
    with (tmp_path / "o.by.csv").open(newline="") as file:
        written = {row["group"]: float(row["PQ"]) for row in csv.DictReader(file)}
    assert written == pytest.approx(values)
    assert "PQ by light" in done.stdout
    assert f"the worst group is {worst}" in " ".join(done.stdout.split())
    for name in ("o.html", "o.md"):
        text = (tmp_path / name).read_text()
        assert "PQ by light" in text
        assert f"{values[worst]:.3f}" in text
    limit = ("--fail-under", f"PQ_worst/light={values[worst] + 0.01}")
    assert run(*given, "--panoptic", "--by", f"{tmp_path}/of.csv:light", *limit).exit_code == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--groups", "of.csv:video"], "--groups applies to confidence intervals"),
        (["--groups", "of.csv:scene", "--confidence", "0.9"], "has no column 'scene'"),
        (["--by", "of.csv:image"], "this column names the images"),
        (["--by", "few.csv:light"], "lacks 6 of 8 images: '2', '3', '4' and 3 more"),
        (["--by", "of.csv:light", "--csv", "of.csv"], "would overwrite an input"),
        (["--by", "of.csv:light", "--csv", "o.csv", "--json", "o.by.csv"], "are the same file"),
        (["--fail-under", "PQ_worst/light=0.5"], "no score is called 'PQ_worst/light'"),
    ],
)
def test_mistakes_are_named_before_anything_is_counted(
    given: tuple[Path, ...], options: list[str], message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("few.csv").write_text("image,light\n0,day\n1,night\n")
    before = sorted(tmp_path.rglob("*"))
    done = run(*given, "--panoptic", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert sorted(tmp_path.rglob("*")) == before
