"""What notebooks show: scores with the classes' colours, names escaped, no sync, no error."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
import torch.distributed as dist

from processes import Collectives
from segmetrics import (
    BoundaryIoU,
    ConfusionMatrix,
    HausdorffDistance,
    ImageScores,
    LabelSpace,
    MeanIoU,
    PixelAccuracy,
    SegmentationMetrics,
    SurfaceMetrics,
)
from segmetrics.labels import ADE20K, CITYSCAPES
from segmetrics.statistics import compare, confidence_interval

NAMES = ["road", "<script>alert(1)</script>", "person & co"]
SPACE = LabelSpace(NAMES, ["#804080", "#00008e", "#dc143c"], ignore_index=255)
generator = torch.Generator().manual_seed(0)
TARGET = torch.randint(3, (4, 16, 16), generator=generator)
PREDS = TARGET.where(torch.rand(4, 16, 16, generator=generator) < 0.7, TARGET.roll(1, 0))


class Page(HTMLParser):
    """The cells of all rows, what is written at all, and whether every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text, self.open = "", list[str]()
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "tr" in self.open:
            self.rows[-1][-1] += data


def shown(metric: Any) -> Page:
    metric.update(PREDS, TARGET)
    return Page(metric._repr_html_())


def test_scores_and_those_of_classes_stand_in_tables_with_colours_and_bars() -> None:
    metric = SegmentationMetrics(SPACE, prefix="val/")
    page = shown(metric)
    values = {k.removeprefix("val/"): f"{v:.3f}" for k, v in metric.compute().items()}
    assert ["mIoU", values["mIoU"]] in page.rows
    for name in NAMES:
        assert [name, values[f"iou/{name}"], values[f"dice/{name}"]] in page.rows
    html = metric._repr_html_()
    assert "<script>" not in html
    assert "background:rgb(128, 64, 128)" in html
    assert f"width:{100 * metric.compute()['val/mIoU']:.1f}%" in html


@pytest.mark.parametrize(
    ("metric", "row"),
    [
        (MeanIoU(SPACE), ["macro average", "{:.3f}"]),
        (MeanIoU(SPACE, average="micro"), ["micro average", "{:.3f}"]),
        (PixelAccuracy(3), ["", "{:.3f}"]),
        (BoundaryIoU(3, aggregation_level="samplewise"), ["", "{:.3f}"]),
        (HausdorffDistance(3), ["", "{:.3f}"]),
    ],
    ids=repr,
)
def test_an_average_stands_above_the_classes_where_they_are_known(
    metric: Any, row: list[str]
) -> None:
    page = shown(metric)
    assert [cell.format(metric.compute()) for cell in row] in page.rows
    known = len(page.rows) > 2
    assert known == row[0].endswith("average")
    if known:
        per_class = MeanIoU(SPACE, average="none")(PREDS, TARGET)
        assert page.rows[2:] == [[n, f"{v:.3f}"] for n, v in zip(NAMES, per_class, strict=True)]


def test_a_confusion_matrix_is_shown_unless_it_is_too_large() -> None:
    metric = ConfusionMatrix(SPACE)
    page = shown(metric)
    counts = [[f"{count:,}" for count in row] for row in metric.compute().tolist()]
    assert page.rows == [["target", *NAMES], *([n, *c] for n, c in zip(NAMES, counts, strict=True))]
    large = shown(ConfusionMatrix(ADE20K.num_classes))
    assert not large.rows
    assert "150 × 150 cells" in large.text
    channels = ConfusionMatrix(2, task="multilabel")
    channels.update(torch.ones(1, 2, 8, dtype=torch.int64), torch.ones(1, 2, 8, dtype=torch.int64))
    assert ["1", "0", "0", "0", "8"] in Page(channels._repr_html_()).rows


def test_images_scores_and_distances_have_a_column_a_score() -> None:
    assert shown(ImageScores(3)).rows[0] == ["", "mIoU", "mDice", "mAcc"]
    surfaces = shown(SurfaceMetrics(SPACE, tolerance=1.0))
    assert surfaces.rows[0] == ["", "hausdorff", "average_surface_distance", "surface_dice"]
    assert [row[0] for row in surfaces.rows[1:]] == ["mean", *NAMES]
    missed = SurfaceMetrics(task="binary", tolerance=1.0)
    missed.update(torch.zeros(1, 8, 8).long(), torch.ones(1, 8, 8).long())
    assert ["hausdorff", "∞"] in Page(missed._repr_html_()).rows


def test_nothing_is_shown_before_anything_is_counted_and_a_class_without_score_has_a_dash() -> None:
    metric = MeanIoU(SPACE)
    assert "nothing counted yet" in metric._repr_html_()
    metric.update(PREDS.clamp(max=1), TARGET.clamp(max=1))
    assert ["person & co", "–"] in Page(metric._repr_html_()).rows


def test_an_error_is_shown_not_raised() -> None:
    metric = ImageScores(3)
    metric.update(PREDS, TARGET, image_ids=["a", "b", "a", "c"])  # two counts of one image
    assert "have two different counts" in Page(metric._repr_html_()).text


def test_nothing_is_synced(tmp_path: Any) -> None:
    metric = MeanIoU(SPACE)
    metric.update(PREDS, TARGET)
    store = f"file://{tmp_path}/store"
    dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        with Collectives() as collectives:
            html = metric._repr_html_()
            assert not collectives.names
            metric.compute()
            assert collectives.names
    finally:
        dist.destroy_process_group()
    assert "this process alone" in html


def test_intervals_and_comparisons_show_their_numbers() -> None:
    one, other = ImageScores(SPACE), ImageScores(SPACE)
    one.update(PREDS, TARGET)
    other.update(TARGET, TARGET)
    interval, comparison = confidence_interval(one), compare(other, one)
    page = Page(interval._repr_html_())
    assert re.fullmatch(r"mIoU 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] \(95 %, 4 images\)", page.text)
    assert page.text == str(interval)
    page = Page(comparison._repr_html_())
    assert page.text.endswith(str(comparison))
    assert page.rows[1:] == [["a", "1.000"], ["b", f"{comparison.b:.3f}"]]
    named = confidence_interval(one, f"iou/{NAMES[1]}")
    assert Page(named._repr_html_()).text == str(named)


def test_a_label_space_shows_its_classes() -> None:
    page = Page(CITYSCAPES._repr_html_())
    assert ["13", "car", "26", "vehicle"] in page.rows
    assert len(page.rows) == 1 + 19
    assert "-1, 0, 1" in page.text
    assert "<script>" not in SPACE._repr_html_()
