"""The command with --panoptic: COCO's format and Cityscapes', against panopticapi's rules."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from commands import finish, start
from longhand_panoptic import panoptic_counts, qualities
from segmetrics.evaluate import panoptic, panoptic_results, workers
from segmetrics.evaluate.command import app
from segmetrics.evaluate.object_pictures import BOTH, INVENTED
from segmetrics.evaluate.panoptic_results import Results
from segmetrics.evaluate.segment_ledger import SegmentLedger
from segmetrics.evaluate.segments import SegmentCounter, SegmentSettings
from segmetrics.labels import CITYSCAPES

CATEGORIES = [
    {"id": 1, "name": "person", "isthing": 1, "color": [220, 20, 60]},
    {"id": 92, "name": "banner", "isthing": 0, "color": [255, 255, 128]},
    {"id": 3, "name": "car", "isthing": 1, "color": [0, 0, 142]},
    {"id": 200, "name": "rug", "isthing": 0, "color": [255, 9, 92]},
]
THINGS = {category["id"]: category["isthing"] == 1 for category in CATEGORIES}
NAMES = {category["id"]: category["name"] for category in CATEGORIES}

Drawn = list[tuple[np.ndarray, dict[int, tuple[int, bool]], np.ndarray, dict[int, int]]]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def drawn(number: int, size: tuple[int, int] = (40, 60)) -> Drawn:
    """Images of blocks, most of them predicted well; void, crowds and ids of every byte."""
    rng = np.random.default_rng(3)
    images = []
    for _ in range(number):
        cells = rng.integers(0, 9, (4, 5))
        ids = np.concatenate([[0, 1], rng.choice(2**24, 7, replace=False)])
        target = ids[cells].repeat(size[0] // 4, 0).repeat(size[1] // 5, 1)
        category = {int(i): int(rng.choice([*THINGS])) for i in np.unique(target) if i}
        segments = {i: (c, bool(THINGS[c] and rng.random() < 0.2)) for i, c in category.items()}
        new = rng.permutation(ids)
        moved = np.roll(target, rng.integers(0, 2, 2), (0, 1))
        flips = rng.random((4, 5)).repeat(size[0] // 4, 0).repeat(size[1] // 5, 1) < 0.15
        moved = np.where(flips, rng.choice(ids, target.shape[:1])[:, None], moved)
        renamed = dict(zip(ids.tolist(), new.tolist(), strict=True))
        preds = np.vectorize(renamed.get)(moved)
        of_new = {renamed[i]: c for i, c in category.items()} | {renamed[0]: 3}
        found = {
            int(i): of_new[int(i)] if int(i) in of_new else int(rng.choice([*THINGS]))
            for i in np.unique(preds)
            if i
        }
        images.append((target, segments, preds, found))
    return images


def as_colors(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)


def write_coco(folder: Path, images: Drawn) -> tuple[Path, Path]:
    """COCO's format, as panopticapi reads it."""
    for side in ("preds", "target"):
        (folder / side).mkdir(parents=True)
    annotations = defaultdict(list)
    for number, (target, segments, preds, found) in enumerate(images):
        name = f"{number:012}.png"
        Image.fromarray(as_colors(target)).save(folder / "target" / name)
        Image.fromarray(as_colors(preds)).save(folder / "preds" / name)
        annotations["target"].append(
            {
                "image_id": number,
                "file_name": name,
                "segments_info": [
                    {
                        "id": i,
                        "category_id": c,
                        "iscrowd": int(crowd),
                        "area": int(np.count_nonzero(target == i)),
                    }
                    for i, (c, crowd) in segments.items()
                ],
            }
        )
        annotations["preds"].append(
            {
                "image_id": number,
                "file_name": name,
                "segments_info": [{"id": i, "category_id": c} for i, c in found.items()],
            }
        )
    for side, entries in annotations.items():
        content = {"annotations": entries, "categories": CATEGORIES}
        (folder / f"{side}.json").write_text(json.dumps(content))
    return folder / "preds.json", folder / "target.json"


def expected(images: Drawn, reach: int | None = None) -> dict[str, float]:
    total: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(4))
    for target, segments, preds, found in images:
        for category, counts in panoptic_counts(
            target, preds, segments, found, reach=reach
        ).items():
            total[category] += counts
    found_ = qualities(total, THINGS)
    return {f"pq/{NAMES[int(k[3:])]}" if "/" in k else k: x for k, x in found_.items()}


def assert_scores(scores: dict[str, float | None], of: dict[str, float]) -> None:
    assert scores.keys() == of.keys()
    for key, value in of.items():
        got = np.nan if scores[key] is None else scores[key]
        np.testing.assert_allclose(got, value, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("boundary", [False, True])
def test_cocos_format_gives_the_numbers_of_panopticapi(tmp_path: Path, boundary: bool) -> None:
    images = drawn(6)
    paths = write_coco(tmp_path, images)
    done = run(*paths, "--panoptic", *["--boundary"] * boundary, "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["pairs"] == 6
    reach = 1 if boundary else None  # 2 % of a diagonal of 72
    assert_scores(found["scores"], expected(images, reach))
    assert 0.1 < found["scores"]["PQ"] < 0.9
    assert [row["name"] for row in found["classes"]] == ["person", "car", "banner", "rug"]
    assert [row["isthing"] for row in found["classes"]] == [True, True, False, False]


@pytest.mark.parametrize("number", [1, 2])
def test_one_image_alone_has_no_intervals(number: int, tmp_path: Path) -> None:
    paths = write_coco(tmp_path, drawn(number))
    done = run(*paths, "--panoptic", "--confidence", 0.9, "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out.json").read_text())
    told = "No intervals: there is one image, and images are resampled." in done.output
    assert (told, "PQ" in found["intervals"]) == (number == 1, number == 2)


def test_tables_rows_of_images_and_intervals_are_written(tmp_path: Path) -> None:
    images = drawn(7)
    paths = write_coco(tmp_path, images)
    done = run(
        *paths, "--panoptic", "--per-image", "--confidence", 0.9, "--workers", 2,
        "--json", tmp_path / "out.json", "--csv", tmp_path / "out.csv",
        "--markdown", tmp_path / "out.md",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out.json").read_text())
    interval = found["intervals"]["PQ"]
    assert interval["low"] < found["scores"]["PQ"] < interval["high"]
    assert interval["level"] == 0.9
    alone = {str(i): expected([image])["PQ"] for i, image in enumerate(images)}
    listed = {row["name"]: row["PQ"] for row in found["images"]}
    assert listed == pytest.approx(alone)
    assert list(listed.values()) == sorted(listed.values())
    worst = min(alone, key=alone.__getitem__)
    assert done.stdout.index("worst images") < done.stdout.index(f"\n{worst} ")
    for text in ("person", "things", "stuff", "90 % of PQ", "7 images, panoptic quality"):
        assert text in done.stdout
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["pq"]) for row in rows] == [row["pq"] for row in found["classes"]]
    with (tmp_path / "out.images.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 7
    assert "| person |" in (tmp_path / "out.md").read_text()


Change = Callable[[dict[str, Any], dict[str, Any], np.ndarray], Any]


def change_segment(side: int, **fields: object) -> Change:
    def change(preds: dict[str, Any], target: dict[str, Any], png: np.ndarray) -> None:
        segment = (preds, target)[side]["annotations"][1]["segments_info"][0]
        segment.update(fields)

    return change


def change_annotation(**fields: object) -> Change:
    return lambda preds, target, png: preds["annotations"][1].update(fields)


def change_category(**fields: object) -> Change:
    return lambda preds, target, png: target["categories"][0].update(fields)


def repeat(side: int, *path: object) -> Change:
    """Put an entry of a list into it once more."""

    def change(preds: dict[str, Any], target: dict[str, Any], png: np.ndarray) -> None:
        entries: Any = (preds, target)[side]
        for step in path:
            entries = entries[step]
        entries.append(entries[0])

    return change


def new_segment_in_png(preds: dict[str, Any], target: dict[str, Any], png: np.ndarray) -> None:
    png[0, 0] = 7, 1, 0


def remove_annotation(preds: dict[str, Any], target: dict[str, Any], png: np.ndarray) -> None:
    del preds["annotations"][1]


def remove_categories(preds: dict[str, Any], target: dict[str, Any], png: np.ndarray) -> None:
    del target["categories"]


def remove_segments(preds: dict[str, Any], target: dict[str, Any], png: np.ndarray) -> None:
    del preds["annotations"][1]["segments_info"]


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (new_segment_in_png, ["image 1 has the segment 263, which its JSON does not have"]),
        (change_segment(0, id=12345), ["image 1 ", "which its JSON does not have"]),
        (change_segment(1, id=12345), ["image 1 ", "which its JSON does not have"]),
        (change_segment(0, id=2**24), ["image 1 has a segment with the id 16777216"]),
        (change_segment(0, id=0), ["image 1 has a segment with the id 0", "0 is void"]),
        (change_segment(0, category_id=77), ["image 1 has the segment", "of the category 77"]),
        (repeat(0, "annotations", 1, "segments_info"), ["image 1 has the segment", "twice"]),
        (repeat(1, "annotations", 1, "segments_info"), ["image 1 has the segment", "twice"]),
        (repeat(0, "annotations"), ["the image 0 is annotated twice"]),
        (repeat(1, "categories"), ["the category 1 is there twice"]),
        (change_segment(1, id=True), ["image 1: `id` must be an integer, got True"]),
        (change_segment(0, category_id="abc"), ["`category_id` must be an integer, got 'abc'"]),
        (change_segment(0, category_id=1.5), ["image 1, segment ", "`category_id` must be an"]),
        (change_segment(1, iscrowd="no"), ["`iscrowd` must be an integer or a bool, got 'no'"]),
        (change_segment(1, iscrowd=2), ["`iscrowd` must be 0 or 1, got 2"]),
        (change_annotation(segments_info=None), ["image 1: `segments_info` must be a list, got"]),
        (change_annotation(file_name=None), ["image 1: `file_name` must be a string, got None"]),
        (change_annotation(image_id=[1]), ["annotation 1: `image_id` must be an integer or a"]),
        (change_category(id="x"), ["a category: `id` must be an integer, got 'x'"]),
        (
            change_category(isthing=None),
            ["category 1: `isthing` must be an integer or a bool"],
        ),
        (remove_annotation, ["targets without a prediction: 1", "image 1 is not in"]),
        (remove_categories, ["has no `categories`"]),
        (remove_segments, ["image 1 has no `segments_info`"]),
    ],
)
def test_what_png_and_json_do_not_say_alike_is_named(
    tmp_path: Path, change: Change, messages: list[str]
) -> None:
    preds, target = write_coco(tmp_path, drawn(3))
    contents = [json.loads(path.read_text()) for path in (preds, target)]
    png = tmp_path / "preds/000000000001.png"
    colors = np.array(Image.open(png))
    change(*contents, colors)
    Image.fromarray(colors).save(png)
    for path, content in zip((preds, target), contents, strict=True):
        path.write_text(json.dumps(content))
    done = run(preds, target, "--panoptic", "--json", tmp_path / "out.json")
    assert done.exit_code == 2
    for message in messages:
        assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "out.json").exists()


def test_a_segment_of_the_json_that_the_png_lacks_is_named(tmp_path: Path) -> None:
    preds, target = write_coco(tmp_path, drawn(2))
    for path in (preds, target):
        content = json.loads(path.read_text())
        content["annotations"][1]["segments_info"].append({"id": 99, "category_id": 1})
        path.write_text(json.dumps(content))
        done = run(preds, target, "--panoptic")
        assert done.exit_code == 2
        assert "image 1 lacks the segment 99" in done.stderr


def test_threads_count_sound_images_and_leave_the_others_to_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preds, target = write_coco(tmp_path, drawn(9))
    png = tmp_path / "target/000000000004.png"
    content = png.read_bytes()
    png.write_bytes(content[:-20])
    left, in_processes = [], workers._in_processes

    def watched(counter: Any, units: Any, number: int, with_digests: bool) -> Any:
        left.extend(pair.name for pair, _ in units)
        return in_processes(counter, units, number, with_digests)

    monkeypatch.setattr(workers, "_in_processes", watched)
    format_, pairs, _ = panoptic.plan(preds, target, None, None)
    settings = SegmentSettings(format_)
    ledger = panoptic.count(pairs, settings, 2, lambda *_: None)
    assert left == ["4"]
    assert [problem.file for problem in ledger.problems] == [str(png)]
    png.write_bytes(content)
    counter = SegmentCounter(settings)
    for pair in pairs:
        if pair.name != "4":
            alone = counter.count(pair).sums.reshape(-1, 4)
            assert np.array_equal(ledger.counts[pair.name], alone)


def test_what_cannot_be_scored_is_left_out_and_listed(tmp_path: Path) -> None:
    images = drawn(4)
    preds, target = write_coco(tmp_path, images)
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(tmp_path / "preds/000000000002.png")
    (tmp_path / "preds/000000000000.png").unlink()
    done = run(preds, target, "--panoptic", "--keep-going", "--json", "-")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["pairs"] == 2
    assert_scores(found["scores"], expected([images[1], images[3]]))
    assert len(found["left_out"]) == 2
    assert run(preds, target, "--panoptic").exit_code == 2


def test_an_image_that_one_json_lacks_is_left_out_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = drawn(3)
    preds, target = write_coco(tmp_path, images)
    content = json.loads(preds.read_text())
    del content["annotations"][1]
    preds.write_text(json.dumps(content))
    done = run(preds, target, "--panoptic", "--keep-going", "--json", "-")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["kind"] for row in found["left_out"]] == ["no prediction"]
    assert_scores(found["scores"], expected([images[0], images[2]]))
    monkeypatch.setattr(panoptic, "count", None)  # is not called
    assert "image 1 is not in" in run(preds, target, "--panoptic").stderr


def test_an_unknown_category_of_the_target_is_void(tmp_path: Path) -> None:
    images = drawn(3)
    preds, target = write_coco(tmp_path, images)
    content = json.loads(target.read_text())
    segment = content["annotations"][0]["segments_info"][0]
    segment["category_id"] = 7777
    target.write_text(json.dumps(content))
    truth, segments, *others = images[0]
    left = {i: s for i, s in segments.items() if i != segment["id"]}
    images[0] = (np.where(truth == segment["id"], 0, truth), left, *others)
    done = run(preds, target, "--panoptic", "--json", "-")
    assert_scores(json.loads(done.stdout)["scores"], expected(images))


def test_a_score_below_its_limit_ends_with_a_status_of_its_own(tmp_path: Path) -> None:
    paths = write_coco(tmp_path, drawn(3))
    kept = run(*paths, "--panoptic", "--fail-under", "PQ=0.01", "--fail-under", "pq/car=0")
    assert kept.exit_code == 0, kept.output
    report = tmp_path / "out.md"
    done = run(*paths, "--panoptic", "--fail-under", "PQ_things=0.99", "--markdown", report)
    assert done.exit_code == 3
    assert "PQ_things is 0." in done.stderr
    assert "below --fail-under" in report.read_text().replace("\\", "")
    unknown = run(*paths, "--panoptic", "--fail-under", "pq/bus=0.5")
    assert unknown.exit_code == 2
    assert "no score is called 'pq/bus'" in unknown.stderr


# --- Cityscapes -----------------------------------------------------------------------------------


def write_cityscapes(folder: Path, masks: dict[str, tuple[list[int], list[int]]]) -> list[Path]:
    for name, sides in masks.items():
        ends = "_pred.png", "_gtFine_instanceIds.png"
        for side, end, values in zip(("preds", "target"), ends, sides, strict=True):
            path = folder / side / "city" / f"{name}{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.array([values] * 4, np.uint16)).save(path)
    return [folder / "preds", folder / "target"]


def test_cityscapes_instance_ids_are_read_with_its_crowds_and_void(tmp_path: Path) -> None:
    # road 7, car 26, unlabeled 0, caravan 29 (void); 26 alone is a group of cars
    target = [7, 7, 7, 26001, 26001, 26, 26, 0, 29001, 7]
    preds = [7, 7, 7, 26000, 26000, 26003, 26003, 26009, 26009, 0]
    folders = write_cityscapes(tmp_path, {"a_000000_000019": (preds, target)})
    done = run(*folders, "--panoptic", "--labels", "cityscapes", "--json", "-")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    rows = {row["name"]: row for row in found["classes"]}
    assert [rows["car"][key] for key in ("tp", "fp", "fn")] == [1, 0, 0]
    assert [rows["road"][key] for key in ("tp", "fp", "fn")] == [1, 0, 0]
    assert rows["road"]["sq"] == pytest.approx(0.75)
    assert rows["sky"]["pq"] is None
    assert found["scores"]["PQ_things"] == 1
    assert len(rows) == 19
    assert [row["name"] for row in found["classes"]][:2] == ["person", "rider"]


def test_things_count_one_by_one_and_stuff_as_a_whole_whatever_its_numbers(tmp_path: Path) -> None:
    # persons, the first of the things, next to each other; road, the first of stuff, as 7 and 7001
    target = [24001, 24001, 24002, 24002, 7, 7, 7001, 7001]
    preds = [24007, 24007, 24003, 24003, 7, 7, 7, 7]
    folders = write_cityscapes(tmp_path, {"a": (preds, target)})
    done = run(*folders, "--panoptic", "--labels", "cityscapes", "--json", "-")
    rows = {row["name"]: row for row in json.loads(done.stdout)["classes"]}
    for name, number in (("person", 2), ("road", 1)):
        assert [rows[name][key] for key in ("tp", "fp", "fn")] == [number, 0, 0]
        assert rows[name]["pq"] == 1


def test_masks_of_other_names_are_paired_by_match(tmp_path: Path) -> None:
    folders = write_cityscapes(tmp_path, {"a": ([7, 26001], [7, 26001])})
    given = *folders, "--panoptic", "--labels", "cityscapes", "--json", "-"
    (folders[0] / "city" / "a_pred.png").rename(folders[0] / "seen-a.png")
    assert run(*given).exit_code == 2
    done = run(*given, "--match", "seen-{key}.png", "city/{key}_gtFine_instanceIds.png")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["scores"]["PQ"] == 1


@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        ([7, 26], [7, 26001], "a car without an id: the value 26"),
        ([7, 7], [7, 40], "the value 40 is of the unknown class 40"),
        ([7, 40001], [7, 7], "the value 40001 is of the unknown class 40"),
    ],
)
def test_values_that_mean_no_segment_are_named(tmp_path, preds, target, message) -> None:
    folders = write_cityscapes(tmp_path, {"a": (preds, target)})
    done = run(*folders, "--panoptic", "--labels", "cityscapes")
    assert done.exit_code == 2
    assert message in done.stderr
    assert "a_" in done.stderr


def test_a_file_says_what_are_things(tmp_path: Path) -> None:
    folders = write_cityscapes(tmp_path, {"a": ([1, 2000, 2000], [1, 2000, 2001])})
    labels = tmp_path / "labels.yaml"
    labels.write_text("names: [void, grass, cell]\nignore_index: 0\nthings: [cell]\n")
    done = run(*folders, "--panoptic", "--labels", labels, "--json", "-")
    found = json.loads(done.stdout)["scores"]
    assert found.keys() >= {"pq/cell", "pq/grass"}
    assert "pq/void" not in found
    labels.write_text("names: [void, grass, cell]\n")
    assert "has no things" in run(*folders, "--panoptic", "--labels", labels).stderr


# --- The report, processes, checkpoints -----------------------------------------------------------


def test_a_report_shows_missed_and_invented_segments_of_the_worst_images(tmp_path: Path) -> None:
    images = drawn(6)
    paths = write_coco(tmp_path, images)
    page, found = tmp_path / "report.html", tmp_path / "out.json"
    done = run(
        *paths, "--panoptic", "--per-image", "--confidence", 0.9, "--html", page, "--json", found
    )
    assert done.exit_code == 0, done.output
    html, content = page.read_text(), json.loads(found.read_text())
    worst = [row["name"] for row in content["images"] if row["fp"] + row["fn"]][:5]
    assert [html.index(f"<h3>{name}</h3>") for name in worst] == sorted(
        html.index(f"<h3>{name}</h3>") for name in worst
    )
    by_number = {str(number): image for number, image in enumerate(images)}
    target, segments, preds, listed = by_number[worst[0]]
    counts = panoptic_counts(target, preds, segments, listed)
    wrong = int(sum(of_class[1] + of_class[2] for of_class in counts.values()))
    of_worst = html.split(f"<h3>{worst[0]}</h3>")[1].split("</div>")[0]
    assert of_worst.count("<figcaption>") == min(wrong, 6)
    sizes = [int(n.replace(",", "")) for n in re.findall(r", ([\d,]+) pixels", of_worst)]
    assert sizes == sorted(sizes, reverse=True)
    known = {np.count_nonzero(side == i) for side in (target, preds) for i in np.unique(side)}
    assert set(sizes) <= known or (target == 0).any()  # of which pixels on void are taken off
    assert f"{content['scores']['PQ']:.3f}" in html
    interval = content["intervals"]["PQ"]
    assert f"{interval['low']:.3f} to {interval['high']:.3f}" in html
    assert "90&nbsp;% interval" in html
    assert "http" not in html.split("<main>")[1].split("</main>")[0]
    assert "images are listed" not in html


def test_of_many_images_the_worst_are_listed_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panoptic_results, "LISTED", 2)
    page = tmp_path / "report.html"
    done = run(*write_coco(tmp_path, drawn(4)), "--panoptic", "--html", page)
    assert done.exit_code == 0, done.output
    html = page.read_text()
    assert "The 2 worst of 4 images are listed." in html
    table = html.split("images are listed.")[0].rpartition("<table")[2]
    assert table.count("<tr") == 1 + 2
    monkeypatch.setattr(panoptic_results, "LISTED", 4)
    given = tmp_path / "preds.json", tmp_path / "target.json"
    assert run(*given, "--panoptic", "--html", page).exit_code == 0
    assert "images are listed" not in page.read_text()


def test_a_picture_is_of_the_segment_and_of_the_one_that_covers_it_most(tmp_path: Path) -> None:
    """Two persons seen as one: both are missed, each within the one that was invented."""
    pytest.importorskip("jinja2")
    target = np.repeat([[1] * 10 + [2] * 10], 12, 0)
    preds = np.full_like(target, 9)
    images: Drawn = [(target, {1: (1, False), 2: (1, False)}, preds, {9: 1})]
    paths = write_coco(tmp_path, images)
    assert run(*paths, "--panoptic", "--html", tmp_path / "r.html").exit_code == 0
    html = (tmp_path / "r.html").read_text()
    figures = re.findall(r'base64,([^"]+)".*?<figcaption>(.*?)</figcaption>', html)
    assert [caption for _, caption in figures] == [
        "false: person, 240 pixels", "missed: person, 120 pixels", "missed: person, 120 pixels",
    ]  # fmt: skip
    _, missed, _ = (np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))) for uri, _ in figures)
    colors = {tuple(color) for color in missed.reshape(-1, 3).tolist()}
    assert colors == {BOTH, INVENTED}
    assert np.count_nonzero((missed == BOTH).all(-1)) == 120


def test_files_that_change_before_the_report_are_named_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_coco(tmp_path, drawn(2))
    printed = Results.print

    def print_and_break(results: Results, console: Any) -> None:
        printed(results, console)
        for png in (tmp_path / "preds").iterdir():
            png.unlink()

    monkeypatch.setattr(Results, "print", print_and_break)
    done = run(*paths, "--panoptic", "--html", tmp_path / "r.html")
    assert done.exit_code == 0, done.output
    assert "Its segments are not shown" in (tmp_path / "r.html").read_text()


def numbers(path: Path) -> dict[str, Any]:
    """All but what was asked for."""
    content: dict[str, Any] = json.loads(path.read_text())
    del content["arguments"]
    return content


def test_processes_share_the_images_and_give_the_same_bits(tmp_path: Path) -> None:
    paths = write_coco(tmp_path, drawn(7))
    given = *paths, "--panoptic", "--per-image", "--confidence", 0.95
    assert run(*given, "--json", tmp_path / "one.json").exit_code == 0
    started = start(2, tmp_path / "printed", *given, "--json", tmp_path / "two.json")
    assert finish(started, 240) == [0, 0], (tmp_path / "printed.0").read_text()
    assert numbers(tmp_path / "two.json") == numbers(tmp_path / "one.json")
    assert "7 images, panoptic quality" in (tmp_path / "printed.0").read_text()
    assert (tmp_path / "printed.1").read_text() == ""


def test_processes_name_the_problems_of_all(tmp_path: Path) -> None:
    paths = write_coco(tmp_path, drawn(4))
    Image.new("RGB", (3, 3)).save(tmp_path / "preds" / f"{3:012}.png")
    given = *paths, "--panoptic", "--json", tmp_path / "out.json"
    assert finish(start(2, tmp_path / "printed", *given), 240) == [2, 2]
    assert f"{3:012}.png" in (tmp_path / "printed.0").read_text().replace("\n", "")
    assert not (tmp_path / "out.json").exists()
    given = *given, "--keep-going"
    assert finish(start(2, tmp_path / "printed", *given), 240) == [0, 0]
    assert numbers(tmp_path / "out.json")["pairs"] == 3


def test_a_run_goes_on_from_its_checkpoint_and_gives_the_same_bits(tmp_path: Path) -> None:
    paths = write_coco(tmp_path, drawn(6))
    given = *paths, "--panoptic", "--per-image"
    assert run(*given, "--json", tmp_path / "whole.json").exit_code == 0
    broken = tmp_path / "preds" / f"{4:012}.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:50])
    ck = "--checkpoint", tmp_path / "ck"
    done = run(*given, *ck, "--json", tmp_path / "out.json")
    assert done.exit_code == 2
    with np.load(tmp_path / "ck") as saved:
        about = json.loads(bytes(saved["about"]))
        assert saved["segments"].shape == (5, 4, 4)
    assert sorted(about["digests"]) == ["0", "1", "2", "3", "5"]
    broken.write_bytes(content)
    done = run(*given, *ck, "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.output
    assert numbers(tmp_path / "out.json") == numbers(tmp_path / "whole.json")


@pytest.mark.parametrize("change", ["json", "png", "boundary", "damage"])
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, change: str) -> None:
    paths = write_coco(tmp_path, drawn(2))
    given: list[object] = [*paths, "--panoptic", "--checkpoint", tmp_path / "ck"]
    assert run(*given).exit_code == 0
    message = "was made with"
    if change == "json":
        content = json.loads(paths[0].read_text())
        content["annotations"][0]["segments_info"][0]["category_id"] = 200
        paths[0].write_text(json.dumps(content))
    elif change == "png":
        path = tmp_path / "target" / f"{1:012}.png"
        Image.open(path).save(path, compress_level=0)
        message = "1 has changed since"
    elif change == "boundary":
        given.append("--boundary")
    else:
        (tmp_path / "ck").write_bytes((tmp_path / "ck").read_bytes()[:200])
        message = "is no checkpoint, or a damaged one"
    done = run(*given)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize("segments", [np.zeros((1, 3, 4), np.int64), np.zeros((1, 2, 4))])
def test_counts_of_another_shape_or_type_are_refused(segments: np.ndarray) -> None:
    ledger = SegmentLedger(2)
    with pytest.raises(ValueError, match="of other categories or files"):
        ledger.restore({"a": ("digest",)}, {"segments": segments})
    assert not ledger.counts


def test_a_checkpoint_may_lie_among_cityscapes_masks(tmp_path: Path) -> None:
    folders = write_cityscapes(tmp_path, {"a": ([7, 26001], [7, 26001])})
    given = *folders, "--panoptic", "--labels", "cityscapes", "--checkpoint", folders[1] / "ck"
    assert run(*given).exit_code == 0
    assert run(*given).exit_code == 0
    assert (folders[1] / "ck").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-classes", 3], "--num-classes does not go with --panoptic"),
        (["--objects"], "--objects does not go with --panoptic"),
        (["--groups", "of.csv:video"], "--groups applies to confidence intervals"),
        (["--by", "of.csv"], "--by is FILE.csv:COLUMN"),
        (["--labels", "cityscapes"], "--labels means nothing for JSON"),
        (["--match", "{key}.png", "{key}.png"], "--match means nothing for JSON"),
        (["--confidence", 95], r"--confidence must be in (0, 1), got 95"),
        (["--confidence", 0], r"--confidence must be in (0, 1), got 0"),
        (["--confidence", 1], r"--confidence must be in (0, 1), got 1"),
        (["--json", "none/out.json"], "the folder none does not exist"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, options, message) -> None:
    done = run(*write_coco(tmp_path, drawn(1)), "--panoptic", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize("option", ["--json", "--csv", "--html", "--markdown", "--checkpoint"])
@pytest.mark.parametrize("side", ["preds", "target"])
def test_no_output_overwrites_a_json_that_is_read(tmp_path: Path, option: str, side: str) -> None:
    paths = write_coco(tmp_path, drawn(2))
    before = [path.read_bytes() for path in paths]
    done = run(*paths, "--panoptic", option, tmp_path / f"{side}.json")
    assert done.exit_code == 2
    assert f"{option} {tmp_path / side}.json would overwrite an input" in done.stderr
    assert [path.read_bytes() for path in paths] == before


def test_no_output_overwrites_the_file_of_labels(tmp_path: Path) -> None:
    space = tmp_path / "space.json"
    space.write_text(json.dumps({"names": ["road", "car"], "things": ["car"]}))
    folders = write_cityscapes(tmp_path, {"a": ([0, 1001], [0, 1001])})
    done = run(*folders, "--panoptic", "--labels", space, "--json", space)
    assert done.exit_code == 2
    assert "would overwrite an input" in done.stderr


def test_a_json_goes_with_another_json(tmp_path: Path) -> None:
    preds, target = write_coco(tmp_path, drawn(1))
    for other, what in ((tmp_path / "no.json", "does not exist"), (tmp_path, "is no JSON file")):
        for pair, wrong in (((preds, other), other), ((other, target), other)):
            done = run(*pair, "--panoptic")
            assert done.exit_code == 2
            assert f"{wrong} {what}; the other is one. Give two." in " ".join(done.stderr.split())


def test_folders_need_to_know_what_values_mean(tmp_path: Path) -> None:
    folders = write_cityscapes(tmp_path, {"a": ([7], [7])})
    assert "--panoptic reads two JSON files" in " ".join(run(*folders, "--panoptic").stderr.split())
    preds, _ = write_coco(tmp_path / "coco", drawn(1))
    assert "the other is one" in " ".join(run(preds, folders[1], "--panoptic").stderr.split())


def test_the_cityscapes_label_space_has_the_things_of_its_scripts() -> None:
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    things = {label.name for label in labels if label.hasInstances and not label.ignoreInEval}
    assert {CITYSCAPES.names[c] for c in CITYSCAPES.things} == things
