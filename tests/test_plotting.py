"""Figures: what stands in them is what was computed; they are saved as PNG files and read back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from torchmetrics import MetricCollection  # noqa: E402

from segmetrics import (  # noqa: E402
    CohenKappa,
    ConfusionMatrix,
    DiceScore,
    MeanIoU,
    PixelAccuracy,
    SegmentationMetrics,
)
from segmetrics.plotting import bars, heat_map, short  # noqa: E402

NAMES = ["road", "car", "person", "traffic light", "sky"]
C = len(NAMES)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def labels(classes: int = C) -> tuple[Tensor, Tensor]:
    """The first classes are frequent, the last never appears, void and abstained pixels do."""
    generator = torch.Generator().manual_seed(0)
    weights = 1 / torch.arange(1, classes).float()
    target = torch.multinomial(weights, 8000, True, generator=generator)
    other = torch.multinomial(weights, 8000, True, generator=generator)
    preds = torch.where(torch.rand(8000, generator=generator) < 0.7, target, other)
    target[::17] = preds[::19] = 255
    return preds.view(2, 40, 100), target.view(2, 40, 100)


def updated(metric: Any, classes: int = C) -> Any:
    metric.update(*labels(classes))
    return metric


def saved(figure: Any, folder: Path) -> np.ndarray:
    """The figure's PNG file, read back; something of several colours stands in it."""
    figure.savefig(folder / "figure.png", dpi=60)
    image: np.ndarray = plt.imread(folder / "figure.png")
    assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 10
    return image


def texts(artists: Any) -> list[str]:
    return [artist.get_text() for artist in artists]


def overlap(artists: Any, figure: Any) -> bool:
    """Whether any two of these, in their order, are drawn over each other."""
    boxes = [a.get_window_extent(figure.canvas.get_renderer()) for a in artists if a.get_text()]
    return any(one.overlaps(other) for one, other in pairwise(boxes))


# --- the confusion matrix -------------------------------------------------------------------------


def test_a_confusion_matrix_is_a_heat_map_with_names_and_counts(tmp_path: Path) -> None:
    metric = updated(ConfusionMatrix(C, ignore_index=255, class_names=NAMES))
    figure, ax = metric.plot()
    saved(figure, tmp_path)
    matrix = metric.compute()
    assert texts(ax.get_xticklabels()) == texts(ax.get_yticklabels()) == NAMES
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("prediction", "target")
    written = {text.get_position(): text.get_text() for text in ax.texts}
    for row in range(C):
        for column in range(C):
            assert written[column, row] == short(matrix[row, column].item())
    shares = np.asarray(ax.images[0].get_array())
    rows = matrix.sum(1, keepdim=True).clamp(min=1)
    np.testing.assert_allclose(shares, (matrix / rows).numpy(), rtol=1e-6)
    assert not overlap(ax.get_xticklabels(), figure)


@pytest.mark.parametrize(
    ("normalize", "unit"),
    [("true", "target"), ("pred", "prediction"), ("all", "all pixels")],
)
def test_a_normalized_matrix_is_coloured_by_its_own_shares(
    normalize: Any, unit: str, tmp_path: Path
) -> None:
    metric = updated(ConfusionMatrix(C, normalize=normalize, ignore_index=255))
    figure, ax = metric.plot()
    saved(figure, tmp_path)
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), metric.compute().numpy())
    (color_bar,) = ax.child_axes
    assert unit in color_bar.get_ylabel()
    assert texts(ax.get_xticklabels()) == [str(label) for label in range(C)]


def test_a_binary_matrix_and_a_channel_of_multilabel_are_drawn(tmp_path: Path) -> None:
    mask = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0)) < 0.3
    binary = ConfusionMatrix(task="binary")
    binary.update(mask[:, 0], mask[:, 1])
    figure, ax = binary.plot()
    saved(figure, tmp_path)
    assert texts(ax.get_yticklabels()) == ["0", "1"]

    multilabel = ConfusionMatrix(3, task="multilabel")
    multilabel.update(mask, mask.flip(0))
    with pytest.raises(ValueError, match=r"draws one matrix \(C, C\), got \(3, 2, 2\)"):
        multilabel.plot()
    _, ax = multilabel.plot(multilabel.compute()[2])
    assert texts(ax.get_yticklabels()) == ["0", "1"]


def test_many_classes_are_drawn_without_numbers(tmp_path: Path) -> None:
    figure, ax = updated(ConfusionMatrix(150, ignore_index=255), 150).plot()
    saved(figure, tmp_path)
    assert not ax.texts
    assert len(ax.get_xticklabels()) == 150
    assert not overlap(ax.get_yticklabels(), figure)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, ""), (0.004, ""), (0.005, ".01"), (0.07, ".07"), (0.999, "1.00"), (1, "1")),
        *((12, "12"), (999, "999"), (1000, "1.0k"), (3449, "3.4k"), (9949, "9.9k")),
        *((9950, "10k"), (99_960, "100k"), (999_499, "999k"), (999_960, "1.0M")),
        *((56_000_000, "56M"), (3_400_000_000, "3.4G"), (2**53, "9.0P"), (2**63, "9.2E")),
    ],
)
def test_counts_are_written_in_at_most_four_characters(value: float, text: str) -> None:
    assert short(value) == text
    assert len(text) <= 4


# --- scores of classes ----------------------------------------------------------------------------


def drawn(ax: Any) -> dict[str, float]:
    """The bars from bottom to top."""
    widths = [bar.get_width() for bar in ax.patches]
    return dict(zip(texts(ax.get_yticklabels()), widths, strict=True))


@pytest.mark.parametrize(
    ("metric", "average"),
    [*((MeanIoU, average) for average in ("macro", "micro", "none")), (DiceScore, "weighted")],
)
def test_scores_of_classes_are_sorted_bars(metric: Any, average: Any, tmp_path: Path) -> None:
    settings = {"ignore_index": 255, "class_names": NAMES}
    scored = updated(metric(C, average=average, **settings))
    figure, ax = scored.plot()
    saved(figure, tmp_path)
    per_class = updated(metric(C, average="none", **settings)).compute()
    expected = {name: s for name, s in zip(NAMES, per_class.tolist(), strict=True) if s == s}
    assert len(expected) == C - 1  # the last class never appears
    assert drawn(ax) == pytest.approx(expected)
    assert list(drawn(ax).values()) == sorted(expected.values())
    assert texts(ax.texts) == [f"{score:.3f}" for score in drawn(ax).values()]
    if average == "none":
        assert not ax.lines
    else:
        (line,), score = ax.lines, scored.compute().item()
        assert line.get_xdata()[0] == pytest.approx(score)
        assert texts(ax.get_legend().texts) == [f"{average} average {score:.3f}"]


def test_left_out_classes_have_no_bar(tmp_path: Path) -> None:
    metric = MeanIoU(C, include_background=False, ignore_index=[2, 255], class_names=NAMES)
    figure, ax = updated(metric).plot()
    saved(figure, tmp_path)
    assert set(drawn(ax)) == {"car", "traffic light"}


def test_samplewise_scores_of_classes_are_bars_too(tmp_path: Path) -> None:
    metric = MeanIoU(C, average="none", aggregation_level="samplewise", ignore_index=255)
    figure, ax = updated(metric).plot()
    saved(figure, tmp_path)
    scores = metric.compute().tolist()
    assert drawn(ax) == pytest.approx({str(i): s for i, s in enumerate(scores) if s == s})


def test_all_metrics_draw_the_iou_of_classes_or_the_averages(tmp_path: Path) -> None:
    settings = {"ignore_index": 255, "class_names": NAMES, "prefix": "val/"}
    metric = updated(SegmentationMetrics(C, **settings))
    values = metric.compute()
    figure, ax = metric.plot()
    saved(figure, tmp_path)
    expected = {name: values[f"val/iou/{name}"].item() for name in NAMES[:-1]}
    assert drawn(ax) == pytest.approx(expected)
    assert texts(ax.get_legend().texts) == [f"mIoU {values['val/mIoU']:.3f}"]

    given = {key: value / 2 for key, value in values.items()}
    _, ax = metric.plot(given)
    assert drawn(ax) == pytest.approx({name: score / 2 for name, score in expected.items()})

    figure, ax = updated(SegmentationMetrics(C, per_class=False, **settings)).plot()
    saved(figure, tmp_path)
    assert drawn(ax) == pytest.approx({key: values[key].item() for key in drawn(ax)})
    assert len(drawn(ax)) == 5


@pytest.mark.parametrize(
    "metric",
    [
        PixelAccuracy(C, ignore_index=255),
        CohenKappa(C, ignore_index=255),
        MeanIoU(C, aggregation_level="samplewise", ignore_index=255),
    ],
    ids=repr,
)
def test_a_score_without_classes_is_a_point(metric: Any, tmp_path: Path) -> None:
    figure, ax = updated(metric).plot()
    saved(figure, tmp_path)
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert points[0].get_ydata()[0] == pytest.approx(metric.compute().item())


def test_values_over_time_are_a_curve(tmp_path: Path) -> None:
    metric = MeanIoU(C, ignore_index=255)
    preds, target = labels()
    values = [metric(preds[i : i + 1], target[i : i + 1]) for i in range(2)]
    figure, ax = metric.plot(values)
    saved(figure, tmp_path)
    curves = [list(line.get_ydata()) for line in ax.lines]
    assert pytest.approx([value.item() for value in values]) in curves


def test_scores_over_time_are_curves_too() -> None:
    metric = SegmentationMetrics(C, ignore_index=255, per_class=False)
    preds, target = labels()
    values = [metric(preds[i : i + 1], target[i : i + 1]) for i in range(2)]
    _, ax = metric.plot(values)
    curves = [list(line.get_ydata()) for line in ax.lines]
    for key in values[0]:
        assert pytest.approx([value[key].item() for value in values]) in curves


def test_matrices_over_time_stand_in_a_row() -> None:
    metric = ConfusionMatrix(C, ignore_index=255)
    preds, target = labels()
    values = [metric(preds[i : i + 1], target[i : i + 1]) for i in range(2)]
    figure, axes = metric.plot(values)
    assert len(axes) == 2
    for ax, value in zip(axes, values, strict=True):
        shares = value / value.sum(1, keepdim=True).clamp(min=1)
        np.testing.assert_allclose(ax.images[0].get_array(), shares, rtol=1e-6)
        assert ax.figure is figure
    _, given = plt.subplots(1, 2)
    assert metric.plot(values, ax=given)[1] is given
    for ax in (given[:1], given[0]):
        with pytest.raises(ValueError, match="`ax` must be 2 axes"):
            metric.plot(values, ax=ax)
    with pytest.raises(ValueError, match="at least one value"):
        metric.plot([])
    figure, axes = metric.plot(values[:1])
    assert [ax.figure for ax in axes] == [figure]


def test_a_collection_draws_metrics_with_keys_together_or_each_by_itself() -> None:
    """``MetricCollection.plot`` by itself looks for a value under the metric's name."""
    collection = MetricCollection([MeanIoU(C), SegmentationMetrics(C, prefix="seg/")])
    preds, target = (x.clamp(max=C - 1) for x in labels())
    collection.update(preds, target)
    _, ax = collection.plot(together=True)
    assert len(ax.lines) >= len(collection.compute())
    _, ax = collection["SegmentationMetrics"].plot()
    assert len(ax.patches) == C
    plain = MetricCollection([MeanIoU(C), ConfusionMatrix(C)])
    plain.update(preds, target)
    assert len(plain.plot()) == 2


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metric",
    [ConfusionMatrix(C, ignore_index=255), MeanIoU(C, ignore_index=255), SegmentationMetrics(C)],
    ids=repr,
)
def test_a_plot_can_go_into_axes_of_the_user(metric: Any, tmp_path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5))
    place = left.get_position().bounds
    preds, target = labels()
    metric.update(preds.clamp(max=C - 1), target.clamp(max=C - 1))
    returned, ax = metric.plot(ax=left)
    assert returned is figure
    assert ax is left
    assert right.get_subplotspec().get_gridspec() is left.get_subplotspec().get_gridspec()
    assert figure.get_layout_engine() is None  # and nothing is moved
    assert left.get_position(original=True).bounds == place
    assert not right.has_data()
    saved(figure, tmp_path)


def test_nothing_counted_is_drawn_empty(tmp_path: Path) -> None:
    figure, ax = bars(torch.tensor([nan, nan]), ["a", "b"], title="IoU", line=("mean", nan))
    assert not ax.patches
    assert not ax.lines
    figure.savefig(tmp_path / "bars.png")
    figure, ax = heat_map(torch.zeros(2, 2, dtype=torch.int64), ["a", "b"], title="counts")
    assert texts(ax.texts) == [""] * 4
    figure.savefig(tmp_path / "heat_map.png")
