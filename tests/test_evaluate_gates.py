"""``segmetrics evaluate`` for build servers: subgroups, limits with an exit status, Markdown."""

from __future__ import annotations

import csv
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from segmetrics.evaluate.command import app
from segmetrics.evaluate.subgroups import Subgroups
from segmetrics.evaluate.warnings import Warnings

SITES = ["north"] * 16 + ["south"] * 18 + [""] * 4
CLASSES = 3


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Masks of three sites, of which one is harder."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("sites")
    for name in ("preds", "targets"):
        (folder / name).mkdir()
    for i, site in enumerate(SITES):
        target = rng.integers(0, CLASSES, (16, 20)).astype(np.uint8)
        wrong = rng.random(target.shape) < (0.4 if site == "south" else 0.2)
        preds = np.where(wrong, rng.integers(0, CLASSES, target.shape), target).astype(np.uint8)
        Image.fromarray(target).save(folder / "targets" / f"{i:02}.png")
        Image.fromarray(preds).save(folder / "preds" / f"{i:02}.png")
    return folder / "preds", folder / "targets"


def table(path: Path, names: list[str], column: str = "site", values: list[str] = SITES) -> Path:
    rows = [f"{name},x,{value}" for name, value in zip(names, values, strict=True)]
    path.write_text("\n".join([f"image,other,{column}", *rows]) + "\n")
    return path


def pooled(folders: tuple[Path, Path], keep: list[int]) -> dict[str, Any]:
    """Scores over some images, longhand."""
    preds, target = (
        np.concatenate([np.asarray(Image.open(f / f"{i:02}.png")).ravel() for i in keep])
        for f in folders
    )
    ious = [
        ((preds == c) & (target == c)).sum() / ((preds == c) | (target == c)).sum()
        for c in range(CLASSES)
    ]
    return {"mIoU": float(np.mean(ious)), "iou": ious, "accuracy": float((preds == target).mean())}


def members(label: str) -> list[int]:
    return [i for i, site in enumerate(SITES) if site == label]


# --- subgroups ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".png", ".jpg"])
def test_scores_of_subgroups_are_those_of_their_images_alone(
    folders: tuple[Path, Path], tmp_path: Path, suffix: str
) -> None:
    cases = table(tmp_path / "a:b.csv", [f"{i:02}{suffix}" for i in range(len(SITES))])
    out = tmp_path / "out.json", tmp_path / "out.csv", tmp_path / "out.html"
    done = run(
        *folders, "--num-classes", CLASSES, "--by", f"{cases}:site",
        "--json", out[0], "--csv", out[1], "--html", out[2],
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(out[0].read_text())
    expected = {label: pooled(folders, members(label))["mIoU"] for label in ("north", "south", "")}
    worst, best = min(expected.values()), max(expected.values())
    by = {row["group"]: row for row in found["by"]}
    assert list(by) == ["north", "south", "(none)"]
    for label, value in expected.items():
        row = by[label or "(none)"]
        assert row["images"] == len(members(label))
        assert row["mIoU"] == pytest.approx(value)
        assert row["low"] < value < row["high"]
        assert row["few images"] is True
        assert row["worst"] is (value == worst)
    assert found["scores"]["mIoU_worst/site"] == pytest.approx(worst)
    assert found["scores"]["mIoU_difference/site"] == pytest.approx(best - worst)
    assert found["scores"]["mIoU_ratio/site"] == pytest.approx(worst / best)
    assert found["scores"]["mIoU_p_value/site"] < 0.01
    assert "the worst group is south" in found["notes"][0]

    with (tmp_path / "out.by.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == list(by)
    for row in rows:
        for column in ("mIoU", "low", "high"):
            assert float(row[column]) == by[row["group"]][column]
        assert int(row["images"]) == by[row["group"]]["images"]
        assert row["worst"] == str(by[row["group"]]["worst"])

    lines = [line.split() for line in done.stdout.splitlines()]
    page = re.sub(r"<[^>]*>", " ", html.unescape(out[2].read_text()))
    for label, row in by.items():
        shown = [f"{row[column]:.3f}" for column in ("mIoU", "low", "high")]
        yes = ["yes", "yes" if row["worst"] else "no"]
        assert [label, str(row["images"]), *shown, *yes] in lines
        assert re.search(rf"{re.escape(label)}\s+{row['images']}\s+" + r"\s+".join(shown), page)


def test_intervals_of_subgroups_have_the_level_asked_for(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    cases, widths = table(tmp_path / "c.csv", [f"{i:02}" for i in range(len(SITES))]), []
    for level in (0.5, 0.99):
        done = run(
            *folders, "--num-classes", CLASSES, "--by", f"{cases}:site", "--confidence", level,
            "--json", tmp_path / "out.json",
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        row = json.loads((tmp_path / "out.json").read_text())["by"][0]
        widths.append(row["high"] - row["low"])
    assert widths[1] > 3 * widths[0]


def test_a_foreground_is_split_by_its_own_score(folders: tuple[Path, Path], tmp_path: Path) -> None:
    cases = table(tmp_path / "c.csv", [f"{i:02}" for i in range(len(SITES))])
    done = run(*folders, "--binary", "--by", f"{cases}:site", "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.stderr
    preds, target = (
        np.stack([np.asarray(Image.open(f / f"{i:02}.png")) for i in members("south")]) > 0
        for f in folders
    )
    found = json.loads((tmp_path / "out.json").read_text())
    row = next(row for row in found["by"] if row["group"] == "south")
    assert row["iou"] == pytest.approx((preds & target).sum() / (preds | target).sum())
    assert found["scores"]["iou_worst/site"] == row["iou"]
    given = *folders, "--binary", "--by", f"{cases}:site", "--fail-under"
    assert run(*given, f"iou_worst/site={row['iou'] - 0.01}").exit_code == 0
    assert run(*given, f"iou_worst/site={row['iou'] + 0.01}").exit_code == 3


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("{}", "image,site\n", "--by is FILE.csv:COLUMN"),
        (":site", "image,site\n", "--by is FILE.csv:COLUMN"),
        ("{}:", "image,site\n", "--by is FILE.csv:COLUMN"),
        ("{}:scanner", "image,site\n00,a\n", "no column 'scanner'. Its columns: image, site."),
        ("{}:image", "image,site\n00,a\n", "this column names the images"),
        ("{}:site", "image,site\n00,a\n00,b\n", "names the image '00' twice"),
        ("{}:site", "image,site\n00,a,b\n", "the row of '00' has 3 cells, the head 2"),
        ("{}:site", "", "no table of comma-separated values"),
        ("{}:site", "image,site\n00,a\n01,b\n", "lacks 36 of 38 images: '02', '03', '04' and 33"),
        ("{}:site", "image,site\n" + "".join(f"{i:02},a\n" for i in range(38)),
         "all 38 images are 'a'"),
        ("{}:site", "image,site\n" + "".join(f"{i:02},{i}\n" for i in range(38)),
         "each of the 38 images has a value of its own"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_are_refused_before_anything_is_counted(
    folders: tuple[Path, Path], tmp_path: Path, option: str, content: str, message: str
) -> None:
    cases, out = tmp_path / "cases.csv", tmp_path / "out.json"
    cases.write_text(content)
    by = option.format(cases)
    done = run(*folders, "--num-classes", CLASSES, "--by", by, "--json", out)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not out.exists()
    assert done.stderr.startswith("error: ")


def test_two_images_may_have_a_value_each_and_three_may_not(tmp_path: Path) -> None:
    column = Subgroups.read(f"{table(tmp_path / 'c.csv', list('abc'), values=list('xyz'))}:site")
    assert column.of(["a", "b"], Warnings()) == {"a": "x", "b": "y"}
    with pytest.raises(ValueError, match="each of the 3 images has a value of its own"):
        column.of(["a", "b", "c"], Warnings())


def test_a_missing_or_unreadable_table_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(*folders, "--num-classes", CLASSES, "--by", f"{tmp_path}/no.csv:site")
    assert (done.exit_code, "cannot be read: No such file" in done.stderr) == (2, True)
    (tmp_path / "x.csv").write_bytes(b"image,site\n\xff,a\n")
    done = run(*folders, "--num-classes", CLASSES, "--by", f"{tmp_path}/x.csv:site")
    assert (done.exit_code, "is no table in UTF-8" in done.stderr) == (2, True)


def test_rows_without_an_image_are_told_of_and_the_table_is_no_output(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    names = [f"{i:02}" for i in range(len(SITES))]
    cases = table(tmp_path / "c.csv", [*names, "98", "99"], values=[*SITES, "north", "east"])
    arguments = (*folders, "--num-classes", CLASSES, "--by", f"{cases}:site")
    done = run(*arguments, "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.stderr
    assert "has 2 rows of images that are not scored: '98', '99'" in done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["group"] for row in found["by"]] == ["north", "south", "(none)"]
    assert any("'98', '99'" in warning for warning in found["warnings"])
    before = cases.read_text()
    done = run(*arguments, "--csv", cases)
    assert (done.exit_code, "would overwrite an input" in done.stderr) == (2, True)
    assert cases.read_text() == before


# --- limits ---------------------------------------------------------------------------------------


def test_scores_below_a_limit_end_with_status_3_and_one_line(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    everything = pooled(folders, list(range(len(SITES))))
    low, high = everything["mIoU"] - 1e-4, everything["mIoU"] + 1e-4
    out = tmp_path / "out.json"
    fits = run(
        *folders, "--num-classes", CLASSES, "--fail-under", f"mIoU={low}",
        "--fail-under", f"iou/1={everything['iou'][1]:.4f}"[:-1],
    )  # fmt: skip
    assert (fits.exit_code, fits.stderr) == (0, "")
    fails = run(
        *folders, "--num-classes", CLASSES, "--fail-under", f"mIoU={high}",
        "--fail-under", f"pixel_accuracy={everything['accuracy'] - 0.1}",
        "--fail-under", "iou/2=0.99", "--json", out,
    )  # fmt: skip
    assert fits.stdout.splitlines()[0] == fails.stdout.splitlines()[0]
    assert fails.exit_code == 3
    (line,) = fails.stderr.splitlines()
    told = re.fullmatch(r"error: below --fail-under: mIoU is ([\d.]+), not ([\d.]+); "
                        r"iou/2 is ([\d.]+), not 0.99\.", line)  # fmt: skip
    assert told
    assert float(told[1]) == pytest.approx(everything["mIoU"], abs=1e-3)
    assert float(told[1]) < float(told[2])
    assert float(told[3]) == pytest.approx(everything["iou"][2], abs=1e-3)
    assert json.loads(out.read_text())["scores"]["mIoU"] == pytest.approx(everything["mIoU"])


def test_an_undefined_score_is_below_every_limit(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    done = run(*folders, "--num-classes", 5, "--fail-under", "iou/4=0")
    assert done.exit_code == 3
    assert "iou/4 is undefined, not 0." in done.stderr


def test_limits_hold_for_images_categories_regions_and_the_worst_group(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    cases = table(tmp_path / "c.csv", [f"{i:02}" for i in range(len(SITES))])
    (tmp_path / "labels.yaml").write_text("names: [a, b, c]\ngroups: {one: [a, b], two: [c]}\n")
    keys = ["mIoU_I_10", "iou_category/one", "dice_region/X", "mIoU_worst/site", "boundary_iou"]
    limits = [part for key in keys for part in ("--fail-under", f"{key}=1")]
    done = run(
        *folders, "--labels", tmp_path / "labels.yaml", "--region", "X=b,c", "--per-image",
        "--by", f"{cases}:site", "--boundary", *limits,
    )  # fmt: skip
    assert done.exit_code == 3
    assert all(f"{key} is 0." in done.stderr for key in keys)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("mIoU", "--fail-under is KEY=VALUE"),
        ("mIoU=high", "--fail-under is KEY=VALUE"),
        ("mIoU=nan", "--fail-under is KEY=VALUE"),
        ("=0.5", "--fail-under is KEY=VALUE"),
        ("miou=0.5", "no score is called 'miou'. Near: mIoU"),
        ("iou/9=0.5", "no score is called 'iou/9'. Near: iou/"),
        ("mIoU_I=0.5", "no score is called 'mIoU_I'. Scores over images need --per-image."),
        ("iou_region/X=0.5", "no score is called 'iou_region/X'"),
    ],
)
def test_unknown_keys_and_no_numbers_are_refused_before_anything_is_counted(
    folders: tuple[Path, Path], tmp_path: Path, option: str, message: str
) -> None:
    out = tmp_path / "out.json"
    done = run(*folders, "--num-classes", CLASSES, "--fail-under", option, "--json", out)
    assert (done.exit_code, out.exists()) == (2, False)
    assert message in done.stderr


# --- Markdown -------------------------------------------------------------------------------------


def cells(text: str) -> list[list[str]]:
    """The cells of all rows of tables, as GitHub reads them."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [
        [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in rows
    ]


def test_markdown_has_the_tables_of_the_terminal(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    cases = table(tmp_path / "c.csv", [f"{i:02}" for i in range(len(SITES))])
    (tmp_path / "labels.yaml").write_text('names: ["<b>a|b</b>", "*c*", "d`e"]\n')
    path = tmp_path / "out.md"
    done = run(
        *folders, "--labels", tmp_path / "labels.yaml", "--by", f"{cases}:site", "--markdown", path,
        "--fail-under", "mIoU=0.99",
    )  # fmt: skip
    assert done.exit_code == 3
    text = path.read_text()
    assert text.startswith("## Segmentation scores\n")
    assert "\n> **below --fail-under: mIoU is 0." in text
    assert "<b>" not in text.replace("\\<b\\>", "")
    found = cells(text)
    everything = pooled(folders, list(range(len(SITES))))
    names = ["<b>a|b</b>", "*c*", "d`e"]
    head = next(row for row in found if row[0] == "class")
    for name, iou in zip(names, everything["iou"], strict=True):
        (row,) = [row for row in found if row[0] == name]
        assert row[head.index("IoU")] == f"{iou:.3f}"
    assert ["mIoU", f"{everything['mIoU']:.3f}"] in found
    south = pooled(folders, members("south"))["mIoU"]
    assert next(row for row in found if row[0] == "south")[2] == f"{south:.3f}"
    assert all(len(row) == len(found[found.index(head)]) for row in found[:6])


def test_markdown_goes_to_standard_output_and_tables_to_standard_error(
    folders: tuple[Path, Path],
) -> None:
    done = run(*folders, "--num-classes", CLASSES, "--markdown", "-")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("## Segmentation scores")
    assert "pairs, " in done.stderr
    both = run(*folders, "--num-classes", CLASSES, "--markdown", "-", "--json", "-")
    assert (both.exit_code, "are the same file" in both.stderr) == (2, True)


def test_markdown_lists_what_was_left_out(folders: tuple[Path, Path], tmp_path: Path) -> None:
    preds = tmp_path / "preds"
    preds.mkdir()
    for path in folders[0].iterdir():
        (preds / path.name).write_bytes(path.read_bytes())
    (preds / "03.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = run(preds, folders[1], "--num-classes", CLASSES, "--keep-going", "--markdown", "-")
    assert done.exit_code == 0, done.stderr
    assert "**left out: 1 file**" in done.stdout
    assert "03.png" in done.stdout
