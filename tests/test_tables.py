"""Results as tables: what pandas and polars read of them."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from segmetrics import (
    CalibrationImageScores,
    CurveImageScores,
    ImageScores,
    ObjectImageScores,
    PanopticImageScores,
)
from segmetrics.statistics import (
    ImageCounts,
    Table,
    conventions,
    ranking,
    slices,
)
from segmetrics.statistics.tables import read_columns

TP = torch.tensor([[8, 0], [2, 4], [5, 1]])
FP = torch.tensor([[1, 0], [0, 3], [4, 0]])
FN = torch.tensor([[1, 0], [2, 1], [1, 9]])
NAMES = {"ids": ("a", "b", "c"), "class_names": ("road", "car")}
COUNTS = ImageCounts(TP, FP, FN, **NAMES)
WORSE = ImageCounts(TP // 2, FP, FN + TP - TP // 2, **NAMES)
RESULTS = {
    "images": COUNTS,
    "classes": COUNTS.by_class(),
    "models": ranking({"x": COUNTS, "y": WORSE}, n_resamples=20),
    "pairs": ranking({"x": COUNTS, "y": WORSE}, n_resamples=20).by_pair(),
    "slices": slices(COUNTS, {"a": 1, "b": 1, "c": 2}, n_resamples=20),
    "conventions": conventions({"x": COUNTS, "y": WORSE}),
}


@pytest.mark.parametrize("ids", [None, ["a", "b"]])
@pytest.mark.parametrize(
    "new",
    [
        lambda: ImageScores(2),
        lambda: ObjectImageScores(2),
        lambda: PanopticImageScores([1], [0]),
        lambda: CurveImageScores(2),
        lambda: CalibrationImageScores(2),
    ],
)
def test_rows_of_images_have_their_ids_or_numbers(new, ids):
    metric, target = new(), torch.tensor([[[0, 1, 1]], [[1, 0, 1]]])
    if isinstance(metric, PanopticImageScores):
        target = torch.stack([target, target], -1)
    scored = isinstance(metric, CurveImageScores | CalibrationImageScores)
    preds = torch.full((2, 2, 1, 3), 0.5) if scored else target
    metric.update(preds, target, image_ids=ids)
    assert metric.image_counts().columns()["image"] == (ids or [0, 1])


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_polars_and_pandas_read_a_result_alike(result):
    by_arrow = pl.DataFrame(result)
    assert by_arrow.columns == list(result.columns())
    for name, column in result.columns().items():
        expected = [None if value != value else value for value in column]
        assert by_arrow[name].to_list() == expected, name
    frame = result.to_dataframe()
    assert list(frame.columns) == by_arrow.columns
    assert len(frame) == len(by_arrow)


def test_images_are_rows_with_their_scores():
    columns = COUNTS.columns()
    assert list(columns) == [
        "image", "mIoU", "mDice", "mAcc", "iou/road", "iou/car", "dice/road", "dice/car",
        "acc/road", "acc/car",
    ]  # fmt: skip
    assert columns["image"] == ["a", "b", "c"]
    assert columns["iou/road"] == pytest.approx([0.8, 0.5, 0.5])
    assert columns["dice/car"] == pytest.approx([np.nan, 8 / 12, 2 / 11], nan_ok=True)
    assert columns["mIoU"] == pytest.approx([0.8, (0.5 + 0.5) / 2, (0.5 + 0.1) / 2])
    assert pl.DataFrame(COUNTS)["iou/car"].null_count() == 1


def test_classes_are_rows_with_their_pooled_scores():
    columns = COUNTS.by_class().columns()
    assert columns["class"] == ["road", "car"]
    assert columns["images"] == [3, 2]
    assert columns["iou"] == pytest.approx([15 / 24, 5 / 18])
    assert columns["acc"] == pytest.approx([15 / 19, 5 / 15])


def test_types_are_those_of_the_values():
    table = Table(
        {
            "name": ["a", 1],
            "n": [1, None],
            "x": [0.5, 1],
            "yes": [True, False],
            "none": [None, None],
        }
    )
    schema = pl.DataFrame(table).schema
    assert schema == {
        "name": pl.String, "n": pl.Int64, "x": pl.Float64, "yes": pl.Boolean, "none": pl.Float64,
    }  # fmt: skip
    assert pl.DataFrame(table)["name"].to_list() == ["a", "1"]
    assert len(table) == 2


def test_a_table_of_no_rows_is_read_too():
    assert pl.DataFrame(Table({"class": []})).height == 0


def test_undefined_scores_are_printed_as_a_dash():
    text = str(Table({"class": ["road", "car", None], "iou": [0.5, float("nan"), 1.0]}))
    assert [line.split()[-1] for line in text.splitlines()] == ["iou", "0.500", "–", "1.000"]
    assert text.splitlines()[3].startswith("–")


def test_text_is_aligned_left_and_numbers_right():
    table = Table({"class": ["road", "traffic light"], "images": [3, 12], "iou": [0.5, 1.0]})
    assert str(table).splitlines() == [
        "class          images    iou",
        "road                3  0.500",
        "traffic light      12  1.000",
    ]


def test_columns_of_several_lengths_are_refused():
    with pytest.raises(ValueError, match="one length, got class 2, iou 1"):
        Table({"class": ["road", "car"], "iou": [0.5]})


@pytest.mark.parametrize(
    "frame", [pd.DataFrame, pl.DataFrame, lambda c: pytest.importorskip("pyarrow").table(c)]
)
def test_data_frames_are_read_without_nanoarrow(frame, monkeypatch):
    monkeypatch.setitem(sys.modules, "nanoarrow", None)  # as if it were not installed
    columns = {"site": ["x", "y", None], "age": [30, 40, 50]}
    assert read_columns(frame(columns)) == columns


def test_without_nanoarrow_and_pandas_the_columns_remain_and_errors_name_the_way():
    code = """
import sys, torch
sys.modules["nanoarrow"] = sys.modules["pandas"] = None  # as if they were not installed
from segmetrics.statistics import Table
table = Table({"class": ["road"], "iou": [0.5]})
assert table.columns() == {"class": ["road"], "iou": [0.5]}
for use in (table.__arrow_c_stream__, table.to_dataframe):
    try:
        use()
    except ImportError as error:
        print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    arrow, pandas = out.stdout.splitlines()
    assert "pip install nanoarrow" in arrow
    assert "pip install pandas" in pandas
