"""Tables of cases and classes: every column against other libraries, groups, and the report."""

from __future__ import annotations

import json
import re
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK

from segmetrics.evaluate.distributions import boxes, quantiles
from segmetrics.evaluate.slices import worst_slice
from segmetrics.files import Grid, read
from test_evaluate_surfaces import blobs, content, refused, run, save
from test_files_medical import moved, nifti

SPACING = (0.75, 0.5, 2.5)
AFFINE = np.diag([*SPACING, 1])
#: Unlike any other draws.
GENERATOR = np.random.default_rng(7)


@pytest.fixture
def volumes(tmp_path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Nine cases; class 2 is missed in one, invented in another, and in a third in neither."""
    pairs = {}
    for i in range(9):
        preds, target = blobs((14, 16, 9), seed=20 + i)
        if i in (1, 2):
            preds[preds == 2] = 0
        if i in (2, 3):
            target[target == 2] = 0
        pairs[f"case_{i}"] = preds, target
        save(tmp_path, f"case_{i}.nii.gz", preds, target, AFFINE)
    return pairs


def frame(found: dict[str, Any], key: str = "cases") -> pd.DataFrame:
    rows = [{k: np.inf if v == "Infinity" else v for k, v in r.items()} for r in found[key]]
    return pd.DataFrame(rows)


def overlaps(preds: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """By SimpleITK, of two masks that are not empty."""
    measure = SimpleITK.LabelOverlapMeasuresImageFilter()
    images = []
    for mask in (target, preds):
        image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing(SPACING[::-1])
        images.append(image)
    measure.Execute(*images[::-1])
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    sizes = []
    for image in images:
        shape.Execute(image)
        sizes.append(shape.GetPhysicalSize(1) / 1000)
    return {
        "dice": measure.GetDiceCoefficient(),
        "iou": measure.GetJaccardCoefficient(),
        "sensitivity": 1 - measure.GetFalseNegativeError(),
        "precision": 1 - measure.GetFalseDiscoveryRate(),
        "volume_similarity": 1 - abs(measure.GetVolumeSimilarity()) / 2,
        "volume_target": sizes[0],
        "volume_prediction": sizes[1],
        "volume_difference": sizes[1] - sizes[0],
        "absolute_volume_difference": abs(sizes[1] - sizes[0]),
        "relative_volume_difference": sizes[1] / sizes[0] - 1,
    }


def test_overlap_and_volumes_are_those_of_simpleitk(
    volumes: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    found = content(tmp_path, "--num-classes", 3, "--per-case")
    checked = 0
    for row in found["cases"]:
        preds, target = (mask == int(row["class"]) for mask in volumes[row["case"]])
        if preds.any() and target.any():
            expected = overlaps(preds, target)
            assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-6)
            checked += 1
        assert row["pixels_target"] == target.sum()
        assert row["pixels_prediction"] == preds.sum()
        assert row["missed"] == (target.any() and not preds.any())
        assert row["false_alarm"] == (preds.any() and not target.any())
    assert checked == 9 * 3 - 3


def test_columns_of_empty_masks(
    volumes: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    found = frame(content(tmp_path, "--num-classes", 3, "--per-case"))
    of = found[found["class"] == "2"].set_index("case")
    size = np.prod(SPACING) / 1000
    missed, neither, invented = (of.loc[f"case_{i}"] for i in (1, 2, 3))
    there = np.sum(volumes["case_1"][1] == 2) * size
    assert missed["dice"] == missed["sensitivity"] == missed["volume_similarity"] == 0
    assert isnan(missed["precision"])
    assert missed["volume_difference"] == pytest.approx(-there)
    assert missed["relative_volume_difference"] == -1
    made_up = np.sum(volumes["case_3"][0] == 2) * size
    assert invented["dice"] == invented["precision"] == invented["volume_similarity"] == 0
    assert invented["volume_difference"] == pytest.approx(made_up)
    for column in ("sensitivity", "relative_volume_difference"):
        assert isnan(invented[column])
    for column in ("dice", "iou", "sensitivity", "precision", "volume_similarity"):
        assert isnan(neither[column])
    assert neither["volume_target"] == neither["volume_difference"] == 0


@pytest.mark.parametrize("empty_distance", ["inf", "30"])
def test_statistics_are_those_of_pandas(
    volumes: dict[str, tuple[np.ndarray, np.ndarray]], empty_distance: str, tmp_path: Path
) -> None:
    given = "--num-classes", 3, "--surfaces", "--empty-distance", empty_distance
    found = content(tmp_path, *given)
    cases, statistics = frame(found), frame(found, "case_statistics")
    means = frame(found, "case_means").set_index("class")
    cases["missed"] = cases["missed"].where(cases["pixels_target"] > 0).astype(float)
    cases["false_alarm"] = cases["false_alarm"].where(cases["pixels_target"] == 0).astype(float)
    measures = [c for c in cases.columns if c not in ("case", "class")][2:]
    assert sorted(set(statistics["measure"])) == sorted(measures)
    for _, row in statistics.iterrows():
        values = cases[cases["class"] == row["class"]][row["measure"]].dropna()
        assert (row["cases"], row["undefined"]) == (len(values), 9 - len(values))
        assert row["infinite"] == np.isinf(values).sum()
        expected = [values.mean(), values.median(), *values.quantile([0.25, 0.75])]
        shown = [row["mean"], row["median"], row["q1"], row["q3"]]
        if np.isinf(values).any():
            assert row["mean"] == np.inf
            assert isnan(row["sd"])
            finite = np.sort(values)[:4]  # quartiles of seven or eight values
            assert row["q1"] == pytest.approx(np.quantile(np.sort(values), 0.25, method="linear"))
            assert row["q1"] <= finite.max()
        else:
            assert shown == pytest.approx(expected, nan_ok=True)
            assert row["sd"] == pytest.approx(values.std(), nan_ok=True)
        name = {"missed": "missed_rate", "false_alarm": "false_alarm_rate"}.get(
            row["measure"], row["measure"]
        )
        assert means.loc[row["class"], name] == pytest.approx(row["mean"], nan_ok=True)
    for c, of_class in means.iterrows():
        those = cases[cases["class"] == c]
        assert of_class["cases"] == 9
        assert of_class["with_target"] == (those["pixels_target"] > 0).sum()
        assert of_class["with_prediction"] == (those["pixels_prediction"] > 0).sum()
        assert of_class["missed"] == those["missed"].sum()
        assert of_class["false_alarms"] == those["false_alarm"].sum()


def test_infinite_quartiles_stay_infinite() -> None:
    inf = np.inf
    assert quantiles(np.array([1.0, inf])) == [inf, inf, inf]
    assert quantiles(np.array([1.0, 2, 3, 4, inf])) == [2, 3, 4]
    assert quantiles(np.array([inf, inf])) == [inf, inf, inf]
    assert quantiles(np.array([1.0, 3])) == [1.5, 2, 2.5]
    assert all(isnan(value) for value in quantiles(np.array([])))


def test_scores_over_all_are_means_over_cases_of_means_over_classes(
    volumes: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    given = "--num-classes", 3, "--surfaces", "--empty-distance", 30, "--region", "both=1,2"
    found = content(tmp_path, *given)
    cases = frame(found)
    classes = cases[cases["class"] != "both"]
    for key in ("hd", "hd95", "assd", "nsd"):
        assert found["scores"][key] == pytest.approx(classes.groupby("case")[key].mean().mean())


def bootstrapped(values: np.ndarray, level: float) -> list[float]:
    drawn = values[GENERATOR.integers(0, len(values), (20_000, len(values)))]
    tails = [(1 - level) / 2, (1 + level) / 2]
    found: list[float] = np.nanquantile(np.nanmean(drawn, 1), tails).tolist()
    return found


def test_intervals_draw_cases(
    volumes: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    given = "--num-classes", 3, "--surfaces", "--confidence", 0.8
    found = content(tmp_path, *given)
    cases, statistics = frame(found), frame(found, "case_statistics")
    for measure in ("dice", "hd95", "assd", "nsd", "volume_difference"):
        (row,) = statistics[
            (statistics["class"] == "1") & (statistics["measure"] == measure)
        ].to_dict("records")
        values = cases[cases["class"] == "1"][measure].to_numpy(float)
        low, high = bootstrapped(values, 0.8)
        tolerance = 0.1 * (high - low)
        assert (row["low"], row["high"]) == pytest.approx((low, high), abs=tolerance)
    for measure in ("hd95", "nsd"):
        interval = found["intervals"][measure]
        if measure == "nsd":
            low, high = bootstrapped(cases.groupby("case")[measure].mean().to_numpy(float), 0.8)
            shown = interval["low"], interval["high"]
            assert shown == pytest.approx((low, high), abs=0.1 * (high - low))
        else:  # two of nine cases have an infinite distance
            assert (found["scores"][measure], interval["high"]) == ("Infinity", "Infinity")
        assert interval["groups"] is None


def test_groups_of_cases_are_drawn_together(
    volumes: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    table = tmp_path / "cases.csv"
    table.write_text(
        "patient,case\n" + "".join(f"p{i % 3},case_{i}.nii.gz\n" for i in range(9)) + "p9,case_77\n"
    )
    given = "--num-classes", 3, "--surfaces", "--confidence", 0.9
    source = f"{table}:patient"
    found = content(tmp_path, *given, "--groups", source)
    assert f"Intervals draw 3 groups of cases, by {source}." in found["notes"]
    assert found["warnings"] == [
        f"--groups {table} has 1 rows of images that are not scored: 'case_77'."
    ]
    assert found["intervals"]["mIoU"]["groups"] == 3
    statistics = frame(found, "case_statistics")
    (row,) = statistics[(statistics["class"] == "1") & (statistics["measure"] == "hd95")].to_dict(
        "records"
    )
    values = frame(found).query("`class` == '1'").set_index("case")["hd95"]
    of_groups = np.array([values[[f"case_{i}" for i in range(9) if i % 3 == p]] for p in range(3)])
    low, high = bootstrapped(of_groups.mean(1), 0.9)  # groups of one size
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=0.15 * (high - low))


@pytest.mark.parametrize(
    ("content_", "column", "message"),
    [
        ("case,patient\na,1\n", "patient", "lacks 1 of 2 images: 'b'"),
        ("case,patient\na,1\nb,\n", "patient", "is empty for 1 of 2 images: 'b'"),
        ("case,patient\na,1\nb,2\n", "person", "has no column 'person'. Its columns: case, pat"),
        ("case,patient\na,1\na,2\nb,2\n", "patient", "names the image 'a' twice"),
        ("case,patient\na\n", "patient", "the row of 'a' has 1 cells, the head 2"),
        ("case,patient\na,1\nb,1\n", "case", "this column names the images"),
        ("", "patient", "is no table"),
        (None, "patient", "cannot be read"),
    ],
)
def test_tables_of_groups_that_do_not_fit_are_refused_before_counting(
    content_: str | None, column: str, message: str, tmp_path: Path
) -> None:
    preds, target = blobs((10, 12), seed=1)
    for name in "ab":
        save(tmp_path, f"{name}.png", preds, target)
    table = tmp_path / "g.csv"
    if content_ is not None:
        table.write_text(content_)
    given = "--num-classes", 3, "--confidence", 0.9, "--groups", f"{table}:{column}"
    assert message in refused(tmp_path, *given)


def test_groups_without_intervals_or_a_column_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "a.png", *blobs((10, 12), seed=1))
    given = "--num-classes", 3, "--groups"
    assert "give --confidence 0.95, too" in refused(tmp_path, *given, "g.csv:patient")
    said = refused(tmp_path, "--confidence", 0.9, *given, "g.csv")
    assert "--groups is FILE.csv:COLUMN" in said


def test_one_group_leaves_scores_without_intervals(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path, f"{name}.png", *blobs((10, 12), seed=1))
    (tmp_path / "g.csv").write_text("case;patient\na;x\nb;x\n")  # as spreadsheets save it
    given = "--num-classes", 3, "--surfaces", "--confidence", 0.9, "--groups"
    found = content(
        tmp_path, *given, f"{tmp_path / 'g.csv'}:patient", "--html", tmp_path / "o.html"
    )
    assert found["intervals"] == {}
    assert any("all images are of one group, 'x'" in warning for warning in found["warnings"])


def test_worst_cases_are_those_with_the_largest_distances(
    volumes: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    given = "--num-classes", 3, "--no-background", "--surfaces"
    found = content(tmp_path, *given)
    expected = (
        frame(found).dropna(subset="hd95").sort_values(["hd95", "dice"], ascending=[False, True])
    )
    worst = frame(found, "worst_cases")
    assert list(worst["hd95"]) == list(expected["hd95"])
    rows = {(row["case"], row["class"]): row for row in found["cases"]}
    for row in found["worst_cases"]:
        assert row == {key: rows[row["case"], row["class"]][key] for key in row}
    assert list(zip(worst["case"], worst["class"], strict=True))[:2] == [
        ("case_1", "2"), ("case_3", "2"),
    ]  # fmt: skip
    done = run(tmp_path, *given).stdout
    assert re.search(r"worst cases +class +Dice +HD95 \(mm\) +ASSD \(mm\) +NSD", done)
    assert len(re.findall(r"^case_\d +[12] ", done, re.MULTILINE)) == 5
    worst = frame(content(tmp_path, *given[:3], "--per-case"), "worst_cases")
    assert list(worst["dice"]) == sorted(worst["dice"])


def test_the_hundred_worst_cases_are_listed(tmp_path: Path) -> None:
    for i in range(51):
        preds, target = blobs((8, 9), seed=i)
        save(tmp_path, f"{i:02}.png", preds, target)
    found = content(tmp_path, "--num-classes", 3, "--per-case")
    dice = frame(found)["dice"].dropna().sort_values()
    assert len(dice) > 100
    assert list(frame(found, "worst_cases")["dice"]) == list(dice[:100])


def test_a_distance_cannot_be_asked_to_be_large(
    volumes: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    given = "--num-classes", 3, "--surfaces", "--fail-under"
    assert "no score is called 'hd95'" in refused(tmp_path, *given, "hd95=3")
    assert run(tmp_path, *given, "nsd=0.99").exit_code == 3
    assert run(tmp_path, *given, "nsd=0.01").exit_code == 0


def test_a_chart_shows_values_where_its_axis_says() -> None:
    columns = np.array([[0.0, 0.25, 0.8, np.nan, 0.5], [8.0, 2.0, np.inf, 4.0, np.nan]])
    for column, unit in zip(columns, ("", "mm"), strict=True):
        chart = boxes("HD", ["liver"], column[None], unit)
        ends = re.findall(r'<text x="([\d.]+)" y="42"[^>]*>([\d.]+)<', chart)
        (left, zero), (right, top) = np.array(ends, float)
        assert (zero, top) == (0, 1 if unit == "" else 8)

        def x(value: float, left: float = left, right: float = right, top: float = top) -> float:
            return left + (right - left) * min(value / top, 1)

        finite = column[np.isfinite(column)]
        dots = [float(place) for place in re.findall(r'<circle cx="([\d.]+)"', chart)]
        assert dots == pytest.approx([x(value) for value in finite], abs=0.06)
        ((start, width),) = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', chart)
        (median,) = re.findall(r'<path d="M([\d.]+) ', chart)
        low, half, high = map(x, quantiles(column[~np.isnan(column)]))
        found = float(start), float(median), float(start) + float(width)
        assert found == pytest.approx((low, half, high), abs=0.11)
        beyond = re.findall(r'<text x="([\d.]+)"[^>]*>(\d) infinite<', chart)
        assert [number for _, number in beyond] == ["1"] * int(np.isinf(column).sum())
        width = float(re.findall(r'viewBox="0 0 ([\d.]+) ', chart)[0])
        assert all(right < float(place) < width for place, _ in beyond)


@pytest.mark.parametrize(("length", "shown"), [(18, 18 * "x"), (19, 17 * "x" + "…")])
def test_long_names_are_cut_in_a_chart(length: int, shown: str) -> None:
    assert f">{shown}</text>" in boxes("Dice", [length * "x"], np.ones((1, 3)), "")


# --- the report -----------------------------------------------------------------------------------


def test_the_report_has_means_distributions_and_slices(
    volumes: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    given = "--num-classes", 3, "--no-background", "--surfaces", "--confidence", 0.9
    found = content(tmp_path, *given, "--html", tmp_path / "o.html")
    page = (tmp_path / "o.html").read_text()
    headings = re.findall(r"<h2 [^>]*>([^<]+)</h2>", page)
    for heading in (
        "Mean over cases",
        "Distribution over cases",
        "Worst cases",
        "Worst images",
    ):
        assert heading in headings
    assert "Cases" not in headings  # a row a case and class is in JSON and CSV
    for note in found["notes"]:
        assert note.replace("'", "&#39;") in page
    figures = re.findall(r"<figure><svg.*?</figure>", page, re.DOTALL)
    titles = [re.search(r"<figcaption>([^:]+):", figure) for figure in figures]
    assert [title and title[1] for title in titles] == ["Dice", "HD95 (mm)", "ASSD (mm)", "NSD"]
    of_hd95 = figures[1]
    cases = frame(found)
    assert of_hd95.count("<circle") == np.isfinite(cases["hd95"]).sum()
    assert of_hd95.count("2 infinite") == 1
    assert f"{cases['hd95'][np.isfinite(cases['hd95'])].max():.4g}" in of_hd95
    shown = re.findall(r"<h3>(case_\d), axial slice (\d+) of 9</h3>", page)
    assert [name for name, _ in shown[:2]] == ["case_1", "case_3"]
    for name, number in shown:
        preds, target = volumes[name]
        assert int(number) - 1 == (preds != target).sum((0, 1)).argmax()


def test_intervals_of_the_report_draw_groups(
    volumes: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    rows = "".join(f"case_{i},{i % 3}\n" for i in range(9))
    (tmp_path / "g.csv").write_text(f"case,patient\n{rows}")
    given = "--num-classes", 3, "--per-image", "--confidence", 0.9
    groups = "--groups", f"{tmp_path / 'g.csv'}:patient"
    found = content(tmp_path, *given, *groups, "--html", tmp_path / "o.html")
    page = (tmp_path / "o.html").read_text()
    for key, title in (("mIoU", "mIoU"), ("mIoU_I", "mIoU of an image, mean")):
        interval = found["intervals"][key]
        shown = rf"<dt>{title}</dt>.*?{interval['low']:.3f} to {interval['high']:.3f}</span>"
        (tile,) = re.findall(rf"<dt>{title}</dt>.*?</dd>", page, re.DOTALL)
        assert re.match(shown, tile, re.DOTALL)
    assert "3 groups of images drawn anew" in page
    alone = content(tmp_path, *given)["intervals"]["mIoU"]
    assert (alone["low"], alone["groups"]) != (found["intervals"]["mIoU"]["low"], 3)


def test_slices_are_upright_whatever_the_orientation_of_the_file(tmp_path: Path) -> None:
    preds, target = blobs((12, 14, 8), seed=3)
    expected = None
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)):
        for flips in ((False, False, False), (True, False, True), (False, True, True)):
            masks = []
            for name, mask in (("p.nii", preds), ("t.nii", target)):
                nifti(tmp_path / name, *moved(mask, AFFINE, order, flips))
                masks.append(read(tmp_path / name))
            found, truth, where = worst_slice(masks[0].values, masks[1].values, masks[1].grid)
            place = (preds != target).sum((0, 1)).argmax()
            assert where.startswith("axial slice")
            # front above, and the patient's right at the left: x and y of RAS+ run backwards
            expected = preds[::-1, ::-1, place].T
            assert np.array_equal(found, expected)
            assert np.array_equal(truth, target[::-1, ::-1, place].T)


@pytest.mark.parametrize(
    ("spacing", "plane", "axis"),
    [((2.5, 0.75, 0.5), "sagittal", 0), ((0.5, 2.5, 0.75), "coronal", 1)],
)
def test_slices_lie_across_the_largest_spacing(
    spacing: tuple[float, ...], plane: str, axis: int, tmp_path: Path
) -> None:
    preds, target = blobs((12, 14, 8), seed=3)
    masks = []
    for name, mask in (("p.nii", preds), ("t.nii", target)):
        nifti(tmp_path / name, mask, np.diag([*spacing, 1]))
        masks.append(read(tmp_path / name))
    _, _, where = worst_slice(masks[0].values, masks[1].values, masks[1].grid)
    wrong = np.moveaxis(preds != target, axis, 0).sum((1, 2))
    assert where.startswith(f"{plane} slice ")
    assert where.endswith(f" of {target.shape[axis]}")
    place = int(where.split()[2]) - 1
    assert wrong[place] == wrong.max()


def test_slices_of_arrays_lie_as_they_are() -> None:
    preds, target = blobs((8, 12, 14), seed=4)
    place = int((preds != target).sum((1, 2)).argmax())
    found, truth, where = worst_slice(preds, target, None)
    assert where == f"slice {place + 1} of 8"
    assert np.array_equal(found, preds[place])
    assert np.array_equal(truth, target[place])
    grid = Grid.of_affine(np.eye(4), 3).nowhere()
    found, _, where = worst_slice(target, target, grid)
    assert where == "slice 8 of 14"
    assert np.array_equal(found, target[:, :, 7].T)


def test_markup_in_names_stays_text(tmp_path: Path) -> None:
    save(tmp_path, "a.png", *blobs((20, 24), seed=5))
    names = ["<script>alert(1)</script>", "[bold]liver[/]", "c"]
    (tmp_path / "l.json").write_text(json.dumps({"names": names}))
    given = "--labels", tmp_path / "l.json", "--surfaces", "--html", tmp_path / "o.html"
    done = run(tmp_path, *given)
    assert done.exit_code == 0, done.stderr
    assert "[bold]liver[/]" in done.stdout
    assert "<script>alert" not in (tmp_path / "o.html").read_text()
